"""What a model wants to see, as data, and the functions that make it.

Preprocessing belongs to a model: it is carried by the model, applied by the loader and written into every record.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from motion_lib.data.video import SAMPLING

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)  # as ViFi-CLIP and X-CLIP write it
IMAGENET_STD = (58.395 / 255, 57.12 / 255, 57.375 / 255)
_PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
INTERPOLATION = (*_PILLOW, "opencv")
Box = tuple[int, int, int, int]  # top, left, height, width, in pixels
Cut = Callable[[int, int], Box]  # height and width of frames -> what is wanted of them


@dataclass(frozen=True)
class Preprocess:
    """Frames of a video -> input of a model.

    Attributes:
        num_frames: T.
        sampling: "text4vis" (start of each segment) or "center".
        short_side: pixels of the shorter side after resizing.
        crop_size: S, pixels of the square centre crop.
        interpolation: "bicubic" or "bilinear" as torchvision on Pillow pictures (antialiased), or
            "opencv": bilinear without antialiasing, sizes and offsets rounded as mmaction does.
        square: whether both sides become short_side, whatever the shape of the frame, as SigLIP does.
        mean: of each channel on the 0-1 scale.
        std: of each channel on the 0-1 scale.
    """

    num_frames: int = 8
    sampling: str = "text4vis"
    short_side: int = 256
    crop_size: int = 224
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    square: bool = False

    def __post_init__(self):
        if self.sampling not in SAMPLING or self.num_frames < 1:
            of = " or ".join(SAMPLING)
            raise ValueError(f"{self.num_frames} frames sampled by {self.sampling!r}: expected at least 1, by {of}.")
        if self.interpolation not in (_PILLOW if self.square else INTERPOLATION):
            raise ValueError(f"interpolation {self.interpolation!r}: expected one of {', '.join(INTERPOLATION)}.")
        if not 1 <= self.crop_size <= self.short_side:
            raise ValueError(f"crop_size {self.crop_size}: expected 1 to short_side ({self.short_side}).")

    def resized(self, frames: np.ndarray) -> np.ndarray:
        """(T, H, W, 3) uint8 -> the same as the model's crop is cut from."""
        if self.square:
            return _resize_pillow(frames, (self.short_side, self.short_side), _PILLOW[self.interpolation])
        return resize(frames, self.short_side, self.interpolation)

    def centre(self, height: int, width: int) -> Box:
        """The centre crop of resized frames, rounded as torchvision's CenterCrop does, for opencv down as mmaction."""
        top, left = ((side - self.crop_size) / 2.0 for side in (height, width))
        to_int = int if self.interpolation == "opencv" else round
        return to_int(top), to_int(left), self.crop_size, self.crop_size

    def as_dict(self) -> dict:
        """Plain values for a record."""
        return asdict(self)


def resized_size(height: int, width: int, short_side: int, rounded: bool = False) -> tuple[int, int]:
    """(height, width) after resizing; the long side truncated, as torchvision does, or `rounded`, as mmaction does."""
    extra = 0.5 if rounded else 0.0
    if height <= width:
        return short_side, int(short_side * width / height + extra)
    return int(short_side * height / width + extra), short_side


def resize_and_crop(frames: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """(T, H, W, 3) uint8 -> (T, S, S, 3) uint8 with S = crop_size."""
    resized = preprocess.resized(frames)
    return in_box(resized, preprocess.centre(*resized.shape[1:3]))


def resize(frames: np.ndarray, short_side: int, interpolation: str) -> np.ndarray:
    """(T, H, W, 3) uint8 -> the same with the shorter side at `short_side` pixels."""
    shape, opencv = frames.shape[1:3], interpolation == "opencv"
    size = resized_size(*shape, short_side, rounded=opencv)
    if size == shape:
        return frames
    return _resize_opencv(frames, size) if opencv else _resize_pillow(frames, size, _PILLOW[interpolation])


def in_box(frames: np.ndarray, box: Box) -> np.ndarray:
    """(..., H, W, 3) -> (..., height, width, 3), a view of the same memory."""
    top, left, height, width = box
    return frames[..., top : top + height, left : left + width, :]


def _resize_pillow(frames: np.ndarray, size: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    return np.stack([np.asarray(Image.fromarray(frame).resize(size[::-1], resample)) for frame in frames])


def _resize_opencv(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """OpenCV's INTER_LINEAR to the rounding of its fixed-point arithmetic: four neighbours, no antialiasing."""
    planes = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    resized = F.interpolate(planes, size, mode="bilinear", align_corners=False, antialias=False)
    return resized.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


class Normalise(nn.Module):
    """A model's mean and std, on its device and in no state dict: made on the host each time, a GPU would wait."""

    def __init__(self, preprocess: Preprocess):
        super().__init__()
        self.register_buffer("mean", torch.tensor(preprocess.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocess.std).view(3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(..., 3, S, S) uint8 -> float32 of the same shape."""
        return (frames.float() / 255 - self.mean) / self.std
