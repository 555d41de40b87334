"""Batches of clips for training and evaluation, from one process or several workers."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from motion_lib.frames import Clips
from motion_lib.video import VideoReadError


@dataclass
class Batch:
    """Clips of one step.

    Attributes:
        frames: (B, T, 3, S, S) uint8.   labels: (B,) int64.   indices: (B,) into the data set.
        failed: {video_id: reason} of videos of this batch that could not be read.
    """

    frames: Tensor
    labels: Tensor
    indices: Tensor
    failed: dict[str, str]

    def __len__(self) -> int:
        return len(self.labels)


class _View(Dataset):
    """Clips as a torch data set. The random frames of a video depend on (seed, epoch, video) alone,
    so neither the number of workers nor an interruption changes them."""

    def __init__(self, clips: Clips, seed: tuple[int, ...] | None):
        self.clips, self.seed = clips, seed

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray | VideoReadError]:
        rng = None if self.seed is None else np.random.default_rng([*self.seed, index])
        try:
            return index, self.clips.sample(index, rng)
        except VideoReadError as error:
            return index, error


class _Collate:
    def __init__(self, clips: Clips):
        self.items = clips.dataset.items

    def __call__(self, samples: list[tuple[int, np.ndarray | VideoReadError]]) -> Batch:
        read = [(index, clip) for index, clip in samples if not isinstance(clip, VideoReadError)]
        failed = {self.items[i].video_id: e.reason for i, e in samples if isinstance(e, VideoReadError)}
        frames = torch.from_numpy(np.stack([clip for _, clip in read])) if read else torch.empty(0, dtype=torch.uint8)
        labels = torch.tensor([self.items[index].label for index, _ in read], dtype=torch.int64)
        return Batch(frames, labels, torch.tensor([index for index, _ in read], dtype=torch.int64), failed)


def training_batches(clips: Clips, batch_size: int, seed: int, epoch: int, num_workers: int = 0) -> DataLoader:
    """Batches of one epoch: random order and random frames, both fixed by (seed, epoch)."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(clips), generator=generator).tolist()
    view = _View(clips, (seed, epoch))
    return DataLoader(view, batch_size, sampler=order, num_workers=num_workers, collate_fn=_Collate(clips))


def evaluation_batches(clips: Clips, batch_size: int, num_workers: int = 0) -> DataLoader:
    """Batches in the order of the data set with the frames of testing."""
    return DataLoader(_View(clips, None), batch_size, num_workers=num_workers, collate_fn=_Collate(clips))
