"""Pictures that are not plots, laid out by hand in inches: the method's diagram, frames and captions."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.textpath import TextPath

from motion_lib.report.plots import FULL_INCHES, paper_style

_TRAINED, _FROZEN, _DATA, _PLAIN = "#cfe3f3", "#e4e4e4", "#fdf3d9", "#ffffff"
_TEXT_SIZE, LINE = 7.4, 7.4 * 1.25 / 72  # points, and the inches from one line to the next
MARGIN = 0.05
_SPACE = 0.4 * _TEXT_SIZE  # points between two words, with the blank margins of their letters
_HINTING = 1.06  # letters fitted to the pixels of a PNG are up to so much wider than their outlines
FROM_CORNER = {"ha": "left", "va": "top"}


def canvas(height: float, width: float = FULL_INCHES) -> tuple[Figure, Axes]:
    """A page whose axes count inches from the lower left."""
    figure = plt.figure(figsize=(width, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


@lru_cache(4096)
def word_width(word: str) -> float:
    """Points that a word takes in print."""
    return TextPath((0, 0), word, size=_TEXT_SIZE).get_extents().width


def wrap(text: str, inches: float) -> list[str]:
    """Lines of `text` that are no wider than `inches` in print; a line break in `text` stays one."""
    lines = []
    for paragraph in text.split("\n"):
        room = 0.0
        for word in paragraph.split():
            room -= word_width(word) + _SPACE
            if room < 0:
                lines.append(word)
                room = 72 * inches / _HINTING - word_width(word)
            else:
                lines[-1] += f" {word}"
    return lines


def write(ax: Axes, x: float, y: float, text: str, **style: object) -> None:
    """Text at a place in inches, by default around it."""
    ax.text(x, y, text, **{"fontsize": _TEXT_SIZE, "linespacing": 1.2, "ha": "center", "va": "center"} | style)


# ------------------------------------------------------------------ the method
def _box(ax: Axes, x: float, y: float, width: float, text: str, colour: str) -> None:
    corner, style = (x - width / 2, y - 0.22), "round,pad=0,rounding_size=0.04"
    ax.add_patch(FancyBboxPatch(corner, width, 0.44, boxstyle=style, facecolor=colour, edgecolor="0.35", lw=0.8))
    write(ax, x, y, text)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], style: str = "-") -> None:
    look = {"arrowstyle": "-|>", "mutation_scale": 8, "lw": 0.9, "color": "0.25", "linestyle": style}
    ax.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **look))


def method_diagram() -> Figure:
    """Figure 3: text prototypes are the classifier's weights; the image tower and the scalar s learn."""
    with paper_style():
        figure, ax = canvas(2.3)
        top, middle, low, floor = 1.95, 1.325, 0.7, 0.2
        texts, tower, features, out = 0.72, 2.3, 3.9, 5.55
        _box(ax, texts, top, 1.3, "motion descriptions\n$M_s$, one per class", _DATA)
        _box(ax, tower, top, 1.2, "CLIP text tower\nfrozen", _FROZEN)
        _box(ax, features, top, 1.3, "text prototypes $W$\n$K \\times D$, unit length", _FROZEN)
        _box(ax, texts, low, 1.3, "video\n$T$ frames", _DATA)
        _box(ax, tower, low, 1.2, "CLIP image tower\nfine-tuned", _TRAINED)
        _box(ax, features, low, 1.3, "mean over frames $v$\nunit length", _PLAIN)
        _box(ax, out, middle, 1.3, "logits $e^{s}\\, v\\, W^\\top$\n$s$ learns too", _TRAINED)
        _box(ax, out, low, 1.3, "cross-entropy with\nthe video's class", _PLAIN)
        for y in (top, low):
            _arrow(ax, (texts + 0.65, y), (tower - 0.6, y))
            _arrow(ax, (tower + 0.6, y), (features - 0.65, y))
            _arrow(ax, (features + 0.65, y), (out - 0.65, middle + 0.11 * np.sign(y - middle)))
        _arrow(ax, (out, middle - 0.22), (out, low + 0.22))
        ax.plot([out, out, tower], [low - 0.22, floor, floor], "--", color="0.25", lw=0.9)
        _arrow(ax, (tower, floor), (tower, low - 0.22), "--")
        write(ax, features, floor - 0.1, "gradient", style="italic")
        tested = "testing: the same, with the descriptions $M_t$ of the target's classes"
        write(ax, (texts + features) / 2 - 0.1, middle, tested, style="italic")
        return figure


# ------------------------------------------------------------------ frames and texts
def side_by_side(clip: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) -> (H, T W + gaps, 3): frames side by side with a white gap between."""
    gap = np.full((clip.shape[1], max(1, clip.shape[2] // 24), 3), 255, dtype=np.uint8)
    parts = [part for frame in clip for part in (gap, frame)]
    return np.concatenate(parts[1:], axis=1)


def contact_sheet(clips: Sequence[np.ndarray], captions: Sequence[str]) -> Figure:
    """One row of frames a clip, its caption above.

    Args:
        clips: (T, H, W, 3) uint8 each.
    """
    width = FULL_INCHES - 2 * MARGIN
    with paper_style():
        lines, strips = [wrap(caption, width) for caption in captions], [side_by_side(clip) for clip in clips]
        heights = [width * strip.shape[0] / strip.shape[1] for strip in strips]
        y = total = sum(heights) + sum(LINE * len(part) + 0.16 for part in lines)
        figure, ax = canvas(total)
        for part, strip, height in zip(lines, strips, heights, strict=True):
            write(ax, MARGIN, y - 0.06, "\n".join(part), **FROM_CORNER)
            y -= LINE * len(part) + 0.09
            place = (MARGIN / FULL_INCHES, (y - height) / total, width / FULL_INCHES, height / total)
            picture = figure.add_axes(place)
            picture.imshow(strip, interpolation="none", aspect="auto")  # PDF and SVG keep the frames' own pixels
            picture.axis("off")
            y -= height + 0.07
        return figure


def caption_table(headers: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[float]) -> Figure:
    """Texts side by side, wrapped: an ordinary caption beside a motion description (Figure 1).

    Args:
        widths: shares of the page.
    """
    with paper_style():
        inches = FULL_INCHES * np.array(widths) / sum(widths)
        lefts = np.cumsum([0, *inches[:-1]]) + MARGIN
        wrapped = [[wrap(cell, w - 3 * MARGIN) for cell, w in zip(row, inches, strict=True)] for row in rows]
        heights = [LINE * max(len(cell) for cell in row) + 0.12 for row in wrapped]
        y = sum(heights) + LINE + 0.12
        figure, ax = canvas(y)
        for left, header in zip(lefts, headers, strict=True):
            write(ax, left, y - 0.05, header, weight="bold", **FROM_CORNER)
        y -= LINE + 0.1
        for row, height in zip(wrapped, heights, strict=True):
            ax.axhline(y, 0.005, 0.995, color="0.8", lw=0.6)
            for left, cell in zip(lefts, row, strict=True):
                write(ax, left, y - 0.06, "\n".join(cell), **FROM_CORNER)
            y -= height
        return figure
