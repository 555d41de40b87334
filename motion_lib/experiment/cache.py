"""What an experiment keeps so that nothing is done twice: the frames that testing shows, and the features of models.

Both may be deleted at any time and are made again.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from lightning_fabric import Fabric

from motion_lib.data import preprocessing, video
from motion_lib.data.clips import Clips, DecodedVideos
from motion_lib.data.datasets import VideoDataset
from motion_lib.data.packed import Choose, Memory, fresh
from motion_lib.data.preprocessing import Cut, Preprocess
from motion_lib.data.video import sample_indices
from motion_lib.evaluation.features import VideoFeatures
from motion_lib.storage import atomic_path, content_hash

# --- frames ---


class TestViews:
    """The frames that testing shows, decoded when they are first asked for and kept as they are; others are decoded.

    A file for each video: any number of processes may fill the folder side by side, and be killed. A file goes by the
    video's path, size and time of change, so that splits and subsets share it.
    """

    __test__ = False  # pytest takes the name for that of a test
    whole_frames: ClassVar[bool] = True

    def __init__(self, dataset: VideoDataset, preprocess: Preprocess, parent: Path):
        shown = {name: value for name, value in preprocess.as_dict().items() if name not in ("mean", "std")}
        self.folder = parent / f"{dataset.name}-views-{content_hash(shown, video, preprocessing)}"
        places = zip(dataset.items, dataset.stamps(), strict=True)
        self._files = [f"{content_hash(str(item.path), *stamp[1:])}.npy" for item, stamp in places]
        self._videos = DecodedVideos(tuple(item.path for item in dataset.items), preprocess)
        self._preprocess, self.keeps = preprocess, True

    def missing(self) -> tuple[int, int]:
        """How many videos are not kept yet, and the bytes that they will take."""
        there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        count = len(set(self._files) - there)
        return count, count * self._preprocess.num_frames * 3 * self._preprocess.crop_size**2

    def read(self, index: int, choose: Choose, cut: Cut | None = None, memory: Memory = fresh) -> np.ndarray:
        """As `motion_lib.data.clips.FrameSource`."""
        if cut:
            return self._videos.read(index, choose, cut, memory)
        try:
            with (self.folder / self._files[index]).open("rb") as file:
                length, frames = int(np.load(file)), np.load(file)
        except (OSError, ValueError, EOFError):  # not there, or broken
            length, frames = self._decode(index)
        if not np.array_equal(choose(length), self._tested(length)):
            return self._videos.read(index, choose, memory=memory)
        return frames.transpose(0, 2, 3, 1)

    def _tested(self, length: int) -> np.ndarray:
        return sample_indices(length, self._preprocess.num_frames, self._preprocess.sampling)

    def _decode(self, index: int) -> tuple[int, np.ndarray]:
        """The video's length and its (T, 3, S, S) frames, in the order in which a batch wants them."""
        lengths: list[int] = []
        frames = self._videos.read(index, lambda length: lengths.append(length) or self._tested(length))
        frames = np.ascontiguousarray(frames.transpose(0, 3, 1, 2))
        try:
            if self.keeps:
                with atomic_path(self.folder / self._files[index]) as temporary, temporary.open("wb") as file:
                    np.save(file, lengths[-1])
                    np.save(file, frames)
        except OSError as error:  # a full disk, or one that may not be written
            self.keeps = False
            print(f"{self.folder.name}: {error.strerror}. Test views are decoded each time from now on.")
        return lengths[-1], frames


def open_test_views(dataset: VideoDataset, preprocess: Preprocess, parent: Path, quiet: bool = False) -> Clips:
    """Clips of a data set that is tested on again and again, decoded once; each time if the disk is too small.

    Args:
        parent: of the folder of views.
        quiet: say nothing of sizes (another process does).
    """
    views = TestViews(dataset, preprocess, parent)
    (count, needed), disk = views.missing(), next(p for p in (parent, *parent.parents) if p.exists())
    free = shutil.disk_usage(disk).free
    sizes = f"{dataset.name} ({dataset.subset}): test views of {count} videos take {needed / 1e9:.1f} GB, "
    sizes += f"{free / 1e9:.1f} GB are free"
    if needed > free:
        views.keeps = False
        sizes += ", so they are decoded each time. Set MOTION_DATA to a larger disk."
    else:
        sizes += f"; they are kept in {views.folder.name}, which may be deleted."
    if count and not quiet:
        print(sizes)
    return Clips(dataset, preprocess, {}, views)


# --- features ---


def features_kept(
    path: Path, dataset: VideoDataset, encode: Callable[[], VideoFeatures], fabric: Fabric | None = None
) -> VideoFeatures:
    """Read the features of `dataset` from `path`; encode and keep them there first where they are not, as float16.

    They are mapped into memory and read while they are scored: X-CLIP's of UCF-101 are 2.7 GB.

    Args:
        path: named by everything that decides the features: weights, preprocessing, videos, code.
        dataset: the videos asked for.
        encode: called if nothing is kept, or what is there cannot be read.
        fabric: a group of processes that all call this; then all call `encode`, and the first has its result.

    Raises:
        ValueError: if float16 does not hold the features.
        RuntimeError: if what was kept is not there for another process.
    """
    first = fabric is None or fabric.is_global_zero
    path = fabric.broadcast(path) if fabric else path  # the first one's: it may name the model of a GPU
    kept = _read(path) if first else None
    if fabric.broadcast(kept is None) if fabric else kept is None:
        videos = encode()
        if first:
            _write(path, videos)
    if fabric:
        fabric.barrier()
    if kept is None and (kept := _read(path)) is None:
        raise RuntimeError(
            f"{path.name} was kept and cannot be read: put {path.parent} on a disk that all machines share."
        )
    items = {item.video_id: item for item in dataset.items}
    readable = replace(dataset, items=tuple(items[video_id] for video_id in kept["ids"]))
    return VideoFeatures(kept["features"], readable, kept["failed"], kept["sec"])


def _write(path: Path, videos: VideoFeatures) -> None:
    half = videos.features.half()
    if not all(torch.isfinite(part).all() for part in half.split(256)):
        raise ValueError(
            f"{videos.dataset.name}: the features have values above {torch.finfo(torch.float16).max:g} or none at all, "
            "which float16 does not hold; let the model's encode_video scale them."
        )
    ids = [item.video_id for item in videos.dataset.items]
    with atomic_path(path) as temporary:
        torch.save({"features": half, "ids": ids, "failed": videos.failed, "sec": videos.wall_time_sec}, temporary)


def _read(path: Path) -> dict | None:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # what a broken file raises is anybody's guess; features can be made again
        print(f"{path.name}: not readable ({type(error).__name__}), encoding again.")
        return None
