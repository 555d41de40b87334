"""Every clip of a folder: how its frames are found, whether they are those of a sequential decode, and the time.

    python -m benchmarks.decode --videos FOLDER

Time is that of the eight frames a model asks for in testing, against decord and torchcodec on their own on the same
file (which on some files give other frames). Prints a table and writes results/benchmarks/decode.json.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import av
import decord
import numpy as np
from tqdm import tqdm

from benchmarks.machine import write_result
from motion_lib.data.datasets import VIDEO_SUFFIXES
from motion_lib.data.video import read_clip, read_frames, sample_indices, seek_hazard

REPEATS = 3


def sequential(path: Path) -> list[np.ndarray]:
    """All frames, decoded from the first on by PyAV alone."""
    with av.open(str(path), metadata_errors="ignore") as container:
        frames = container.decode(container.streams.best("video"))
        return [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in frames]


def milliseconds(function: Callable[[], object]) -> float:
    """The fastest of a few calls."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def with_decord(path: Path) -> tuple[int, np.ndarray]:
    """Frame count and eight frames as decord alone gives them."""
    reader = decord.VideoReader(str(path), num_threads=1)
    return len(reader), reader.get_batch(list(sample_indices(len(reader), 8, "text4vis"))).asnumpy()


def with_torchcodec(path: Path) -> tuple[int, np.ndarray]:
    """Frame count and eight frames as torchcodec alone gives them: it looks through the file first, and is exact."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
    return len(decoder), decoder.get_frames_at(sample_indices(len(decoder), 8, "text4vis").tolist()).data.numpy()


def peer(name: str, read: Callable[[Path], tuple[int, np.ndarray]], path: Path, ours: np.ndarray) -> dict[str, object]:
    """What another reader makes of a file: its frame count, how many of eight frames differ from ours, its time."""
    try:
        count, frames = read(path)
    except ImportError:
        return {f"{name}_not_run": "not installed"}
    except RuntimeError as error:  # decord's errors as well
        return {f"{name}_not_run": str(error).strip().split("\n")[0]}
    same_shape = frames.shape == ours.shape
    other = sum(not (same_shape and np.array_equal(a, b)) for a, b in zip(frames, ours, strict=True))
    ms = milliseconds(lambda: read(path))
    return {f"{name}_counts": count, f"{name}_other_frames_of_8": other, f"ms_{name}": ms}


def row(path: Path, name: str) -> dict[str, object]:
    """One line of the table."""
    expected = sequential(path)
    found = read_clip(path, np.arange)
    equal = sum(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    jumps = np.random.default_rng(0).permutation(len(expected))[:16]
    jumped = all(np.array_equal(a, expected[i]) for a, i in zip(read_frames(path, jumps), jumps, strict=True))
    ours = read_clip(path, lambda n: sample_indices(n, 8, "text4vis"))
    hazard = seek_hazard(path)
    return {
        "clip": name,
        "found_by": "sequence" if hazard else "seek",
        "because": hazard or "",
        "frames": len(expected),
        "equal_to_sequential": equal,
        "equal_after_jumps": jumped,
        "ms": milliseconds(lambda: read_clip(path, lambda n: sample_indices(n, 8, "text4vis"))),
        **peer("decord", with_decord, path, ours),
        **peer("torchcodec", with_torchcodec, path, ours),
    }


def told(line: dict[str, object], name: str) -> str:
    """What a line of the table says of another reader."""
    if f"ms_{name}" not in line:
        return f"{name} not run: {line[f'{name}_not_run']}"
    counted, other, ms = (line[key] for key in (f"{name}_counts", f"{name}_other_frames_of_8", f"ms_{name}"))
    return f"{name} {ms:.0f} ms, counts {counted}, {other} of 8 differ"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=Path, required=True)
    folder = parser.parse_args().videos
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    rows = [row(path, path.relative_to(folder).as_posix()) for path in tqdm(paths, unit="clip")]
    for line in rows:
        print(
            f"{line['found_by']:8} {line['equal_to_sequential']:4}/{line['frames']:<4} equal, "
            f"jumps {line['equal_after_jumps']!s:5}; {line['ms']:6.0f} ms; {told(line, 'decord')}; "
            f"{told(line, 'torchcodec')}  {line['clip'][-50:]}"
        )
    print(write_result("decode", {"clips": rows}))


if __name__ == "__main__":
    main()
