"""Reading frames of a video, and choosing which.

decord is fast and right on h264. On MPEG-4 part 2 in AVI (all of HMDB-51 and UCF-101) it returns
other frames than were asked for after a seek and counts frames that do not exist, so those are
decoded from the start with PyAV: right first, fast second.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np

SAMPLING = ("text4vis", "center")
# Codecs whose frames decord was seen to return exactly, index by index, as a sequential decode does.
_DECORD_CODECS = frozenset({"h264"})


class VideoReadError(RuntimeError):
    """A video that cannot be read.

    Attributes: path: the file.   reason: one sentence.
    """

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = Path(path), reason

    def __reduce__(self):  # survives the way back from a worker process
        return VideoReadError, (self.path, self.reason)


def sample_indices(n: int, T: int, mode: str, rng: np.random.Generator | None = None) -> np.ndarray:
    """Frame indices of T frames out of n.

    Args:
        n: decodable frames.   T: frames wanted.
        mode: "text4vis": start of each of T equal segments, floor(i n / T); with `rng` (training)
            a random frame of each segment, and for n <= T all frames plus random repeats, sorted.
            "center": middle of each segment, floor(i n / T + n / (2 T)); with `rng` a random frame
            of each of T segments of n // T frames (the rest of the video is never drawn), as
            ViFi-CLIP and X-CLIP train.
        rng: None for testing.
    Returns: (T,) int64 in [0, n).   Raises: ValueError for n < 1, T < 1 or an unknown mode.
    Source: released code of Text4Vis (d61b34d) and of X-CLIP / ViFi-CLIP (e2d1948).
    """
    if n < 1 or T < 1:
        raise ValueError(f"cannot sample {T} frames out of {n}; both must be at least 1.")
    if mode not in SAMPLING:
        raise ValueError(f"frame sampling {mode!r}: expected one of {', '.join(SAMPLING)}.")
    steps = np.arange(T)
    if mode == "text4vis":
        return _text4vis_train(n, T, rng) if rng is not None else (steps * n / T).astype(np.int64) % n
    if rng is not None:
        return _center_train(n, T, rng)
    return (steps * (n / T) + n / T / 2).astype(np.int64) % n


def _text4vis_train(n: int, T: int, rng: np.random.Generator) -> np.ndarray:
    if n <= T:
        return np.sort(np.concatenate([np.arange(n), rng.integers(0, n, size=T - n)]))
    ticks = np.arange(T + 1) * n // T
    return rng.integers(ticks[:-1], ticks[1:])


def _center_train(n: int, T: int, rng: np.random.Generator) -> np.ndarray:
    length = n // T
    if length == 0:
        return np.round(np.arange(T) * n / T).astype(np.int64) % n
    return np.arange(T) * length + rng.integers(0, length, size=T)


def read_frames(path: str | Path, indices: Sequence[int] | np.ndarray) -> np.ndarray:
    """The frames of a video at `indices`, exactly as a sequential decode numbers them.

    Returns: (T, H, W, 3) uint8 RGB.
    Raises: VideoReadError if the file cannot be read or an index does not exist.
    """
    wanted = np.asarray(indices, dtype=np.int64)

    def pick(n: int) -> np.ndarray:
        if len(wanted) == 0 or wanted.min() < 0 or wanted.max() >= n:
            raise VideoReadError(path, f"has {n} frames, asked for indices {wanted.tolist()}.")
        return wanted

    return read_clip(path, pick)


def read_clip(path: str | Path, choose: Callable[[int], np.ndarray]) -> np.ndarray:
    """Frames of a video, chosen once its frame count is known, opened a single time.

    Args: choose: number of decodable frames -> indices.
    Returns: (T, H, W, 3) uint8 RGB.   Raises: VideoReadError.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoReadError(path, "no such file.")
    return _read_with_decord(path, choose) if _codec(path) in _DECORD_CODECS else _read_in_sequence(path, choose)


def _open(path: Path) -> av.container.InputContainer:
    try:
        # Some HMDB-51 files carry metadata that is not UTF-8.
        return av.open(str(path), metadata_errors="ignore")
    except (av.FFmpegError, ValueError) as error:
        # strerror: the whole message would name the file, and reasons go into records.
        raise VideoReadError(path, f"not a readable video ({getattr(error, 'strerror', error)}).") from error


def _codec(path: Path) -> str:
    with _open(path) as container:
        if not container.streams.video:
            raise VideoReadError(path, "holds no video stream.")
        return container.streams.video[0].codec_context.name


def _read_with_decord(path: Path, choose: Callable[[int], np.ndarray]) -> np.ndarray:
    import decord  # here, so that everything but decoding works where decord has no wheel

    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        if not len(reader):
            raise VideoReadError(path, "holds no decodable frame.")
        return reader.get_batch(list(choose(len(reader)))).asnumpy()
    except decord.DECORDError as error:
        # decord's lines begin with the time and its own source file.
        reason = re.sub(r"\[[\d:]+\] \S+:\d+: ", "", str(error).strip().splitlines()[0])
        raise VideoReadError(path, f"decord cannot decode it ({reason}).") from error


def _read_in_sequence(path: Path, choose: Callable[[int], np.ndarray]) -> np.ndarray:
    frames = []
    with _open(path) as container:
        try:
            for frame in container.decode(video=0):
                frames.append(frame.to_ndarray(format="rgb24"))
        except av.FFmpegError as error:
            reason = f"decoding stops after {len(frames)} frames ({error.strerror})."
            raise VideoReadError(path, reason) from error
    if not frames:
        raise VideoReadError(path, "holds no decodable frame.")
    return np.stack([frames[i] for i in choose(len(frames))])


def write_video(path: str | Path, frames: np.ndarray, fps: int) -> None:
    """Write (F, H, W, 3) uint8 RGB as h264 in mp4; H and W must be even.

    One thread, and the same frames give the same bytes if W is a multiple of 32; at other widths
    the encodings of the same frames were seen to differ from call to call.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"crf": "18", "preset": "veryfast", "threads": "1"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
