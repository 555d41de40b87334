"""What several tests build: a tiny CLIP, clips in memory, videos whose frames show their number."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from motion_lib.data.clips import Clips
from motion_lib.data.datasets import VideoDataset, VideoItem
from motion_lib.data.packed import Choose, Memory, fresh
from motion_lib.data.preprocessing import Box, Cut, Preprocess, in_box
from motion_lib.data.video import write_video
from motion_lib.models.clip import CLIP
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.texts.descriptions import DescriptionSet

PREPROCESS = Preprocess(num_frames=4, short_side=32, crop_size=32)
MOTIONS = {
    "wave": "raising one arm and swinging the hand from side to side.",
    "jump": "bending both knees, then springing up from the ground.",
    "turn": "rotating the whole body around its own axis.",
    "crawl": "moving forward on hands and knees, close to the floor.",
    "throw": "drawing the arm back and flinging it forward.",
    "bow": "leaning the upper body forward from the hips.",
    "kick": "swinging one leg up while standing on the other.",
    "clap": "bringing the palms together again and again.",
}
DESCRIPTIONS = DescriptionSet("tiny", tuple(MOTIONS), tuple(MOTIONS.values()))


def clip_model(tower: str = "transformer", seed: int = 0, layers: int = 1) -> CLIP:
    """A CLIP for 32-pixel frames; `tower` is "transformer", of that many image layers, or "resnet"."""
    torch.manual_seed(seed)
    vision = {"vision_layers": layers, "vision_width": 64, "vision_patch_size": 16}
    if tower == "resnet":  # 8 channels at least: its attention pooling needs a head of 64
        vision = {"vision_layers": (1, 1, 1, 1), "vision_width": 8, "vision_patch_size": None}
    text = {"vocab_size": 49408, "transformer_width": 64, "transformer_heads": 1, "transformer_layers": 1}
    return CLIP(embed_dim=64, image_resolution=32, context_length=77, **vision, **text).eval()


def classifier(tower: str = "transformer", seed: int = 0, **options) -> PrototypeClassifier:
    """The prototype classifier on a tiny CLIP; `options` as of PrototypeClassifier."""
    return PrototypeClassifier(clip_model(tower, seed), PREPROCESS, **options)


def frames(batch: int = 2, length: int = 4, seed: int = 0) -> torch.Tensor:
    """(B, T, 3, 32, 32) normal noise."""
    return torch.randn(batch, length, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def dataset(paths: list[Path], class_names: tuple[str, ...] = tuple(MOTIONS)) -> VideoDataset:
    """Videos of class 0, 1, 2, ... in turn, each a group of its own."""
    items = [VideoItem(p.stem, p, i % len(class_names), p.stem) for i, p in enumerate(paths)]
    return VideoDataset("tiny", class_names, tuple(items), 1, "train")


def clips_in_memory(count: int = 8, length: int = 6, seed: int = 0) -> Clips:
    """Noise videos, one of each class in turn; no file is ever read."""
    store = np.random.default_rng(seed).integers(0, 256, (count * length, 32, 32, 3), dtype=np.uint8)
    listed = dataset([Path(f"clip_{i}.mp4") for i in range(count)])
    return Clips(listed, PREPROCESS, {}, InMemory(store.reshape(count, length, 32, 32, 3)))


def everything(height: int, width: int) -> Box:
    """The `Cut` that leaves out nothing."""
    return 0, 0, height, width


@dataclass
class InMemory:
    """Frames of videos of one length, (N, F, S, S, 3)."""

    videos: np.ndarray
    whole_frames: ClassVar[bool] = True

    def read(self, index: int, choose: Choose, cut: Cut | None = None, memory: Memory = fresh) -> np.ndarray:
        frames = self.videos[index][choose(self.videos.shape[1])]
        frames = in_box(frames, cut(*frames.shape[1:3])) if cut else frames
        place = memory(frames.shape)
        place[:] = frames
        return place


# --- videos whose grey levels encode the frame number ---

_STEP, _BASE = 8, 30  # grey levels between neighbours; the number is written with two digits of this base


def numbered_frames(count: int, size: int = 32) -> np.ndarray:
    """(count, size, size, 3): frame i shows i % 30 on its left and i // 30 on its right, as grey levels."""
    number = np.arange(count)
    pictures = np.empty((count, size, size, 3), dtype=np.uint8)
    pictures[:, :, : size // 2] = (number % _BASE * _STEP + _STEP).reshape(-1, 1, 1, 1)
    pictures[:, :, size // 2 :] = (number // _BASE * _STEP + _STEP).reshape(-1, 1, 1, 1)
    return pictures


def read_numbers(frames: np.ndarray) -> list[int]:
    """Which frames of `numbered_frames` these are: (T, H, W, 3) -> T numbers."""
    half = frames.shape[2] // 2
    left, right = frames[:, :, : half - 4].mean(axis=(1, 2, 3)), frames[:, :, half + 4 :].mean(axis=(1, 2, 3))
    low, high = ((level - _STEP) / _STEP for level in (left, right))
    return (np.round(high) * _BASE + np.round(low)).astype(int).tolist()


def write_numbered(path: Path, count: int) -> Path:
    """An mp4 of `numbered_frames`."""
    write_video(path, numbered_frames(count), fps=25)
    return path
