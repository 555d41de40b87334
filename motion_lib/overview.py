"""The tables and figures of the notebooks, made from an experiment or from its records."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from motion_lib import descriptions as texts
from motion_lib.config import RunConfig
from motion_lib.datasets import open_dataset
from motion_lib.diagrams import caption_table, contact_sheet
from motion_lib.evaluation import RetrievalResult
from motion_lib.experiment import Experiment
from motion_lib.generation import prompt_of
from motion_lib.methods import DESCRIPTION_KINDS, METHODS, TABLE_METHODS, TEMPORAL_METHODS
from motion_lib.paper import PAPER_DATASET, REPORTED_RETRIEVAL, REPORTED_STATISTICS
from motion_lib.plots import bar_figure, epoch_figure, retrieval_figure
from motion_lib.statistics import grim_consistent, mean_interval
from motion_lib.tables import DATASET_LABEL, KIND_LABEL, chance_percent, mean_acc, select

HELD_OUT_SOURCE = "held-out source"


# ------------------------------------------------------------------ 00 setup
def dataset_table(experiment: Experiment) -> pd.DataFrame:
    """Videos, classes and absent files of every data set and subset that the experiment uses."""
    cfg = experiment.cfg
    wanted = [(cfg.source, "train"), (cfg.source, "val"), *((t, cfg.target_subset) for t in cfg.targets)]
    opened = [experiment.dataset(name, subset) for name, subset in wanted]
    return pd.DataFrame(
        {
            "Data set": [DATASET_LABEL[d.name] for d in opened],
            "Subset": [d.subset for d in opened],
            "Videos": [len(d) for d in opened],
            "Classes": [len(d.class_names) for d in opened],
            "Listed but absent": [len(d.missing) for d in opened],
        }
    )


def _example_clips(experiment: Experiment, count: int) -> list[tuple[np.ndarray, str]]:
    """Model input (T, S, S, 3) uint8 and class name of the first video of `count` classes spread over a target."""
    clips = experiment.clips(experiment.cfg.targets[0], experiment.cfg.target_subset, experiment.vanilla)
    labels, names = np.array(clips.dataset.labels), clips.dataset.class_names
    chosen = np.linspace(0, len(names) - 1, count).astype(int)
    return [(clips[int(np.flatnonzero(labels == c)[0])].transpose(0, 2, 3, 1), names[c]) for c in chosen]


def world_figure(experiment: Experiment, clips: int) -> Figure:
    """Contact sheet of target clips, each with its class name and motion description."""
    named = experiment.descriptions(experiment.cfg.targets[0], "object")
    examples = _example_clips(experiment, clips)
    chosen = [named.select([name]) for _, name in examples]  # in the descriptions' spelling of the class names
    captions = [f"{only.class_names[0]}: {only.texts[0]}" for only in chosen]
    return contact_sheet([clip for clip, _ in examples], captions)


def backbone_table(experiment: Experiment) -> pd.DataFrame:
    """What the backbone names of the HMDB-like target's clips; outside the miniature the truth is not known."""
    return experiment.backbone_knowledge()


# ------------------------------------------------------------------ 01 descriptions
def caption_figure(experiment: Experiment, classes: int) -> tuple[Figure, pd.DataFrame]:
    """Figure 1: an ordinary caption beside the motion description of the same class, and the texts."""
    named = experiment.descriptions(experiment.cfg.source, "object")
    rows = [(named.class_names[i], experiment.caption(i), named.texts[i]) for i in range(classes)]
    headers = ("Class", "Ordinary caption", "Motion description")
    return caption_table(headers, rows, (22, 34, 64)), pd.DataFrame(rows, columns=headers)


def generation_figure(experiment: Experiment, classes: int) -> tuple[Figure, pd.DataFrame]:
    """Figure 2: the end of the prompt, the answer, its masked version, above frames of a video; and the texts."""
    target = experiment.cfg.targets[0]
    sets = {kind: experiment.descriptions(target, kind) for kind in DESCRIPTION_KINDS}
    examples = _example_clips(experiment, classes)
    captions, rows = [], []
    for _, name in examples:
        named, masked = (sets[kind].select([name]) for kind in DESCRIPTION_KINDS)
        asked = prompt_of(named.class_names[0]).rpartition(". ")[2]
        prompt = "Prompt (not sent: the texts are the miniature's own)" if experiment.miniature else "Prompt"
        captions.append(f"{prompt}: … {asked}\nDescription: {named.texts[0]}\nObjects masked: {masked.texts[0]}")
        rows.append((asked, named.texts[0], masked.texts[0]))
    texts_shown = pd.DataFrame(rows, columns=["Prompt", "Description", "Objects masked"])
    return contact_sheet([clip for clip, _ in examples], captions), texts_shown


def statistics_table(experiment: Experiment) -> pd.DataFrame:
    """Appendix D.2: reported numbers of the paper's data sets, measured ones of this profile's."""
    rows = []
    for name in (experiment.cfg.source, *experiment.cfg.targets):
        measured = texts.statistics(experiment.descriptions(name, "object"))
        reported = REPORTED_STATISTICS[PAPER_DATASET.get(name, "kinetics400")]
        row = {
            "Descriptions of": DATASET_LABEL[name],
            "Videos, measured": _listed_videos(experiment, name),
            "Videos, reported": reported.videos,
            "Descriptions": measured.descriptions,
            "Distinct": measured.unique,
        }
        row |= {"Words each, measured": f"{measured.words_per_description:.2f}"}
        row |= {
            "Verbs each, measured": f"{measured.verbs_per_description:.2f}",
            "Verbs, measured": measured.verbs,
        }
        row |= {"Words each, reported": f"{reported.words_per_description:g}"}
        row |= {
            "Verbs each, reported": f"{reported.verbs_per_description:g}",
            "Verbs, reported": reported.verbs,
        }
        # The miniature's texts are others than the paper's: there is nothing to deviate from.
        same = name in REPORTED_STATISTICS
        row["Verbs, deviation"] = f"{100 * (measured.verbs / reported.verbs - 1):+.1f} %" if same else "other texts"
        rows.append({**row, "Counting rule (measured)": measured.verb_rule})
    return pd.DataFrame(rows)


def _listed_videos(experiment: Experiment, name: str) -> int:
    """On the official lists of all subsets, whether they are on disk or not."""
    dataset = open_dataset(name, experiment.data_root, experiment.cfg.split, "all")
    return len(dataset) + len(dataset.missing)


def masking_table(experiment: Experiment) -> pd.DataFrame:
    """How many descriptions masking changes, with one example of each target."""
    rows = []
    for target in experiment.cfg.targets:
        named, masked = (experiment.descriptions(target, kind) for kind in DESCRIPTION_KINDS)
        changed = texts.changed_by_masking(named, masked)
        first = changed[0] if changed else 0
        rows.append(
            {
                "Target": DATASET_LABEL[target],
                "Changed": f"{len(changed)} of {len(named)}",
                "Named": named.texts[first],
                "Masked": masked.select(named.class_names).texts[first],
            }
        )
    return pd.DataFrame(rows)


def granularity_table() -> pd.DataFrame:
    """Whether each reported percent can be a whole number of the test clips of split 1, or of the full set.

    Of UCF-101's 13,320 clips every percentage of two decimals is some whole number: there the question has no answer.
    """
    sizes = {"ucf101": (3783, 13320), "hmdb51": (1530, 6766)}  # split 1, full set
    rows = []
    for dataset, methods in REPORTED_RETRIEVAL.items():
        for method, cells in methods.items():
            if method == "Human":
                continue  # five videos a class, another protocol
            for kind, percent in cells.items():
                decimals = 1 if percent == 28.9 else 2  # ViFi-CLIP's masked value is printed with one decimal
                fits = [_fits(percent, n, decimals) for n in sizes[dataset]]
                row = {"Data set": DATASET_LABEL[dataset], "Method": method, "Descriptions": KIND_LABEL[kind]}
                rows.append(
                    {**row, "Reported, %": f"{percent:g}", "Share of split 1": fits[0], "Of the full set": fits[1]}
                )
    return pd.DataFrame(rows)


def _fits(percent: float, n: int, decimals: int) -> str:
    if 100 / n <= 10**-decimals:
        return "any number is"
    return "yes" if grim_consistent(percent, n, decimals) else "no"


# ------------------------------------------------------------------ 02 to 05 results
def first_results(
    results: Mapping[str, Mapping[tuple[str, str], RetrievalResult]], resamples: int = 10_000
) -> pd.DataFrame:
    """Top-1 percent with its interval: one row a method, one column a target and description kind."""
    rows = []
    for key, cells in results.items():
        row = {"Method": METHODS[key].label}
        for (target, kind), result in cells.items():
            row[f"{DATASET_LABEL[target]}, {KIND_LABEL[kind]}"] = result.interval(resamples).in_percent()
        rows.append(row)
    chance = {f"{DATASET_LABEL[t]}, {KIND_LABEL[k]}": f"{100 / r.scores.shape[1]:.1f}" for (t, k), r in cells.items()}
    return pd.DataFrame([*rows, {"Method": "chance", **chance}])


def main_figure(records: list[dict], cfg: RunConfig) -> tuple[Figure, pd.DataFrame]:
    """The drop from named to masked of every method, measured and reported, and its numbers."""
    measured, reported, rows = {}, {}, []
    for target in cfg.targets:
        final = select(records, dataset=target, epoch=None)
        pairs = {
            k: tuple(mean_acc(select(final, method=k, descriptions=kind)) for kind in DESCRIPTION_KINDS)
            for k in TABLE_METHODS
        }
        measured[DATASET_LABEL[target]] = {k: pair for k, pair in pairs.items() if not np.isnan(pair).any()}
        paper = REPORTED_RETRIEVAL[PAPER_DATASET[target]]
        label = DATASET_LABEL[PAPER_DATASET[target]]
        with_row = [k for k in TABLE_METHODS if METHODS[k].paper_row]
        reported[label] = {k: tuple(paper[METHODS[k].paper_row][kind] for kind in DESCRIPTION_KINDS) for k in with_row}
        for what, title, panel in (
            ("measured", DATASET_LABEL[target], measured),
            ("reported", label, reported),
        ):
            rows += [(what, title, key, *pair) for key, pair in panel[title].items()]
    numbers = pd.DataFrame(rows, columns=["source", "data_set", "method", "named_percent", "masked_percent"])
    chance = {DATASET_LABEL[target]: chance_percent(records, target) for target in cfg.targets}
    known = {title: percent for title, percent in chance.items() if not np.isnan(percent)}
    return retrieval_figure(measured, reported, known), numbers


def temporal_figure(records: list[dict], cfg: RunConfig) -> tuple[Figure, pd.DataFrame]:
    """Mean pooling against the temporal transformer, mean over seeds with its interval or range."""
    rows = []
    for target in cfg.targets:
        for key in TEMPORAL_METHODS:
            for kind in DESCRIPTION_KINDS:
                cell = select(records, dataset=target, epoch=None, method=key, descriptions=kind)
                values = [100 * record["metrics"]["acc1"] for record in cell]
                low, high = min(values), max(values)
                if len(cell) == 1:
                    low, high = (100 * cell[0]["metrics"][bound] for bound in ("acc1_low", "acc1_high"))
                rows.append((key, DATASET_LABEL[target], KIND_LABEL[kind], np.mean(values), low, high, len(cell)))
    numbers = pd.DataFrame(rows, columns=["method", "target", "kind", "percent", "low", "high", "seeds"])
    seeds = int(numbers["seeds"].max())
    bars = f"lowest and highest of {seeds} seeds" if seeds > 1 else "95 % interval over groups of clips, one seed"
    return bar_figure(numbers, TEMPORAL_METHODS, bars), numbers


def epochs_figure(records: list[dict], cfg: RunConfig) -> tuple[Figure, pd.DataFrame]:
    """Accuracy after each epoch on a target, named and masked, and on held-out source clips; all seeds."""
    parts = []
    for target in cfg.targets:
        lines = {KIND_LABEL[kind]: {"dataset": target, "descriptions": kind} for kind in DESCRIPTION_KINDS}
        lines[HELD_OUT_SOURCE] = {"dataset": cfg.source, "descriptions": "object"}
        for line, wanted in lines.items():
            cells = [r for r in select(records, method="motion", **wanted) if r["epoch"] is not None]
            for epoch in sorted({record["epoch"] for record in cells}):
                values = [100 * record["metrics"]["acc1"] for record in select(cells, epoch=epoch)]
                parts.append((DATASET_LABEL[target], line, epoch, *mean_interval(values), len(values)))
    numbers = pd.DataFrame(parts, columns=["target", "line", "epoch", "mean", "low", "high", "seeds"])
    chance = {DATASET_LABEL[target]: chance_percent(records, target) for target in cfg.targets}
    return epoch_figure(dict(list(numbers.groupby("target", sort=False))), chance), numbers
