"""What a model wants to see, as data, and the one function that makes it.

Preprocessing belongs to a model: it is carried by the model, applied by the loader and written
into every record.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from motion_lib.video import SAMPLING

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
_INTERPOLATION = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class Preprocess:
    """Frames of a video -> input of a model.

    Attributes:
        num_frames: T.   sampling: "text4vis" (start of each segment) or "center".
        short_side: pixels of the shorter side after resizing (Pillow, antialiased).
        crop_size: side of the square centre crop.   interpolation: "bicubic" or "bilinear".
        mean, std: of each channel on the 0-1 scale.
    """

    num_frames: int = 8
    sampling: str = "text4vis"
    short_side: int = 256
    crop_size: int = 224
    interpolation: str = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self):
        if self.sampling not in SAMPLING or self.num_frames < 1:
            raise ValueError(
                f"{self.num_frames} frames sampled by {self.sampling!r}: "
                f"expected at least 1 and one of {', '.join(SAMPLING)}."
            )
        if self.interpolation not in _INTERPOLATION:
            raise ValueError(f"interpolation {self.interpolation!r}: expected one of {', '.join(_INTERPOLATION)}.")
        if not 1 <= self.crop_size <= self.short_side:
            raise ValueError(f"crop_size {self.crop_size}: expected 1 to short_side ({self.short_side}).")

    def as_dict(self) -> dict:
        """Plain values for a record."""
        return asdict(self)


def crop_offsets(height: int, width: int, size: int) -> tuple[int, int]:
    """Top and left of the centre crop, rounded as torchvision's CenterCrop does."""
    return round((height - size) / 2.0), round((width - size) / 2.0)


def resized_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """(height, width) after the short side is resized; the long side is truncated, as torchvision does."""
    if height <= width:
        return short_side, int(short_side * width / height)
    return int(short_side * height / width), short_side


def resize_and_crop(frames: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """(T, H, W, 3) uint8 -> (T, S, S, 3) uint8 with S = crop_size."""
    height, width = frames.shape[1:3]
    new_height, new_width = resized_size(height, width, preprocess.short_side)
    if (new_height, new_width) != (height, width):
        how = _INTERPOLATION[preprocess.interpolation]
        pictures = (Image.fromarray(frame).resize((new_width, new_height), how) for frame in frames)
        frames = np.stack([np.asarray(picture) for picture in pictures])
    top, left = crop_offsets(new_height, new_width, preprocess.crop_size)
    return frames[:, top : top + preprocess.crop_size, left : left + preprocess.crop_size]


def normalise(frames: Tensor, preprocess: Preprocess) -> Tensor:
    """(..., 3, S, S) uint8 -> float32 with the model's mean and std, on the tensor's device."""
    mean = torch.tensor(preprocess.mean, device=frames.device).view(3, 1, 1)
    std = torch.tensor(preprocess.std, device=frames.device).view(3, 1, 1)
    return (frames.float() / 255 - mean) / std
