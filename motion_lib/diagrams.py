"""Pictures that are not plots: the method's diagram (Figure 3), contact sheets, captions (Figures 1 and 2)."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from motion_lib.plots import FULL_INCHES, paper_style

_TRAINED, _FROZEN, _DATA = "#cfe3f3", "#e4e4e4", "#fdf3d9"


def _box(ax: Axes, x: float, y: float, width: float, text: str, colour: str, height: float = 0.2) -> None:
    ax.add_patch(
        FancyBboxPatch(
            (x - width / 2, y - height / 2),
            width,
            height,
            boxstyle="round,pad=0.008",
            facecolor=colour,
            edgecolor="0.35",
            lw=0.8,
        )
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=7.4, linespacing=1.25)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], style: str = "-") -> None:
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=8, lw=0.9, color="0.25", linestyle=style))


def method_diagram() -> Figure:
    """Figure 3: text prototypes of motion descriptions are the classifier's weights; only the image tower learns."""
    with paper_style():
        figure, ax = plt.subplots(figsize=(FULL_INCHES, 2.5))
        ax.set(xlim=(0, 1), ylim=(0, 1))
        ax.axis("off")
        top, low = 0.78, 0.26
        _box(ax, 0.085, top, 0.15, "motion descriptions\n$M_s$, one per class", _DATA)
        _box(ax, 0.31, top, 0.15, "CLIP text tower\nfrozen", _FROZEN)
        _box(ax, 0.56, top, 0.19, "text prototypes $W$\n$K \\times D$, unit length", _FROZEN)
        _box(ax, 0.085, low, 0.15, "video $v$\n$T$ frames", _DATA)
        _box(ax, 0.31, low, 0.15, "CLIP image tower\nfine-tuned", _TRAINED)
        _box(ax, 0.56, low, 0.19, "mean over frames,\nunit length", _FROZEN)
        _box(ax, 0.83, 0.52, 0.2, "logits $e^{s}\\, v\\, W^\\top$\n$B \\times K$", _DATA)
        for y in (top, low):
            _arrow(ax, (0.165, y), (0.23, y))
            _arrow(ax, (0.39, y), (0.46, y))
        _arrow(ax, (0.66, top), (0.75, 0.64))
        _arrow(ax, (0.66, low), (0.75, 0.40))
        ax.text(0.83, 0.34, "cross-entropy with\nthe class of $v$", ha="center", va="top", fontsize=7.4)
        _arrow(ax, (0.74, 0.2), (0.39, 0.09), "--")
        ax.text(0.56, 0.05, "gradient", ha="center", va="center", fontsize=7.2, style="italic")
        ax.text(
            0.56,
            0.52,
            "testing: the same with the\ntarget's descriptions $M_t$",
            ha="center",
            va="center",
            fontsize=7.4,
            style="italic",
        )
        return figure


def contact_sheet(clips: Sequence[np.ndarray], captions: Sequence[str], width: int = 64) -> Figure:
    """One row of frames a clip, its caption above.

    Args: clips: (T, H, W, 3) uint8 each.   width: characters of a caption line.
    """
    with paper_style():
        rows = len(clips)
        height = FULL_INCHES / clips[0].shape[0] * clips[0].shape[1] / clips[0].shape[2]
        lines = max(len(textwrap.wrap(c, width)) for c in captions)
        figure, axes = plt.subplots(
            rows, 1, figsize=(FULL_INCHES, rows * (height + 0.14 * lines + 0.05)), squeeze=False
        )
        for ax, clip, caption in zip(axes[:, 0], clips, captions, strict=True):
            ax.imshow(np.concatenate(list(clip), axis=1), interpolation="nearest")
            ax.set_title("\n".join(textwrap.wrap(caption, width)), loc="left", fontsize=7.4, pad=2.5)
            ax.axis("off")
        return figure


def caption_table(headers: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Figure:
    """Texts side by side, wrapped: an ordinary caption beside a motion description (Figure 1)."""
    with paper_style():
        wrapped = [[textwrap.wrap(cell, w) for cell, w in zip(row, widths, strict=True)] for row in rows]
        heights = [max(len(cell) for cell in row) + 0.8 for row in wrapped]
        total = sum(heights) + 1.6
        figure, ax = plt.subplots(figsize=(FULL_INCHES, 0.135 * total))
        ax.set(xlim=(0, sum(widths)), ylim=(total, 0))
        ax.axis("off")
        lefts = np.concatenate([[0], np.cumsum(widths)[:-1]])
        for left, header in zip(lefts, headers, strict=True):
            ax.text(left, 0.2, header, va="top", fontsize=7.8, weight="bold")
        y = 1.6
        for row, height in zip(wrapped, heights, strict=True):
            ax.axhline(y - 0.25, color="0.8", lw=0.6)
            for left, cell in zip(lefts, row, strict=True):
                ax.text(left, y, "\n".join(cell), va="top", fontsize=7.4, linespacing=1.2)
            y += height
        return figure
