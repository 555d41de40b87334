"""The probe panel, per-class bars and minimal pairs as pictures; they draw numbers and compute none."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from motion_lib.methods import METHODS
from motion_lib.plots import FULL_INCHES, METHOD_STYLE, paper_style
from motion_lib.tables import NOT_RUN
from motion_lib.video_controls import REVERSED, SPREAD

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
