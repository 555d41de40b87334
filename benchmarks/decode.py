"""Every clip of a folder: how its frames are found, whether they are those of a sequential decode, and the time.

    python -m benchmarks.decode --videos FOLDER

Time is that of the eight frames a model asks for in testing, against decord on its own on the same file
(which on some files gives other frames). Prints a table and writes results/benchmarks/decode.json.
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


def row(path: Path, name: str) -> dict[str, object]:
    """One line of the table."""
    expected = sequential(path)
    found = read_clip(path, np.arange)
    equal = sum(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    jumps = np.random.default_rng(0).permutation(len(expected))[:16]
    jumped = all(np.array_equal(a, expected[i]) for a, i in zip(read_frames(path, jumps), jumps, strict=True))
    count, theirs = with_decord(path)
    ours = read_clip(path, lambda n: sample_indices(n, 8, "text4vis"))
    wrong = sum(not np.array_equal(a, b) for a, b in zip(theirs, ours, strict=True))
    hazard = seek_hazard(path)
    return {
        "clip": name,
        "found_by": "sequence" if hazard else "seek",
        "because": hazard or "",
        "frames": len(expected),
        "equal_to_sequential": equal,
        "equal_after_jumps": jumped,
        "decord_counts": count,
        "decord_other_frames_of_8": wrong,
        "ms": milliseconds(lambda: read_clip(path, lambda n: sample_indices(n, 8, "text4vis"))),
        "ms_decord": milliseconds(lambda: with_decord(path)),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--videos", type=Path, required=True)
    folder = parser.parse_args().videos
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    rows = [row(path, path.relative_to(folder).as_posix()) for path in tqdm(paths, unit="clip")]
    for line in rows:
        other = line["decord_other_frames_of_8"]
        print(
            f"{line['found_by']:8} {line['equal_to_sequential']:4}/{line['frames']:<4} equal, "
            f"jumps {line['equal_after_jumps']!s:5}; decord counts {line['decord_counts']:4}, {other} of 8 differ; "
            f"{line['ms']:6.0f} ms, decord {line['ms_decord']:6.0f} ms  {line['clip'][-50:]}"
        )
    print(write_result("decode", {"clips": rows}))


if __name__ == "__main__":
    main()
