"""A cache of the frames of a large data set, packed once as JPEG and read by every epoch of training.

`motion pack` writes it. A folder holds one cache:

    shard-0012.jpegs   pictures of about 256 videos, one after the other
    shard-0012.npz     whose they are; written last, so its presence says that the shard is whole
    shard-0012.lock    locked by the process that writes the shard; a process that dies lets go of it
    report.json        what was kept, and which videos could not be read

Of each video 4 T frames are kept, the first of each of 4 T equal segments. The frames that testing asks for are among
them, and training still draws from four frames in each of its T segments.
"""

import errno
import math
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import simplejpeg

from motion_lib.data.catalogue import OFFICIAL
from motion_lib.data.datasets import VideoDataset, VideoItem
from motion_lib.data.preprocessing import Cut, Preprocess, in_box
from motion_lib.storage import content_hash, file_stamp

Choose = Callable[[int], np.ndarray]  # number of a video's frames -> which are wanted
Memory = Callable[[tuple[int, ...]], np.ndarray]  # shape -> where uint8 of this shape are to lie
fresh = partial(np.empty, dtype=np.uint8)
CANDIDATES_PER_FRAME = 4
VIDEOS_PER_SHARD = 256
BYTES_PER_PIXEL = 0.32  # of a JPEG of quality 95; measured on clips of Kinetics-400, see benchmarks/frame_cache.py
_FORMAT = 1  # raise it when decoding or resizing changes what is kept


@dataclass(frozen=True)
class Packing:
    """What is kept of a video: `candidates` frames, resized to `short_side`, uncropped, as JPEG of `quality`."""

    short_side: int = 256
    interpolation: str = "bicubic"
    candidates: int = 8 * CANDIDATES_PER_FRAME
    quality: int = 95

    @classmethod
    def of(cls, preprocess: Preprocess) -> "Packing":
        """What a model with this preprocessing reads."""
        return cls(preprocess.short_side, preprocess.interpolation, CANDIDATES_PER_FRAME * preprocess.num_frames)

    def bytes_per_video(self, aspect: float = 4 / 3) -> int:
        """Estimated disk space of one video."""
        return int(self.candidates * self.short_side**2 * aspect * BYTES_PER_PIXEL)


def candidate_indices(n: int, count: int) -> np.ndarray:
    """The frames that are kept of n: all of them, or the first of each of `count` equal segments."""
    return np.arange(n) if n <= count else np.arange(count) * n // count


@dataclass(frozen=True)
class Shard:
    """The videos of one shard and where it lies; no suffix."""

    base: Path
    items: tuple[VideoItem, ...]

    def path(self, suffix: str) -> Path:
        """Its file of this suffix."""
        return self.base.with_name(f"{self.base.name}.{suffix}")

    def index(self) -> dict[str, np.ndarray] | None:
        """Its index, or None if it is not whole: not written, cut short, or written when other videos were there."""
        try:
            with self.path("npz").open("rb") as file:
                index = dict(np.load(file))
            if self.path("jpegs").stat().st_size < index["sizes"].sum(dtype=np.int64):
                return None
        except (FileNotFoundError, EOFError, ValueError, zipfile.BadZipFile):  # a copy may have been cut off anywhere
            return None
        row = {video_id: i for i, video_id in enumerate(index["ids"].tolist())}
        if any(item.video_id not in row for item in self.items):
            return None
        # What could not be read may have been mended. (Asking for the size of each of 240,000 files is slow.)
        unread = [item for item in self.items if not index["frames"][row[item.video_id]]]
        if any(file_stamp(item.path)[0] != index["file_size"][row[item.video_id]] for item in unread):
            return None
        return index


def shards_of(dataset: VideoDataset, folder: Path) -> list[Shard]:
    """The shards of a data set; a video's is fixed by its name and the length of the official list alone."""
    count = math.ceil((len(dataset) + len(dataset.missing)) / VIDEOS_PER_SHARD)
    members: list[list[VideoItem]] = [[] for _ in range(count)]
    for item in dataset.items:
        members[zlib.crc32(item.video_id.encode()) % count].append(item)
    return [Shard(folder / f"shard-{k:04d}", tuple(items)) for k, items in enumerate(members) if items]


def cache_folder(parent: Path, dataset: VideoDataset, packing: Packing) -> Path:
    """Where the cache of a data set lies; other settings, another split or other videos are another cache."""
    listed = sorted([*(item.video_id for item in dataset.items), *dataset.missing])
    # An official name says which video it is, wherever it lies; names of a data set of the user's own do not.
    place = "" if dataset.name in OFFICIAL or not dataset.items else str(dataset.items[0].path.absolute())
    identity = content_hash(_FORMAT, asdict(packing), dataset.split, listed, place)
    return parent / f"{dataset.name}-{dataset.subset}-packed-{identity}"


class PackedFrames:
    """Frames of a packed data set, for reading at random.

    Attributes:
        items: the readable videos, in the order of the data set.
        failed: {video_id: reason} of the others.

    Raises:
        FileNotFoundError: if something of the cache is not packed yet.
    """

    whole_frames = True

    def __init__(self, dataset: VideoDataset, preprocess: Preprocess, parent: Path):
        self._preprocess, self._packing = preprocess, Packing.of(preprocess)
        folder = cache_folder(parent, dataset, self._packing)
        rows: dict[str, tuple[int, int, int, str]] = {}  # video -> shard, first picture, frames; reason if it has none
        self._files, begins, ends, pictures = [], [], [], 0
        for number, shard in enumerate(shards_of(dataset, folder)):
            index = shard.index()
            if index is None:
                raise FileNotFoundError(f"{folder}: not all videos of {dataset.name} are packed; call pack() first.")
            self._files.append(shard.path("jpegs"))
            ends.append(np.cumsum(index["sizes"], dtype=np.int64))
            begins.append(ends[-1] - index["sizes"])
            kept = np.minimum(index["frames"], self._packing.candidates)
            firsts = pictures + np.cumsum(kept) - kept
            pictures += int(kept.sum())
            columns = (index["ids"], firsts, index["frames"], index["reasons"])
            for video_id, *row in zip(*(column.tolist() for column in columns), strict=True):
                rows[video_id] = (number, *row)
        listed = [(item, rows[item.video_id]) for item in dataset.items]
        self.items = tuple(item for item, row in listed if row[2])
        self.failed = dict(dataset.unreadable) | {item.video_id: row[3] for item, row in listed if not row[2]}
        table = np.array([row[:3] for _, row in listed if row[2]], dtype=np.int64).reshape(-1, 3)
        self._shard, self._first, self._frames = table.T
        self._begin, self._end = np.concatenate(begins), np.concatenate(ends)

    def read(self, index: int, choose: Choose, cut: Cut | None = None, memory: Memory = fresh) -> np.ndarray:
        """As `clips.FrameSource`; OSError if the shard has been lost or damaged since it was opened.

        A frame that was not kept is replaced by the last kept one before it. With text4vis sampling that one is in the
        same segment; with center sampling, whose segments leave out the rest of a video, it may be in the one before.
        """
        count = int(self._frames[index])
        kept = candidate_indices(count, self._packing.candidates)
        positions = np.searchsorted(kept, choose(count), side="right") - 1
        try:
            jpegs = self.jpegs(index, positions)
            height, width, *_ = simplejpeg.decode_jpeg_header(jpegs[0])
            box = (cut or self._preprocess.centre)(height, width)
            whole, pictures = fresh((height, width, 3)), memory((len(jpegs), *box[2:], 3))
            for jpeg, picture in zip(jpegs, pictures, strict=True):  # one whole frame at a time stays in the cache
                picture[:] = in_box(simplejpeg.decode_jpeg(jpeg, buffer=whole), box)
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):  # no fault of the shard
                raise
            path, reason = self._files[self._shard[index]], getattr(error, "strerror", None) or error
            raise OSError(
                f"{path}: cannot be read ({reason}). If disk and permissions are right, delete what is left of it and "
                "start again: it is packed anew."
            ) from error
        return pictures

    def jpegs(self, index: int, positions: np.ndarray) -> list[bytes]:
        """The kept frames at these positions of a video. Its shard is open for this call alone: of the 940 shards of
        Kinetics-400, the few that a process could hold open would hardly be asked for again."""
        numbers = self._first[index] + positions
        begins, ends = self._begin[numbers].tolist(), self._end[numbers].tolist()
        with self._files[self._shard[index]].open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):  # not on macOS; reading ahead would fetch frames that nobody asked for
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            jpegs = [os.pread(file.fileno(), end - begin, begin) for begin, end in zip(begins, ends, strict=True)]
        if sum(map(len, jpegs)) < sum(ends) - sum(begins):
            raise ValueError(f"it was cut short, before byte {max(ends)}")
        return jpegs
