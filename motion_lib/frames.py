"""Decoded frames of a small data set, kept on disk once and read by every later pass.

Every video is decoded a single time, resized and cropped as the model wants it, and written into
one memory-mapped array. A data set of hundreds of gigabytes does not fit; `open_clips` then
decodes on the fly. Both give the same frames.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from motion_lib import preprocessing, video
from motion_lib.datasets import VideoDataset
from motion_lib.preprocessing import Preprocess, resize_and_crop
from motion_lib.storage import atomic_path, content_hash, write_json
from motion_lib.video import VideoReadError, read_clip, sample_indices


@dataclass
class Clips:
    """A data set whose unreadable videos are set aside, ready to give model input.

    Attributes:
        dataset: the readable videos.   preprocess: of the model.
        failed: {video_id: reason} of the unreadable ones.
        store: (total frames, S, S, 3) uint8 memory map, or None to decode on the fly.
        offsets: (N + 1,) first frame of each video in the store.
    """

    dataset: VideoDataset
    preprocess: Preprocess
    failed: dict[str, str]
    store: np.ndarray | None = None
    offsets: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def video_ids(self) -> list[str]:
        """Names of the readable videos, in order."""
        return [item.video_id for item in self.dataset.items]

    def __getitem__(self, index: int) -> np.ndarray:
        """(T, 3, S, S) uint8 of video `index`, sampled as for testing."""
        return self.sample(index, None)

    def sample(self, index: int, rng: np.random.Generator | None) -> np.ndarray:
        """(T, 3, S, S) uint8; `rng` draws frames as for training."""

        def choose(n: int) -> np.ndarray:
            return sample_indices(n, self.preprocess.num_frames, self.preprocess.sampling, rng)

        if self.store is None:
            frames = resize_and_crop(read_clip(self.dataset.items[index].path, choose), self.preprocess)
        else:
            first, last = self.offsets[index : index + 2]
            frames = self.store[first + choose(int(last - first))]
        return frames.transpose(0, 3, 1, 2)


def clips_for(dataset: VideoDataset | Clips, preprocess: Preprocess) -> Clips:
    """Clips of a data set for a model; clips that are given must have been opened for that model.

    Raises: ValueError if they were opened with another preprocessing.
    """
    if isinstance(dataset, VideoDataset):
        return open_clips(dataset, preprocess)
    if dataset.preprocess != preprocess:
        raise ValueError(
            f"{dataset.dataset.name}: clips opened with {dataset.preprocess}, the model wants {preprocess}. "
            "Open them with the model's own preprocess."
        )
    return dataset


def open_clips(dataset: VideoDataset, preprocess: Preprocess, cache_dir: Path | None = None) -> Clips:
    """Open a data set for a model.

    Args: cache_dir: where decoded frames are kept; None decodes on the fly, for data too large to keep.
    Unreadable videos are found now if frames are kept, otherwise when they are met.
    """
    if cache_dir is None:
        return Clips(dataset, preprocess, {})
    geometry = [preprocess.short_side, preprocess.crop_size, preprocess.interpolation]
    files = [(item.video_id, str(item.path), *_size_and_time(item.path)) for item in dataset.items]
    identity = content_hash(geometry, files, video, preprocessing)
    base = cache_dir / f"{dataset.name}-{dataset.subset}-{identity}"
    store_path, index_path = Path(f"{base}.npy"), Path(f"{base}.json")
    if not index_path.is_file():
        _fill_store(dataset, preprocess, store_path, index_path)
    index = json.loads(index_path.read_text(encoding="utf-8"))
    store = np.load(store_path, mmap_mode="r")
    kept = [item for item, length in zip(dataset.items, index["lengths"], strict=True) if length]
    offsets = np.concatenate([[0], np.cumsum([length for length in index["lengths"] if length])])
    return Clips(replace(dataset, items=tuple(kept)), preprocess, index["failed"], store, offsets)


def _size_and_time(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _fill_store(dataset: VideoDataset, preprocess: Preprocess, store_path: Path, index_path: Path) -> None:
    clips, lengths, failed = [], [], {}
    for item in tqdm(dataset.items, desc=f"decoding {dataset.name} ({dataset.subset})", unit="video", mininterval=2):
        try:
            clips.append(resize_and_crop(read_clip(item.path, np.arange), preprocess))
            lengths.append(len(clips[-1]))
        except VideoReadError as error:
            failed[item.video_id] = error.reason
            lengths.append(0)
    if not clips:
        raise VideoReadError(
            dataset.items[0].path.parent,
            f"none of {len(dataset)} videos can be read, e.g. {next(iter(failed.values()))}",
        )
    with atomic_path(store_path) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate(clips))
    # Written last: its presence says that the store is whole. Frames of each video, 0 for an unreadable one.
    write_json(index_path, {"lengths": lengths, "failed": failed})
