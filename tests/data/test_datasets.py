"""The three official layouts: small trees of empty files, and the official lists themselves."""

import shutil

import pytest

from motion_lib.data.datasets import TooManyMissing, check_missing, open_dataset

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
        (None, "no column youtube_id, time_start, time_end"),
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


# --- any folder ---


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
    for video in videos:
        touch(tmp_path / video)
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
