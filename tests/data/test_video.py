"""Frame-accurate reading and the sampling formulas."""

import contextlib
import csv
import errno
import os
import pickle
import re
import resource
from fractions import Fraction
from pathlib import Path

import av
import golden
import numpy as np
import pytest
import tiny

from motion_lib.data import video as module
from motion_lib.data.video import (
    VideoReadError,
    read_clip,
    read_frames,
    sample_indices,
    seek_hazard,
    write_video,
)

LONG = 280  # frames: more than one group of pictures (x264 starts one every 250), so that a seek has to jump

# The clips of shared_dir/data/videos, by data set folder.
CLIP_FOLDERS = ("hmdb51", "kinetics400", "other", "ucf101", "ucf101_like", "ucf101_reencoded")

# What becomes of every file of shared_dir/data/odd: (way of reading, frames, height, width), turned by its metadata ...
READABLE = {
    "-video-with-dash-.mp4": ("seek", 5, 1, 1),
    "decord_unordered.mov": ("seek", 4, 50, 50),
    "decord_video_0.mov": ("seek", 3, 320, 568),
    "decord_video_180.mov": ("seek", 3, 320, 568),
    "decord_video_270.mov": ("seek", 3, 568, 320),
    "derived/vfr_SOX5yA1l24A.mp4": ("seek", 206, 256, 340),
    "hmdb_stabilized_climb_stairs.avi": ("sequence", 74, 288, 516),  # its header says 75
    "moviepy_big_buck_bunny_432_433.webm": ("seek", 24, 720, 1280),
    "moviepy_clip1024.flv": ("sequence", 174, 80, 112),
    "moviepy_smpte-2997.mp4": ("seek", 251, 1080, 1920),
    "moviepy_transparent.webm": ("seek", 150, 200, 200),
    "moviepy_video_with_failing_audio.mp4": ("seek", 280, 360, 640),
    "mp4parse_bbb_sunflower_QCIF_30fps_hevc_noaudio_1f.mp4": ("seek", 1, 144, 176),
    "mp4parse_bbb_sunflower_QCIF_30fps_mp4v_noaudio_1f.mp4": ("seek", 1, 144, 176),
    "mp4parse_h264_white_frame_sar_16_9.mp4": ("seek", 1, 480, 640),
    "mp4parse_hevc_white_frame.mp4": ("seek", 1, 480, 640),
    "mp4parse_minimal.mp4": ("seek", 1, 240, 320),
    "mp4parse_tiny_av1.mp4": ("seek", 1, 64, 64),
    "mp4parse_video_rotation_90.mp4": ("seek", 1, 100, 60),
    "raw_m4v_named_mp4/v_Basketball_g01_c02.mp4": ("sequence", 180, 256, 340),  # a raw stream
    "torchcodec_av1_video.mkv": ("seek", 125, 360, 640),
    "torchcodec_bt709_full_range.mp4": ("seek", 30, 720, 1280),
    "torchcodec_h265_10bits.mp4": ("seek", 30, 200, 200),
    "torchcodec_h265_video.mp4": ("sequence", 10, 128, 128),  # open groups of pictures
    "torchcodec_nasa_13013.mp4": ("seek", 390, 270, 480),  # the larger of two video streams
}
# ... or part of the reason why it cannot be read.
UNREADABLE = {
    "decord_corrupted.mp4": "decoding stops after 28 frames",
    "derived/html_error_page.mp4": "not a readable video",
    "derived/truncated_1kB_v_SoccerJuggling_g23_c01.avi": "not a readable video",
    "derived/truncated_95pct_WUzgd7C1pWA.mp4": "not a readable video",
    "derived/truncated_half_WUzgd7C1pWA.mp4": "not a readable video",
    "derived/zero_byte.avi": "not a readable video",
    "moviepy_result.webm": "not a readable video",
    "mp4parse_bipbop_nonfragment_header.mp4": "holds no decodable frame",
    "mp4parse_chunk_out_of_range.mp4": "not a readable video",
    "mp4parse_invalid_userdata.mp4": "holds no decodable frame",
    "mp4parse_short-cenc.mp4": "decoding stops after 0 frames",  # encrypted
    "mp4parse_sine-3s-xhe-aac-44khz-mono.mp4": "holds no video stream",
    "mp4parse_small.mp4": "ends after 2 of 297 frames",
    "torchcodec_nasa_13013.mp4.audio.mp3": "holds no video stream",
}


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    return tiny.write_numbered(tmp_path_factory.mktemp("videos") / "numbered.mp4", LONG)


@pytest.fixture(scope="module")
def numbered_avi(tmp_path_factory):
    """The same frames as MPEG-4 part 2 with B-frames in AVI: what HMDB-51 and UCF-101 are made of."""
    path = tmp_path_factory.mktemp("videos") / "numbered.avi"
    encode(path, "mpeg4", tiny.numbered_frames(LONG), max_b_frames=2, qmax=3)
    return path


def encode(path, codec, frames, container_format=None, **settings):
    with av.open(str(path), "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def decode_in_sequence(path, only=None):
    """The frames from the first on by PyAV alone, as the metadata turns them; None for those that `only` leaves out."""
    with av.open(str(path), metadata_errors="ignore") as container:
        for i, frame in enumerate(container.decode(container.streams.best("video"))):
            wanted = only is None or i in only
            yield np.rot90(frame.to_ndarray(format="rgb24", threads=1), frame.rotation // 90) if wanted else None


def assert_equals_a_sequential_decode(path, count, found):
    """`found`: index -> picture."""
    decoded = wrong = 0
    for i, picture in enumerate(decode_in_sequence(path, only=found)):
        decoded += 1
        wrong += i in found and not np.array_equal(found[i], picture)
    assert (decoded, wrong) == (count, 0), f"{path.name}: {decoded} frames of {count}, {wrong} of {len(found)} differ"


@pytest.fixture
def sequential_reads(monkeypatch):
    """The paths of the videos that were decoded in sequence, as they come."""
    seen, plain = [], module._read_in_sequence
    monkeypatch.setattr(module, "_read_in_sequence", lambda path, choose: (seen.append(path), plain(path, choose))[1])
    return seen


# --- synthetic videos ---


@pytest.mark.parametrize("video", ["numbered", "numbered_avi"])
@pytest.mark.parametrize(
    "indices",
    [
        [0],
        [LONG - 1],
        list(range(LONG)),
        [279, 3, 255, 3, 249, 250, 251, 0],  # backwards, twice, around a key frame
        np.array([5, 5, 5]),
    ],
    ids=["first", "last", "all", "jumping", "repeated"],
)
def test_frames_are_the_ones_asked_for(request, video, indices):
    found = read_frames(request.getfixturevalue(video), indices)
    assert found.dtype == np.uint8
    assert found.shape == (len(indices), 32, 32, 3)
    assert tiny.read_numbers(found) == list(indices)


def test_numbers_of_other_frames_are_told_apart(numbered):
    assert tiny.read_numbers(read_frames(numbered, [9])) != [10]


def test_random_access_equals_sequential(numbered):
    every = read_frames(numbered, range(LONG))
    order = np.random.default_rng(0).permutation(LONG)[:40]
    np.testing.assert_array_equal(read_frames(numbered, order), every[order])


def test_written_video_is_repeatable(tmp_path):
    frames = tiny.numbered_frames(5)
    write_video(tmp_path / "a.mp4", frames, fps=25)
    write_video(tmp_path / "deep" / "b.mp4", frames, fps=25)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "deep" / "b.mp4").read_bytes()


def test_read_clip_is_told_the_frame_count(numbered):
    seen = []

    def middle(n):
        seen.append(n)
        return np.array([n // 2])

    assert tiny.read_numbers(read_clip(numbered, middle)) == [LONG // 2]
    assert seen == [LONG]


# --- what cannot be read ---


def broken_file(folder, kind, good):
    """A file that looks like a video and is none."""
    path, content = folder / f"{kind}.mp4", good.read_bytes()
    start = content.index(b"mdat") + 4  # of the pictures
    contents = {
        "empty": b"",
        "text": b"<html>404 Not Found</html>",
        "truncated": content[: len(content) // 2],
        "overwritten": content[:start] + bytes(2000) + content[start + 2000 :],
    }
    if kind == "audio":
        write_sound(path)
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(contents[kind])
    return path


def write_sound(path, cover=False):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            picture.height, picture.width, picture.pix_fmt = 16, 16, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            white = av.VideoFrame.from_ndarray(np.full((16, 16, 3), 255, np.uint8), format="rgb24")
            container.mux(picture.encode(white))
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("empty", "not a readable video"),
        ("text", "not a readable video"),
        ("truncated", "not a readable video"),
        ("overwritten", "decoding stops after"),
        ("missing", "no such file"),
        ("folder", "is no file"),
        ("audio", "holds no video stream"),
    ],
)
def test_broken_file_is_named_with_its_reason(tmp_path, numbered, kind, reason):
    path = broken_file(tmp_path, kind, numbered)
    with pytest.raises(VideoReadError, match=re.escape(str(path))) as caught:
        read_frames(path, [0])
    assert caught.value.path == path
    assert reason in caught.value.reason
    assert "\n" not in caught.value.reason


def test_broken_avi_is_named_with_its_reason(tmp_path, numbered_avi):
    content = numbered_avi.read_bytes()
    path = tmp_path / "no_frames.avi"
    path.write_bytes(content[: content.index(b"movi") + 4])  # the header alone
    with pytest.raises(VideoReadError, match=r"holds no decodable frame|not a readable video"):
        read_frames(path, [0])


@pytest.mark.parametrize("indices", [[LONG], [-1], [0, 1000], []])
@pytest.mark.parametrize("video", ["numbered", "numbered_avi"])
def test_index_that_does_not_exist_is_an_error(request, video, indices):
    with pytest.raises(VideoReadError, match=f"has {LONG} frames, asked for"):
        read_frames(request.getfixturevalue(video), indices)


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(VideoReadError("folder/clip.avi", "holds no decodable frame.")))
    assert isinstance(error, VideoReadError)
    assert (error.path.name, error.reason) == ("clip.avi", "holds no decodable frame.")
    assert str(error) == "folder/clip.avi: holds no decodable frame."


# --- odd files ---


@pytest.fixture
def odd(shared_dir):
    folder = shared_dir / "data" / "odd"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.mark.data
def test_every_odd_file_has_an_expected_outcome(odd):
    found = {path.relative_to(odd).as_posix() for path in odd.rglob("*") if path.is_file()}
    assert found == {*READABLE, *UNREADABLE}


@pytest.mark.data
@pytest.mark.parametrize("name", UNREADABLE)
def test_odd_file_is_reported(odd, name):
    with pytest.raises(VideoReadError, match=UNREADABLE[name]) as caught:
        read_clip(odd / name, np.arange)
    assert caught.value.path == odd / name


@pytest.mark.data
@pytest.mark.parametrize("name", READABLE)
def test_odd_file_is_read_frame_by_frame(odd, sequential_reads, name):
    reader, count, *size = READABLE[name]
    seen, indices = [], np.random.default_rng(0).permutation(count)[:5]
    found = read_clip(odd / name, lambda n: seen.append(n) or indices)
    assert list(found.shape[1:3]) == size
    assert_equals_a_sequential_decode(odd / name, seen[-1], dict(zip(indices, found, strict=True)))
    assert ("sequence" if seek_hazard(odd / name) else "seek") == reader
    assert bool(sequential_reads) == (reader == "sequence")


# --- real clips ---


def real_clips(shared_dir, folder):
    """(path, frames that a sequential PyAV decode gives) of every clip of one data set."""
    manifest = shared_dir / "data" / "MANIFEST.tsv"
    if not manifest.is_file():
        pytest.skip(f"{manifest} is absent")
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        (manifest.parent / row["file"], int(row["frames_decoded_pyav"]))
        for row in rows
        if row["file"].startswith(f"videos/{folder}/")
    ]


@pytest.mark.data
@pytest.mark.parametrize("folder", CLIP_FOLDERS)
def test_real_clips_equal_a_sequential_decode(shared_dir, folder):
    """A quarter of the frames in no order, so that nearly every key frame is sought."""
    clips = real_clips(shared_dir, folder)
    assert clips
    for path, count in clips:
        order = np.random.default_rng(0).permutation(count)[: count // 4 + 1]
        counts = []
        found = read_clip(path, lambda n: counts.append(n) or order)  # noqa: B023
        assert counts[-1] == count, path.name
        assert_equals_a_sequential_decode(path, count, dict(zip(order, found, strict=True)))


# --- how frames are found ---

# Container -> the encoders whose pictures it holds.
H264, H265, MPEG4, MPEG2, MPEG1 = "libx264", "libx265", "mpeg4", "mpeg2video", "mpeg1video"
VP8, VP9, AV1 = "libvpx", "libvpx-vp9", "libsvtav1"
CONTAINERS = {
    "mp4": (H264, H265, MPEG4, MPEG2, MPEG1, "mjpeg", VP9, AV1),
    "mov": (H264, H265, MPEG4, MPEG2, MPEG1, "mjpeg"),
    "3gp": (H264, MPEG4),
    "matroska": (H264, H265, MPEG4, MPEG2, MPEG1, "mjpeg", VP8, VP9, AV1),
    "webm": (VP8, VP9, AV1),
    "avi": (H264, MPEG4, MPEG2, "mjpeg", VP8, AV1, "msmpeg4", "wmv2"),
    "mpegts": (H264, H265, MPEG4, MPEG2),
    "flv": (H264, H265, VP9, AV1, "flv"),
    "mpeg": (H264, H265, MPEG4, MPEG2, MPEG1),
    "asf": (H264, MPEG4, MPEG2, "msmpeg4", "wmv2"),
    "ogg": (VP8,),
    "nut": (H264, H265, MPEG4, MPEG2, VP8, VP9),
    "mxf": (H264, MPEG2),
}
SOUGHT = ("mp4", "mov", "3gp", "matroska", "webm")
QUIET = {H265: {"x265-params": "log-level=none:open-gop=0"}, AV1: {"preset": "12"}}
NO_B_FRAMES = ("mjpeg", "flv", "msmpeg4", "wmv2")


def grouped(codec, container, key_every, b_frames, folder):
    """60 numbered frames, `key_every` at most from one key frame to the next, under a name that says nothing."""
    path = folder / f"{key_every}_{b_frames}.mp4"
    options = {"g": str(key_every), "deadline": "realtime", "cpu-used": "8"} | QUIET.get(codec, {})
    if b_frames:
        options["bf"] = "2"
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encode(path, codec, tiny.numbered_frames(60), container, options=options, pix_fmt=pixels)
    return path


@pytest.mark.parametrize(("container", "codec"), [(name, codec) for name, held in CONTAINERS.items() for codec in held])
def test_frames_of_every_container_are_those_of_a_sequential_decode(
    tmp_path, monkeypatch, sequential_reads, container, codec
):
    """Why some containers are sought in, and others not."""
    name, jumps = av.Codec(codec, "w").canonical_name, np.random.default_rng(0).permutation(60)[:8]
    for key_every, b_frames in [(1, False), (12, False), (12, True), (250, False), (250, True)]:
        if b_frames and codec in NO_B_FRAMES:
            continue
        path = grouped(codec, container, key_every, b_frames, tmp_path)
        every = list(decode_in_sequence(path))
        expected = [every[i] for i in jumps]
        assert len(every) == 60
        hazard = seek_hazard(path)
        if container not in SOUGHT:
            assert f"not shown to be exact for {name} in " in hazard
        elif not (b_frames and codec in (MPEG4, MPEG2, MPEG1)):  # whose groups of pictures are open then
            assert hazard is None
        sequential_reads.clear()
        np.testing.assert_array_equal(read_frames(path, jumps), expected)
        assert bool(sequential_reads) == bool(hazard)  # where it may be sought, no seek fails
        if container == "mpeg":  # whose packets bear times of other frames: nothing would tell
            continue
        with monkeypatch.context() as patch:  # elsewhere a seek that fails is noticed
            patch.setattr(module, "SEEKABLE_CONTAINERS", {av.open(str(path)).format.name})
            patch.setattr(module, "SEEKABLE_CODECS", {name})
            np.testing.assert_array_equal(read_frames(path, jumps), expected)


def test_a_sound_file_is_read_by_seeking(numbered, sequential_reads):
    assert seek_hazard(numbered) is None
    assert tiny.read_numbers(read_frames(numbered, [250, 3])) == [250, 3]
    assert not sequential_reads


OPEN_GROUPS = {"x264-params": "open-gop=1:keyint=20:scenecut=0:b-adapt=0"}


@pytest.mark.parametrize(
    ("suffix", "codec", "options", "hazard"),
    [
        ("avi", "mpeg4", {}, "not shown to be exact for mpeg4 in avi"),
        ("mkv", "ffv1", {}, "not shown to be exact for ffv1 in matroska"),
        ("mkv", "libx264", OPEN_GROUPS, "no clean starts"),
    ],
    ids=["container", "codec", "open groups"],
)
def test_what_seeking_may_get_wrong_is_decoded_in_sequence(tmp_path, monkeypatch, suffix, codec, options, hazard):
    path = tmp_path / f"clip.{suffix}"
    encode(path, codec, tiny.numbered_frames(100), options=options)
    assert hazard in seek_hazard(path)
    monkeypatch.setattr(module, "_read_by_seeking", None)
    assert tiny.read_numbers(read_frames(path, [77, 3, 40])) == [77, 3, 40]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_key_frames_that_show_nothing_yet_are_noticed(tmp_path, sequential_reads, suffix):
    """Intra refresh: what is flagged as a key frame is the begin of a wave of intra blocks. No packet tells."""
    path = tmp_path / f"clip.{suffix}"
    refresh = {"bf": "0", "x264-params": "intra-refresh=1:keyint=20:scenecut=0"}
    encode(path, "libx264", tiny.numbered_frames(100, 128), options=refresh)
    assert seek_hazard(path) is None
    assert tiny.read_numbers(read_frames(path, [77, 3, 40])) == [77, 3, 40]
    assert sequential_reads == [path]


def test_flags_that_call_every_frame_a_key_frame_are_noticed(tmp_path, sequential_reads):
    path = tmp_path / "clip.mp4"
    encode(path, "mpeg4", tiny.numbered_frames(100), options={"g": "50"}, qmax=3)
    path.write_bytes(path.read_bytes().replace(b"stss", b"free"))  # the list of key frames: without it, all are
    assert seek_hazard(path) is None
    assert tiny.read_numbers(read_frames(path, [77, 3, 40])) == [77, 3, 40]
    assert sequential_reads == [path]


def at_times(path, container, times, time_base):
    """The numbered frames at these times."""
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream("libx264", rate=25, options={"g": "12", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        for picture, time in zip(tiny.numbered_frames(len(times)), times, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("container", "times", "per_second"),
    [
        ("mp4", 2**31 + np.arange(80) * 3600, 90000),
        ("mp4", 2**40 + np.arange(80) * 3600, 90000),
        ("mpegts", 2**31 + np.arange(80) * 3600, 90000),
        ("matroska", 2**31 - 1600 + np.arange(80) * 40, 1000),
        ("matroska", np.arange(80) * 40 + (np.arange(80) > 40) * 2**32, 1000),
        ("matroska", (np.arange(80) - 40) * 40, 1000),
        ("mp4", np.arange(80) ** 2 * 100, 90000),
    ],
    ids=["above 31 bits", "above 32 bits", "above 31 bits, ts", "across 31 bits", "gap", "negative", "uneven"],
)
def test_any_times_lead_to_their_frames(tmp_path, container, times, per_second):
    path = at_times(tmp_path / "clip.mp4", container, times.tolist(), Fraction(1, per_second))
    assert tiny.read_numbers(read_frames(path, [79, 0, 41, 40, 66])) == [79, 0, 41, 40, 66]


def test_a_failed_seek_falls_back(numbered, monkeypatch):
    monkeypatch.setattr(module, "_read_by_seeking", lambda *_: None)
    assert tiny.read_numbers(read_frames(numbered, [251, 7])) == [251, 7]


def test_a_film_too_long_to_be_held_is_decoded_twice(numbered_avi, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_BYTES", 10 * 32 * 32)
    assert tiny.read_numbers(read_frames(numbered_avi, [251, 7, 251])) == [251, 7, 251]


@pytest.mark.parametrize("video", ["numbered", "numbered_avi"])
def test_no_wait_is_without_a_limit(request, video, monkeypatch):
    path = request.getfixturevalue(video)
    monkeypatch.setattr(module, "_LIMIT_SEC", 1e-9)
    with pytest.raises(VideoReadError, match="no answer within 1e-09 s"):
        read_frames(path, [0])


# --- what a file holds and what it shows ---


def edit(path, start, duration):
    """Let the edit list show `duration` milliseconds from `start` seconds on."""
    content = bytearray(path.read_bytes())
    i = content.index(b"elst") + 12  # one entry: duration, then the time in the media
    time = int.from_bytes(content[i + 4 : i + 8], "big") + int(start * 90000)
    content[i : i + 8] = duration.to_bytes(4, "big") + time.to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("start", "duration", "first", "last"),
    [(0, 2000, 0, 49), (1, 2200, 25, 79), (0.96, 1000, 24, 48), (1.5, 600, 37, 52)],
    ids=["end", "start", "at a key frame", "both"],
)
def test_an_edit_list_is_followed(tmp_path, start, duration, first, last):
    path = at_times(tmp_path / "clip.mp4", "mp4", [i * 3600 for i in range(80)], Fraction(1, 90000))
    edit(path, start, duration)
    shown = tiny.read_numbers(np.stack(list(decode_in_sequence(path))))
    assert abs(shown[0] - first) <= 1
    assert abs(shown[-1] - last) <= 1
    assert tiny.read_numbers(read_clip(path, np.arange)) == shown
    assert tiny.read_numbers(read_frames(path, [5, 2])) == [shown[5], shown[2]]


@pytest.mark.parametrize("edited", [False, True])
def test_a_cut_off_download_is_not_taken_for_a_short_video(tmp_path, edited):
    """An index at the front leaves the first half playable."""
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8)
    with av.open(str(whole), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "5"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for picture in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    if edited:
        edit(whole, 0, 1200)
    assert len(read_clip(whole, np.arange)) == (30 if edited else 40)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(VideoReadError, match=r"ends after \d+ of 40 frames; get it again"):
        read_frames(cut, [0])


def test_the_cover_of_a_record_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    write_sound(path, cover=True)
    with pytest.raises(VideoReadError, match="holds no video stream"):
        read_frames(path, [0])


def test_a_codec_that_nobody_knows_is_named(tmp_path, numbered):
    path = tmp_path / "clip.mp4"
    path.write_bytes(numbered.read_bytes().replace(b"avc1" + bytes(6), b"none" + bytes(6)))
    with pytest.raises(VideoReadError, match="no decoder for its pictures"):
        read_frames(path, [0])


# --- sampling formulas ---


def parse(key):
    return [int(part.split("=")[1]) for part in key.split(",")]


@pytest.mark.parametrize(
    ("mode", "entry", "first"),
    [
        ("text4vis", "text4vis_val_indices_1based", 1),
        ("center", "xclip_vifi_test_indices_0based", 0),
    ],
)
def test_golden_test_indices(mode, entry, first):
    table = golden.read()["extras"][entry]
    assert len(table) >= 30
    for key, expected in table.items():
        assert (sample_indices(*parse(key), mode) + first).tolist() == expected, key


def test_golden_train_indices_of_center_without_randomness():
    """For n < T the formula draws nothing, so any seed must give the reference."""
    table = golden.read()["extras"]["xclip_vifi_train_indices_0based_np_seed0"]
    short = {key: expected for key, expected in table.items() if parse(key)[0] < parse(key)[1]}
    assert short
    for key, expected in short.items():
        assert sample_indices(*parse(key), "center", np.random.default_rng(5)).tolist() == expected, key


@pytest.mark.parametrize(
    ("mode", "entry", "first"),
    [
        ("text4vis", "text4vis_train_indices_1based_np_seed0", 1),
        ("center", "xclip_vifi_train_indices_0based_np_seed0", 0),
    ],
)
def test_golden_train_indices_obey_our_segments(mode, entry, first):
    """Their random draws lie in the segments that ours are drawn from."""
    for key, indices in golden.read()["extras"][entry].items():
        n, T = parse(key)
        if n > T:
            assert in_segments(np.array(indices) - first, n, T, mode), key


def in_segments(indices, n, T, mode):
    """Whether index i lies in segment i: [floor(i n / T), floor((i + 1) n / T)), or T times n // T frames."""
    edges = np.arange(T + 1) * n // T if mode == "text4vis" else np.arange(T + 1) * (n // T)
    return bool(np.all((edges[:-1] <= indices) & (indices < edges[1:])))


@pytest.mark.parametrize("mode", ["text4vis", "center"])
@pytest.mark.parametrize(("n", "T"), [(9, 8), (29, 8), (100, 16), (163, 32)])
def test_training_draws_every_frame_of_a_segment_and_no_other(mode, n, T):
    rng = np.random.default_rng(0)
    drawn = [sample_indices(n, T, mode, rng) for _ in range(300)]
    assert all(in_segments(indices, n, T, mode) for indices in drawn)
    reachable = n if mode == "text4vis" else n // T * T
    assert set(np.concatenate(drawn).tolist()) == set(range(reachable))


def test_segments_tell_the_two_formulas_apart():
    assert not in_segments(sample_indices(31, 8, "text4vis"), 31, 8, "center")


@pytest.mark.parametrize(("n", "T"), [(1, 8), (3, 8), (8, 8)])
def test_text4vis_training_repeats_frames_of_a_short_video(n, T):
    indices = sample_indices(n, T, "text4vis", np.random.default_rng(0))
    assert len(indices) == T
    assert set(indices.tolist()) == set(range(n))
    assert indices.tolist() == sorted(indices.tolist())


@pytest.mark.parametrize("mode", ["text4vis", "center"])
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 300])
@pytest.mark.parametrize("T", [1, 8, 10])
@pytest.mark.parametrize("train", [False, True])
def test_indices_are_always_frames(mode, n, T, train):
    indices = sample_indices(n, T, mode, np.random.default_rng(0) if train else None)
    assert indices.shape == (T,)
    assert indices.dtype == np.int64
    assert indices.min() >= 0
    assert indices.max() < n


@pytest.mark.parametrize(
    ("n", "T", "mode", "message"),
    [
        (0, 8, "text4vis", "cannot sample 8 frames out of 0"),
        (8, 0, "center", "at least 1"),
        (8, 8, "centre", "'centre': expected one of text4vis, center"),
    ],
)
def test_impossible_sampling_is_an_error(n, T, mode, message):
    with pytest.raises(ValueError, match=message):
        sample_indices(n, T, mode)


def test_too_many_open_files_are_no_fault_of_the_video(tmp_path):
    """Counted as unreadable, a night's videos would be lost one by one."""
    path, held = tmp_path / "clip.mp4", []
    write_video(path, np.zeros((8, 16, 16, 3), dtype=np.uint8), 8)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 8, before[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(OSError, match="ulimit -n") as caught:
            read_frames(path, [0])
    finally:
        for file in held:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (caught.value.errno, caught.value.filename) == (errno.EMFILE, str(path))
    assert read_frames(path, [0]).shape == (1, 16, 16, 3)
