"""Reading frames of a video, and choosing which.

A look at the packets, which costs no decoding, lists the times of all frames and the key frames to start from. Every
frame that is decoded must bear the time that the list expects. Where the list is not to be trusted, or another frame
comes out, the video is decoded from the start: right first, fast second. Both ways stop where the file ends.
"""

import errno
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

SAMPLING = ("text4vis", "center")
# FFmpeg's names: what a file is by its first bytes, not by its suffix. With these codecs and key frames 1, 12 and 250
# apart, only these two gave a sequential decode's frames every time (test_frames_of_every_container...). In others a
# seek lands elsewhere (avi, mpegts, asf, nut, mxf), or packets bear no times or others' (raw streams, mpeg).
SEEKABLE_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})
SEEKABLE_CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"})
_LIMIT_SEC = 60  # for one packet: a disk that has gone away, or a demuxer that finds no end
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
    """Frames of a video, chosen once its frame count is known. Damage far from the chosen frames goes unseen.

    Args:
        choose: number of decodable frames -> indices; asked again where the video turns out to need a full decode.

    Returns:
        (T, H, W, 3) uint8 RGB.

    Raises:
        VideoReadError: if the file cannot be read.
        OSError: if the process has too many open files, which is no fault of the video.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoReadError(path, "is no file." if path.exists() else "no such file.")
    with _open(path) as container:
        stream = _video_stream(container, path)
        packets = _packets(stream, path)
        frames = None if _hazard(stream, packets) else _read_by_seeking(stream, packets, path, choose)
    return _read_in_sequence(path, choose) if frames is None else frames


def seek_hazard(path: str | Path) -> str | None:
    """Why frames are not looked for by seeking but decoded in sequence, judged by the packets; None if they are.

    Raises:
        VideoReadError: if the file is no video or ends early.
    """
    with _open(Path(path)) as container:
        stream = _video_stream(container, path)
        return _hazard(stream, _packets(stream, path))


class _Packet(NamedTuple):
    time: int | None
    is_key: bool
    is_odd: bool  # flagged as damaged or not to be shown


def _hazard(stream: av.VideoStream, packets: list[_Packet]) -> str | None:
    container, codec = stream.container.format.name, stream.codec_context.codec.canonical_name
    if container not in SEEKABLE_CONTAINERS or codec not in SEEKABLE_CODECS:
        return f"seeking was not shown to be exact for {codec} in {container}"
    times = [packet.time for packet in packets]
    if None in times or len(set(times)) < len(times):
        return "frames have no times of their own"
    if any(packet.is_odd for packet in packets):
        return "packets are flagged as damaged or not to be shown"
    # A key frame that later packets precede in time cannot be started from.
    first_later = np.minimum.accumulate(times[::-1])[::-1]
    starts = [i for i, packet in enumerate(packets) if packet.is_key]
    if starts[:1] != [0] or any(first_later[i] < times[i] for i in starts):
        return "key frames are no clean starts"
    return None


def _packets(stream: av.VideoStream, path: str | Path, edited: bool = True) -> list[_Packet]:
    """The packets that the container shows, in the file's order; `edited`: by its edit list, if it has one."""
    try:
        every = stream.container.demux(stream)  # the last, empty one only flushes the decoder
        packets = [_Packet(p.pts, p.is_keyframe, p.is_corrupt or p.is_discard) for p in every if p.size]
    except av.FFmpegError as error:
        raise _fault(path, error, "its packets cannot be read ({}).") from error
    # An mp4 announces each frame, shown or not; one that lacks some is a cut-off download. Other headers estimate.
    if "mp4" in stream.container.format.name and 0 < len(packets) < stream.frames:
        if not edited:
            raise VideoReadError(path, f"ends after {len(packets)} of {stream.frames} frames; get it again.")
        with _open(Path(path), ignore_editlist="1") as container:
            _packets(_video_stream(container, path), path, edited=False)
    return packets


def _open(path: Path, **options: str) -> av.container.InputContainer:
    try:
        # Some HMDB-51 files carry metadata that is not UTF-8.
        return av.open(str(path), metadata_errors="ignore", timeout=_LIMIT_SEC, options=options)
    except (av.FFmpegError, ValueError) as error:
        raise _fault(path, error, "not a readable video ({}).") from error


def _fault(path: str | Path, error: Exception, said: str) -> OSError | VideoReadError:
    """Of the video, in a sentence with room for FFmpeg's reason; too many open files are the process's own fault."""
    if getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        return OSError(error.errno, "too many open files: use fewer workers or raise `ulimit -n`", str(path))
    # strerror: the whole message would name the file, and reasons go into records.
    reason = getattr(error, "strerror", None) or str(error)
    is_late = isinstance(error, av.error.ExitError)
    return VideoReadError(path, said.format(f"no answer within {_LIMIT_SEC} s" if is_late else reason))


def _video_stream(container: av.container.InputContainer, path: str | Path) -> av.VideoStream:
    """The stream that FFmpeg's tools show where there are several; the picture on a record's cover is none."""
    stream = container.streams.best("video")
    if stream is None or stream.disposition & av.stream.Disposition.attached_pic:
        raise VideoReadError(path, "holds no video stream.")
    if stream.codec_context is None:
        raise VideoReadError(path, "no decoder for its pictures; convert it to h264.")
    return stream


def _read_by_seeking(
    stream: av.VideoStream, packets: list[_Packet], path: Path, choose: Callable[[int], np.ndarray]
) -> np.ndarray | None:
    """The chosen frames, each decoded from the key frame before it; None if another frame came out than expected."""
    times = sorted(packet.time for packet in packets)
    starts = [i for i, packet in enumerate(packets) if packet.is_key]
    wanted = [int(i) for i in choose(len(packets))]
    pictures, converter, following, frames = dict.fromkeys(wanted), VideoReformatter(), -1, iter(())
    try:
        # The first and the last frame as well: they show that the packets number the frames.
        for i in sorted({0, *wanted, len(packets) - 1}):
            start = starts[bisect_right(starts, i) - 1]
            if start > following:
                stream.container.seek(times[start], stream=stream)
                frames, following = stream.container.decode(stream), start
            for number in range(following, i + 1):  # clean starts have one number, in the file's order and in time
                frame = next(frames, None)
                if frame is None or frame.pts != times[number] or frame.is_corrupt:
                    return None
                if packets[number].is_key and not frame.key_frame:
                    return None
            following = i + 1
            if i in pictures:
                pictures[i] = _picture(frame, converter)
    except av.FFmpegError:
        return None  # a decode from the start can read it, or says what is wrong
    return _stacked(path, pictures, wanted)


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
            raise _fault(path, error, f"decoding stops after {count} frames ({{}}).") from error


def _picture(frame: av.VideoFrame, converter: VideoReformatter) -> np.ndarray:
    """(H, W, 3) uint8, turned the way that the file's metadata asks for; one converter does for all frames."""
    # Left to itself FFmpeg starts a thread a core for every frame, at several times the cost of converting it.
    return np.rot90(converter.reformat(frame, format="rgb24", threads=1).to_ndarray(), frame.rotation // 90)


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
    needed, converter, frames = set(wanted), VideoReformatter(), kept if size <= _KEPT_BYTES else _decoded(path)
    pictures = {i: _picture(frame, converter) for i, frame in enumerate(frames) if i in needed}
    return _stacked(path, pictures, wanted)


def _stacked(path: Path, pictures: dict[int, np.ndarray], wanted: list[int]) -> np.ndarray:
    if len({picture.shape for picture in pictures.values()}) > 1:
        raise VideoReadError(path, "the size of its frames changes.")
    return np.stack([pictures[i] for i in wanted])


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
