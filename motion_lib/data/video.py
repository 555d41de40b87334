"""Reading frames of a video, and choosing which.

decord is fast, and right where a standard fixes every pixel and the file's packets say what they are. Elsewhere it was
seen to return other frames or pixels than were asked for. So a look at the packets, which costs no decoding, decides
for each file; what decord cannot be trusted with is decoded from the start with PyAV: right first, fast second.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import numpy as np

SAMPLING = ("text4vis", "center")
# Their standards fix the decoded pixels bit by bit, so that any two decoders agree. MPEG-4 part 2 (UCF-101,
# HMDB-51) and VP6 leave the inverse transform to the decoder.
_BIT_EXACT = frozenset({"h264", "hevc", "vp8", "vp9"})
_EIGHT_BIT = frozenset({"yuv420p", "yuvj420p"})  # decord 0.6.0 garbles 10-bit pictures
_NO_FAULT = 1e-9  # decord's fault_tol: any recovered frame is an error (0 would mean any number)
_KEPT_BYTES = 512 * 2**20  # of decoded pictures held before the frame count is known


class VideoReadError(RuntimeError):
    """A video that cannot be read.

    Attributes:
        path: the file.
        reason: one sentence.
    """

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = Path(path), reason

    def __reduce__(self):  # survives the way back from a worker process
        return VideoReadError, (self.path, self.reason)


def sample_indices(n: int, T: int, mode: str, rng: np.random.Generator | None = None) -> np.ndarray:
    """Indices of T frames, sampled uniformly out of n (paper A.2).

    Source: released code of Text4Vis (d61b34d) and of X-CLIP / ViFi-CLIP (e2d1948).

    Args:
        n: decodable frames of the video.
        T: frames that are sampled.
        mode: "text4vis": start of each of T equal segments, floor(i n / T); with `rng` (training)
            a random frame of each segment, and for n <= T all frames plus random repeats, sorted.
            "center": middle of each segment, floor(i n / T + n / (2 T)); with `rng` a random frame
            of each of T segments of n // T frames; the rest of the video is never drawn.
        rng: None for testing.

    Returns:
        (T,) int64 in [0, n).

    Raises:
        ValueError: for n < 1, T < 1 or an unknown mode.
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

    Returns:
        (T, H, W, 3) uint8 RGB.

    Raises:
        VideoReadError: if the file cannot be read or an index does not exist.
    """
    indices = np.asarray(indices, dtype=np.int64)

    def checked(n: int) -> np.ndarray:
        if len(indices) == 0 or indices.min() < 0 or indices.max() >= n:
            raise VideoReadError(path, f"has {n} frames, asked for indices {indices.tolist()}.")
        return indices

    return read_clip(path, checked)


def read_clip(path: str | Path, choose: Callable[[int], np.ndarray]) -> np.ndarray:
    """Frames of a video, chosen once its frame count is known, opened a single time.

    Args:
        choose: number of decodable frames -> indices.

    Returns:
        (T, H, W, 3) uint8 RGB.

    Raises:
        VideoReadError: if the file cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoReadError(path, "no such file.")
    if seek_hazard(path) is None:
        frames = _read_with_decord(path, choose)
        if frames is not None:
            return frames
    return _read_in_sequence(path, choose)


def seek_hazard(path: str | Path) -> str | None:
    """Why decord may return other frames than a sequential decode does, judged by the packets; None if it may not.

    Raises:
        VideoReadError: if the file is no video or ends early.
    """
    with _open(Path(path)) as container:
        stream = _video_stream(container, path)
        codec, pixels, announced = stream.codec_context.name, stream.codec_context.pix_fmt, stream.frames
        try:
            packets = [p for p in container.demux(stream) if p.size]  # the last, empty one only flushes the decoder
        except av.FFmpegError as error:
            raise VideoReadError(path, f"its packets cannot be read ({error.strerror}).") from error
        # An mp4 lists each of its frames; a shorter file is a cut-off download. Other headers only estimate.
        if "mp4" in container.format.name and 0 < len(packets) < announced:
            raise VideoReadError(path, f"ends after {len(packets)} of {announced} frames; get it again.")
    if codec not in _BIT_EXACT:
        return f"decord is not exact for {codec}"
    if pixels not in _EIGHT_BIT:
        return f"pixels are {pixels}"
    times = [packet.pts for packet in packets]
    if None in times or len(set(times)) < len(times):
        return "frames have no times of their own"
    if any(packet.is_corrupt or packet.is_discard for packet in packets):
        return "packets are flagged as damaged or not to be shown"
    # A key frame that later packets precede in time cannot be started from.
    first_later = np.minimum.accumulate(times[::-1])[::-1]
    starts = [i for i, packet in enumerate(packets) if packet.is_keyframe]
    if not packets or starts[:1] != [0] or any(first_later[i] < times[i] for i in starts):
        return "key frames are no clean starts"
    return None


def _open(path: Path) -> av.container.InputContainer:
    try:
        # Some HMDB-51 files carry metadata that is not UTF-8.
        return av.open(str(path), metadata_errors="ignore")
    except (av.FFmpegError, ValueError) as error:
        # strerror: the whole message would name the file, and reasons go into records.
        raise VideoReadError(path, f"not a readable video ({getattr(error, 'strerror', error)}).") from error


def _video_stream(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    """The stream that FFmpeg's tools and decord show where there are several."""
    stream = container.streams.best("video")
    if stream is None:
        raise VideoReadError(path, "holds no video stream.")
    return stream


def _read_with_decord(path: Path, choose: Callable[[int], np.ndarray]) -> np.ndarray | None:
    """Frames by decord, or None if it fails or had to repeat a frame."""
    try:
        import decord
    except ImportError:  # no wheel for this machine: PyAV reads everything, more slowly
        return None
    try:
        reader = decord.VideoReader(str(path), num_threads=1, fault_tol=_NO_FAULT)
        # decord counts packets; asking for the last frame as well shows that each of them is a frame.
        return reader.get_batch([*choose(len(reader)), len(reader) - 1]).asnumpy()[:-1]
    except VideoReadError:  # an index that does not exist
        raise
    except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError):
        return None  # PyAV can read it, or says what is wrong


def _decoded(path: Path) -> Iterator[av.VideoFrame]:
    """All frames from the first on."""
    count = 0
    with _open(path) as container:
        try:
            for frame in container.decode(_video_stream(container, path)):
                if frame.is_corrupt:
                    raise VideoReadError(path, f"frame {count} is damaged.")
                yield frame
                count += 1
        except av.FFmpegError as error:
            raise VideoReadError(path, f"decoding stops after {count} frames ({error.strerror}).") from error


def _picture(frame: av.VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8, turned the way that the file's metadata asks for."""
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def _read_in_sequence(path: Path, choose: Callable[[int], np.ndarray]) -> np.ndarray:
    # Only decoding tells how many frames there are, and most are not asked for: the decoder's own pictures,
    # half the size of RGB, wait until they are chosen. A film too long for that is decoded twice.
    kept, count, size = [], 0, 0
    for frame in _decoded(path):
        count += 1
        size += frame.width * frame.height * 3 // 2
        if size <= _KEPT_BYTES:
            kept.append(frame)
        else:
            kept.clear()
    if not count:
        raise VideoReadError(path, "holds no decodable frame.")
    wanted = [int(i) for i in choose(count)]
    needed = set(wanted)
    pictures = {i: _picture(f) for i, f in enumerate(kept if size <= _KEPT_BYTES else _decoded(path)) if i in needed}
    if len({picture.shape for picture in pictures.values()}) > 1:
        raise VideoReadError(path, "the size of its frames changes.")
    return np.stack([pictures[i] for i in wanted])


def frame_rate(path: str | Path) -> float:
    """Frames per second, 25 where the file does not say.

    Raises:
        VideoReadError: if the file is no video.
    """
    with _open(Path(path)) as container:
        return float(_video_stream(container, path).average_rate or 25)


def write_video(path: str | Path, frames: np.ndarray, fps: int) -> None:
    """Write (F, H, W, 3) uint8 RGB as h264 in mp4; H and W must be even.

    The same frames give the same bytes: one thread, and no macroblock tree, whose vector code in x264 reads memory
    that it did not write where pictures are small.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"crf": "18", "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
