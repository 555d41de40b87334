"""Clips per second of the packed frame cache against decord on the fly, in one run and through the same loader.

    python -m benchmarks.frame_cache --videos FOLDER

FOLDER holds Kinetics-like clips (about 10 s, 340 x 256, h264); without it, clips of moving textures are
made. The reference is decord alone; `read_clip`, which also makes sure that its frames are the right
ones, is timed beside it. The limit is what as many processes decode of the same JPEGs when these lie in their
memory, and the pictures stay there. Prints and writes results/benchmarks/frame_cache.json.
"""

import argparse
import tempfile
import time
from multiprocessing import Pool
from pathlib import Path

import av
import decord
import numpy as np
import simplejpeg
import torch

from benchmarks.machine import write_result
from motion_lib.data.batches import epoch_order, split_batch, training_batches
from motion_lib.data.clips import Clips, open_clips
from motion_lib.data.datasets import VideoDataset, VideoItem
from motion_lib.data.pack import pack
from motion_lib.data.packed import Choose, Memory, Packing, fresh
from motion_lib.data.preprocessing import Cut, Preprocess, resize_and_crop
from motion_lib.data.video import write_video

PREPROCESS = Preprocess()  # the paper's: 8 frames, short side 256, crop 224
WORKERS, REPEATS, PASSES = 2, 5, 8
BATCH = 20  # what each of four devices takes of the profile `paper`
SIZE, MINIMUM_FRAMES = (256, 340), 250


def textures(folder: Path, count: int = 4) -> list[Path]:
    """Clips of 300 frames in which smooth noise drifts: as hard to encode as an ordinary film."""
    paths = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 24, 32))).float()
        field = torch.nn.functional.interpolate(coarse, (512, 680), mode="bicubic")[0].clamp(0, 255)
        field = (field + torch.from_numpy(rng.normal(0, 6, field.shape)).float()).clamp(0, 255).byte().numpy()
        steps = np.linspace(0, 2 * np.pi, 300)
        tops, lefts = 128 + 100 * np.sin(steps + seed), 170 + 150 * np.cos(2 * steps)
        frames = [
            field[:, int(t) : int(t) + SIZE[0], int(x) : int(x) + SIZE[1]] for t, x in zip(tops, lefts, strict=True)
        ]
        paths.append(folder / f"texture_{seed}.mp4")
        write_video(paths[-1], np.stack(frames).transpose(0, 2, 3, 1), fps=30)
    return paths


def kinetics_like(folder: Path) -> list[Path]:
    """The clips of a folder that have the size and length of Kinetics-400 as commonly resized."""
    chosen = []
    for path in sorted(folder.rglob("*.mp4")):
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if (stream.height, stream.width) == SIZE and stream.frames >= MINIMUM_FRAMES:
                chosen.append(path)
    return chosen


def copies(paths: list[Path], folder: Path, count: int) -> VideoDataset:
    """A data set of `count` videos, each a file of its own."""
    items = []
    for i in range(count):
        path = folder / f"clip_{i:05d}.mp4"
        path.symlink_to(paths[i % len(paths)].resolve())
        items.append(VideoItem(path.stem, path, 0, path.stem))
    return VideoDataset("kinetics-like", ("any",), tuple(items), None, "train")


class PlainDecord:
    """Frames as a loader of the field reads them: decord, one thread, no checks."""

    def __init__(self, paths: list[Path]):
        self._paths = paths

    def read(self, index: int, choose: Choose, cut: Cut | None = None, memory: Memory = fresh) -> np.ndarray:
        """(T, S, S, 3) uint8."""
        reader = decord.VideoReader(str(self._paths[index]), num_threads=1)
        return resize_and_crop(reader.get_batch(list(choose(len(reader)))).asnumpy(), PREPROCESS)


def clips_per_second(clips: Clips, passes: int) -> float:
    """Of one epoch of training through the loader, once every worker has handed over a batch.

    An epoch of Kinetics-400 takes each of many clips once; this one takes each of a few `passes` times.
    """
    torch.manual_seed(0)  # the loader's own draw
    pieces = split_batch(epoch_order(len(clips), 0, 0) * passes, 0, 1, at_once=BATCH)
    for number, batch in enumerate(training_batches(clips, pieces, seed=0, epoch=0, num_workers=WORKERS), start=1):
        assert not batch.failed, batch.failed
        if number == WORKERS:
            start = time.perf_counter()
    return (len(clips) * passes - WORKERS * BATCH) / (time.perf_counter() - start)


def decode_all(jpegs: list[bytes]) -> float:
    """Frames per second of one process; each picture is written over the one before."""
    picture = simplejpeg.decode_jpeg(jpegs[0])
    start = time.perf_counter()
    for jpeg in jpegs:
        simplejpeg.decode_jpeg(jpeg, buffer=picture)
    return len(jpegs) / (time.perf_counter() - start)


def limit(jpegs: list[bytes]) -> float:
    """Clips per second of `WORKERS` processes that do nothing but decode."""
    with Pool(WORKERS) as pool:
        return sum(pool.map(decode_all, [jpegs] * WORKERS, chunksize=1)) / PREPROCESS.num_frames


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=Path, help="folder of Kinetics-like clips")
    parser.add_argument("--packed", type=int, default=256, help="videos of the packed data set")
    parser.add_argument("--decoded", type=int, default=120, help="how many of them are decoded on the fly")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clips").mkdir()
        paths = kinetics_like(args.videos) if args.videos else textures(folder)
        if not paths:
            raise SystemExit(f"{args.videos}: no mp4 of {SIZE[1]} x {SIZE[0]} and {MINIMUM_FRAMES} frames or more.")
        dataset = copies(paths, folder / "clips", args.packed)
        few = VideoDataset("kinetics-like", ("any",), dataset.items[: args.decoded], None, "train")
        start = time.perf_counter()
        report = pack(dataset, Packing.of(PREPROCESS), folder, workers=WORKERS)
        packing_sec = time.perf_counter() - start
        packed = open_clips(dataset, PREPROCESS, folder, "packed")
        plain = Clips(few, PREPROCESS, {}, PlainDecord([item.path for item in few.items]))
        sources = {"packed": packed, "decord": plain, "read_clip": open_clips(few, PREPROCESS)}
        jpegs = [jpeg for index in range(64) for jpeg in packed.source.jpegs(index, np.arange(0, 32, 4))]
        torch.set_num_threads(1)
        speed: dict[str, list[float]] = {name: [] for name in ("limit", *sources)}
        for _ in range(REPEATS):  # in turn, so that all meet the machine's moods
            speed["limit"].append(limit(jpegs))
            for name, clips in sources.items():
                speed[name].append(clips_per_second(clips, PASSES if name == "packed" else 1))
    pixels = report.frames * SIZE[0] * SIZE[1]
    result = {
        "videos": [path.name for path in paths],
        "loader_workers": WORKERS,
        "clips_per_sec": speed,
        "ratio_to_decord": float(np.median(speed["packed"]) / np.median(speed["decord"])),
        "share_of_limit": float(np.median(speed["packed"]) / np.median(speed["limit"])),
        "packed_videos_per_sec": len(dataset) / packing_sec,
        "gigabytes_per_1000_videos": report.size / len(dataset) * 1000 / 1e9,
        "bytes_per_pixel": report.size / pixels,
    }
    print(write_result("frame_cache", result))


if __name__ == "__main__":
    main()
