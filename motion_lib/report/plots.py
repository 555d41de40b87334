"""Figures in one style: colour-blind safe, readable in grey, column widths of the paper.

Functions draw numbers they are given; they compute no metric and change no global state.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from scipy.optimize import isotonic_regression

from motion_lib.config import RunConfig
from motion_lib.methods import METHODS
from motion_lib.storage import atomic_path, write_text

COLUMN_INCHES, FULL_INCHES = 3.03, 6.30  # 7.7 cm and 16 cm, the paper's column and text width
_SCREEN_PIXELS = 1600
_PALETTE = sns.color_palette("colorblind")
METHOD_STYLE: dict[str, tuple[tuple, str]] = {key: (_PALETTE[m.colour], m.marker) for key, m in METHODS.items()}
_RC = {
    "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.grid.axis": "y", "grid.color": "0.9", "axes.axisbelow": True, "lines.linewidth": 1.4, "lines.markersize": 4.5,
    "figure.constrained_layout.use": True, "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "motion_lib",
    "savefig.dpi": 300,
}  # fmt: skip
CHANCE_LINE = {"color": "0.35", "lw": 1, "linestyle": ":"}


@contextmanager
def paper_style() -> Iterator[None]:
    """The style of every figure, within a `with` block only."""
    with mpl.rc_context(_RC):
        yield
        interactive = mpl.is_interactive()
    # A notebook's backend, which starts with the first figure, turns this on; were it restored as well, no
    # later figure would be shown.
    mpl.interactive(interactive)


def save_figure(figure: Figure, cfg: RunConfig, name: str, numbers: pd.DataFrame | None = None) -> Path:
    """Write `figures/<profile>/<name>.{pdf,svg,png}` and the plotted numbers as CSV; returns the PNG's path.

    Without dates, so that an unchanged figure leaves git clean. The PNG has 256 colours, a third of its size, and
    300 dpi; one that is wider than a page is for screens. Figures made of pixels get no SVG: it would hold the same
    ones as their PDF.
    """
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    if any(axes.images for axes in figure.axes):
        del undated["svg"]
    with paper_style():
        wide = figure.get_figwidth()
        dpi = mpl.rcParams["savefig.dpi"] if wide <= FULL_INCHES else _SCREEN_PIXELS / wide
        for suffix, metadata in undated.items():
            with atomic_path(cfg.figures_dir / f"{name}.{suffix}") as temporary:
                figure.savefig(temporary, format=suffix, metadata=metadata, dpi=dpi)
                if suffix == "png":
                    few_colours(temporary)
    if numbers is not None:
        write_text(cfg.figures_dir / f"{name}.csv", numbers.to_csv(index=False, lineterminator="\n"))
    return cfg.figures_dir / f"{name}.png"


def few_colours(path: Path) -> None:
    """Write a PNG anew with 256 colours, a third of its size."""
    with Image.open(path) as drawn:
        few = drawn.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)
    few.save(path, "png", optimize=True, dpi=drawn.info["dpi"])


def error_lengths(frame: pd.DataFrame) -> np.ndarray:
    """(2, N) lengths of error bars below and above `percent`, from the columns low and high."""
    return np.abs(frame[["low", "high"]].to_numpy().T - frame["percent"].to_numpy())


def shared_legend(figure: Figure, ax: Axes, side: str = "upper", columns: int = 5, size: float = 7.5) -> None:
    """One legend for all panels, outside of them, where it hides nothing."""
    handles, labels = ax.get_legend_handles_labels()
    if handles:
        place = {"loc": f"outside {side} center", "ncols": min(len(labels), columns)}
        figure.legend(handles, labels, frameon=False, fontsize=size, **place)


# ------------------------------------------------------------------ named to masked
_Panels = Mapping[str, Mapping[str, tuple[float, float]]]  # title -> method key -> (named, masked) percent


def retrieval_figure(measured: _Panels, reported: _Panels, chance: Mapping[str, float] | None = None) -> Figure:
    """The main figure: measured panels above, the paper's reported ones below, never in one panel.

    Args:
        measured: title -> method key -> (named, masked) percent; a panel without methods says "not run".
        chance: title -> percent that guessing gives, a dotted line.
    """
    with paper_style():
        figure, axes = plt.subplots(2, len(measured), figsize=(FULL_INCHES, 4.9), squeeze=False)
        for row, (what, panels) in enumerate((("measured here", measured), ("reported by the paper", reported))):
            highest = max((max(pair) for panel in panels.values() for pair in panel.values()), default=100.0)
            for ax, (title, values) in zip(axes[row], panels.items(), strict=True):
                _slopes(ax, values, top=1.12 * max(highest, 1.0), hollow=bool(row))
                ax.set_title(f"{title}, {what}")
                if chance and title in chance:
                    ax.plot([-0.15, 1], [chance[title]] * 2, **CHANCE_LINE)
                    ax.annotate("chance", (-0.13, chance[title]), xytext=(0, 2), textcoords="offset points", fontsize=7)
        return figure


def _slopes(ax: Axes, values: Mapping[str, tuple[float, float]], top: float, hollow: bool) -> None:
    """One line a method; `top` of the axis."""
    ends = spread([masked for _, masked in values.values()], top / 15, 0.03 * top, 0.97 * top)
    for (key, (named, masked)), y in zip(values.items(), ends, strict=True):
        colour, marker = METHOD_STYLE[key]
        style = "-" if key in ("motion", "motion_temporal") else "--"
        ax.plot([0, 1], [named, masked], style, color=colour, marker=marker, mfc="white" if hollow else colour)
        ax.annotate(METHODS[key].label, (1.07, y), va="center", fontsize=7.2, color=_ink(colour))
    if not values:
        ax.text(0.5, top / 2, "not run", ha="center", va="center")
    ax.set(xticks=[0, 1], xticklabels=["object\nnamed", "object\nmasked"])
    ax.set(xlim=(-0.15, 2.0), ylim=(0, top), ylabel="Top-1 accuracy (%)")


def _ink(colour: tuple) -> tuple:
    """A colour dark enough to be read as text."""
    return tuple(0.75 * part for part in colour)


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Label heights nearest to `values` (least squares) between `low` and `high`, at least `gap` apart."""
    order, steps = np.argsort(values, kind="stable"), gap * np.arange(len(values))
    if not len(order):
        return []
    placed = isotonic_regression(np.array(values, dtype=float)[order] - steps).x
    result = np.empty(len(order))
    result[order] = np.clip(placed, low, max(low, high - steps[-1])) + steps
    return result.tolist()


# ------------------------------------------------------------------ epochs
def history_figure(histories: Mapping[str, Sequence[dict]]) -> Figure:
    """Training loss and training accuracy per epoch, one line a method."""
    panels = (("train_loss", 1, "Training loss (nats)"), ("train_acc1", 100, "Training top-1 (%)"))
    with paper_style():
        figure, axes = plt.subplots(1, 2, figsize=(FULL_INCHES, 2.5))
        for ax, (name, factor, label) in zip(axes, panels, strict=True):
            for key, rows in histories.items():
                colour, marker = METHOD_STYLE[key]
                values = [factor * row[name] for row in rows]
                ax.plot([row["epoch"] for row in rows], values, color=colour, marker=marker, label=METHODS[key].label)
            ax.set(xlabel="Epoch", ylabel=label)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        shared_legend(figure, axes[0])
        return figure


def epoch_figure(curves: Mapping[str, pd.DataFrame], chance: Mapping[str, float] | None = None) -> Figure:
    """Accuracy after each epoch, one panel a data set.

    Args:
        curves: title -> frame with columns epoch, line, mean, low, high (percent; the limits may be nan).
        chance: title -> percent, drawn as a dotted line.
    """
    with paper_style():
        figure, axes = plt.subplots(1, len(curves), figsize=(FULL_INCHES, 2.7), sharey=True, squeeze=False)
        for ax, (title, frame) in zip(axes[0], curves.items(), strict=True):
            styles = zip((0, 1, 2, 7), "os^D", ("-", "--", "-.", ":"), strict=True)
            for (line, part), (place, marker, style) in zip(frame.groupby("line", sort=False), styles, strict=False):
                colour = _PALETTE[place]
                ax.plot(part["epoch"], part["mean"], color=colour, marker=marker, linestyle=style, label=line)
                if part["low"].notna().all():
                    ax.fill_between(part["epoch"], part["low"].clip(0), part["high"], color=colour, alpha=0.18, lw=0)
            if chance and title in chance:
                ax.axhline(chance[title], **CHANCE_LINE, label="chance")
            ax.set(title=title, xlabel="Epoch (0: before fine-tuning)")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0, 0].set_ylim(0, 1.04 * axes[0, 0].get_ylim()[1])
        axes[0, 0].set_ylabel("Top-1 accuracy (%)")
        if any(frame["low"].notna().any() for frame in curves.values()):
            figure.supxlabel("Bands: 95 % interval of the mean over training seeds (Student's t)", fontsize=7.5)
        shared_legend(figure, axes[0, 0])
        return figure


# ------------------------------------------------------------------ bars
def bar_figure(frame: pd.DataFrame, methods: Sequence[str], error_bars: str) -> Figure:
    """Top-1 percent with error bars, one panel a target, bars grouped by description kind.

    Args:
        frame: columns method, target, kind, percent, low, high.
        error_bars: what they show, printed below.
    """
    with paper_style():
        targets, kinds = frame["target"].unique(), frame["kind"].unique()
        places, width = np.arange(len(kinds)), 0.8 / len(methods)
        figure, axes = plt.subplots(1, len(targets), figsize=(FULL_INCHES, 2.8), sharey=True, squeeze=False)
        for ax, target in zip(axes[0], targets, strict=True):
            part = frame[frame["target"] == target]
            for index, key in enumerate(methods):
                rows = part[part["method"] == key].set_index("kind").loc[kinds]
                ax.bar(
                    places + (index - (len(methods) - 1) / 2) * width, rows["percent"], 0.92 * width,
                    yerr=error_lengths(rows), error_kw={"lw": 0.9, "capsize": 2}, label=METHODS[key].label,
                    color=METHOD_STYLE[key][0], hatch=("", "///", "...")[index], edgecolor="white",
                )  # fmt: skip
            ax.set(title=target, xticks=places, xticklabels=kinds)
        axes[0, 0].set_ylabel("Top-1 accuracy (%)")
        figure.supxlabel(f"Error bars: {error_bars}", fontsize=7.5)
        shared_legend(figure, axes[0, 0])
        return figure
