"""The frame store, and batches of clips."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from motion_lib.data import batches as batches_module
from motion_lib.data import clips as module
from motion_lib.data.batches import TrainingBatch, epoch_order, evaluation_batches, split_batch, training_batches
from motion_lib.data.clips import CroppedFrames, DecodedVideos, open_clips
from motion_lib.data.datasets import VideoDataset
from motion_lib.data.preprocessing import Preprocess
from motion_lib.data.video import VideoReadError

LENGTHS = (12, 7, 30, 3, 9)  # frames of the videos below; one has fewer than T = 4


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [tiny.write_numbered(folder / f"clip_{i}.mp4", length) for i, length in enumerate(LENGTHS)]


@pytest.fixture
def dataset(videos):
    return tiny.dataset(videos)


@pytest.fixture
def with_broken(videos, tmp_path):
    """The second of three videos is none."""
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    return tiny.dataset([videos[0], broken, videos[2]])


def files(folder):
    return sorted(path.suffix for path in folder.iterdir())


def shown(clip):
    """Frame numbers that a (T, 3, S, S) clip shows."""
    return tiny.read_numbers(clip.transpose(0, 2, 3, 1))


# --- the store ---


def test_store_gives_the_frames_of_decoding_on_the_fly(dataset, tmp_path):
    stored = open_clips(dataset, tiny.PREPROCESS, tmp_path)
    direct = open_clips(dataset, tiny.PREPROCESS)
    assert isinstance(stored.source, CroppedFrames)
    assert isinstance(direct.source, DecodedVideos)
    for index in range(len(dataset)):
        np.testing.assert_array_equal(stored[index], direct[index])
        train = [clips.sample(index, np.random.default_rng(index)) for clips in (stored, direct)]
        np.testing.assert_array_equal(*train)


@pytest.mark.parametrize("cached", [False, True])
def test_clips_show_the_sampled_frames(dataset, tmp_path, cached):
    clips = open_clips(dataset, tiny.PREPROCESS, tmp_path if cached else None)
    assert clips[0].shape == (4, 3, 32, 32)
    assert clips[0].dtype == np.uint8
    assert [shown(clips[i]) for i in (0, 1, 3)] == [[0, 3, 6, 9], [0, 1, 3, 5], [0, 0, 1, 2]]


def test_store_is_decoded_once(dataset, tmp_path, monkeypatch):
    first = open_clips(dataset, tiny.PREPROCESS, tmp_path)
    monkeypatch.setattr(module, "read_clip", None)  # a second decode would fail
    again = open_clips(dataset, tiny.PREPROCESS, tmp_path)
    np.testing.assert_array_equal(first.source.frames, again.source.frames)
    assert files(tmp_path) == [".json", ".npy"]


def test_store_serves_other_frame_counts_and_sampling(dataset, tmp_path):
    open_clips(dataset, tiny.PREPROCESS, tmp_path)
    clips = open_clips(dataset, replace(tiny.PREPROCESS, num_frames=2, sampling="center"), tmp_path)
    assert files(tmp_path) == [".json", ".npy"]
    assert shown(clips[0]) == [3, 9]


@pytest.mark.parametrize("change", ["preprocess", "videos", "content"])
def test_other_pixels_make_another_store(dataset, tmp_path, change):
    open_clips(dataset, tiny.PREPROCESS, tmp_path)
    preprocess = tiny.PREPROCESS
    if change == "preprocess":
        preprocess = Preprocess(num_frames=4, short_side=36, crop_size=32)
    elif change == "videos":
        dataset = replace(dataset, items=dataset.items[1:])
    else:
        item = dataset.items[0]
        longer = tiny.write_numbered(tmp_path / "longer" / item.path.name, 20)
        dataset = replace(dataset, items=(replace(item, path=longer), *dataset.items[1:]))
    open_clips(dataset, preprocess, tmp_path)
    assert files(tmp_path).count(".npy") == 2


@pytest.mark.parametrize("name", ["tiny", "a.dotted.name"])
def test_stores_of_two_subsets_stay_apart(dataset, tmp_path, name):
    halves = [replace(dataset, name=name, items=items) for items in (dataset.items[:2], dataset.items[2:])]
    sizes = [len(open_clips(half, tiny.PREPROCESS, tmp_path)) for half in halves]
    assert sizes == [2, 3]
    assert files(tmp_path) == [".json", ".json", ".npy", ".npy"]


# --- broken videos ---


def test_broken_video_is_counted_and_named(with_broken, tmp_path):
    clips = open_clips(with_broken, tiny.PREPROCESS, tmp_path / "cache")
    assert [item.video_id for item in clips.dataset.items] == ["clip_0", "clip_2"]
    assert list(clips.failed) == ["broken"]
    assert "not a readable video" in clips.failed["broken"]
    assert shown(clips[1]) == [0, 7, 15, 22]  # the videos behind it keep their own frames


def test_two_videos_of_one_name_keep_their_own_frames(with_broken, tmp_path):
    """`failed` goes by name, which need not be unique in a data set of the user's own."""
    same = replace(with_broken, items=tuple(replace(item, video_id="clip") for item in with_broken.items))
    clips = open_clips(same, tiny.PREPROCESS, tmp_path / "cache")
    assert clips.dataset.labels == [0, 2]
    assert shown(clips[1]) == [0, 7, 15, 22]


def test_nothing_readable_is_an_error(with_broken, tmp_path):
    only_broken = replace(with_broken, items=with_broken.items[1:2])
    with pytest.raises(VideoReadError, match="none of 1 videos can be read"):
        open_clips(only_broken, tiny.PREPROCESS, tmp_path / "cache")


# --- interruptions ---


@pytest.mark.parametrize("moment", ["decoding", "saving", "between the files"])
def test_store_killed_half_way_is_built_again(dataset, tmp_path, monkeypatch, moment):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    target = {"decoding": "resize_and_crop", "saving": "np.save", "between the files": "write_json"}[moment]
    with monkeypatch.context() as patch:
        patch.setattr(f"motion_lib.data.clips.{target}", killed)
        with pytest.raises(KeyboardInterrupt):
            open_clips(dataset, tiny.PREPROCESS, tmp_path)
    assert ".json" not in files(tmp_path)
    clips = open_clips(dataset, tiny.PREPROCESS, tmp_path)
    assert len(clips.source.frames) == sum(LENGTHS)
    assert files(tmp_path) == [".json", ".npy"]


# --- batches ---


def epoch_of(clips, **options):
    """(indices, frames) of a whole epoch."""
    settings = {"seed": 1, "epoch": 0, **options}
    order = epoch_order(len(clips), settings["seed"], settings["epoch"])
    batches = list(training_batches(clips, split_batch(order, 0, 1, at_once=3), **settings))
    views = [b.on(torch.device("cpu"))[0] for b in batches]
    return [i for b in batches for i in b.indices], torch.cat(views)


def assert_same_epoch(first, second):
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])


@pytest.fixture(scope="module")
def clips(videos):
    return open_clips(tiny.dataset(videos), tiny.PREPROCESS)


def test_epoch_is_fixed_by_seed_and_number(clips):
    torch.manual_seed(0)
    first = epoch_of(clips)
    torch.manual_seed(1)  # the global generator plays no part
    assert_same_epoch(first, epoch_of(clips))


def test_workers_change_nothing(clips):
    assert_same_epoch(epoch_of(clips, num_workers=0), epoch_of(clips, num_workers=1))


@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 2}])
def test_other_epochs_and_seeds_differ_in_order_and_frames(change):
    clips = tiny.clips_in_memory(8, length=40)
    (order, frames), (other_order, other_frames) = epoch_of(clips), epoch_of(clips, **change)
    assert sorted(order) == sorted(other_order) == list(range(8))
    assert order != other_order
    clip, other_clip = frames[order.index(0)], other_frames[other_order.index(0)]
    assert not torch.equal(clip, other_clip)


def test_batch_carries_labels_of_its_own_videos(clips):
    for batch in training_batches(clips, [[4, 0], [2]], seed=0, epoch=0):
        frames, labels = batch.on(torch.device("cpu"))
        assert labels.tolist() == [clips.dataset.items[i].label for i in batch.indices]
        assert frames.shape == (len(batch), 4, 3, 32, 32)
        assert frames.dtype == torch.uint8
        assert batch.failed == {}


def test_evaluation_batches_keep_order_and_test_frames(clips):
    batches = list(evaluation_batches(clips, 2))
    assert torch.cat([batch.indices for batch in batches]).tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(batches[0].frames[1].numpy(), clips[1])


@pytest.mark.parametrize("workers", [0, 1])
def test_failed_videos_are_reported_by_their_batch(with_broken, workers):
    clips = open_clips(with_broken, tiny.PREPROCESS)
    batches = list(evaluation_batches(clips, 2, num_workers=workers))
    assert [batch.indices.tolist() for batch in batches] == [[0], [2]]
    assert [list(batch.failed) for batch in batches] == [["broken"], []]
    assert "not a readable video" in batches[0].failed["broken"]


def test_batch_of_failures_alone_is_empty(with_broken):
    only_broken = VideoDataset("tiny", with_broken.class_names, with_broken.items[1:2], 1, "test")
    (batch,) = evaluation_batches(open_clips(only_broken, tiny.PREPROCESS), 2)
    assert len(batch) == 0
    assert list(batch.failed) == ["broken"]


def test_a_gpu_copies_a_batch_on_a_stream_of_its_own(monkeypatch):
    """What is computed waits for the copy, and the copy for nothing."""
    happened = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            happened.append(f"on {self.name}")

        def __exit__(self, *_):
            happened.append(f"off {self.name}")

        def wait_stream(self, other):
            happened.append(f"{self.name} waits for {other.name}")

    class Copied:
        def record_stream(self, stream):
            happened.append(f"kept for {stream.name}")

    monkeypatch.setattr(batches_module, "_stream_aside", lambda device: Stream("aside"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("main"))
    monkeypatch.setattr(TrainingBatch, "_on", lambda batch, device: happened.append("copied") or (Copied(), Copied()))
    (batch,) = training_batches(tiny.clips_in_memory(2), [[0, 1]], seed=0, epoch=0)
    batch.on(torch.device("cuda", 3))
    assert happened == ["on aside", "copied", "off aside", "main waits for aside", "kept for main", "kept for main"]
