"""Frame-accurate reading and the sampling formulas."""

import csv
import pickle
import re
import sys

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

# What becomes of every file of shared_dir/data/odd: (decoder, frames, height, width), turned as its metadata says ...
READABLE = {
    "-video-with-dash-.mp4": ("PyAV", 5, 1, 1),  # decord fails on a single pixel
    "decord_unordered.mov": ("decord", 4, 50, 50),
    "decord_video_0.mov": ("decord", 3, 320, 568),
    "decord_video_180.mov": ("decord", 3, 320, 568),
    "decord_video_270.mov": ("decord", 3, 568, 320),
    "derived/vfr_SOX5yA1l24A.mp4": ("decord", 206, 256, 340),
    "hmdb_stabilized_climb_stairs.avi": ("PyAV", 74, 288, 516),  # its header says 75
    "moviepy_big_buck_bunny_432_433.webm": ("decord", 24, 720, 1280),
    "moviepy_clip1024.flv": ("PyAV", 174, 80, 112),
    "moviepy_smpte-2997.mp4": ("decord", 251, 1080, 1920),
    "moviepy_transparent.webm": ("decord", 150, 200, 200),
    "moviepy_video_with_failing_audio.mp4": ("decord", 280, 360, 640),
    "mp4parse_bbb_sunflower_QCIF_30fps_hevc_noaudio_1f.mp4": ("decord", 1, 144, 176),
    "mp4parse_bbb_sunflower_QCIF_30fps_mp4v_noaudio_1f.mp4": ("PyAV", 1, 144, 176),
    "mp4parse_h264_white_frame_sar_16_9.mp4": ("decord", 1, 480, 640),
    "mp4parse_hevc_white_frame.mp4": ("decord", 1, 480, 640),
    "mp4parse_minimal.mp4": ("decord", 1, 240, 320),
    "mp4parse_tiny_av1.mp4": ("PyAV", 1, 64, 64),  # decord knows no AV1
    "mp4parse_video_rotation_90.mp4": ("decord", 1, 100, 60),
    "raw_m4v_named_mp4/v_Basketball_g01_c02.mp4": ("PyAV", 180, 256, 340),  # a raw stream; decord cannot open it
    "torchcodec_av1_video.mkv": ("PyAV", 125, 360, 640),
    "torchcodec_bt709_full_range.mp4": ("decord", 30, 720, 1280),
    "torchcodec_h265_10bits.mp4": ("PyAV", 30, 200, 200),  # decord garbles it
    "torchcodec_h265_video.mp4": ("PyAV", 10, 128, 128),  # open groups of pictures: decord repeats frames after a seek
    "torchcodec_nasa_13013.mp4": ("decord", 390, 270, 480),  # the larger of two video streams
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


def encode(path, codec, frames, **settings):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def decode_in_sequence(path):
    with av.open(str(path), metadata_errors="ignore") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


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
    elif kind != "missing":
        path.write_bytes(contents[kind])
    return path


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
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
def test_odd_file_is_read_frame_by_frame(odd, name):
    decoder, count, *size = READABLE[name]
    seen, sequential = [], turned_sequence(odd / name)
    indices = np.random.default_rng(0).permutation(count)[:5]

    def some(n):
        seen.append(n)
        return indices

    found = read_clip(odd / name, some)
    assert seen[-1] == count
    assert list(found.shape[1:3]) == size
    for i, picture in zip(indices, found, strict=True):
        np.testing.assert_array_equal(picture, sequential(i))
    assert ("PyAV" if seek_hazard(odd / name) else "decord") == decoder
    if decoder == "decord":  # seen once: it was not a fallback after a failure of decord
        assert seen == [count]


def turned_sequence(path):
    """index -> frame of a decode from the start by PyAV alone, turned as the metadata says."""
    with av.open(str(path), metadata_errors="ignore") as container:
        frames = list(container.decode(container.streams.best("video")))
    turns = {frame.rotation // 90 % 4 for frame in frames}
    assert len(turns) == 1
    return lambda i: np.rot90(frames[i].to_ndarray(format="rgb24"), turns.copy().pop())


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
    clips = real_clips(shared_dir, folder)
    assert clips
    for path, count in clips:
        expected = decode_in_sequence(path)
        found = read_clip(path, np.arange)
        assert len(found) == len(expected) == count, path.name
        # array_equal frame by frame: a float difference of whole videos would double the memory.
        wrong = [i for i in range(count) if not np.array_equal(found[i], expected[i])]
        assert not wrong, f"{path.name}: {len(wrong)} frames differ, first {wrong[0]}"
        jumps = np.random.default_rng(0).permutation(count)[:8]
        assert all(map(np.array_equal, read_frames(path, jumps), (expected[i] for i in jumps))), path.name


@pytest.mark.data
def test_decord_alone_would_be_wrong_on_hmdb(shared_dir):
    """The reason why AVI files are decoded in sequence; if this fails, decord can have them."""
    decord = pytest.importorskip("decord")
    path, count = real_clips(shared_dir, "hmdb51")[0]
    assert len(decord.VideoReader(str(path), num_threads=1)) != count


# --- which decoder ---


def test_a_sound_file_is_left_to_decord(numbered, monkeypatch):
    assert seek_hazard(numbered) is None
    monkeypatch.setattr(module, "_read_in_sequence", None)
    assert tiny.read_numbers(read_frames(numbered, [250])) == [250]


@pytest.mark.parametrize(
    ("codec", "settings", "hazard"),
    [
        ("mpeg4", {}, "decord is not exact for mpeg4"),
        ("libx264", {"pix_fmt": "yuv444p"}, "pixels are yuv444p"),
        ("libx264", {"options": {"x264-params": "open-gop=1:keyint=20:scenecut=0:b-adapt=0"}}, "no clean starts"),
    ],
    ids=["codec", "pixels", "open groups"],
)
def test_what_decord_may_get_wrong_is_decoded_in_sequence(tmp_path, monkeypatch, codec, settings, hazard):
    path = tmp_path / "clip.mkv"
    encode(path, codec, tiny.numbered_frames(100), **settings)
    assert hazard in seek_hazard(path)
    monkeypatch.setattr(module, "_read_with_decord", None)
    assert tiny.read_numbers(read_frames(path, [77, 3, 40])) == [77, 3, 40]


def test_a_failure_of_decord_falls_back(numbered, monkeypatch):
    monkeypatch.setattr(module, "_read_with_decord", lambda path, choose: None)
    assert tiny.read_numbers(read_frames(numbered, [251, 7])) == [251, 7]


def test_without_decord_everything_is_read(numbered, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    assert tiny.read_numbers(read_frames(numbered, [251, 7])) == [251, 7]


def test_a_film_too_long_to_be_held_is_decoded_twice(numbered_avi, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_BYTES", 10 * 32 * 32)
    assert tiny.read_numbers(read_frames(numbered_avi, [251, 7, 251])) == [251, 7, 251]


def test_a_cut_off_download_is_not_taken_for_a_short_video(tmp_path):
    """An index at the front leaves the first half playable."""
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8)
    with av.open(str(whole), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "5"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for picture in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    assert len(read_clip(whole, np.arange)) == 40
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(VideoReadError, match=r"ends after \d+ of 40 frames; get it again"):
        read_frames(cut, [0])


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
