"""Protocols by hand, the official halves, and the lists of classes that source and target share."""

import csv
import re

import numpy as np
import pytest

from motion_lib.config import RunConfig
from motion_lib.data.datasets import VideoDataset
from motion_lib.evaluation.protocols import (
    FULL,
    HALF,
    MEAN_OF_SPLITS,
    ProtocolLists,
    half_classes,
    protocol_results,
)
from motion_lib.evaluation.retrieval import RetrievalResult
from motion_lib.experiment.data import OfficialData
from motion_lib.texts.descriptions import DescriptionSet, read_descriptions, squeeze_key
from motion_lib.texts.overlap import LEVELS, listed_overlap, seen_texts, without_counterpart
from tests import golden


def result(right: list[bool], labels: list[int], classes: int = 4) -> RetrievalResult:
    """Where `right`, the own description scores 1; elsewhere the next class's does."""
    labels, scores = np.array(labels), np.zeros((len(labels), classes))
    answers = np.where(right, labels, (labels + 1) % classes)
    scores[np.arange(len(labels)), answers] = 1
    ids = tuple(f"v{n}" for n in range(len(labels)))
    groups = np.array([f"g{n // 2}" for n in range(len(labels))])
    return RetrievalResult("set", "texts", scores, labels, groups, ids, {})


RIGHT = [True, True, False, True, False, False, True, False]
LABELS = [0, 0, 1, 1, 2, 2, 3, 3]


# --- protocols ---


def test_splits_and_classes_by_hand():
    splits = {1: frozenset({"v0", "v2"}), 2: frozenset({"v4", "v6"}), 3: frozenset({"v1", "v3", "v5"})}
    lists = ProtocolLists(splits, {"some": (1, 3), "nobody": ()})
    found = protocol_results(result(RIGHT, LABELS), lists, resamples=100)
    assert found[FULL]["acc1"] == 0.5
    assert [found[f"split {k}"]["acc1"] for k in (1, 2, 3)] == [0.5, 0.5, pytest.approx(2 / 3)]
    assert found[MEAN_OF_SPLITS]["acc1"] == pytest.approx(np.mean([0.5, 0.5, 2 / 3]))
    assert found[MEAN_OF_SPLITS]["sd"] == pytest.approx(np.std([0.5, 0.5, 2 / 3]))
    assert (found["some"]["acc1"], found["some"]["videos"], found["some"]["classes"]) == (0.5, 4, 4)
    assert found["some"]["classes_with_videos"] == 2
    assert "acc1" not in found["nobody"]
    assert found[FULL]["acc1_low"] <= 0.5 <= found[FULL]["acc1_high"]


def test_half_of_the_classes_leaves_only_their_candidates():
    """A video whose wrong answer is not among the candidates is right there, if its own text leads the others."""
    wrong = result([False] * 8, LABELS)
    wrong.scores[np.arange(8), LABELS] = 0.5  # second to the next class's 1
    found = protocol_results(wrong, ProtocolLists(), 100)
    halves = [set(half_classes(4, draw)) for draw in range(10)]
    expected = [np.mean([(c + 1) % 4 not in half for c in half]) for half in halves]
    assert found[HALF]["acc1"] == pytest.approx(np.mean(expected))
    assert 0 < found[HALF]["sd"] == pytest.approx(np.std(expected))
    everything = protocol_results(result([True] * 8, LABELS), ProtocolLists(), 100)[HALF]
    assert (everything["acc1"], everything["sd"], everything["classes"], everything["videos"]) == (1, 0, 2, 4)


def test_what_cannot_be_scored_has_no_number():
    lists = ProtocolLists({1: frozenset({"v0"}), 2: frozenset(), 3: frozenset({"v1"})})
    found = protocol_results(result(RIGHT, LABELS), lists, 100)
    assert "acc1" not in found["split 2"]
    assert "acc1" not in found[MEAN_OF_SPLITS]  # two splits are not three
    assert "acc1_low" not in found["split 1"]  # one group has no interval
    assert "acc1" not in protocol_results(result([True] * 4, [0, 0, 1, 1]), ProtocolLists(), 100)[HALF]


def test_among_renumbers_the_classes():
    part = result(RIGHT, LABELS).among(classes=(1, 3))
    assert part.labels.tolist() == [0, 0, 1, 1]
    assert part.video_ids == ("v2", "v3", "v6", "v7")
    assert part.scores.shape == (4, 2)
    assert part.correct.tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match="none of its 8 videos is left"):
        result(RIGHT, LABELS).among(videos=np.zeros(8, dtype=bool))


def test_halves_are_those_of_text4vis():
    """The first five classes of every half that the official code draws."""
    official = golden.read()["extras"]["text4vis_half_class_splits_first5"]
    for name, (*first, _, length) in official.items():
        classes, draw = map(int, re.findall(r"\d+", name))
        half = half_classes(classes, draw)
        assert (list(half[:5]), len(half)) == (first, length), name


# --- classes that source and target share ---


def test_the_lists_have_one_row_a_class_and_known_levels():
    for dataset, listed in listed_overlap().items():
        assert dataset in ("ucf101", "hmdb51")
        assert {level for level, _ in listed.values()} == set(LEVELS)
    counts = {
        dataset: [sum(found == level for found, _ in listed.values()) for level in LEVELS]
        for dataset, listed in listed_overlap().items()
    }
    assert counts == {"ucf101": [22, 8, 50], "hmdb51": [2, 11, 26]}


def test_what_counts_in_one_target_counts_in_the_other():
    """The two targets name some activities alike; the judgement must not depend on the target."""
    ucf, hmdb = listed_overlap()["ucf101"], listed_overlap()["hmdb51"]
    alike = {
        "fencing": "fencing",
        "golfswing": "golf",
        "horseriding": "ridehorse",
        "biking": "ridebike",
        "punch": "punch",
    }
    for one, other in alike.items():
        assert ucf[one] == hmdb[other]
    by_source = {counterpart for _, counterpart in ucf.values()}
    assert {"marching", "push up", "riding or walking with horse"} <= by_source
    for kind, plain in (("militaryparade", "bandmarching"), ("wallpushups", "pushups"), ("horserace", "horseriding")):
        assert ucf[kind][1] == ucf[plain][1]


_FILES = {"ucf101": "uc101_motion.csv", "hmdb51": "hmdb51_motion_with_objectname.csv"}


@pytest.mark.data
@pytest.mark.parametrize(("dataset", "left"), [("ucf101", [79, 71, 21]), ("hmdb51", [49, 38, 12])])
def test_the_lists_name_classes_that_exist(shared_dir, dataset, left):
    target = read_descriptions(shared_dir / "data" / "descriptions" / _FILES[dataset])
    source = read_descriptions(shared_dir / "data" / "descriptions" / "kinetics400_motion_descriptions.csv")
    keys = {squeeze_key(name) for name in target.class_names}
    for key, (_, counterpart) in listed_overlap()[dataset].items():
        assert key in keys
        assert counterpart in source.class_names
    found = [len(without_counterpart(dataset, target.class_names, source.class_names, level)) for level in LEVELS]
    assert found == left


@pytest.mark.data
@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51"])
def test_the_level_exact_is_its_rule(shared_dir, dataset):
    """By hand and by rule the same classes are equal in name."""
    folder = shared_dir / "data" / "descriptions"
    target = read_descriptions(folder / _FILES[dataset])
    source = {squeeze_key(n) for n in read_descriptions(folder / "kinetics400_motion_descriptions.csv").class_names}
    by_rule = {squeeze_key(n) for n in target.class_names} & source
    listed = {key for key, (level, _) in listed_overlap()[dataset].items() if level == "exact"}
    assert by_rule == listed


def test_names_equal_to_the_sources_are_found_without_a_list():
    names = ("Jumping Jack", "wave flag", "row")
    assert without_counterpart("miniature-ucf", names, ["wave_flag"], "exact") == (0, 2)
    with pytest.raises(ValueError, match="expected one of exact, inflected, activity"):
        without_counterpart("ucf101", names, [], "close")


def test_seen_texts_ignore_case_and_end_point():
    source = DescriptionSet("s", ("a", "b"), ("Raising one arm.", "bowing deeply"))
    target = DescriptionSet("t", ("x", "y", "z"), ("raising one arm", "jumping.", "Bowing deeply."))
    assert seen_texts(target, source) == (0, 2)


@pytest.mark.parametrize(("kind", "seen"), [("object", (0, 1)), ("masked", (0,))])
def test_a_text_that_masking_changed_is_no_longer_seen(kind, seen):
    """Two classes have the source's descriptions; masking changes one of them."""
    names = ("wave", "throw")
    texts = {
        "kinetics400": ("Raising one arm.", "Throwing a ball."),
        "ucf101 object": ("Raising one arm.", "Throwing a ball."),
        "ucf101 masked": ("Raising one arm.", "Throwing an object."),
    }

    class Data(OfficialData):
        def __init__(self):
            self.cfg = RunConfig.load("paper")

        def dataset(self, name, subset):
            return VideoDataset(name, names, (), 1, subset)

        def descriptions(self, name, of):
            return DescriptionSet(name, names, texts.get(f"{name} {of}") or texts[name])

        def _test_ids(self, target, split):
            return None

    lists = Data().protocol_lists("ucf101", kind)
    assert lists.classes["text seen in the source"] == seen
    assert lists.classes["changed by masking"] == (1,)


@pytest.mark.data
def test_the_published_chart_is_the_shared_one(shared_dir):
    import json

    from motion_lib.report.breakdowns import reported_classes

    published = json.loads((shared_dir / "data" / "ucf101_per_class_reported.json").read_text())
    assert dict(zip(*reported_classes().to_dict("list").values(), strict=True)) == published


def test_the_overlap_file_is_a_plain_table():
    from motion_lib.texts import overlap as class_overlap

    with class_overlap._LISTED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({(row["data_set"], squeeze_key(row["class_name"])) for row in rows}) == 119
