"""A figure for each probe, minimal pairs as pictures and per-class bars; they draw numbers and compute none."""

from collections.abc import Mapping, Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.data.clips import open_clips
from motion_lib.experiment.experiment import Experiment
from motion_lib.methods import METHODS
from motion_lib.miniature.minimal_pairs import KINDS
from motion_lib.probes.pairs import PAIR_LABEL, REVERSED_PAIRS, SENTENCE
from motion_lib.probes.records import ORDER, PAIRS, TEXT, VIDEO
from motion_lib.probes.text_controls import TEXT_CONTROLS
from motion_lib.probes.video_controls import ORDERS, SPREAD
from motion_lib.report.breakdowns import measured_classes, reported_classes
from motion_lib.report.diagrams import contact_sheet
from motion_lib.report.plots import CHANCE_LINE, FULL_INCHES, METHOD_STYLE, error_lengths, paper_style, shared_legend
from motion_lib.report.tables import NOT_RUN

TEXT_METHODS = ("clip", "names", "motion")
FRAME_METHODS = ("clip", "xclip", "text4vis", "motion", "motion_temporal")  # every head, and what they start from
# Labels, shorter than in tables.
_TEXT_ROWS = {
    name: name.replace("motion description in", "the same in").replace("class name in", "name in")
    for name in TEXT_CONTROLS
}
_PAIR_ROWS = {kind: fill(label, 16) for kind, label in PAIR_LABEL.items()} | {"": "the same, to heads\ntaught order"}
_TAUGHT_LABEL = {
    "motion_mean_taught": "mean", "motion_mit_taught": "X-CLIP's", "motion_temporal_taught": "temporal transformer",
}  # fmt: skip


# ------------------------------------------------------------------ one figure a probe
def text_figure(numbers: pd.DataFrame, cfg: RunConfig) -> Figure:
    """Top-1 under every text, a panel a target; of `probe_numbers`."""
    with paper_style():
        figure, axes = plt.subplots(1, len(cfg.targets), figsize=(FULL_INCHES, 3.5), sharey=True, squeeze=False)
        for target, ax in zip(cfg.targets, axes[0], strict=True):
            part = numbers[(numbers["family"] == TEXT) & (numbers["dataset"] == target)]
            _dots(ax, DATASETS[target].label, part, _TEXT_ROWS, TEXT_METHODS)
        shared_legend(figure, axes[0, 0], "lower", columns=4, size=7)
        return figure


def frame_figure(numbers: pd.DataFrame, cfg: RunConfig) -> Figure:
    """Top-1 with other numbers of frames above, in other orders below, objects named, a panel a target."""
    named = numbers[(numbers["family"] == VIDEO) & (numbers["kind"] == "object")]
    with paper_style():
        figure, axes = plt.subplots(2, len(cfg.targets), figsize=(FULL_INCHES, 5.6), squeeze=False)
        for target, (counts, orders) in zip(cfg.targets, axes.T, strict=True):
            part, title = named[named["dataset"] == target], DATASETS[target].label
            _counts(counts, title, part[part["condition"] == SPREAD])
            _dots(orders, "", part[part["condition"].isin(ORDERS)], {name: name for name in ORDERS}, FRAME_METHODS)
        for ax in axes[1, 1:]:
            ax.tick_params(labelleft=False)
        shared_legend(figure, axes[1, 0], "lower", columns=3, size=7)
        return figure


def pair_figure(numbers: pd.DataFrame) -> Figure:
    """Clips that choose their sentence; in the last row heads that were taught order."""
    frame = numbers[numbers["question"] == SENTENCE]
    with paper_style():
        figure, ax = plt.subplots(figsize=(FULL_INCHES, 3.6))
        _dots(ax, "", frame[frame["family"] == PAIRS], _PAIR_ROWS, FRAME_METHODS)
        if frame.empty:
            return figure
        taught = frame[frame["family"] == ORDER].set_index("method")
        for (key, label), y in zip(_TAUGHT_LABEL.items(), (3.74, 4.0, 4.26), strict=True):
            if key in taught.index:
                row = taught.loc[[key]]
                ax.errorbar(row["percent"], [y], xerr=error_lengths(row), fmt="*", ms=6, color="black", elinewidth=0.8)
                place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center", "ha": "left"}
                ax.annotate(label, (row["high"].item(), y), fontsize=7, **place)
        ax.set(xlabel="Clips that choose their sentence (%)", xlim=(30, 115))
        ax.set_xticks(range(30, 101, 10))
        shared_legend(figure, ax, "lower", columns=3, size=7)
        return figure


def _not_run(ax: Axes, title: str, frame: pd.DataFrame) -> bool:
    """Give a panel its title; whether there is nothing to draw, which it says."""
    ax.set_title(title)
    if frame.empty:
        ax.set(xticks=[], yticks=[])
        ax.text(0.5, 0.5, NOT_RUN, transform=ax.transAxes, ha="center", va="center", color="0.35")
    return frame.empty


def _dots(ax: Axes, title: str, frame: pd.DataFrame, rows: Mapping[str, str], methods: Sequence[str]) -> None:
    """One row of dots with intervals for each condition of `rows` (condition -> label), one dot a method."""
    if _not_run(ax, title, frame):
        return
    for m, key in enumerate(methods):
        part = frame[frame["method"] == key].set_index("condition").reindex(list(rows))
        y = np.arange(len(rows)) + (m - (len(methods) - 1) / 2) * 0.62 / max(len(methods) - 1, 1)
        colour, marker = METHOD_STYLE[key]
        style = {"fmt": marker, "ms": 3.6, "color": colour, "lw": 0, "elinewidth": 0.8, "label": METHODS[key].label}
        ax.errorbar(part["percent"], y, xerr=error_lengths(part), **style)
    ax.set_yticks(np.arange(len(rows)), list(rows.values()))
    ax.set(xlabel="Top-1 accuracy (%)", ylim=(len(rows) - 0.5, -0.5), xlim=(0, None))
    ax.grid(True, axis="x")
    ax.grid(False, axis="y")
    for y in np.arange(len(rows) - 1) + 0.5:
        ax.axhline(y, color="0.92", lw=0.6, zorder=0)
    ax.axvline(frame["chance"].min(), **CHANCE_LINE, label="chance", zorder=0)


def _counts(ax: Axes, title: str, frame: pd.DataFrame) -> None:
    """Top-1 against the number of frames."""
    if _not_run(ax, title, frame):
        return
    for key in FRAME_METHODS:
        part = frame[frame["method"] == key].sort_values("frames")
        colour, marker = METHOD_STYLE[key]
        ax.plot(part["frames"], part["percent"], "-" if len(part) > 1 else "", color=colour, marker=marker)
        if key in ("motion", "clip"):
            ax.fill_between(part["frames"], part["low"], part["high"], color=colour, alpha=0.15, lw=0)
    counts = sorted(frame["frames"].unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.minorticks_off()
    ax.axhline(frame["chance"].min(), **CHANCE_LINE, zorder=0)
    ax.set(xlabel="Frames per clip", ylabel="Top-1 accuracy (%)", ylim=(0, None))


# ------------------------------------------------------------------ pictures of the minimal pairs
def pairs_figure(experiment: Experiment) -> tuple[Figure, pd.DataFrame]:
    """The first minimal pair of each kind and an action played both ways, and their sentences.

    Raises:
        ValueError: where there are no rendered clips.
    """
    pairs, preprocess = experiment.data.minimal_pairs, experiment.vanilla.model.preprocess
    if not pairs:
        raise ValueError(f"profile {experiment.cfg.profile!r} has no minimal pairs: its clips are not rendered.")
    dataset, sentences = pairs.pair_clips()
    actions, both_ways = pairs.actions("test")
    clips, played = (open_clips(d, preprocess, experiment.data.root / "frames", "cropped") for d in (dataset, actions))
    firsts = [next(i for i, pair in enumerate(pairs.pairs) if pair.kind == kind) for kind in KINDS]
    places = [2 * first + side for first in firsts for side in (0, 1)]
    shown = [*(clips[place] for place in places), played[0], played[0][::-1]]
    names = [f"{PAIR_LABEL[kind]} ({side})" for kind in KINDS for side in "ab"]
    names += ["an action as it was filmed", PAIR_LABEL[REVERSED_PAIRS]]
    texts = [*(sentences.texts[place] for place in places), *both_ways.texts[:2]]
    captions = [f"{name}: {text}" for name, text in zip(names, texts, strict=True)]
    sheet = contact_sheet([frames.transpose(0, 2, 3, 1) for frames in shown], captions)
    return sheet, pd.DataFrame({"clip and sentence": captions})


# ------------------------------------------------------------------ classes
def class_figure(records: list[dict], target: str) -> tuple[Figure, pd.DataFrame]:
    """Top-1 of every class of a target for our method, below the authors' published chart of UCF-101.

    Where nothing was measured the chart stands alone.
    """
    measured, reported = measured_classes(records, target), reported_classes()
    seeds = len({record["seed"] for record in records})
    spread = f"mean of {seeds} seeds, lines from the lowest to the highest" if seeds > 1 else "one seed"
    panels = [("UCF-101, reported: read off the authors' published chart", reported)]
    if len(measured):
        panels.append((f"{DATASETS[target].label}, measured: {spread}", measured))
    parts = [
        reported.assign(source="reported", data_set="UCF-101"),
        measured.assign(source="measured", data_set=target),
    ]
    return class_bars(panels), pd.concat(parts, ignore_index=True)


def class_bars(panels: Sequence[tuple[str, pd.DataFrame]], columns: int = 51) -> Figure:
    """Top-1 of every class as bars, best first, in rows of at most `columns` bars.

    Args:
        panels: (title, frame with the columns class_name and percent, and low, high where there are seeds).
    """
    rows = [
        (title + ", continued" * (start > 0), frame.iloc[start : start + columns])
        for title, frame in panels
        for start in range(0, len(frame), columns)
    ]
    colour = METHOD_STYLE["motion"][0]
    with paper_style():
        figure, axes = plt.subplots(len(rows), 1, figsize=(FULL_INCHES, 2.6 * len(rows)), squeeze=False)
        for ax, (title, part) in zip(axes[:, 0], rows, strict=True):
            x, measured = np.arange(len(part)), "low" in part
            style = {"yerr": error_lengths(part), "color": colour} if measured else {"color": "white", "hatch": "////"}
            error = {"lw": 0.7, "capsize": 1.2}
            ax.bar(x, part["percent"], 0.75, edgecolor=colour, lw=0.8, error_kw=error, **style)
            ax.set_xticks(x, part["class_name"], rotation=90, fontsize=7)
            ax.set(title=title, ylabel="Top-1 (%)", xlim=(-0.7, max(len(part), columns / 2) - 0.3), ylim=(0, 104))
        return figure
