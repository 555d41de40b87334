"""Clips beside what the methods take them for, chosen by a rule; and which classes are taken for which."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.special import softmax

from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.retrieval import RetrievalResult
from motion_lib.experiment.experiment import Experiment
from motion_lib.experiment.records import integers
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.report.diagrams import FROM_CORNER, LINE, canvas, side_by_side, wrap, write
from motion_lib.report.plots import FULL_INCHES, paper_style
from motion_lib.report.tables import KIND_LABEL, select

GALLERY_METHODS = ("clip", "names", "motion")
Results = Mapping[tuple[str, str], RetrievalResult]  # {(target, kind of descriptions): result} of one method
_FRAMES, _BEST, _CLIPS = 4, 3, 6
_WIDE, _PICTURES = 11.0, 1.8  # inches of the page, and of the frames on its left
_RIGHT, _WRONG = "#1b6b2f", "0.2"


# ------------------------------------------------------------------ single clips
def chosen_clips(results: Sequence[RetrievalResult]) -> list[tuple[int, str]]:
    """Six clips of six classes, by the probability that each method gives to the right description.

    First the clip that all get right whose lowest probability is highest; then the one that all get wrong whose highest
    probability is lowest; then those where the probabilities lie furthest apart. Fewer where there are none.

    Args:
        results: of several methods on the same clips, of one kind of descriptions.

    Returns:
        The number of each clip, and why it was chosen.
    """
    labels = results[0].labels
    right = np.stack([softmax(r.scores, axis=1)[np.arange(len(labels)), labels] for r in results])
    correct = np.stack([result.correct for result in results])
    lowest, highest = right.min(axis=0), right.max(axis=0)
    rules = [
        ("all are right", np.where(correct.all(axis=0), lowest, -np.inf)),
        ("all are wrong", np.where(correct.any(axis=0), -np.inf, -highest)),
        *[("they disagree most", highest - lowest)] * (_CLIPS - 2),
    ]
    chosen: list[tuple[int, str]] = []
    for why, merit in rules:
        of_shown = np.isin(labels, labels[[number for number, _ in chosen]])
        left = np.where(of_shown, -np.inf, merit)
        if left.max() > -np.inf:
            chosen.append((int(left.argmax()), why))
    return chosen


def gallery(experiment: Experiment, results: Mapping[str, Results], target: str) -> tuple[Figure, pd.DataFrame]:
    """Six clips of a target: four frames, and the three descriptions that each method finds most probable.

    Args:
        results: {method: what `Experiment.measure` returns}, of GALLERY_METHODS.

    Returns:
        The figure and its numbers: a row a clip, method, kind and place.
    """
    named = [results[key][target, "object"] for key in GALLERY_METHODS]
    texts = {k: experiment.data.descriptions(target, k) for k in DESCRIPTION_KINDS}
    clips = experiment.data.clips(target, experiment.cfg.target_subset, experiment.vanilla.model.preprocess)
    place = {item.video_id: number for number, item in enumerate(clips.dataset.items)}
    names, rows, blocks = clips.dataset.class_names, [], []
    for number, why in chosen_clips(named):
        video_id, label = named[0].video_ids[number], int(named[0].labels[number])
        frames = clips[place[video_id]].transpose(0, 2, 3, 1)
        shown = frames[np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int)]
        answers = {}
        for key in GALLERY_METHODS:
            for kind in DESCRIPTION_KINDS:
                of_classes = softmax(results[key][target, kind].scores[number])
                best = np.argsort(-of_classes, kind="stable")[:_BEST]
                found = texts[kind].select(names).texts
                answers[key, kind] = [(of_classes[c], found[c], c == label) for c in best]
                about = {"video": video_id, "chosen": why, "right": names[label], "method": key, "descriptions": kind}
                for rank, c in enumerate(best, start=1):
                    rows.append(about | {"rank": rank, "class": names[c], "probability": round(of_classes[c], 4)})
        blocks.append((f"{names[label]}: {why}", shown, answers))
    return _page(blocks), pd.DataFrame(rows)


_Answers = Mapping[tuple[str, str], Sequence[tuple[float, str, bool]]]


def _page(blocks: Sequence[tuple[str, np.ndarray, _Answers]]) -> Figure:
    """One block below the other: frames on the left, a column for each method."""
    width = (_WIDE - _PICTURES) / len(GALLERY_METHODS)
    with paper_style():
        columns = [{k: _column(answers, k, width - 0.15) for k in GALLERY_METHODS} for _, _, answers in blocks]
        heights = [max(LINE * max(map(len, column.values())), _PICTURES) + 2.4 * LINE for column in columns]
        y = total = sum(heights) + 2 * LINE
        figure, ax = canvas(total, _WIDE)
        for m, key in enumerate(GALLERY_METHODS):
            write(ax, _PICTURES + m * width, y - 0.05, METHODS[key].label, weight="bold", **FROM_CORNER)
        y -= 2 * LINE
        for (title, frames, _), column, height in zip(blocks, columns, heights, strict=True):
            ax.axhline(y + 0.04, 0.005, 0.995, color="0.8", lw=0.6)
            write(ax, 0.05, y - 0.03, title, style="italic", **FROM_CORNER)
            rows = [side_by_side(frames[:2]), side_by_side(frames[2:])]
            for r, pair in enumerate(rows):
                high = (_PICTURES - 0.25) / 2
                corner = (0.05 / _WIDE, (y - 1.5 * LINE - (r + 1) * (high + 0.03)) / total)
                picture = figure.add_axes((*corner, (_PICTURES - 0.2) / _WIDE, high / total))
                picture.imshow(pair, interpolation="none", aspect="auto")
                picture.axis("off")
            for m, key in enumerate(GALLERY_METHODS):
                for n, (line, style) in enumerate(column[key]):
                    at = (_PICTURES + m * width, y - 1.5 * LINE - n * LINE)
                    write(ax, *at, line, **FROM_CORNER, **style)
            y -= height
        return figure


def _column(answers: _Answers, method: str, width: float) -> list[tuple[str, dict[str, object]]]:
    """The lines of one method's answers to one clip, each with its style."""
    lines: list[tuple[str, dict[str, object]]] = []
    for kind in DESCRIPTION_KINDS:
        if lines:
            lines.append(("", {}))
        lines.append((KIND_LABEL[kind], {"style": "italic", "color": "0.45"}))
        for probability, text, is_right in answers[method, kind]:
            look = {"color": _RIGHT, "weight": "bold"} if is_right else {"color": _WRONG}
            mark = "\N{CHECK MARK} " if is_right else ""
            lines += [(line, look) for line in wrap(f"{mark}{100 * probability:.0f} %  {text}", width * 0.92)]
    return lines


# ------------------------------------------------------------------ classes for classes
def confusion_figure(records: Sequence[dict], target: str, texts: np.ndarray) -> tuple[Figure, pd.DataFrame]:
    """What our method answers for the clips of each class, all seeds, objects named and masked.

    Classes stand in the order of a clustering of their descriptions, so that like ones are neighbours and confusions of
    like descriptions lie near the diagonal.

    Args:
        texts: (K, D) embeddings of the descriptions, objects named.

    Returns:
        The figure, and the share of each answer: columns descriptions, right, answer, percent.
    """
    unit = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    tree = linkage(unit, "average", metric="cosine")
    order = leaves_list(optimal_leaf_ordering(tree, unit, metric="cosine"))
    parts, rows = {}, []
    for kind in DESCRIPTION_KINDS:
        chosen = select(records, dataset=target, method="motion", descriptions=kind, epoch=None)
        counts = np.zeros((len(texts), len(texts)))
        for record in chosen:
            np.add.at(counts, (integers(record, "labels"), integers(record, "answers")), 1)
        shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        parts[kind] = shares[np.ix_(order, order)]
        names = chosen[0]["class_names"] if chosen else []
        for right, answer in zip(*np.nonzero(shares), strict=True):
            rows.append((kind, names[right], names[answer], round(shares[right, answer], 2)))
    with paper_style():
        figure, axes = plt.subplots(1, len(parts), figsize=(FULL_INCHES, 3.5), sharey=True)
        for ax, (kind, shares) in zip(axes, parts.items(), strict=True):
            drawn = ax.imshow(shares, cmap="magma_r", vmin=0, vmax=100, interpolation="none")
            ax.set(title=f"{DATASETS[target].label}, {KIND_LABEL[kind]}", xlabel="answer", xticks=[], yticks=[])
            ax.grid(False)
        axes[0].set_ylabel("right class")
        figure.colorbar(drawn, ax=axes, label="Clips of the class (%)", shrink=0.7)
        return figure, pd.DataFrame(rows, columns=["descriptions", "right", "answer", "percent"])
