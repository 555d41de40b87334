"""The probe panel, per-class bars and minimal pairs as pictures; they draw numbers and compute none."""

from collections.abc import Mapping, Sequence

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
from motion_lib.probes.cells import probe_numbers
from motion_lib.probes.records import ORDER, REVERSED_PAIRS
from motion_lib.probes.tables import (
    ORDERS,
    PAIR_LABEL,
    TEXT_CONTROLS,
    frame_count_table,
    order_control_table,
    pair_table,
    rival_table,
    taught_table,
    text_control_table,
    text_gap_table,
)
from motion_lib.probes.video_controls import REVERSED, SPREAD
from motion_lib.report.breakdowns import measured_classes, reported_classes
from motion_lib.report.diagrams import contact_sheet
from motion_lib.report.plots import FULL_INCHES, METHOD_STYLE, paper_style
from motion_lib.report.tables import NOT_RUN, write_table

TEXT_METHODS = ("clip", "names", "motion")
FRAME_METHODS = ("clip", "xclip", "text4vis", "motion", "motion_temporal")  # every head, and what they start from
_TAUGHT = "taught"
_CHANCE = {"color": "0.35", "lw": 1, "linestyle": ":"}


def _dots(ax: Axes, frame: pd.DataFrame, rows: Mapping[str, str], methods: Sequence[str]) -> None:
    """One row of dots with intervals for each condition, one dot a method."""
    for m, key in enumerate(methods):
        part = frame[frame["method"] == key].set_index("condition").reindex(list(rows))
        y = np.arange(len(rows)) + (m - (len(methods) - 1) / 2) * 0.62 / max(len(methods) - 1, 1)
        colour, marker = METHOD_STYLE[key]
        errors = np.abs(part[["low", "high"]].to_numpy().T - part["percent"].to_numpy())
        ax.errorbar(
            part["percent"], y, xerr=errors, fmt=marker, ms=3.6, color=colour, lw=0, elinewidth=0.8,
            label=METHODS[key].label,
        )  # fmt: skip
    ax.set_yticks(np.arange(len(rows)), list(rows.values()))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.grid(True, axis="x")
    ax.grid(False, axis="y")
    for y in np.arange(len(rows) - 1) + 0.5:
        ax.axhline(y, color="0.92", lw=0.6, zorder=0)


def _chance(ax: Axes, percent: float, horizontal: bool) -> None:
    (ax.axhline if horizontal else ax.axvline)(percent, **_CHANCE, label="chance", zorder=0)


def _not_run(ax: Axes, title: str) -> Axes:
    ax.set(title=title, xticks=[], yticks=[])
    ax.text(0.5, 0.5, NOT_RUN, transform=ax.transAxes, ha="center", va="center", color="0.35")
    return ax


def text_panel(frame: pd.DataFrame, rows: Mapping[str, str], methods: Sequence[str], title: str, ax: Axes) -> Axes:
    """Top-1 under each text control. Args: frame: rows of one target.   rows: condition -> label."""
    if frame.empty:
        return _not_run(ax, title)
    _dots(ax, frame, rows, methods)
    _chance(ax, frame["chance"].min(), horizontal=False)
    ax.set(title=title, xlabel="Top-1 accuracy (%)")
    ax.set_xlim(left=0)
    return ax


def count_panel(frame: pd.DataFrame, methods: Sequence[str], title: str, ax: Axes) -> Axes:
    """Top-1 against the number of frames. Args: frame: rows of the numbers of frames, one target and one kind."""
    if frame.empty:
        return _not_run(ax, title)
    for key in methods:
        part = frame[frame["method"] == key].sort_values("frames")
        colour, marker = METHOD_STYLE[key]
        style = "-" if len(part) > 1 else "none"
        ax.plot(part["frames"], part["percent"], color=colour, marker=marker, linestyle=style)
        if key in ("motion", "clip"):
            ax.fill_between(part["frames"], part["low"], part["high"], color=colour, alpha=0.15, lw=0)
    counts = sorted(frame["frames"].unique())
    ax.set_xscale("log", base=2)
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.minorticks_off()
    _chance(ax, frame["chance"].min(), horizontal=True)
    ax.set(title=title, xlabel="Frames per clip", ylabel="Top-1 accuracy (%)")
    ax.set_ylim(bottom=0)
    return ax


def probe_panel(
    numbers: pd.DataFrame,
    targets: Mapping[str, str],
    texts: Mapping[str, str],
    orders: Mapping[str, str],
    pairs: Mapping[str, str],
    taught: pd.DataFrame,
) -> Figure:
    """Six panels: texts and frame counts of both targets, orders of frames of the first target, minimal pairs.

    Args:
        numbers: `probe_numbers`.   targets: data set -> title.   texts, orders, pairs: condition -> label.
        taught: rows of heads taught to tell order, with the columns label, percent, low, high.
    """
    with paper_style():
        figure = plt.figure(figsize=(FULL_INCHES, 8.8))
        rows = figure.subfigures(3, 1, height_ratios=(3.3, 2.2, 3.0))
        named = numbers[numbers["kind"].isin(("", "object"))]
        axes = rows[0].subplots(1, len(targets), sharey=True, squeeze=False)[0]
        for ax, (target, title) in zip(axes, targets.items(), strict=True):
            part = named[(named["family"] == "text") & (named["dataset"] == target)]
            text_panel(part, texts, TEXT_METHODS, f"Texts: {title}", ax)
        _legend(rows[0], axes[0])
        counted = named[(named["family"] == "video") & (named["condition"] == SPREAD)]
        axes = rows[1].subplots(1, len(targets), squeeze=False)[0]
        for ax, (target, title) in zip(axes, targets.items(), strict=True):
            count_panel(counted[counted["dataset"] == target], FRAME_METHODS, f"Number of frames: {title}", ax)
        left, right = rows[2].subplots(1, 2, width_ratios=(1, 1.05))
        # One target's orders alone, as the page is full; the table has both.
        first, title = next(iter(targets.items()))
        _order_panel(named, first, orders, FRAME_METHODS, f"Order of frames: {title}", left)
        _pair_panel(numbers, pairs, FRAME_METHODS, taught, right)
        _legend(rows[2], left)
        return figure


def _order_panel(
    named: pd.DataFrame, target: str, orders: Mapping[str, str], methods: Sequence[str], title: str, ax: Axes
) -> None:
    part = named[(named["family"] == "video") & (named["dataset"] == target)]
    if part.empty:
        _not_run(ax, title)
        return
    own = part[part["condition"] == REVERSED].set_index("method")["frames"]
    part = part[part["frames"] == part["method"].map(own)]
    _dots(ax, part, orders, methods)
    _chance(ax, part["chance"].min(), horizontal=False)
    ax.set(title=title, xlabel="Top-1 accuracy (%)")
    ax.set_xlim(left=0)


def _pair_panel(
    numbers: pd.DataFrame, pairs: Mapping[str, str], methods: Sequence[str], taught: pd.DataFrame, ax: Axes
) -> None:
    part = numbers[(numbers["family"] == "pairs") & (numbers["of"] == "sentence for a clip")]
    if part.empty:
        _not_run(ax, "Minimal pairs")
        return
    _dots(ax, part, {**pairs, _TAUGHT: "the same, to heads\ntaught order"}, methods)
    for offset, (_, row) in enumerate(taught.iterrows()):
        y, error = len(pairs) - 0.18 + 0.36 * offset, [[row["percent"] - row["low"]], [row["high"] - row["percent"]]]
        face = "white" if offset else "black"
        ax.errorbar([row["percent"]], [y], xerr=error, fmt="*", ms=6, color="black", lw=0, elinewidth=0.8, mfc=face)
        # On the side that has room for it.
        x, shift, side = (row["high"], 5, "left") if row["high"] < 75 else (row["low"], -5, "right")
        ax.annotate(
            row["label"], (x, y), xytext=(shift, 0), textcoords="offset points", va="center", ha=side, fontsize=7
        )
    _chance(ax, 50, horizontal=False)
    ax.set(title="Minimal pairs", xlabel="Clips that choose their sentence (%)", xlim=(40, 100))


def _legend(figure: Figure, ax: Axes) -> None:
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=7)


def class_bars(panels: Sequence[tuple[str, pd.DataFrame]], columns: int = 51) -> Figure:
    """Top-1 of every class as bars, best first, in rows of at most `columns` bars.

    Args: panels: (title, frame with the columns class_name and percent, and low, high where there are seeds).
    """
    rows = [
        (title if start == 0 else f"{title}, continued", frame.iloc[start : start + columns], "low" in frame)
        for title, frame in panels
        for start in range(0, len(frame), columns)
    ]
    with paper_style():
        figure, axes = plt.subplots(len(rows), 1, figsize=(FULL_INCHES, 2.6 * len(rows)), squeeze=False)
        for ax, (title, part, spread) in zip(axes[:, 0], rows, strict=True):
            x = np.arange(len(part))
            errors = np.abs(part[["low", "high"]].to_numpy().T - part["percent"].to_numpy()) if spread else None
            face = METHOD_STYLE["motion"][0] if spread else "white"
            ax.bar(
                x, part["percent"], 0.75, yerr=errors, color=face, edgecolor=METHOD_STYLE["motion"][0], lw=0.8,
                hatch="" if spread else "////", error_kw={"lw": 0.7, "capsize": 1.2},
            )  # fmt: skip
            ax.set_xticks(x, part["class_name"], rotation=90, fontsize=7)
            ax.set(title=title, ylabel="Top-1 (%)", xlim=(-0.7, max(len(part), columns / 2) - 0.3), ylim=(0, 104))
        return figure


_SHORT = {
    "motion description in a template": "the same in a template",
    "class name in a template": "name in a template",
}
_TAUGHT_LABEL = {"motion_temporal_taught": "transformer", "motion_mean_taught": "mean"}
_TWO_LINES = {
    "object": "another object,\nsame motion",
    "arms": "another motion\nof the arms",
    "body": "another motion\nof the body",
    REVERSED_PAIRS: "the same frames\nbackwards",
}


def write_probe_tables(probes: list[dict], cfg: RunConfig) -> dict[str, pd.DataFrame]:
    """Every table of the probes over all seeds, written and returned by name."""
    tables = {
        "rivals": rival_table(probes, cfg.targets),
        "minimal_pairs": pair_table(probes),
        "order_taught": taught_table(probes),
    }
    for target in cfg.targets:
        short = target.rpartition("-")[2]
        tables[f"text_controls_{short}"] = text_control_table(probes, target)
        tables[f"text_gaps_{short}"] = text_gap_table(probes, target)
        tables[f"frame_counts_{short}"] = frame_count_table(probes, target)
        tables[f"frame_order_{short}"] = order_control_table(probes, target)
    for name, table in tables.items():
        write_table(table, cfg, name)
    return tables


def probe_figure(probes: list[dict], cfg: RunConfig) -> tuple[Figure, pd.DataFrame]:
    """The probe panel and everything it plots."""
    numbers = probe_numbers(probes)
    taught = numbers[numbers["family"] == ORDER].assign(label=lambda rows: rows["method"].map(_TAUGHT_LABEL))
    texts = {name: _SHORT.get(name, name) for name in TEXT_CONTROLS}
    orders = {name: name for name in ORDERS}
    targets = {target: DATASETS[target].label for target in cfg.targets}
    return probe_panel(numbers, targets, texts, orders, _TWO_LINES, taught), numbers


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
    labelled = (("reported", "UCF-101", reported), ("measured", target, measured))
    parts = [frame.assign(source=source, data_set=name) for source, name, frame in labelled]
    return class_bars(panels), pd.concat(parts, ignore_index=True)


def pairs_figure(experiment: Experiment) -> tuple[Figure, pd.DataFrame]:
    """The first minimal pair of each kind and an action played both ways, and their sentences.

    Raises: ValueError where there are no rendered clips.
    """
    if not experiment.data.minimal_pairs:
        raise ValueError(
            f"profile {experiment.cfg.profile!r} has no minimal pairs: its clips were filmed, not rendered."
        )
    paths, preprocess = experiment.data.minimal_pairs, experiment.vanilla.model.preprocess
    dataset, sentences = paths.pair_clips()
    clips = open_clips(dataset, preprocess, experiment.data.root / "frames", "cropped")
    shown, captions = [], []
    for kind in KINDS:
        number = next(i for i, pair in enumerate(paths.pairs) if pair.kind == kind)
        for side in (0, 1):
            shown.append(_picture(clips[2 * number + side]))
            captions.append(f"{PAIR_LABEL[kind]} ({'ab'[side]}): {sentences.texts[2 * number + side]}")
    actions, both_ways = paths.actions("test")
    played = _picture(open_clips(actions, preprocess, experiment.data.root / "frames", "cropped")[0])
    shown += [played, played[::-1]]
    ways = ("an action as it was filmed", PAIR_LABEL[REVERSED_PAIRS])
    captions += [f"{way}: {text}" for way, text in zip(ways, both_ways.texts[:2], strict=True)]
    return contact_sheet(shown, captions), pd.DataFrame({"clip and sentence": captions})


def _picture(frames: np.ndarray) -> np.ndarray:
    return frames.transpose(0, 2, 3, 1)
