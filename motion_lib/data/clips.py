"""Clips of a data set for a model, whose frames come from one of three places.

A small data set is decoded a single time, resized and cropped as the model wants it, into one memory-mapped array of
every frame. A large one is packed as JPEG (`packed`). Without a cache each clip is decoded when it is asked for. The
first and the last give the same frames, the packed ones differ by what JPEG loses.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from tqdm import tqdm

from motion_lib.data import preprocessing, video
from motion_lib.data.datasets import VideoDataset
from motion_lib.data.pack import pack
from motion_lib.data.packed import Choose, Memory, PackedFrames, Packing, fresh
from motion_lib.data.preprocessing import Cut, Preprocess, resize_and_crop
from motion_lib.data.video import VideoReadError, read_clip, sample_indices
from motion_lib.storage import atomic_path, content_hash, write_json

CACHES = ("none", "cropped", "packed")


class FrameSource(Protocol):
    """Where the frames of the videos of a data set come from."""

    whole_frames: bool  # whether it has what a centre crop leaves out

    def read(self, index: int, choose: Choose, cut: Cut | None = None, memory: Memory = fresh) -> np.ndarray:
        """(T, height, width, 3) uint8 of video `index`: the frames that `choose` makes of their number and, of each
        as resized, the box that `cut` makes of its height and width; by default the centre crop. They may lie where
        `memory` says for their shape, so that nobody has to copy them there.
        """


@dataclass(frozen=True)
class DecodedVideos:
    """Frames that are decoded when they are asked for."""

    paths: tuple[Path, ...]
    preprocess: Preprocess
    whole_frames: ClassVar[bool] = True

    def read(self, index: int, choose: Choose, cut: Cut | None = None, memory: Memory = fresh) -> np.ndarray:
        """As FrameSource; may raise VideoReadError."""
        resized = self.preprocess.resized(read_clip(self.paths[index], choose))
        return preprocessing.in_box(resized, (cut or self.preprocess.centre)(*resized.shape[1:3]))


@dataclass(frozen=True)
class CroppedFrames:
    """Every frame of every video, ready for the model, in a (frames, S, S, 3) uint8 array on disk.

    Attributes:
        offsets: (N + 1,) first frame of each video.
    """

    path: Path
    offsets: np.ndarray
    whole_frames: ClassVar[bool] = False

    @property
    def frames(self) -> np.ndarray:
        """The array, mapped into memory and never loaded as a whole."""
        return np.load(self.path, mmap_mode="r")

    def read(self, index: int, choose: Choose, cut: Cut | None = None, memory: Memory = fresh) -> np.ndarray:
        """As FrameSource; ValueError for another box than the centre: more is not kept."""
        if cut:
            raise ValueError(f"{self.path.name} keeps the centre of each frame only.")
        first, last = self.offsets[index : index + 2]
        return self.frames[first + choose(int(last - first))]


@dataclass
class Clips:
    """A data set whose unreadable videos are set aside, ready to give model input.

    Attributes:
        dataset: the readable videos.
        preprocess: of the model.
        failed: {video_id: reason} of the unreadable ones.
        source: of their frames.
    """

    dataset: VideoDataset
    preprocess: Preprocess
    failed: dict[str, str]
    source: FrameSource

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def video_ids(self) -> list[str]:
        """Names of the readable videos, in order."""
        return [item.video_id for item in self.dataset.items]

    def __getitem__(self, index: int) -> np.ndarray:
        """(T, 3, S, S) uint8 of video `index`, sampled as for testing."""
        return self.sample(index, None)

    def sample(
        self, index: int, rng: np.random.Generator | None, cut: Cut | None = None, memory: Memory = fresh
    ) -> np.ndarray:
        """(T, 3, height, width) uint8; `rng` draws frames as for training, `cut` and `memory` as in `FrameSource`."""

        def choose(n: int) -> np.ndarray:
            return sample_indices(n, self.preprocess.num_frames, self.preprocess.sampling, rng)

        return self.source.read(index, choose, cut, memory).transpose(0, 3, 1, 2)


def clips_for(dataset: VideoDataset | Clips, preprocess: Preprocess) -> Clips:
    """Clips of a data set for a model; clips that are given must have been opened for that model.

    Raises:
        ValueError: if they were opened with another preprocessing.
    """
    if isinstance(dataset, VideoDataset):
        return open_clips(dataset, preprocess)
    if dataset.preprocess != preprocess:
        raise ValueError(
            f"{dataset.dataset.name}: clips opened with {dataset.preprocess}, the model wants {preprocess}. "
            "Open them with the model's own preprocess."
        )
    return dataset


def open_clips(
    dataset: VideoDataset,
    preprocess: Preprocess,
    cache_dir: Path | None = None,
    cache: str = "cropped",
    workers: int = 0,
) -> Clips:
    """Open a data set for a model.

    Unreadable videos are known at once if frames are kept, otherwise when they are met.

    Args:
        preprocess: of the model.
        cache_dir: where frames are kept; None decodes on the fly.
        cache: "cropped" keeps every frame, for small data sets; "packed" keeps JPEGs; "none" nothing.
        workers: processes that pack, if the cache is not there yet.

    Raises:
        ValueError: for an unknown kind of cache.
        VideoReadError: if no video can be read.
    """
    if cache not in CACHES:
        raise ValueError(f"frame cache {cache!r}: expected one of {', '.join(CACHES)}.")
    if cache_dir is None or cache == "none" or (cache == "packed" and preprocess.square):  # JPEGs keep their shape
        source = DecodedVideos(tuple(item.path for item in dataset.items), preprocess)
        return Clips(dataset, preprocess, dict(dataset.unreadable), source)
    if cache == "packed":
        return _open_packed(dataset, preprocess, cache_dir, workers)
    return _open_cropped(dataset, preprocess, cache_dir)


def _open_packed(dataset: VideoDataset, preprocess: Preprocess, cache_dir: Path, workers: int) -> Clips:
    report = pack(dataset, Packing.of(preprocess), cache_dir, workers)
    _require_readable(dataset, report.videos, report.unreadable)
    source = PackedFrames(dataset, preprocess, cache_dir)
    return Clips(replace(dataset, items=source.items), preprocess, source.failed, source)


def _open_cropped(dataset: VideoDataset, preprocess: Preprocess, cache_dir: Path) -> Clips:
    geometry = [preprocess.short_side, preprocess.crop_size, preprocess.interpolation, preprocess.square]
    paths = [str(item.path) for item in dataset.items]
    identity = content_hash(geometry, paths, dataset.stamps(), video, preprocessing)
    base = cache_dir / f"{dataset.name}-{dataset.subset}-{identity}"
    frames_path, index_path = Path(f"{base}.npy"), Path(f"{base}.json")
    if not index_path.is_file():
        _decode_all(dataset, preprocess, frames_path, index_path)
    index = json.loads(index_path.read_text(encoding="utf-8"))
    readable = [item for item, length in zip(dataset.items, index["lengths"], strict=True) if length]
    offsets = np.concatenate([[0], np.cumsum([length for length in index["lengths"] if length])])
    source = CroppedFrames(frames_path, offsets)
    return Clips(replace(dataset, items=tuple(readable)), preprocess, {**dataset.unreadable, **index["failed"]}, source)


def _require_readable(dataset: VideoDataset, readable: int, failed: dict[str, str]) -> None:
    if not readable:
        found = f"none of {len(dataset)} videos can be read, e.g. {next(iter(failed.values()))}"
        raise VideoReadError(dataset.items[0].path.parent, found)


def _decode_all(dataset: VideoDataset, preprocess: Preprocess, frames_path: Path, index_path: Path) -> None:
    clips, lengths, failed = [], [], {}
    for item in tqdm(dataset.items, desc=f"decoding {dataset.name} ({dataset.subset})", unit="video", mininterval=2):
        try:
            clips.append(resize_and_crop(read_clip(item.path, np.arange), preprocess))
            lengths.append(len(clips[-1]))
        except VideoReadError as error:
            failed[item.video_id] = error.reason
            lengths.append(0)
    _require_readable(dataset, len(clips), failed)
    with atomic_path(frames_path) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate(clips))
    # Written last: its presence says that the array is whole. Frames of each video, 0 for an unreadable one.
    write_json(index_path, {"lengths": lengths, "failed": failed})
