"""Random views of a clip for training: drawn where the clip is loaded, made on the device that trains.

All frames of a clip share what was drawn. Frames stay uint8, each step rounded as Pillow rounds it, so that
a view is the same picture whatever device made it.

Source: Text4Vis d61b34d (random resized crop, flip, grayscale); ViFi-CLIP e2d1948, X-CLIP 1744b21 (multi-scale crop).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lib.data.preprocessing import Box

_AREA, _ASPECT, _TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10  # of a random resized crop
_SCALES = (1.0, 0.875, 0.75, 0.66)  # of the short side, multi-scale crop
_LUMA = (19595, 38470, 7471)  # of 65,536; Pillow's grey


@dataclass(frozen=True)
class View:
    """What was drawn for one clip: a box in pixels, and two switches."""

    top: int
    left: int
    height: int
    width: int
    flip: bool
    grayscale: bool

    @property
    def box(self) -> Box:
        """As `preprocessing.Box`."""
        return self.top, self.left, self.height, self.width


@dataclass(frozen=True)
class Augmentation:
    """How views are drawn.

    Attributes:
        crop: "random_resized" (area 8 to 100 %, aspect 3/4 to 4/3, turned on its side half of the time),
            "multi_scale" (both sides from four scales at five places) or "centre" (none).
        flip: probability for a whole clip.
        grayscale: probability for a whole clip.
    """

    crop: str = "random_resized"
    flip: float = 0.5
    grayscale: float = 0.2

    @property
    def whole_frames(self) -> bool:
        """Whether it needs the parts of a frame that a centre crop leaves out."""
        return self.crop != "centre"

    def draw(self, rng: np.random.Generator, height: int, width: int, size: int) -> View:
        """A view of a clip of height x width pixels; `size` is the side that the model takes."""
        box = _CROPS[self.crop](rng, height, width, size)
        flip, grayscale = rng.random(2) < (self.flip, self.grayscale)
        return View(*box, bool(flip), bool(grayscale))


# Names that a recipe may give.
AUGMENTATIONS = {
    "text4vis": Augmentation(),
    "multi_scale": Augmentation("multi_scale"),
    "flip": Augmentation("centre", 0.5, 0.0),
    "none": Augmentation("centre", 0.0, 0.0),
}


def _random_resized(rng: np.random.Generator, height: int, width: int, size: int) -> tuple[int, int, int, int]:
    for _ in range(_TRIES):
        area = rng.uniform(*_AREA) * height * width
        aspect = rng.uniform(*_ASPECT)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if rng.random() < 0.5:  # as likely upright as lying
            w, h = h, w
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def _multi_scale(rng: np.random.Generator, height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """One of the pairs of sides whose scales are neighbours or equal, at a corner or in the centre."""
    sides = [int(min(height, width) * scale) for scale in _SCALES]
    sides = [size if abs(side - size) < 3 else side for side in sides]  # a crop that nearly fits is not resized
    pairs = [(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    h, w = pairs[rng.integers(len(pairs))]
    down, right = height - h, width - w
    places = ((0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2))
    return *places[rng.integers(len(places))], h, w


def _centre(rng: np.random.Generator, height: int, width: int, size: int) -> tuple[int, int, int, int]:
    return (height - size) // 2, (width - size) // 2, size, size


_CROPS = {"random_resized": _random_resized, "multi_scale": _multi_scale, "centre": _centre}


def make_views(clips: Sequence[Tensor], views: Sequence[View], size: int) -> Tensor:
    """Cut, resize (bilinear, antialiased), mirror and grey each clip.

    Args:
        clips: B tensors (T, 3, H, W) uint8 on one device; sizes may differ.
        size: S, the side that the model takes.

    Returns:
        (B, T, 3, S, S) uint8 on that device.
    """
    made = torch.stack([_make_view(clip, view, size) for clip, view in zip(clips, views, strict=True)])
    return made.contiguous()  # clips may lie in memory picture by picture, channels last


def _make_view(clip: Tensor, view: View, size: int) -> Tensor:
    cut = clip[..., view.top : view.top + view.height, view.left : view.left + view.width]
    if cut.shape[-2:] != (size, size):
        planes = cut.to(torch.float32, memory_format=torch.contiguous_format)
        resized = F.interpolate(planes, (size, size), mode="bilinear", align_corners=False, antialias=True)
        cut = resized.round_().clamp_(0, 255).to(torch.uint8)
    if view.flip:
        cut = cut.flip(-1)
    if view.grayscale:
        red, green, blue = cut.int().unbind(1)
        grey = (red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2] + 2**15) >> 16
        cut = grey.to(torch.uint8)[:, None].expand(cut.shape)
    return cut
