"""What travels from the loader's processes: views as of whole frames, in one tensor, and errors in one sentence."""

import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from motion_lib.data import batches as module
from motion_lib.data.augmentation import AUGMENTATIONS, make_views
from motion_lib.data.batches import evaluation_batches, explained_loader_errors, training_batches
from motion_lib.data.clips import Clips
from motion_lib.data.packed import fresh
from motion_lib.data.video import VideoReadError

pytestmark = pytest.mark.usefixtures("impatient")

COUNT, CPU = 12, torch.device("cpu")
PIECES = [list(range(start, start + 3)) for start in range(0, COUNT, 3)]


@pytest.fixture(scope="module")
def clips():
    """Noise that is wider than high, as whole frames are."""
    made = tiny.clips_in_memory(COUNT)
    videos = np.random.default_rng(0).integers(0, 256, (COUNT, 6, 40, 56, 3), dtype=np.uint8)
    return Clips(made.dataset, made.preprocess, {}, tiny.InMemory(videos))


def of_whole_frames(clips, index, augmentation, seed=5, epoch=2):
    """A view cut on the device that trains, from frames that were sent there whole, channels first."""
    rng = np.random.default_rng([seed, epoch, index])
    frames = clips.sample(index, rng, tiny.everything if augmentation.whole_frames else None)
    view = augmentation.draw(rng, *frames.shape[2:], clips.preprocess.crop_size)
    return make_views([torch.from_numpy(np.ascontiguousarray(frames))], [view], clips.preprocess.crop_size)[0]


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("workers", [0, 2])
def test_views_are_bit_for_bit_those_of_whole_frames(clips, name, workers):
    for batch in training_batches(clips, PIECES, 5, 2, workers, AUGMENTATIONS[name]):
        views, labels = batch.on(CPU)
        assert views.is_contiguous()
        assert labels.tolist() == [clips.dataset.items[i].label for i in batch.indices]
        for view, index in zip(views, batch.indices, strict=True):
            assert torch.equal(view, of_whole_frames(clips, index, AUGMENTATIONS[name]))


def test_one_tensor_travels_with_the_boxes_alone(clips):
    (batch,) = training_batches(clips, [[0, 1, 2]], 0, 0, augmentation=AUGMENTATIONS["text4vis"])
    assert [name for name, value in vars(batch).items() if isinstance(value, torch.Tensor)] == ["pixels"]
    assert len(batch.pixels) == sum(4 * view.height * view.width * 3 for view in batch.views)
    assert len(batch.pixels) < 3 * 4 * 40 * 56 * 3


def test_many_batches_under_a_low_limit_of_open_files(clips):
    """Every tensor under way is an open file: twelve to a batch would be too many here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 40, hard))
    try:
        kept = list(training_batches(clips, [list(range(COUNT))] * 8, 0, 0, 2, AUGMENTATIONS["text4vis"]))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(torch.equal(batch.on(CPU)[0], kept[0].on(CPU)[0]) for batch in kept)


# --- shared memory is written again ---


def test_a_batch_that_is_kept_is_not_written_over(clips):
    pieces = [[i % COUNT, (i + 1) % COUNT] for i in range(24)]
    loader = training_batches(clips, pieces, 5, 2, 1, AUGMENTATIONS["text4vis"])
    kept = [batch for number, batch in enumerate(loader) if number % 3 == 0]
    for batch in kept:
        for view, index in zip(batch.on(CPU)[0], batch.indices, strict=True):
            assert torch.equal(view, of_whole_frames(clips, index, AUGMENTATIONS["text4vis"]))


class SomeFail(tiny.InMemory):
    """Every third video fails when its place is taken."""

    def read(self, index, choose, cut=None, memory=fresh):
        clip = super().read(index, choose, cut, memory)
        if index % 3 == 1:
            raise VideoReadError(f"clip_{index}.mp4", "broken")
        return clip


def test_clips_are_written_where_the_batch_is_sent_from(monkeypatch):
    """But for the first batch, before which there is no memory, and those that have outgrown it."""
    views = module._TrainingClips(tiny.clips_in_memory(COUNT), (0, 0), AUGMENTATIONS["none"])
    monkeypatch.setattr(module, "get_worker_info", object)
    own = []
    for indices in ([0, 1], [2, 3], [4], [5, 6, 7], [8, 9, 10]):
        samples = [views[index] for index in indices]
        batch = views.collate(samples)
        boxes = batch.pixels.view(len(indices), -1)
        assert all(np.array_equal(box, clip.ravel()) for box, (_, clip, _) in zip(boxes.numpy(), samples, strict=True))
        own.append(all(np.shares_memory(batch.pixels.numpy(), clip) for _, clip, _ in samples))
        monkeypatch.setattr(module, "get_worker_info", lambda: None)
        del batch
        monkeypatch.setattr(module, "get_worker_info", object)
    assert own == [False, True, True, False, True]


@pytest.mark.parametrize("workers", [0, 1])
def test_clips_behind_one_that_failed_move_up(clips, workers):
    broken = Clips(clips.dataset, clips.preprocess, {}, SomeFail(clips.source.videos))
    for batch in training_batches(broken, [list(range(6)), list(range(6, 12))] * 3, 5, 2, workers):
        assert len(batch) == 4
        assert len(batch.failed) == 2
        for view, index in zip(batch.on(CPU)[0], batch.indices, strict=True):
            assert torch.equal(view, of_whole_frames(clips, index, AUGMENTATIONS["none"]))


class Elsewhere(tiny.InMemory):
    """Writes where it likes, as decoded videos do."""

    def read(self, index, choose, cut=None, memory=fresh):
        return super().read(index, choose, cut)


@pytest.mark.parametrize("source", [tiny.InMemory, Elsewhere])
def test_memory_is_written_again_when_the_main_process_has_let_go_of_it(monkeypatch, source):
    made = tiny.clips_in_memory(COUNT)
    clips = Clips(made.dataset, made.preprocess, {}, source(made.source.videos))
    views = module._TrainingClips(clips, (0, 0), AUGMENTATIONS["none"])

    def sent():
        with monkeypatch.context() as worker:
            worker.setattr(module, "get_worker_info", object)
            return views.collate([views[0], views[1]])

    first, second = sent(), sent()
    places = [batch.pixels.data_ptr() for batch in (first, second)]
    assert places[0] != places[1]
    del first
    third = sent()
    assert third.pixels.data_ptr() == places[0]
    with monkeypatch.context() as worker:  # its own copy of a batch ends when it is sent
        worker.setattr(module, "get_worker_info", object)
        del second
    assert sent().pixels.data_ptr() not in places


# --- errors ---


def test_a_killed_process_is_told_in_one_sentence(clips):
    def train():
        loader = iter(training_batches(clips, PIECES * 50, 0, 0, 2))
        os.kill(loader._workers[1].pid, signal.SIGKILL)
        for batch in loader:
            batch.on(CPU)

    killed = r"^a loader process ended, as if memory ran out: lower num_workers or get more \(.* \(pid[^\n]*\)\.$"
    with pytest.raises(RuntimeError, match=killed):
        explained_loader_errors()(train)()


@pytest.mark.parametrize("evaluation", [False, True])
def test_shared_memory_that_is_full_is_an_error_and_not_a_hang(clips, monkeypatch, evaluation):
    def full(tensor):
        raise RuntimeError(NO_SPACE)

    loader = evaluation_batches(clips, 4, 1) if evaluation else training_batches(clips, PIECES, 0, 0, 1)
    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(RuntimeError, match=r"^/dev/shm is full: enlarge it"):
        explained_loader_errors()(list)(loader)


CAUGHT = "Caught {} in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File ...\n{}: {}\n"
NO_SPACE = "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"
BUS_ERROR = (
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
    "shared memory. Please try to raise your shared memory limit."
)
EXPLAINED = [
    (OSError(24, "Too many open files", "/a/shard-0001.jpegs"), r"too many open files: .*ulimit -n.*shard-0001"),
    (OSError(CAUGHT.format("OSError", "OSError", "[Errno 24] Too many open files: 'a'")), "too many open files: .*'a'"),
    (RuntimeError("received 0 items of ancdata"), "too many open files: .*"),
    (RuntimeError("Too many open files. Communication is no longer possible. Try"), r"too many open files: [^.]*\)"),
    (RuntimeError(CAUGHT.format("RuntimeError", "RuntimeError", NO_SPACE)), "/dev/shm is full: .*--shm-size.*"),
    (RuntimeError(BUS_ERROR), "/dev/shm is full: .*Bus error"),
    (RuntimeError("DataLoader worker (pid(s) 7, 8) exited unexpectedly"), "a loader process ended.*7, 8.*"),
    (MemoryError(CAUGHT.format("MemoryError", "MemoryError", "")), "a loader process ended.*"),
    (OSError(CAUGHT.format("OSError", "OSError", "/a: cannot be read (Input/output error).")), "/a: cannot be read .*"),
]


@pytest.mark.parametrize(("error", "sentence"), EXPLAINED)
def test_errors_of_the_loader_are_told_in_one_line(error, sentence):
    with pytest.raises((OSError, RuntimeError)) as told, explained_loader_errors():
        raise error
    assert "\n" not in str(told.value)
    assert "Caught" not in str(told.value)
    assert told.match(f"^{sentence}")
    with pytest.raises((OSError, RuntimeError)) as again, explained_loader_errors():
        raise told.value
    assert again.value is told.value


OTHERS = [RuntimeError("expected 3 channels"), FileNotFoundError(2, "No such file", "a.csv"), ValueError("DataLoader")]


@pytest.mark.parametrize("error", OTHERS)
def test_other_errors_stay_as_they_are(error):
    with pytest.raises(type(error)) as told, explained_loader_errors():
        raise error
    assert told.value is error
