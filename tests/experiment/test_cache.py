"""What is kept: features and frames are made once, read back as they were, and made again when a file is broken."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from motion_lib.data import clips as clips_module
from motion_lib.data.batches import evaluation_batches
from motion_lib.data.clips import open_clips
from motion_lib.data.video import VideoReadError
from motion_lib.evaluation.features import VideoFeatures
from motion_lib.experiment.cache import features_kept, open_test_views
from tests import tiny

# --- features ---


@pytest.fixture
def dataset():
    return tiny.dataset([Path(f"clip_{i}.mp4") for i in range(4)])


def encoder(dataset, calls: list):
    """Features of all videos but the second, which cannot be read."""

    def encode() -> VideoFeatures:
        calls.append(1)
        readable = type(dataset)("tiny", dataset.class_names, (dataset.items[0], *dataset.items[2:]), 1, "train")
        return VideoFeatures(torch.arange(6.0).view(3, 2), readable, {"clip_1": "broken"}, 2.5)

    return encode


def same(one: VideoFeatures, other: VideoFeatures) -> bool:
    return torch.equal(one.features, other.features) and (one.dataset.items, one.failed, one.wall_time_sec) == (
        other.dataset.items,
        other.failed,
        other.wall_time_sec,
    )


def test_features_are_encoded_once_and_read_back_as_they_were(dataset, tmp_path):
    calls, path = [], tmp_path / "features" / "a.pt"
    first, second = (features_kept(path, dataset, encoder(dataset, calls)) for _ in range(2))
    assert calls == [1]
    assert same(first, second)
    assert [item.video_id for item in second.dataset.items] == ["clip_0", "clip_2", "clip_3"]


@pytest.mark.parametrize("content", [b"", b"no features"])
def test_a_broken_file_is_made_again(dataset, tmp_path, capsys, content):
    calls, path = [], tmp_path / "a.pt"
    path.write_bytes(content)
    first = features_kept(path, dataset, encoder(dataset, calls))
    assert "a.pt: not readable" in capsys.readouterr().out
    assert same(first, features_kept(path, dataset, encoder(dataset, calls)))
    assert calls == [1]


def test_an_interrupted_encoding_leaves_nothing(dataset, tmp_path):
    with pytest.raises(ZeroDivisionError):
        features_kept(tmp_path / "a.pt", dataset, lambda: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def encoding(values: torch.Tensor, dataset):
    return lambda: VideoFeatures(values, dataset, {}, 1.0)


def test_features_are_kept_as_float16_and_rounded_from_the_start(dataset, tmp_path):
    values = torch.randn(4, 300, generator=torch.Generator().manual_seed(0)) * 7
    first, second = (features_kept(tmp_path / "a.pt", dataset, encoding(values, dataset)) for _ in range(2))
    assert torch.equal(first.features, second.features)
    assert first.features.dtype == torch.float16
    torch.testing.assert_close(first.features.float(), values, rtol=6e-4, atol=1e-6)
    assert (tmp_path / "a.pt").stat().st_size < 4 * 300 * 2 + 4000  # two bytes a number


@pytest.mark.parametrize("bad", [1e6, float("nan"), float("inf")])
def test_what_float16_cannot_hold_is_refused(dataset, tmp_path, bad):
    values = torch.ones(4, 2)
    values[2, 1] = bad
    with pytest.raises(ValueError, match="tiny: the features have values above 65504 or none at all"):
        features_kept(tmp_path / "a.pt", dataset, encoding(values, dataset))
    assert list(tmp_path.iterdir()) == []


def test_a_group_without_a_shared_disk_is_told(dataset, tmp_path):
    """The second process of two, which does not see what the first has written."""
    elsewhere = SimpleNamespace(is_global_zero=False, broadcast=lambda mine: mine, barrier=lambda: None)
    with pytest.raises(RuntimeError, match=r"a\.pt was kept and cannot be read: put .* on a disk that all machines"):
        features_kept(tmp_path / "a.pt", dataset, encoder(dataset, []), elsewhere)


# --- test views ---

LENGTHS = (12, 7, 30, 3, 9)  # frames; one video has fewer than T = 4


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [tiny.write_numbered(folder / f"clip_{i}.mp4", length) for i, length in enumerate(LENGTHS)]


@pytest.fixture
def listed(videos):
    return tiny.dataset(videos)


def all_frames(clips, **options):
    return torch.cat([batch.frames for batch in evaluation_batches(clips, 2, **options)])


@pytest.fixture
def counted(monkeypatch):
    """Names of the videos that are decoded from now on."""
    decoded, read = [], clips_module.read_clip
    monkeypatch.setattr(clips_module, "read_clip", lambda path, choose: decoded.append(path.stem) or read(path, choose))
    return decoded


@pytest.mark.parametrize("sampling", ["text4vis", "center"])
@pytest.mark.parametrize("interpolation", ["bicubic", "opencv"])
def test_views_are_the_decoded_frames_and_decoded_once(listed, tmp_path, counted, sampling, interpolation):
    size = {"short_side": 24, "crop_size": 20, "interpolation": interpolation}
    preprocess = replace(tiny.PREPROCESS, sampling=sampling, **size)
    expected = all_frames(open_clips(listed, preprocess))
    counted.clear()
    for _ in range(2):
        assert torch.equal(all_frames(open_test_views(listed, preprocess, tmp_path)), expected)
    assert counted == [f"clip_{i}" for i in range(5)]


def test_views_are_filled_by_worker_processes(listed, tmp_path):
    expected = all_frames(open_clips(listed, tiny.PREPROCESS))
    assert torch.equal(all_frames(open_test_views(listed, tiny.PREPROCESS, tmp_path), num_workers=2), expected)
    assert len(list(tmp_path.glob("tiny-views-*/*.npy"))) == 5


def test_subsets_and_splits_share_their_views(listed, tmp_path, counted):
    all_frames(open_test_views(replace(listed, items=listed.items[1:4]), tiny.PREPROCESS, tmp_path))
    other = replace(listed, items=listed.items[::-1], subset="all", split=2)
    frames = all_frames(open_test_views(other, tiny.PREPROCESS, tmp_path))
    assert sorted(counted) == [f"clip_{i}" for i in range(5)]
    assert torch.equal(frames, all_frames(open_clips(other, tiny.PREPROCESS)))


def test_what_testing_does_not_show_is_decoded(listed, tmp_path):
    views, decoded = open_test_views(listed, tiny.PREPROCESS, tmp_path), open_clips(listed, tiny.PREPROCESS)
    for choose in (lambda n: np.arange(n)[::-1][:4], lambda n: np.zeros(1, dtype=int), np.arange):
        np.testing.assert_array_equal(views.source.read(0, choose), decoded.source.read(0, choose))
    train = [clips.sample(2, np.random.default_rng(5), tiny.everything) for clips in (views, decoded)]
    np.testing.assert_array_equal(*train)


@pytest.mark.parametrize("change", ["frames", "crop", "content"])
def test_other_frames_are_other_views(listed, videos, tmp_path, counted, change):
    all_frames(open_test_views(listed, tiny.PREPROCESS, tmp_path))
    preprocess = tiny.PREPROCESS
    if change == "content":
        copied = Path(shutil.copy(videos[2], tmp_path / videos[0].name))
        os.utime(copied, ns=(0, 5))
        listed = replace(listed, items=(replace(listed.items[0], path=copied), *listed.items[1:]))
    else:
        preprocess = replace(preprocess, **{"frames": {"num_frames": 2}, "crop": {"crop_size": 16}}[change])
    counted.clear()
    assert torch.equal(
        all_frames(open_test_views(listed, preprocess, tmp_path)), all_frames(open_clips(listed, preprocess))
    )
    assert counted[: 1 if change == "content" else 5] == [f"clip_{i}" for i in range(1 if change == "content" else 5)]


@pytest.mark.parametrize("content", [b"", b"no frames", "cut off"])
def test_a_broken_view_is_made_again(listed, tmp_path, counted, content):
    expected = all_frames(open_test_views(listed, tiny.PREPROCESS, tmp_path))
    for path in tmp_path.glob("tiny-views-*/*.npy"):
        path.write_bytes(path.read_bytes()[:-7] if content == "cut off" else content)
    counted.clear()
    for _ in range(2):
        assert torch.equal(all_frames(open_test_views(listed, tiny.PREPROCESS, tmp_path)), expected)
    assert len(counted) == 5


def test_filling_that_was_interrupted_goes_on(listed, tmp_path, counted, monkeypatch):
    clips = open_test_views(listed, tiny.PREPROCESS, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("motion_lib.experiment.cache.np.save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            clips[0]
    assert list(tmp_path.glob("*/*")) == []
    clips[1], clips[2]
    counted.clear()
    all_frames(open_test_views(listed, tiny.PREPROCESS, tmp_path))
    assert counted == ["clip_0", "clip_3", "clip_4"]


def test_an_unreadable_video_is_named_and_not_kept(listed, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    listed = replace(listed, items=(replace(listed.items[0], path=broken, video_id="broken"), *listed.items[1:]))
    for _ in range(2):
        clips = open_test_views(listed, tiny.PREPROCESS, tmp_path)
        assert [list(batch.failed) for batch in evaluation_batches(clips, 2)] == [["broken"], [], []]
    assert len(list(tmp_path.glob("tiny-views-*/*"))) == 4
    with pytest.raises(VideoReadError):
        clips[0]


# --- their disk ---

BYTES = 4 * 3 * 32 * 32  # of a video


def test_the_size_of_views_is_said_before(listed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("motion_lib.experiment.cache.shutil.disk_usage", lambda _: SimpleNamespace(free=5 * BYTES))
    clips = open_test_views(listed, tiny.PREPROCESS, tmp_path / "frames")
    said = capsys.readouterr().out
    assert said.startswith(
        "tiny (train): test views of 5 videos take 0.0 GB, 0.0 GB are free; they are kept in tiny-views-"
    )
    assert clips.source.missing() == (5, 5 * BYTES)
    all_frames(clips)
    open_test_views(listed, tiny.PREPROCESS, tmp_path / "frames")
    assert capsys.readouterr().out == ""  # nothing is missing


def test_a_disk_that_is_too_small_keeps_nothing(listed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("motion_lib.experiment.cache.shutil.disk_usage", lambda _: SimpleNamespace(free=5 * BYTES - 1))
    clips = open_test_views(listed, tiny.PREPROCESS, tmp_path)
    assert "so they are decoded each time. Set MOTION_DATA to a larger disk." in capsys.readouterr().out
    assert torch.equal(all_frames(clips), all_frames(open_clips(listed, tiny.PREPROCESS)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")])
def test_a_disk_that_fills_up_or_may_not_be_written_stops_nothing(listed, tmp_path, monkeypatch, capsys, error):
    clips = open_test_views(listed, tiny.PREPROCESS, tmp_path)
    capsys.readouterr()
    monkeypatch.setattr("motion_lib.experiment.cache.np.save", lambda *_: (_ for _ in ()).throw(error))
    assert torch.equal(all_frames(clips), all_frames(open_clips(listed, tiny.PREPROCESS)))
    said = capsys.readouterr().out
    assert said.count(f"{error.strerror}. Test views are decoded each time from now on.") == 1  # not for every video
