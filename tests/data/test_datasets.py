"""The three official layouts: small trees of empty files, and the official lists themselves."""

import os
import re
import shutil
import time
import unicodedata

import numpy as np
import pytest

from motion_lib.data import datasets, video
from motion_lib.data.datasets import VIDEO_SUFFIXES, TooManyMissing, check_missing, open_dataset

ODD_NAMES = (  # every character that occurs in HMDB-51's file names and means something to a shell or a glob
    "AMAZING!!!!!!!_wave_f_cm_np1_fr_bad_4.avi",
    "Hamlet_(1996)_Scenes_wave_u_cm_np1_fr_med_0.avi",
    "[HQ]_Rock&Roll_#1_+_2;_~me@home_wave_f_nm_np1_ba_med_0.avi",
)


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write_lines(path, *lines, end="\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())


def ids(dataset):
    return [item.video_id for item in dataset.items]


def names_of(dataset):
    """{video_id: class name}, which no order of classes or videos can change."""
    return {item.video_id: dataset.class_names[item.label] for item in dataset.items}


# --- UCF-101 ---


@pytest.fixture
def ucf(tmp_path):
    """Three classes, CRLF lists, and the folder that differs from its files by a capital letter."""
    lists, videos = tmp_path / "ucf101" / "ucfTrainTestlist", tmp_path / "ucf101" / "UCF-101"
    write_lines(lists / "classInd.txt", "1 Archery", "2 HandstandPushups", "3 Biking", end="\r\n")
    tests = ["Archery/v_Archery_g01_c01.avi", "HandstandPushups/v_HandStandPushups_g01_c02.avi"]
    trains = ["Archery/v_Archery_g08_c01.avi 1", "Biking/v_Biking_g25_c04.avi 3"]
    write_lines(lists / "testlist01.txt", *tests, end="\r\n")
    write_lines(lists / "trainlist01.txt", *trains, end="\r\n")
    for line in tests + trains:
        touch(videos / line.split()[0])
    return tmp_path


def test_ucf_classes_keep_the_official_order(ucf):
    assert open_dataset("ucf101", ucf).class_names == ("Archery", "HandstandPushups", "Biking")


def test_ucf_labels_go_by_folder(ucf):
    dataset = open_dataset("ucf101", ucf, split=1, subset="test")
    assert names_of(dataset) == {
        "v_Archery_g01_c01": "Archery",
        "v_HandStandPushups_g01_c02": "HandstandPushups",
    }
    assert dataset.labels == [0, 1]
    assert dataset.groups == ["Archery_g01", "HandstandPushups_g01"]
    assert dataset.missing == ()


def test_ucf_ids_of_training_lists_are_not_used(ucf):
    lists = ucf / "ucf101" / "ucfTrainTestlist"
    right = names_of(open_dataset("ucf101", ucf, subset="train"))
    write_lines(lists / "trainlist01.txt", "Archery/v_Archery_g08_c01.avi 7", "Biking/v_Biking_g25_c04.avi")
    assert names_of(open_dataset("ucf101", ucf, subset="train")) == right
    assert right["v_Biking_g25_c04"] == "Biking"


def test_ucf_all_is_train_and_test(ucf):
    assert sorted(ids(open_dataset("ucf101", ucf, subset="all"))) == [
        "v_Archery_g01_c01",
        "v_Archery_g08_c01",
        "v_Biking_g25_c04",
        "v_HandStandPushups_g01_c02",
    ]


def test_ucf_folder_of_another_case_is_the_same_class(ucf):
    lists, videos = ucf / "ucf101" / "ucfTrainTestlist", ucf / "ucf101" / "UCF-101"
    write_lines(lists / "testlist01.txt", "HandStandPushups/v_HandStandPushups_g02_c01.avi")
    touch(videos / "HandStandPushups" / "v_HandStandPushups_g02_c01.avi")
    assert names_of(open_dataset("ucf101", ucf)) == {"v_HandStandPushups_g02_c01": "HandstandPushups"}


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (
            b"\nv_Archery_g01_c01.avi\n",
            "line 2, column 1: 'v_Archery_g01_c01.avi': class (none) is not in classInd.txt",
        ),
        (b"\n\nArch\xe9ry/v_Archery_g01_c01.avi\n", "line 3: not UTF-8"),
    ],
)
def test_ucf_broken_list_is_named(ucf, lines, fault):
    path = ucf / "ucf101" / "ucfTrainTestlist" / "testlist01.txt"
    path.write_bytes(lines)
    with pytest.raises(ValueError, match=re.escape(f"{path}, {fault}")):
        open_dataset("ucf101", ucf)


def test_ucf_class_without_name_is_an_error(ucf):
    path = ucf / "ucf101" / "ucfTrainTestlist" / "classInd.txt"
    write_lines(path, "1 Archery", "HandstandPushups")
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 2, column 2: expected a class, found ''")):
        open_dataset("ucf101", ucf)


def test_ucf_unknown_class_is_an_error(ucf):
    write_lines(ucf / "ucf101" / "ucfTrainTestlist" / "testlist01.txt", "Juggling/v_Juggling_g01_c01.avi")
    with pytest.raises(ValueError, match=r"class Juggling is not in classInd\.txt"):
        open_dataset("ucf101", ucf)


# --- HMDB-51 ---


@pytest.fixture
def hmdb(tmp_path):
    """Three classes, one name a prefix of another, flags 0, 1, 2, trailing blanks, odd names."""
    root = tmp_path / "hmdb51"
    clips = {
        "climb": {"Film_A_climb_f_cm_np1_fr_med_0.avi": 1, "Film_A_climb_f_cm_np1_fr_med_1.avi": 2},
        "climb_stairs": {"Film_B_climb_stairs_u_cm_np1_fr_med_0.avi": 2},
        "wave": dict(zip(ODD_NAMES, (2, 0, 1), strict=True)),
    }
    for cls, flags in clips.items():
        lines = [f"{name} {flag} " for name, flag in flags.items()]
        write_lines(root / "testTrainMulti_7030_splits" / f"{cls}_test_split1.txt", *lines, "", end="\r\n")
        for name in flags:
            touch(root / "videos" / cls / name)
    return tmp_path


def test_hmdb_flags_choose_the_subset(hmdb):
    sizes = {part: len(open_dataset("hmdb51", hmdb, subset=part)) for part in ("train", "test", "all")}
    assert sizes == {"train": 2, "test": 3, "all": 6}


def test_hmdb_class_names_have_blanks_and_prefixes_stay_apart(hmdb):
    dataset = open_dataset("hmdb51", hmdb)
    assert dataset.class_names == ("climb", "climb stairs", "wave")
    assert names_of(dataset)["Film_B_climb_stairs_u_cm_np1_fr_med_0"] == "climb stairs"
    assert names_of(dataset)["Film_A_climb_f_cm_np1_fr_med_1"] == "climb"


def test_hmdb_odd_names_are_found(hmdb):
    dataset = open_dataset("hmdb51", hmdb, subset="all")
    assert [item.path.name for item in dataset.items if item.label == 2] == list(ODD_NAMES)
    assert dataset.missing == ()


def test_hmdb_clips_of_one_film_share_a_group_whatever_their_class(hmdb):
    """Also where the film's title holds the name of the class."""
    names = ("Film_A_pour_f_cm_np1_fr_med_0.avi", "How_to_pour_tea_pour_u_cm_np1_fr_med_1.avi")
    lists = hmdb / "hmdb51" / "testTrainMulti_7030_splits" / "pour_test_split1.txt"
    write_lines(lists, *(f"{name} 2 " for name in names))
    for name in names:
        touch(hmdb / "hmdb51" / "videos" / "pour" / name)
    dataset = open_dataset("hmdb51", hmdb, subset="all")
    assert dataset.groups[:5] == ["Film_A", "Film_A", "Film_B", "Film_A", "How_to_pour_tea"]


@pytest.mark.parametrize(("line", "found"), [("a_wave_f_cm_np1_fr_med_0.avi 3", "3"), ("a_wave.avi", "")])
def test_hmdb_broken_list_is_named(hmdb, line, found):
    path = hmdb / "hmdb51" / "testTrainMulti_7030_splits" / "wave_test_split1.txt"
    write_lines(path, "", line)
    with pytest.raises(ValueError, match=re.escape(f"{path}, line 2, column 2: expected 0, 1 or 2, found {found!r}")):
        open_dataset("hmdb51", hmdb)


def test_hmdb_lists_of_macos_doubles_are_no_classes(hmdb):
    write_lines(hmdb / "hmdb51" / "testTrainMulti_7030_splits" / "._wave_test_split1.txt", "\0")
    assert open_dataset("hmdb51", hmdb).class_names == ("climb", "climb stairs", "wave")


def test_hmdb_split_without_lists_is_an_error(hmdb):
    with pytest.raises(FileNotFoundError, match="splits 1, 2 and 3"):
        open_dataset("hmdb51", hmdb, split=4)


# --- Kinetics-400 ---


@pytest.fixture
def kinetics(tmp_path):
    """Validation rows of the official file, one in a folder with underscores, and training rows."""
    root = tmp_path / "kinetics400"
    header = "label,youtube_id,time_start,time_end,split,is_cc"
    rows = ["riding a bike,0wR5jVB-WPk,417,427,val,0", '"massaging person\'s head",3caPS4FHFF8,36,46,val,0']
    write_lines(root / "annotations" / "val.csv", header, *rows)
    rows = ["riding a bike,-aaaaaaaaaa,0,10,train,0", "riding a bike,bbbbbbbbbbb,1200,1210,train,0"]
    write_lines(root / "annotations" / "train.csv", header, *rows)
    touch(root / "val" / "riding_a_bike" / "0wR5jVB-WPk_000417_000427.mp4")
    touch(root / "val" / "massaging person's head" / "3caPS4FHFF8_000036_000046.mp4")
    touch(root / "train" / "riding a bike" / "-aaaaaaaaaa_000000_000010.mp4")
    return tmp_path


def test_kinetics_finds_both_kinds_of_folder(kinetics):
    dataset = open_dataset("kinetics400", kinetics, subset="val")
    assert dataset.class_names == ("massaging person's head", "riding a bike")
    assert names_of(dataset) == {
        "0wR5jVB-WPk_000417_000427": "riding a bike",
        "3caPS4FHFF8_000036_000046": "massaging person's head",
    }
    assert dataset.split is None


def test_kinetics_names_missing_videos(kinetics):
    dataset = open_dataset("kinetics400", kinetics, subset="train")
    assert ids(dataset) == ["-aaaaaaaaaa_000000_000010"]
    assert dataset.missing == ("bbbbbbbbbbb_001200_001210",)
    assert (
        dataset.describe()
        == "kinetics400 (train): 1 videos of 1 classes; 1 listed videos are not on disk, e.g. bbbbbbbbbbb_001200_001210"
    )


def test_kinetics_all_joins_both_lists(kinetics):
    dataset = open_dataset("kinetics400", kinetics, subset="all")
    assert (len(dataset), len(dataset.missing), len(dataset.class_names)) == (3, 1, 2)


@pytest.mark.parametrize(
    "place",
    [
        "train/riding a bike/-aaaaaaaaaa_000000_000010.mp4",
        "train/riding_a_bike/-aaaaaaaaaa_000000_000010.mkv",
        "train/-aaaaaaaaaa_000000_000010.mp4",  # flat
        "train_256/riding_a_bike/-aaaaaaaaaa.mp4",  # cut to the labelled ten seconds, named by the id alone
        "videos_train/riding_a_bike/-aaaaaaaaaa_0_10.webm",
        "compress/train_256/riding_a_bike/-aaaaaaaaaa.MP4",
        "train/riding a bike/-aaaaaaaaaa_000000_000010.mp4.mkv",  # merged by youtube-dl
        "train/riding a bike/-aaaaaaaaaa_000000_000010.MP4.webm",
        "train/-aaaaaaaaaa_0.0_10.0.mov",
    ],
)
def test_kinetics_is_found_in_every_layout_in_use(kinetics, place):
    root = kinetics / "kinetics400"
    shutil.rmtree(root / "train")
    touch(root / place)
    dataset = open_dataset("kinetics400", kinetics, subset="train")
    assert [item.path for item in dataset.items] == [root / place]
    assert ids(dataset) == ["-aaaaaaaaaa_000000_000010"]


def test_kinetics_clips_of_one_film_are_told_apart_by_their_seconds(kinetics):
    root = kinetics / "kinetics400"
    shutil.rmtree(root / "train")
    touch(root / "train" / "-aaaaaaaaaa_000020_000030.mp4")
    touch(root / "train" / "bbbbbbbbbbb_001200_001210.mp4")
    dataset = open_dataset("kinetics400", kinetics, subset="train")
    assert (ids(dataset), dataset.missing) == (["bbbbbbbbbbb_001200_001210"], ("-aaaaaaaaaa_000000_000010",))


@pytest.mark.parametrize("corrupt", ["-aaaaaaaaaa_000000_000010.mp4", "riding a bike/-aaaaaaaaaa_000000_000010.mp4"])
@pytest.mark.parametrize("replacement", ["-aaaaaaaaaa_000000_000010.mp4", "-aaaaaaaaaa.mp4"])
@pytest.mark.parametrize("folder", ["replacement/replacement_for_corrupted_k400", "train/Replacement", "a/replacement"])
def test_kinetics_replacements_win_over_corrupt_clips(kinetics, corrupt, replacement, folder):
    root = kinetics / "kinetics400"
    touch(root / "train" / corrupt)
    touch(root / folder / replacement)
    (item,) = open_dataset("kinetics400", kinetics, subset="train").items
    assert item.path == root / folder / replacement


def test_kinetics_id_alone_names_neither_of_two_clips(kinetics):
    root = kinetics / "kinetics400"
    header, row = "label,youtube_id,time_start,time_end,split", "riding a bike,bbbbbbbbbbb,{},{},train"
    write_lines(root / "annotations" / "train.csv", header, row.format(0, 10), row.format(20, 30))
    touch(root / "train" / "bbbbbbbbbbb.mp4")
    touch(root / "train" / "bbbbbbbbbbb_000020_000030.mp4")
    dataset = open_dataset("kinetics400", kinetics, subset="train")
    assert (ids(dataset), dataset.missing) == (["bbbbbbbbbbb_000020_000030"], ("bbbbbbbbbbb_000000_000010",))


@pytest.mark.parametrize("again", ["riding a bike,-aaaaaaaaaa,0,10,train", "waving,-aaaaaaaaaa,0.0,10.0,train"])
@pytest.mark.parametrize("part", ["train", "val"])
def test_kinetics_clip_listed_twice_counts_once_with_its_first_label(kinetics, again, part):
    path = kinetics / "kinetics400" / "annotations" / f"{part}.csv"
    path.write_text(f"{path.read_text()}{again}\n")
    dataset = open_dataset("kinetics400", kinetics, subset="all")
    assert names_of(dataset)["-aaaaaaaaaa_000000_000010"] == "riding a bike"
    assert len(ids(dataset)) == len(set(ids(dataset))) == 3
    label = again.partition(",")[0]
    assert dataset.ignored == (f"-aaaaaaaaaa_000000_000010 (listed again as {label})",)
    assert dataset.describe().endswith(f"1 are passed over, e.g. -aaaaaaaaaa_000000_000010 (listed again as {label})")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_kinetics_list_that_other_programs_saved(kinetics, end):
    path = kinetics / "kinetics400" / "annotations" / "train.csv"
    rows = [
        "\ufefflabel, youtube_id,time_start,time_end,split",
        "",
        " riding a bike , -aaaaaaaaaa ,0.0, 10. ,train ",
        "",
    ]
    write_lines(path, *rows, end=end)
    write_lines(path.with_name("._train.csv"), "\0")  # what macOS leaves beside it
    assert names_of(open_dataset("kinetics400", kinetics, subset="train")) == {
        "-aaaaaaaaaa_000000_000010": "riding a bike"
    }


@pytest.mark.parametrize("name", ["kinetics-400_val.csv", "kinetics400_val.csv", "validate.csv"])
def test_kinetics_lists_have_several_names(kinetics, name):
    annotations = kinetics / "kinetics400" / "annotations"
    expected = open_dataset("kinetics400", kinetics, subset="val")
    (annotations / "val.csv").rename(annotations / name)
    assert open_dataset("kinetics400", kinetics, subset="val") == expected


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("riding a bike,,0,10,train", "line 2, column youtube_id: expected a text, found ''"),
        ("riding a bike,aaaaaaaaaaa,0,ten,train", "line 2, column time_end: expected whole seconds, found 'ten'"),
        ("riding a bike,aaaaaaaaaaa,,10,train", "line 2, column time_start: expected whole seconds, found ''"),
        ("riding a bike,aaaaaaaaaaa,0.5,10,train", "line 2, column time_start: expected whole seconds, found '0.5'"),
        ("riding, a bike,aaaaaaaaaaa,0,10,train", "line 2, column time_start: expected whole seconds, found 'aaaaa"),
        ('"riding a bike,aaaaaaaaaaa,0,10,train\nwaving,bbbbbbbbbbb,0,10,train', "line 2, column youtube_id"),
        (None, "line 1: no column youtube_id, time_start, time_end, found label"),
    ],
)
def test_kinetics_broken_list_is_named(kinetics, line, problem):
    header = "label,youtube_id,time_start,time_end,split" if line else "label"
    write_lines(kinetics / "kinetics400" / "annotations" / "train.csv", header, line or "riding a bike")
    with pytest.raises(ValueError, match=problem) as caught:
        open_dataset("kinetics400", kinetics, subset="train")
    assert "train.csv" in str(caught.value)


# --- copies of UCF-101 and HMDB-51 that differ ---


def test_videos_are_found_whatever_the_suffix_and_the_capitals(ucf, hmdb):
    archery = ucf / "ucf101" / "UCF-101" / "Archery"
    (archery / "v_Archery_g01_c01.avi").rename(archery / "v_archery_g01_c01.MP4")
    waves = hmdb / "hmdb51" / "videos" / "wave"
    (waves / ODD_NAMES[2]).rename((waves / ODD_NAMES[2]).with_suffix(".mp4"))
    assert ids(open_dataset("ucf101", ucf))[0] == "v_Archery_g01_c01"
    dataset = open_dataset("hmdb51", hmdb, subset="train")
    assert (dataset.items[-1].path.name, dataset.missing) == (f"{ODD_NAMES[2][:-4]}.mp4", ())


def test_videos_may_lie_in_one_folder(ucf):
    videos = ucf / "ucf101" / "UCF-101"
    for path in sorted(videos.glob("*/*.avi")):
        path.rename(videos / path.name)
    dataset = open_dataset("ucf101", ucf, subset="all")
    assert (len(dataset), dataset.missing) == (4, ())


def test_missing_videos_stop_a_run_above_the_stated_share(ucf):
    (ucf / "ucf101" / "UCF-101" / "Archery" / "v_Archery_g01_c01.avi").unlink()
    dataset = open_dataset("ucf101", ucf, subset="all")
    check_missing(dataset, 0.25)
    with pytest.raises(TooManyMissing, match=r"ucf101 \(all\): 1 of 4 listed videos.*v_Archery_g01_c01.*allows 20.0%"):
        check_missing(dataset, 0.2)
    with pytest.raises(TooManyMissing, match=r"1 cannot be read, e\.g\. v_Archery_g01_c01, broken"):
        check_missing(dataset, 0.25, ["broken"])


@pytest.mark.parametrize("place", ["Archery/Archery", "UCF-101/Archery", "train/Archery", "extra/deep"])
def test_videos_may_lie_deeper(ucf, place):
    """As where an archive was unpacked into the folder that it makes."""
    videos = ucf / "ucf101" / "UCF-101"
    path = videos / place / "v_Archery_g01_c01.avi"
    path.parent.mkdir(parents=True, exist_ok=True)
    (videos / "Archery" / path.name).rename(path)
    dataset = open_dataset("ucf101", ucf)
    assert (dataset.items[0].path, dataset.missing) == (path, ())


@pytest.mark.parametrize("layout", ["ucf", "hmdb"])
def test_lists_that_other_programs_saved(request, layout):
    """Byte order mark, CRLF, blank lines, blanks at the ends, backslashes."""
    root, name = request.getfixturevalue(layout), {"ucf": "ucf101", "hmdb": "hmdb51"}[layout]
    expected = open_dataset(name, root)
    for path in (root / name).glob("*[tT]est*/*.txt"):
        lines = path.read_text().replace("/", "\\").splitlines()
        path.write_bytes(("\ufeff\r\n" + "".join(f" {line} \t\r\n\r\n" for line in lines)).encode())
    assert open_dataset(name, root) == expected


# --- opened again ---


def settle(root, age=3600):
    """Let every folder and file below `root` be as old as that, in seconds."""
    then = time.time() - age
    for path in (root, *root.rglob("*")):
        os.utime(path, (then, then))


def add_beside(root):
    touch(root / "train" / "riding a bike" / "bbbbbbbbbbb_001200_001210.mp4")


def add_below_a_link(root):
    touch(root.parent / "elsewhere" / "bbbbbbbbbbb.mp4")


def add_a_folder(root):
    touch(root / "replacement" / "more" / "bbbbbbbbbbb.mp4")


def remove(root):
    (root / "train" / "riding a bike" / "-aaaaaaaaaa_000000_000010.mp4").unlink()


def shorten_the_list(root):
    path = root / "annotations" / "train.csv"
    write_lines(path, *path.read_text().splitlines()[:-1])


@pytest.mark.parametrize("change", [add_beside, add_below_a_link, add_a_folder, remove, shorten_the_list])
@pytest.mark.parametrize("age", [3600, 0])
def test_what_changed_is_seen_when_it_is_opened_again(kinetics, change, age):
    """Whether the folders were old before, so that what was opened is kept, or written just now."""
    root = kinetics / "kinetics400"
    (kinetics / "elsewhere").mkdir()
    (root / "train" / "linked").symlink_to(kinetics / "elsewhere")
    (root / "train" / "back").symlink_to(root)  # a link that leads in circles
    settle(kinetics, age)
    before = open_dataset("kinetics400", kinetics, subset="all")
    change(root)
    after = open_dataset("kinetics400", kinetics, subset="all")
    assert (after.items, after.missing) != (before.items, before.missing)


def test_what_did_not_change_is_not_read_again(kinetics, monkeypatch):
    settle(kinetics)
    opened = {subset: open_dataset("kinetics400", kinetics, subset=subset) for subset in ("train", "val", "all")}
    monkeypatch.setattr(datasets, "_LAYOUTS", {})
    monkeypatch.chdir(kinetics.parent)
    for subset, dataset in opened.items():
        assert open_dataset("kinetics400", kinetics.relative_to(kinetics.parent), 1, subset) is dataset
    with pytest.raises(KeyError):
        open_dataset("kinetics400", kinetics, split=2, subset="val")


# --- any folder ---


def put_folder(root, *names):
    for name in names:
        touch(root / name)
    return root


def test_every_video_counts_and_the_rest_is_named(tmp_path):
    videos = ("jump/a.MOV", "jump/b.m4v", "run/c.MTS", "run/d.Mpeg", "run/e.mp4.mkv")
    others = ("loose.mp4", "empty/", "notes/", "notes/read.me", "run/f.mp4.part", "run/g.xyz")
    put_folder(tmp_path, *videos, "loose.mp4", "notes/read.me", "run/f.mp4.part", "run/g.xyz")
    (tmp_path / "empty").mkdir()
    dataset = open_dataset("folder", tmp_path)
    assert sorted(ids(dataset)) == sorted(videos)
    assert dataset.class_names == ("jump", "run")
    assert set(dataset.ignored) == set(others)
    assert dataset.describe().endswith("5 videos of 2 classes; 6 are passed over, e.g. loose.mp4, empty/, notes/")


def test_every_suffix_is_one_that_the_decoder_reads(tmp_path):
    """FFmpeg looks at the content, so one film serves for all; a suffix must not lead it astray."""
    film = tmp_path / "film.mp4"
    video.write_video(film, np.zeros((3, 32, 32, 3), np.uint8), 10)
    for suffix in VIDEO_SUFFIXES:
        path = film.rename(film.with_suffix(suffix))
        assert video.read_frames(path, [0, 2]).shape == (2, 32, 32, 3)
        film = path


def test_what_systems_leave_is_no_class_and_no_video(tmp_path):
    junk = (".git/a.mp4", ".ipynb_checkpoints/a.mp4", "__MACOSX/run/a.mp4", "@eaDir/a.mp4", "$RECYCLE.BIN/a.mp4")
    put_folder(tmp_path, "run/a.mp4", *junk, "run/._a.mp4", "run/@eaDir/a.mp4", "run/.DS_Store")
    dataset = open_dataset("folder", tmp_path)
    assert (ids(dataset), dataset.class_names) == (["run/a.mp4"], ("run",))
    assert len(dataset.ignored) == 8


def test_links_are_followed_once(tmp_path):
    put_folder(tmp_path, "jump/a.mp4", "run/b.mp4", "elsewhere/c.mp4")
    root = tmp_path / "classes"
    root.mkdir()
    for name in ("jump", "run"):
        (tmp_path / name).rename(root / name)
    links = {
        "jump/up": "..",
        "jump/here": ".",
        "jump/other": "../run",
        "also_run": "run",
        "walk": tmp_path / "elsewhere",
    }
    for name, target in (*links.items(), ("run/itself", "itself"), ("gone", "/nowhere")):
        (root / name).symlink_to(target)
    dataset = open_dataset("folder", root)
    assert names_of(dataset) == {"jump/a.mp4": "jump", "run/b.mp4": "run", "walk/c.mp4": "walk"}
    assert dataset.ignored == ("also_run/", "gone", "run/itself")


def test_a_dangling_link_is_a_video_that_cannot_be_read(tmp_path):
    put_folder(tmp_path, "run/a.mp4")
    (tmp_path / "run" / "b.mp4").symlink_to("/gone/b.mp4")
    dataset = open_dataset("folder", tmp_path)
    assert ids(dataset) == ["run/a.mp4", "run/b.mp4"]
    assert dataset.stamps()[1] == ("run/b.mp4", 0, 0)


@pytest.mark.parametrize("name", [b"r\xfcn/a.mp4", b"run/\xfc.mp4"])
def test_a_name_that_is_not_utf8_is_one_unreadable_video(tmp_path, name):
    put_folder(tmp_path, "jump/a.mp4", os.fsdecode(name))
    dataset = open_dataset("folder", tmp_path)
    shown = name.decode("utf-8", "backslashreplace")
    assert ids(dataset) == ["jump/a.mp4"]
    assert dataset.unreadable == {shown: "its name is not UTF-8, which decoders ask for; rename it"}
    dataset.describe().encode()
    assert f"1 cannot be read, e.g. {shown} (its name is not UTF-8" in dataset.describe()


@pytest.mark.parametrize("closed", ["run", "run/deep"])
def test_a_closed_folder_is_one_unreadable_video(tmp_path, monkeypatch, closed):
    put_folder(tmp_path, "jump/a.mp4", "run/deep/b.mp4", "run/c.mp4")
    scandir = os.scandir

    def refused(folder):
        if folder == str(tmp_path / closed):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refused)  # root may enter every folder
    dataset = open_dataset("folder", tmp_path)
    assert dataset.unreadable == {f"{closed}/": "Permission denied."}
    assert dataset.class_names == ("jump", "run")
    assert ids(dataset) == ["jump/a.mp4", "run/c.mp4"][: 2 if closed != "run" else 1]


def test_folders_whose_names_compare_equal_are_one_class(tmp_path):
    both = [unicodedata.normalize(form, "Übung") for form in ("NFC", "NFD")]
    put_folder(tmp_path, *(f"{name}/{i}.mp4" for i, name in enumerate((*both, "sit_down", "Sit down", "पीना", "पाना"))))
    dataset = open_dataset("folder", tmp_path)
    assert sorted(dataset.class_names) == sorted(["Sit down", "Übung", "पीना", "पाना"])
    names = names_of(dataset)
    assert names["Übung/0.mp4"] == names["Übung/1.mp4"] == "Übung"
    assert names["sit_down/2.mp4"] == names["Sit down/3.mp4"]


def test_odd_file_names_are_names(tmp_path):
    odd = ("a%03d", "#x?y", "\"q'", "-dash", "n\nl", "c:d", "[1]*{é}", "x" * 251, "A", "a")
    put_folder(tmp_path, *(f"-run: 100%/{name}.mp4" for name in odd))
    dataset = open_dataset("folder", tmp_path)
    assert dataset.class_names == ("-run: 100%",)
    assert sorted(item.path.stem for item in dataset.items) == sorted(odd)
    assert len(set(ids(dataset))) == len(odd)


def test_a_relative_folder_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    path = tmp_path / "data:1" / "run" / "a.mp4"
    video.write_video(path, np.zeros((3, 32, 32, 3), np.uint8), 10)
    monkeypatch.chdir(tmp_path)
    (item,) = open_dataset("folder", "data:1").items
    assert len(video.read_frames(item.path, [0])) == 1


def test_folder_of_official_clips_has_their_groups(tmp_path):
    ucf = [f"Archery/v_Archery_g{group:02d}_c{clip:02d}.avi" for group in (1, 2) for clip in (1, 2)]
    hmdb = [f"brush_hair/{film}_brush_hair_f_cm_np1_fr_med_{clip}.avi" for film in "AB" for clip in (0, 1)]
    kinetics = ["wave/-aaaaaaaaaa_000000_000010.mp4", "wave/-aaaaaaaaaa_000010_000020.mp4"]
    put_folder(tmp_path, *ucf, *hmdb, *kinetics, "wave/my_video_01.mp4", "wave/my_video_02.mp4")
    groups = open_dataset("folder", tmp_path).groups
    assert groups[:8] == ["Archery_g01", "Archery_g01", "Archery_g02", "Archery_g02", "A", "A", "B", "B"]
    assert groups[8:] == ["-aaaaaaaaaa", "-aaaaaaaaaa", "wave/my_video_01.mp4", "wave/my_video_02.mp4"]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["a.mp4", "b.mp4", "labels.csv"], FileNotFoundError, "3 are passed over, e.g. a.mp4, b.mp4, labels.csv. Put"),
        (
            ["run/a.txt"],
            FileNotFoundError,
            "no folder in it holds a video; 2 are passed over, e.g. run/, run/a.txt. Put",
        ),
        (["train/run/a.mp4", "val/run/b.mp4"], ValueError, "parts of a data set (train, val); open {root}/train."),
        (["Testing/a.mp4", "train_256/b.mp4"], ValueError, "parts of a data set (Testing, train_256); open"),
        (
            ["videos/run/a.mp4", "videos/jump/b.mp4"],
            ValueError,
            "one folder, videos, of folders (jump, run); open {root}/v",
        ),
    ],
)
def test_other_layouts_are_told(tmp_path, names, error, message):
    put_folder(tmp_path, *names)
    with pytest.raises(error, match=re.escape(message.format(root=tmp_path))):
        open_dataset("folder", tmp_path)


def test_a_class_folder_may_hold_folders(tmp_path):
    put_folder(tmp_path, "run/run/a.mp4", "jump/train/b.mp4", "jump/test/c.mp4")
    assert names_of(open_dataset("folder", tmp_path)) == {
        "run/run/a.mp4": "run",
        "jump/train/b.mp4": "jump",
        "jump/test/c.mp4": "jump",
    }


def test_folder_of_class_folders(tmp_path):
    for name in ("sit_down/a.mp4", "jump/deep/b.AVI", "jump/notes.txt"):
        touch(tmp_path / name)
    dataset = open_dataset("folder", tmp_path)
    assert dataset.class_names == ("jump", "sit down")
    assert names_of(dataset) == {"jump/deep/b.AVI": "jump", "sit_down/a.mp4": "sit down"}


def test_folder_tells_equal_file_names_apart(tmp_path):
    for name in ("jump/1.mp4", "wave/1.mp4", "wave/1.avi"):
        touch(tmp_path / name)
    dataset = open_dataset("folder", tmp_path)
    assert len(set(ids(dataset))) == len(set(dataset.groups)) == 3


# --- errors and names ---


@pytest.mark.parametrize("layout", ["ucf", "hmdb"])
def test_miniature_reads_the_same_layouts(request, layout):
    root = request.getfixturevalue(layout)
    official = open_dataset({"ucf": "ucf101", "hmdb": "hmdb51"}[layout], root)
    miniature = open_dataset(f"miniature-{layout}", root)
    assert (miniature.name, miniature.items) == (f"miniature-{layout}", official.items)


def test_unknown_data_set_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="'ucf': expected one of kinetics400, ucf101"):
        open_dataset("ucf", tmp_path)


@pytest.mark.parametrize(("layout", "name"), [("kinetics", "kinetics400"), ("ucf", "ucf101"), ("hmdb", "hmdb51")])
def test_unknown_subset_is_an_error(request, layout, name):
    with pytest.raises(ValueError, match="subset 'validation': expected one of"):
        open_dataset(name, request.getfixturevalue(layout), subset="validation")


@pytest.mark.parametrize(("name", "subset"), [("kinetics400", "val"), ("ucf101", "test"), ("hmdb51", "test")])
def test_missing_lists_are_an_error(tmp_path, name, subset):
    with pytest.raises(FileNotFoundError, match=r"is missing\. See the data layout"):
        open_dataset(name, tmp_path, subset=subset)


def test_no_video_at_all_is_an_error(ucf):
    shutil.rmtree(ucf / "ucf101" / "UCF-101")
    with pytest.raises(FileNotFoundError, match="none of its 2 listed videos"):
        open_dataset("ucf101", ucf)


def test_missing_videos_are_counted_in_one_line(ucf):
    (ucf / "ucf101" / "UCF-101" / "Archery" / "v_Archery_g01_c01.avi").unlink()
    dataset = open_dataset("ucf101", ucf)
    assert dataset.missing == ("v_Archery_g01_c01",)
    assert dataset.describe().startswith("ucf101 (test, split 1): 1 videos of 3 classes; 1 listed videos")


# --- the official lists ---


def with_lists(shared_dir, tmp_path, source, target, *videos):
    """A data set of official lists and only a few (empty) videos."""
    lists = shared_dir / "data" / "lists" / source
    if not lists.exists():
        pytest.skip(f"{lists} is absent")
    target = tmp_path / target
    target.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if lists.is_dir() else shutil.copyfile)(lists, target)
    for name in videos:
        touch(tmp_path / name)
    return tmp_path


def assert_counts(dataset, listed, classes):
    """Every listed video is either there or missing, under a name of its own."""
    assert len(dataset.items) >= 1
    everything = ids(dataset) + list(dataset.missing)
    assert len(everything) == len(set(everything)) == listed
    assert len(dataset.class_names) == classes


@pytest.mark.data
@pytest.mark.parametrize(
    ("split", "subset", "listed"),
    [
        (1, "train", 9537),
        (1, "test", 3783),
        (1, "all", 13320),
        (2, "train", 9586),
        (2, "test", 3734),
        (3, "train", 9624),
        (3, "test", 3696),
    ],
)
def test_official_ucf_lists(shared_dir, tmp_path, split, subset, listed):
    clips = [f"ucf101/UCF-101/Archery/v_Archery_g{group:02d}_c01.avi" for group in range(1, 26)]
    root = with_lists(shared_dir, tmp_path, "ucfTrainTestlist", "ucf101/ucfTrainTestlist", *clips)
    assert_counts(open_dataset("ucf101", root, split, subset), listed, classes=101)


@pytest.mark.data
@pytest.mark.parametrize("split", [1, 2, 3])
@pytest.mark.parametrize(("subset", "listed"), [("train", 3570), ("test", 1530), ("all", 6766)])
def test_official_hmdb_lists(shared_dir, tmp_path, split, subset, listed):
    source = "testTrainMulti_7030_splits"
    root = with_lists(shared_dir, tmp_path, source, f"hmdb51/{source}")
    lines = (root / "hmdb51" / source / "wave_test_split1.txt").read_text(encoding="utf-8").splitlines()
    for line in lines:
        touch(root / "hmdb51" / "videos" / "wave" / line.split()[0])
    dataset = open_dataset("hmdb51", root, split, subset)
    assert_counts(dataset, listed, classes=51)
    assert set(names_of(dataset).values()) == {"wave"}


@pytest.mark.data
def test_official_kinetics_list(shared_dir, tmp_path):
    video = "kinetics400/val/abseiling/0wR5jVB-WPk_000417_000427.mp4"
    source, target = "kinetics400/kinetics-400_val.csv", "kinetics400/annotations/val.csv"
    root = with_lists(shared_dir, tmp_path, source, target, video)
    dataset = open_dataset("kinetics400", root, subset="val")
    assert_counts(dataset, 19906, classes=400)
    assert names_of(dataset) == {"0wR5jVB-WPk_000417_000427": "abseiling"}
