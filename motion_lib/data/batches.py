"""Batches of clips for training and evaluation, from one process or several workers."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from motion_lib.data.augmentation import AUGMENTATIONS, Augmentation, View, make_views
from motion_lib.data.clips import Clips
from motion_lib.data.packed import fresh
from motion_lib.data.preprocessing import Box, in_box
from motion_lib.data.video import VideoReadError


@dataclass
class Batch:
    """Clips of one step of an evaluation.

    Attributes:
        frames: (B, T, 3, S, S) uint8.
        labels: (B,) int64.
        indices: (B,) int64, into the data set.
        failed: {video_id: reason} of the videos of this batch that could not be read.
    """

    frames: Tensor
    labels: Tensor
    indices: Tensor
    failed: dict[str, str]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class TrainingBatch:
    """Clips that go through a model at once, cut to the boxes that were drawn for them and no further.

    Attributes:
        pixels: uint8, the boxes (T, H, W, 3) of B clips one after the other, no longer there than the batch. One
            tensor, because each costs an open file on its way between processes, and a copy of its own to a GPU.
        views: one for each clip, of the whole of its box.
        frames: T.
        size: S, the side that the model takes.
        labels: B.
        indices: B, into the data set.
        failed: as in `Batch`.
    """

    pixels: Tensor
    views: list[View]
    frames: int
    size: int
    labels: list[int]
    indices: list[int]
    failed: dict[str, str]

    def __len__(self) -> int:
        return len(self.views)

    def pin_memory(self) -> "TrainingBatch":
        """For the loader: memory from which a GPU copies while it computes."""
        return replace(self, pixels=self.pixels.pin_memory())

    def __del__(self):
        if get_worker_info() is None and hasattr(self, "pixels") and self.pixels.is_shared():
            self.pixels.untyped_storage()[0] = 0  # the worker may write there again

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Views (B, T, 3, S, S) uint8 and labels (B,) int64 on the device, where the views are made."""
        if device.type != "cuda":
            return self._on(device)
        aside, main = _stream_aside(device), torch.cuda.current_stream(device)
        with torch.cuda.stream(aside):
            frames, labels = self._on(device)
        main.wait_stream(aside)
        for tensor in (frames, labels):
            tensor.record_stream(main)  # `aside` must not use its memory again before `main` has done with it
        return frames, labels

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        pixels = self.pixels.to(device, non_blocking=True)
        shapes = [(self.frames, view.height, view.width, 3) for view in self.views]
        boxes = zip(pixels.split([math.prod(shape) for shape in shapes]), shapes, strict=True)
        clips = [box.view(shape).permute(0, 3, 1, 2) for box, shape in boxes]
        labels = torch.tensor(self.labels, dtype=torch.int64, pin_memory=device.type == "cuda")
        return make_views(clips, self.views, self.size), labels.to(device, non_blocking=True)


@cache
def _stream_aside(device: torch.device) -> torch.cuda.Stream:
    """The one stream on which a GPU copies and cuts a batch while it still computes with the one before."""
    return torch.cuda.Stream(device)


class _EvaluationClips(Dataset):
    """Clips as a torch data set, with the frames of testing."""

    def __init__(self, clips: Clips):
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray | VideoReadError]:
        try:
            return index, self.clips[index]
        except VideoReadError as error:
            return index, error

    def collate(self, samples: list[tuple]) -> Batch:
        read, labels, failed = _readable(self.clips, samples)
        frames = torch.from_numpy(np.stack([clip for _, clip in read])) if read else torch.empty(0, dtype=torch.uint8)
        if get_worker_info() is not None:
            frames.share_memory_()  # here an error reaches the main process, which would wait for ever for a later one
        return Batch(frames, labels, torch.tensor([index for index, _ in read], dtype=torch.int64), failed)


class _TrainingClips(Dataset):
    """Clips with random frames and a random view. Both depend on (seed, epoch, video) alone, so neither the
    number of workers or devices nor an interruption changes them."""

    def __init__(self, clips: Clips, seed: tuple[int, int], augmentation: Augmentation):
        self.clips, self.seed, self.augmentation = clips, seed, augmentation
        self.memory = _Memory()

    def __getitem__(self, index: int) -> tuple[int, np.ndarray | VideoReadError, View | None]:
        rng, views = np.random.default_rng([*self.seed, index]), []

        def cut(height: int, width: int) -> Box:
            views.append(self.augmentation.draw(rng, height, width, self.clips.preprocess.crop_size))
            return views[-1].box

        try:
            clip = self.clips.sample(index, rng, cut if self.augmentation.whole_frames else None, self.memory.place)
        except VideoReadError as error:
            return index, error, None
        frames = clip.transpose(0, 2, 3, 1)
        if not views:  # of the centre there is nothing more to leave out
            frames = in_box(frames, cut(*frames.shape[1:3]))
        return index, frames, replace(views[-1], top=0, left=0)

    def collate(self, samples: list[tuple]) -> TrainingBatch:
        read, labels, failed = _readable(self.clips, samples)
        views, indices = [view for _, _, view in read], [index for index, _, _ in read]
        pixels = self.memory.together([box for _, box, _ in read])
        frames, size = self.clips.preprocess.num_frames, self.clips.preprocess.crop_size
        return TrainingBatch(pixels, views, frames, size, labels.tolist(), indices, failed)


class _Memory:
    """Where the clips of a batch come to lie, one after the other; shared with the main process if this is a worker.

    New pages of shared memory take a quarter of decoding's time: those let go of come first.
    """

    def __init__(self):
        self._shared: list[Tensor] = []  # the first byte is 1 while a batch lies there
        self._begun: Tensor | None = None
        self._used = 1

    def place(self, shape: tuple[int, ...]) -> np.ndarray:
        """For the next clip, where it is to stay; elsewhere if it does not fit."""
        if self._used == 1:
            self._begun = self._free()
        start, self._used = self._used, self._used + math.prod(shape)
        if self._begun is None or self._used > len(self._begun):
            return fresh(shape)
        return self._begun[start : self._used].view(shape).numpy()

    def together(self, boxes: list[np.ndarray]) -> Tensor:
        """(bytes,) uint8: all boxes of a batch. Those that lie elsewhere, or behind a clip that failed, move."""
        memory = self._begun if self._used > 1 else self._free()  # not every source asks for a place
        self._begun, self._used, size, end = None, 1, sum(box.size for box in boxes), 1
        if get_worker_info() is None:
            memory = torch.empty(size + 1, dtype=torch.uint8)
        elif memory is None or len(memory) <= size:
            memory = torch.empty(size * 5 // 4 + 1, dtype=torch.uint8).share_memory_()
            self._shared = [shared for shared in self._shared if shared[0] or len(shared) > size] + [memory]
        memory[0] = 1
        for box in boxes:
            there, end = memory[end : end + box.size].view(box.shape).numpy(), end + box.size
            if there.ctypes.data != box.ctypes.data or not box.flags.c_contiguous:
                there[:] = box
        return memory[1:end]

    def _free(self) -> Tensor | None:
        return next((memory for memory in self._shared if not memory[0]), None)


def _readable(clips: Clips, samples: list[tuple]) -> tuple[list[tuple], Tensor, dict[str, str]]:
    """The samples that could be read, their labels, and {video_id: reason} of the others."""
    items = clips.dataset.items
    read = [sample for sample in samples if not isinstance(sample[1], VideoReadError)]
    failed = {items[i].video_id: error.reason for i, error, *_ in samples if isinstance(error, VideoReadError)}
    return read, torch.tensor([items[index].label for index, *_ in read], dtype=torch.int64), failed


# What torch or the system says -> what it means and what to do.
_ERRORS = {
    r"Too many open files|ancdata": "too many open files: raise their limit (ulimit -n 4096) or lower num_workers",
    r"memory\(shm\)|out of shared": "/dev/shm is full: enlarge it (docker run --shm-size 8g) or lower num_workers",
    r"worker \(pid|Caught MemoryError": "a loader process ended, as if memory ran out: lower num_workers or get more",
}


@contextmanager
def explained_loader_errors() -> Iterator[None]:
    """Say in one sentence why no batch comes; around a whole loop, as torch reports a killed process at any moment."""
    try:
        yield
    except (OSError, RuntimeError, MemoryError) as error:
        if str(error).startswith(tuple(_ERRORS.values())):  # explained further in
            raise
        said = str(error).strip().rsplit("\n", 1)[-1]  # behind the lines of a worker's traceback
        for signs, advice in _ERRORS.items():
            if re.search(signs, str(error)):
                raise RuntimeError(f"{advice} ({said.partition('. ')[0].rstrip('.')}).") from error
        if "in DataLoader worker" in str(error) and isinstance(error, OSError):
            raise OSError(said.partition(": ")[2]) from error
        raise


def epoch_order(length: int, seed: int, epoch: int) -> list[int]:
    """Random order of the clips of one epoch, fixed by (seed, epoch)."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(length, generator=generator).tolist()


def split_batch(batch: Sequence[int], rank: int, world_size: int, at_once: int) -> list[list[int]]:
    """The part of a batch that one device of `world_size` takes, cut into pieces of `at_once` clips or fewer.

    Every clip goes to exactly one device; the last ones may have one clip less, or none.
    """
    share = np.array_split(np.array(batch, dtype=np.int64), world_size)[rank].tolist()
    return [share[start : start + at_once] for start in range(0, len(share), at_once)]


def training_batches(
    clips: Clips,
    pieces: Sequence[Sequence[int]],
    seed: int,
    epoch: int,
    num_workers: int = 0,
    augmentation: Augmentation = AUGMENTATIONS["none"],
    pin_memory: bool = False,
) -> DataLoader:
    """One TrainingBatch for each of `pieces`, which list clips by index.

    Raises:
        ValueError: if the augmentation needs whole frames and the clips' cache has none.
    """
    if augmentation.whole_frames and not clips.source.whole_frames:
        raise ValueError(
            f"{clips.dataset.name}: a random crop needs whole frames, and this frame cache keeps their centre only. "
            'Use frame_cache "packed" or "none", or augmentation "flip".'
        )
    views = _TrainingClips(clips, (seed, epoch), augmentation)
    return DataLoader(
        views, batch_sampler=pieces, num_workers=num_workers, collate_fn=views.collate, pin_memory=pin_memory
    )


def evaluation_batches(
    clips: Clips, batch_size: int, num_workers: int = 0, rank: int = 0, count: int = 1
) -> DataLoader:
    """Batches in the order of the data set with the frames of testing: all, or every `count`-th from `rank` on."""
    views, starts = _EvaluationClips(clips), range(0, len(clips), batch_size)[rank::count]
    batches = [range(start, min(start + batch_size, len(clips))) for start in starts]
    return DataLoader(views, batch_sampler=batches, num_workers=num_workers, collate_fn=views.collate)
