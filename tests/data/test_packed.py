"""The packed frame cache: what it keeps, who may write it, what survives a kill."""

import fcntl
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from motion_lib.data import pack as pack_module
from motion_lib.data import packed as packed_module
from motion_lib.data.batches import explained_loader_errors, split_batch, training_batches
from motion_lib.data.clips import open_clips
from motion_lib.data.datasets import VideoDataset, VideoItem, open_dataset
from motion_lib.data.pack import pack
from motion_lib.data.packed import PackedFrames, Packing, cache_folder, candidate_indices, shards_of
from motion_lib.data.preprocessing import Preprocess, in_box
from motion_lib.data.video import SAMPLING, VideoReadError, sample_indices

pytestmark = pytest.mark.usefixtures("impatient")

PREPROCESS = Preprocess(num_frames=4, short_side=32, crop_size=32)
PACKING = Packing.of(PREPROCESS)
LENGTHS = (100, 7, 16, 40, 17, 3)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return [tiny.write_numbered(folder / f"clip_{i}.mp4", length) for i, length in enumerate(LENGTHS)]


@pytest.fixture
def dataset(videos):
    return tiny.dataset(videos)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(packed_module, "VIDEOS_PER_SHARD", 2)


def shown(pictures):
    """Frame numbers; JPEG moves a grey level by less than half a step."""
    return tiny.read_numbers(pictures)


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# --- which frames ---


@pytest.mark.parametrize("mode", SAMPLING)
@pytest.mark.parametrize("n", [1, 7, 31, 32, 33, 100, 163, 300, 1801])
@pytest.mark.parametrize("T", [8, 16])
def test_frames_of_testing_are_kept(mode, n, T):
    assert set(sample_indices(n, T, mode)) <= set(candidate_indices(n, 4 * T))


@pytest.mark.parametrize("n", [33, 100, 163, 300])
def test_training_draws_from_four_frames_of_each_segment(n):
    """Replacing a frame by the kept one before it never leaves its segment, and reaches all four."""
    T, rng, kept = 8, np.random.default_rng(0), candidate_indices(n, 32)
    drawn = np.array([sample_indices(n, T, "text4vis", rng) for _ in range(400)])
    used = kept[np.searchsorted(kept, drawn, side="right") - 1]
    for segment in range(T):
        first, last = segment * n // T, (segment + 1) * n // T
        assert ((used[:, segment] >= first) & (used[:, segment] < last)).all()
        assert set(used[:, segment]) == set(kept[segment * 4 : segment * 4 + 4])


def test_short_videos_are_kept_whole():
    assert candidate_indices(30, 32).tolist() == list(range(30))


# --- packing and reading ---


@pytest.mark.parametrize("mode", SAMPLING)
def test_packed_clips_show_the_frames_of_decoded_ones(dataset, tmp_path, small_shards, mode):
    preprocess = replace(PREPROCESS, sampling=mode)
    packed = open_clips(dataset, preprocess, tmp_path, "packed")
    decoded = open_clips(dataset, preprocess)
    assert isinstance(packed.source, PackedFrames)
    assert packed.dataset == decoded.dataset
    for i in range(len(dataset)):
        assert shown(packed[i].transpose(0, 2, 3, 1)) == shown(decoded[i].transpose(0, 2, 3, 1))
        difference = packed[i].astype(int) - decoded[i]
        assert np.abs(difference).max() <= 3  # JPEG
        assert packed[i].shape == decoded[i].shape


def test_training_frames_are_kept_ones_of_the_drawn_segments(dataset, tmp_path):
    clips = open_clips(dataset, PREPROCESS, tmp_path, "packed")
    for seed in range(5):
        found = shown(clips.sample(0, np.random.default_rng(seed)).transpose(0, 2, 3, 1))
        asked = sample_indices(LENGTHS[0], 4, "text4vis", np.random.default_rng(seed))
        kept = candidate_indices(LENGTHS[0], 16)
        assert found == [max(k for k in kept if k <= i) for i in asked]


def test_pictures_keep_their_uncropped_width(tmp_path):
    """Random crops need what a centre crop throws away."""
    wide = tiny.numbered_frames(20, 64)[:, :48]
    path = tmp_path / "wide.mp4"
    tiny.write_video(path, wide, fps=25)
    pack(tiny.dataset([path]), PACKING, tmp_path)
    source = PackedFrames(tiny.dataset([path]), PREPROCESS, tmp_path)
    assert source.read(0, lambda n: np.array([0]), tiny.everything).shape == (1, 32, 42, 3)
    assert source.read(0, lambda n: np.array([0])).shape == (1, 32, 32, 3)


def test_what_is_packed_is_not_decoded_again(dataset, tmp_path, monkeypatch):
    pack(dataset, PACKING, tmp_path)
    monkeypatch.setattr(pack_module, "read_clip", None)
    open_clips(dataset, PREPROCESS, tmp_path, "packed")
    assert open_clips(dataset, PREPROCESS, tmp_path, "packed").failed == {}


def test_an_unpacked_data_set_is_not_opened(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="not all videos of tiny are packed"):
        PackedFrames(dataset, PREPROCESS, tmp_path)


@pytest.mark.parametrize(
    "other", [Packing(32, "bicubic", 16, 90), Packing(32, "bilinear", 16), Packing(32, "bicubic", 32)]
)
def test_other_settings_are_another_cache(dataset, tmp_path, other):
    assert cache_folder(tmp_path, dataset, other) != cache_folder(tmp_path, dataset, PACKING)


def test_one_cache_serves_both_sampling_formulas(dataset, tmp_path):
    center = Packing.of(replace(PREPROCESS, sampling="center"))
    assert cache_folder(tmp_path, dataset, center) == cache_folder(tmp_path, dataset, PACKING)


def test_reader_travels_to_another_process(dataset, tmp_path):
    source = PackedFrames(dataset, PREPROCESS, tmp_path) if pack(dataset, PACKING, tmp_path) else None
    before = source.read(3, np.arange)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.read(3, np.arange), before)


def test_loader_processes_read_the_same(dataset, tmp_path):
    clips = open_clips(dataset, PREPROCESS, tmp_path, "packed")
    pieces = split_batch(range(len(clips)), 0, 1, at_once=2)
    one, several = (
        [clip.numpy() for b in training_batches(clips, pieces, 0, 0, workers) for clip in b.on(torch.device("cpu"))[0]]
        for workers in (0, 2)
    )
    assert len(one) == len(clips)
    for left, right in zip(one, several, strict=True):
        np.testing.assert_array_equal(left, right)


def test_no_file_stays_open(dataset, tmp_path, small_shards):
    """Kinetics-400 has 940 shards, and a process often a limit of 256 open files."""
    clips = open_clips(dataset, PREPROCESS, tmp_path, "packed")
    before = list(Path("/proc/self/fd").iterdir())
    assert len([clips.sample(i, None) for i in range(len(clips))]) == len(dataset)
    assert list(Path("/proc/self/fd").iterdir()) == before


def _lose(path):
    path.unlink()


def _cut_short(path):
    os.truncate(path, path.stat().st_size - 1)


def _empty(path):
    os.truncate(path, 0)


def _blank(path):
    path.write_bytes(b"\0" * path.stat().st_size)


DAMAGE = [(_lose, "No such file"), (_cut_short, "cut short"), (_empty, "cut short"), (_blank, "JPEG")]


@pytest.mark.parametrize(("damage", "reason"), DAMAGE)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_shard_that_breaks_while_it_is_read_is_named(dataset, tmp_path, damage, reason, workers):
    clips = open_clips(dataset, PREPROCESS, tmp_path, "packed")
    (path,) = tmp_path.rglob("*.jpegs")
    damage(path)
    batches = training_batches(clips, [range(len(clips))], 0, 0, workers)
    with pytest.raises(OSError, match=rf"^{path}: cannot be read \([^\n]*{reason}[^\n]*it is packed anew\.$"):
        explained_loader_errors()(list)(batches)


@pytest.mark.parametrize("suffix", ["jpegs", "npz"])
@pytest.mark.parametrize("damage", [_lose, _cut_short, _empty])
def test_a_shard_that_was_copied_in_part_is_packed_anew(dataset, tmp_path, damage, suffix):
    whole = open_clips(dataset, PREPROCESS, tmp_path, "packed")[0]
    (path,) = tmp_path.rglob(f"*.{suffix}")
    before = path.read_bytes()
    damage(path)
    np.testing.assert_array_equal(open_clips(dataset, PREPROCESS, tmp_path, "packed")[0], whole)
    assert path.stat().st_size == len(before)


def test_whole_frames_hold_the_crop(dataset, tmp_path):
    clips = open_clips(dataset, PREPROCESS, tmp_path, "packed")
    whole, cropped = (clips.sample(0, None, cut).transpose(0, 2, 3, 1) for cut in (tiny.everything, None))
    assert min(whole.shape[1:3]) == PREPROCESS.short_side
    np.testing.assert_array_equal(in_box(whole, PREPROCESS.centre(*whole.shape[1:3])), cropped)


# --- what cannot be read, what comes later ---


@pytest.fixture
def with_broken(videos, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    return tiny.dataset([videos[0], broken, videos[2]])


def test_unreadable_videos_are_reported(with_broken, tmp_path):
    report = pack(with_broken, PACKING, tmp_path)
    assert (report.videos, report.frames, list(report.unreadable)) == (2, 32, ["broken"])
    assert report.size == sum(path.stat().st_size for path in report.folder.glob("*.jpegs"))
    assert "2 videos, 32 frames" in report.describe()
    assert "1 videos cannot be read" in report.describe()
    written = json.loads((report.folder / "report.json").read_text(encoding="utf-8"))
    assert "not a readable video" in written["unreadable"]["broken"]
    clips = open_clips(with_broken, PREPROCESS, tmp_path, "packed")
    assert clips.video_ids == ["clip_0", "clip_2"]
    assert list(clips.failed) == ["broken"]
    assert shown(clips[1].transpose(0, 2, 3, 1)) == [0, 4, 8, 12]


def test_what_cannot_be_opened_is_reported_with_its_reason(dataset, tmp_path):
    """A link to nothing, and what the folder's listing told before."""
    gone = tmp_path / "gone.mp4"
    gone.symlink_to("/nowhere/gone.mp4")
    items = (*dataset.items[:2], VideoItem("gone", gone, 0, "gone"))
    broken = replace(dataset, items=items, unreadable={"closed/": "Permission denied."})
    for _ in range(2):  # packed, and found packed
        report = pack(broken, PACKING, tmp_path)
        assert (report.videos, report.unreadable) == (2, {"closed/": "Permission denied.", "gone": "no such file."})
    for cache in ("packed", "cropped"):
        clips = open_clips(broken, PREPROCESS, tmp_path, cache)
        assert (clips.video_ids, clips.failed) == (["clip_0", "clip_1"], report.unreadable)
    assert open_clips(broken, PREPROCESS).failed == {"closed/": "Permission denied."}


def test_a_whole_cache_is_read_without_writing(dataset, tmp_path, monkeypatch):
    """As by a member of the group who may only read it."""
    pack(dataset, PACKING, tmp_path)
    monkeypatch.setattr(pack_module, "write_json", None)
    assert len(open_clips(dataset, PREPROCESS, tmp_path, "packed")) == 6


def test_another_users_leftovers_stop_nobody(dataset, tmp_path, monkeypatch):
    """In a folder with the sticky bit each may remove their own files alone."""
    folder = cache_folder(tmp_path, dataset, PACKING)
    folder.mkdir()
    (shard, *_) = shards_of(dataset, folder)
    leftover, unlink = folder / f".{shard.base.name}.jpegs.old.jpegs", Path.unlink
    leftover.touch()

    def refused(path, missing_ok=False):
        if path == leftover:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    assert pack(dataset, PACKING, tmp_path).videos == 6


def test_a_repaired_video_is_packed_anew(with_broken, videos, tmp_path):
    pack(with_broken, PACKING, tmp_path)
    shutil.copyfile(videos[3], with_broken.items[1].path)
    report = pack(with_broken, PACKING, tmp_path)
    assert (report.videos, report.unreadable) == (3, {})


def test_nothing_readable_is_an_error(with_broken, tmp_path):
    only_broken = replace(with_broken, items=with_broken.items[1:2])
    with pytest.raises(VideoReadError, match="none of 1 videos can be read"):
        open_clips(only_broken, PREPROCESS, tmp_path, "packed")


def test_videos_that_arrive_later_touch_only_their_own_shards(dataset, tmp_path, small_shards):
    """Downloads of Kinetics grow; the official list and so the shards stay."""
    late = dataset.items[-1]
    early = replace(dataset, items=dataset.items[:-1], missing=(late.video_id,))
    folder = pack(early, PACKING, tmp_path).folder
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    report = pack(dataset, PACKING, tmp_path)
    assert (report.folder, report.videos) == (folder, 6)
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    (own,) = [shard for shard in shards_of(dataset, folder) if late in shard.items]
    assert {name for name in after if after[name] != before.get(name)} == {own.path("npz").name}
    # Fewer videos than are packed need nothing new, and are not shown those that are not theirs.
    assert open_clips(early, PREPROCESS, tmp_path, "packed").video_ids == [item.video_id for item in early.items]


def test_another_folder_with_the_same_names_is_another_cache(videos, tmp_path):
    """Names of one's own data do not say which video it is."""
    shown_of = {}
    for folder, source in (("one", videos[0]), ("two", videos[3])):
        (tmp_path / folder / "wave").mkdir(parents=True)
        shutil.copyfile(source, tmp_path / folder / "wave" / "clip.mp4")
        clips = open_clips(open_dataset("folder", tmp_path / folder), PREPROCESS, tmp_path / "cache", "packed")
        shown_of[folder] = shown(clips[0].transpose(0, 2, 3, 1))
    assert shown_of == {"one": [0, 25, 50, 75], "two": [0, 10, 20, 30]}


def test_other_splits_are_other_caches(dataset, tmp_path):
    assert cache_folder(tmp_path, replace(dataset, split=2), PACKING) != cache_folder(tmp_path, dataset, PACKING)


def test_without_locks_two_writers_do_not_disturb_each_other(dataset, tmp_path, monkeypatch):
    """As on some network file systems: what another process is writing must not be taken for litter."""

    def no_locks(*arguments):
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    folder = cache_folder(tmp_path, dataset, PACKING)
    folder.mkdir(parents=True)
    (shard, *_) = shards_of(dataset, folder)
    others = folder / f".{shard.base.name}.jpegs.other.jpegs"
    others.write_bytes(b"half a shard")
    assert pack(dataset, PACKING, tmp_path).videos == 6
    assert others.is_file()


def test_two_videos_of_one_name_are_refused(dataset, tmp_path):
    same = replace(dataset, items=tuple(replace(item, video_id="clip") for item in dataset.items))
    with pytest.raises(ValueError, match="same video_id"):
        pack(same, PACKING, tmp_path)


def test_a_full_disk_is_foreseen(dataset, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"packing the rest of tiny takes about .* GB, 0\.0 GB are free"):
        pack(dataset, PACKING, tmp_path)


# --- several processes, and kills ---


def test_processes_share_the_work(dataset, tmp_path, small_shards):
    alone = pack(dataset, PACKING, tmp_path / "alone")
    together = pack(dataset, PACKING, tmp_path / "together", workers=2)
    assert (together.frames, together.size) == (alone.frames, alone.size)
    for path in alone.folder.glob("*.jpegs"):
        assert path.read_bytes() == (together.folder / path.name).read_bytes()


def test_a_failing_process_is_an_error_and_not_a_hang(dataset, tmp_path, small_shards):
    folder = cache_folder(tmp_path, dataset, PACKING)
    for shard in shards_of(dataset, folder):
        shard.path("jpegs").mkdir(parents=True)  # nothing can be put there
    with pytest.raises(RuntimeError, match="1 of 1 packing processes failed"):
        pack(dataset, PACKING, tmp_path, workers=1)


def test_a_shard_that_another_process_writes_is_waited_for(dataset, tmp_path, small_shards, monkeypatch):
    """Its lock is held; when the holder has finished, nothing is packed twice."""
    finished = pack(dataset, PACKING, tmp_path / "elsewhere").folder
    folder = cache_folder(tmp_path / "here", dataset, PACKING)
    folder.mkdir(parents=True)
    held = shards_of(dataset, folder)[0]
    lock = held.path("lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    written = []
    original = pack_module._write_shard

    def other_finishes(seconds):
        for suffix in ("jpegs", "npz"):
            shutil.copyfile(finished / held.path(suffix).name, held.path(suffix))
        lock.close()

    monkeypatch.setattr(pack_module.time, "sleep", other_finishes)
    monkeypatch.setattr(
        pack_module,
        "_write_shard",
        lambda shard, *rest, **how: (written.append(shard.base.name), original(shard, *rest, **how)),
    )
    assert pack(dataset, PACKING, tmp_path / "here").videos == 6
    assert held.base.name not in written
    assert len(written) == len(shards_of(dataset, folder)) - 1


PACKER = """
import pickle, sys
from pathlib import Path
from motion_lib.data import pack as pack_module, packed as packed_module
packed_module.VIDEOS_PER_SHARD = 4
with open(sys.argv[1], "rb") as file:
    dataset, packing = pickle.load(file)
print("ready", flush=True)
pack_module.pack(dataset, packing, Path(sys.argv[2]))
"""


KILLS = 8


@pytest.mark.slow
def test_killed_at_random_moments_it_goes_on(videos, tmp_path, monkeypatch):
    """kill -9 again and again, then a run that may end: the same bytes as an undisturbed one, and no litter."""
    monkeypatch.setattr(packed_module, "VIDEOS_PER_SHARD", 4)
    items = []
    for i in range(120):
        path = tmp_path / "videos" / f"copy_{i}.mp4"
        path.parent.mkdir(exist_ok=True)
        os.link(videos[i % 4], path)
        items.append(VideoItem(path.stem, path, 0, path.stem))
    many = VideoDataset("tiny", ("wave",), tuple(items), 1, "train")
    undisturbed = pack(many, PACKING, tmp_path / "undisturbed").folder
    (tmp_path / "job.pkl").write_bytes(pickle.dumps((many, PACKING)))
    folder, rng, whole, part_written = cache_folder(tmp_path / "killed", many, PACKING), np.random.default_rng(0), [], 0
    command = [sys.executable, "-c", PACKER, str(tmp_path / "job.pkl"), str(tmp_path / "killed")]
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0.01, 0.2))
            process.send_signal(signal.SIGKILL)
        whole.append(sum(not path.name.startswith(".") for path in folder.glob("*.npz")))  # * matches dots here
        part_written += len(list(folder.glob(".*")))
    assert whole == sorted(whole)  # nothing whole is ever lost
    assert part_written  # some were hit in the middle of a shard
    pack(many, PACKING, tmp_path / "killed")
    wanted = [name for name in names(undisturbed) if not name.endswith(".lock")]
    assert [name for name in names(folder) if not name.endswith(".lock")] == wanted
    for name in wanted:
        if name.endswith(".jpegs"):
            assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()


# --- the command ---
