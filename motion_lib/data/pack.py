"""Packs the frames of a large data set into a cache of `motion_lib.data.packed`.

    motion pack kinetics400 --workers 16

packs the training videos below MOTION_DATA, in as many processes and on as many machines as it is started; they share
the work shard by shard. It may be killed at any moment and goes on where it was.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from tqdm import tqdm

from motion_lib.data.datasets import VideoDataset
from motion_lib.data.packed import Packing, Shard, cache_folder, candidate_indices, shards_of
from motion_lib.data.preprocessing import resize
from motion_lib.data.video import VideoReadError, read_clip
from motion_lib.storage import atomic_path, file_stamp, locked, make_folder, write_json

_POLL_SEC = 0.5


@dataclass(frozen=True)
class Report:
    """What a cache holds; `unreadable` is {video_id: reason}."""

    folder: Path
    videos: int
    frames: int
    size: int  # bytes
    unreadable: dict[str, str]

    def describe(self) -> str:
        """One line: counts, size, size of a thousand videos."""
        each = self.size / max(self.videos, 1)
        return (
            f"{self.folder.name}: {self.videos} videos, {self.frames} frames, {self.size / 1e9:.2f} GB "
            f"({each * 1000 / 1e9:.2f} GB per 1,000 videos); {len(self.unreadable)} videos cannot be read"
        )


def pack(dataset: VideoDataset, packing: Packing, parent: Path, workers: int = 0) -> Report:
    """Pack what is not packed yet; returns when the cache is whole.

    May run on several machines at once and be killed at any moment: whole shards are kept.

    Args:
        packing: what is kept of each video.
        parent: folder of caches.
        workers: processes; 0 packs in this one.

    Raises:
        OSError: if the disk has too little space.
        ValueError: if two videos share a name.
    """
    if len({item.video_id for item in dataset.items}) < len(dataset):
        raise ValueError(f"{dataset.name}: two of its videos have the same video_id; names must tell them apart.")
    folder = make_folder(cache_folder(parent, dataset, packing))
    shards = shards_of(dataset, folder)
    unpacked = [shard for shard in shards if shard.index() is None]
    if unpacked:
        left = sum(len(shard.items) for shard in unpacked)
        _require_space(folder, left * packing.bytes_per_video(), dataset.name)
        label = f"packing {dataset.name} ({dataset.subset})"
        with tqdm(total=len(dataset), initial=len(dataset) - left, desc=label, unit="video", mininterval=2) as bar:
            if workers:
                _pack_in_processes(unpacked, packing, workers, bar)
            else:
                _pack(unpacked, packing, bar.update, lambda shard: None)
            bar.update(bar.total - bar.n)  # what others packed
    report, path = _report(folder, shards, dict(dataset.unreadable)), folder / "report.json"
    if unpacked or not path.exists():  # whoever reads a whole cache need not be allowed to write to it
        write_json(path, {k: v for k, v in asdict(report).items() if k != "folder"})
    return report


def _require_space(folder: Path, needed: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"{folder}: packing the rest of {name} takes about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free. "
            "Set MOTION_DATA to a larger disk."
        )


def _report(folder: Path, shards: Sequence[Shard], unreadable: dict[str, str]) -> Report:
    videos, frames, size = 0, 0, 0
    for shard in shards:
        index, listed = shard.index(), {item.video_id for item in shard.items}
        size += int(index["sizes"].sum())
        frames += len(index["sizes"])
        reasons = zip(index["ids"].tolist(), index["reasons"].tolist(), strict=True)
        failed = {video_id: reason for video_id, reason in reasons if reason and video_id in listed}
        videos += len(listed) - len(failed)
        unreadable |= failed
    return Report(folder, videos, frames, size, unreadable)


def _encode(path: Path, packing: Packing) -> tuple[int, list[bytes], str]:
    """How many frames a video has, those that are kept as JPEG, and the reason if it cannot be read."""
    length = 0

    def choose(n: int) -> np.ndarray:
        nonlocal length
        length = n
        return candidate_indices(n, packing.candidates)

    try:
        pictures = resize(read_clip(path, choose), packing.short_side, packing.interpolation)
    except VideoReadError as error:
        return 0, [], error.reason
    jpegs = (simplejpeg.encode_jpeg(np.ascontiguousarray(p), packing.quality, colorsubsampling="420") for p in pictures)
    return length, list(jpegs), ""


def _write_shard(shard: Shard, packing: Packing, on_video: Callable[[], None], alone: bool = True) -> None:
    """`alone`: nobody else can be writing it, so that what lies about is of a process that was killed."""
    for leftover in shard.base.parent.glob(f".{shard.base.name}.*") if alone else ():
        with suppress(PermissionError):  # another user's, in a folder where each may remove their own alone
            leftover.unlink()
    frames, sizes, reasons = [], [], []
    with atomic_path(shard.path("jpegs")) as temporary, temporary.open("wb") as file:
        for item in shard.items:
            length, jpegs, reason = _encode(item.path, packing)
            frames.append(length)
            reasons.append(reason)
            sizes += [file.write(jpeg) for jpeg in jpegs]
            on_video()
    write_index(shard, frames, sizes, reasons)


def write_index(shard: Shard, frames: Sequence[int], sizes: Sequence[int], reasons: Sequence[str]) -> None:
    """Write whose the pictures of a shard are, last of its files.

    Args:
        frames: of each video; 0 where it could not be read.
        sizes: bytes of each picture, in the order of the file.
        reasons: why a video could not be read; "" where it could.
    """
    with atomic_path(shard.path("npz")) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            ids=np.array([item.video_id for item in shard.items]),
            frames=np.array(frames, dtype=np.int32),
            sizes=np.array(sizes, dtype=np.int32),
            reasons=np.array(reasons),
            file_size=np.array([file_stamp(item.path)[0] for item in shard.items], dtype=np.int64),
        )


def _pack(
    shards: Sequence[Shard], packing: Packing, on_video: Callable[[], None], on_shard: Callable[[Shard], None]
) -> None:
    """Write what nobody has written or is writing, until all shards are whole."""
    while shards:
        taken = []
        for shard in shards:
            if shard.index() is None:
                with locked(shard.path("lock")) as lock:
                    if lock == "taken":
                        taken.append(shard)
                        continue
                    if shard.index() is None:  # it may have been finished between the two looks
                        _write_shard(shard, packing, on_video, alone=lock == "locked")
            on_shard(shard)
        shards = taken
        if taken:
            time.sleep(_POLL_SEC)


def _work(shards: Sequence[Shard], packing: Packing, progress: Sequence[int], slot: int) -> None:
    """One process of several; its slot of `progress` holds the videos of the shard at hand."""
    torch.set_num_threads(1)

    def on_video() -> None:
        progress[slot] += 1

    def on_shard(shard: Shard) -> None:
        progress[slot] = 0

    start = slot * len(shards) // len(progress)  # apart, so that they seldom ask for the same shard
    _pack([*shards[start:], *shards[:start]], packing, on_video, on_shard)


def _pack_in_processes(unpacked: Sequence[Shard], packing: Packing, workers: int, bar: tqdm) -> None:
    context, before = get_context("spawn"), bar.n
    progress = context.Array("q", workers, lock=False)
    processes = [context.Process(target=_work, args=(unpacked, packing, progress, slot)) for slot in range(workers)]
    try:
        for process in processes:
            process.start()
        open_shards = list(unpacked)
        while any(process.is_alive() for process in processes):
            time.sleep(_POLL_SEC)
            open_shards = [shard for shard in open_shards if not shard.path("npz").exists()]
            whole = sum(len(shard.items) for shard in unpacked) - sum(len(shard.items) for shard in open_shards)
            bar.update(max(0, min(before + whole + sum(progress), bar.total) - bar.n))
        if codes := [process.exitcode for process in processes if process.exitcode]:
            raise RuntimeError(
                f"{len(codes)} of {workers} packing processes failed (exit code {codes[0]}); the reason is printed "
                "above, or the system killed them for memory. What was packed is kept: start it again."
            )
    finally:
        for process in processes:
            if process.pid is not None:
                process.terminate()
                process.join()
