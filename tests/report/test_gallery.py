"""Clips chosen by a rule, and classes taken for classes."""

import numpy as np
import pytest

from motion_lib.evaluation.retrieval import RetrievalResult
from motion_lib.experiment.records import read_records
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.report.gallery import GALLERY_METHODS, chosen_clips, confusion_figure, gallery
from tests.layout import layout_faults
from tests.made_records import CLASSES, NAMES, UCF, put


def result(rights: list[float]) -> RetrievalResult:
    """One clip of each class, to whose right description a method gives a logit; the others have 0."""
    scores = np.diag(np.array(rights, dtype=float))
    ids = tuple(f"clip {i}" for i in range(len(rights)))
    return RetrievalResult("made", "object", scores, np.arange(len(rights)), np.arange(len(rights)), ids, {})


def test_the_rule_chooses_agreement_first_and_then_disagreement():
    #             all right: 2nd best, best | all wrong: worst, less so | apart: most, less
    one, other = result([2, 5, -9, -1, 9, 3, 1]), result([3, 5, -9, -2, -9, -1, -1])
    assert chosen_clips([one, other])[:4] == [
        (1, "all are right"),
        (2, "all are wrong"),
        (4, "they disagree most"),
        (5, "they disagree most"),
    ]


def test_every_chosen_clip_is_of_another_class():
    first = result([9, 8, 7, 6])
    same = RetrievalResult(**{**vars(first), "labels": np.array([0, 0, 1, 1]), "scores": first.scores[[0, 0, 1, 1]]})
    chosen = chosen_clips([same, same])
    assert len(chosen) == len({same.labels[number] for number, _ in chosen}) == 2


def test_without_a_clip_that_all_get_right_there_is_one_less():
    wrong = result([-1, -2, -3])
    assert [why for _, why in chosen_clips([wrong, wrong])] == ["all are wrong", *["they disagree most"] * 2]


def test_confusions_are_shares_of_each_class(cfg):
    for seed in (0, 1):
        put(cfg, sixths=3, seed=seed)
    figure, shares = confusion_figure(read_records(cfg), UCF, np.random.default_rng(0).normal(size=(CLASSES, 8)))
    assert layout_faults(figure) == []
    named = shares[shares["descriptions"] == "object"]
    assert named.groupby("right")["percent"].sum().to_dict() == pytest.approx(dict.fromkeys(NAMES, 100))
    assert named[named["right"] == named["answer"]]["percent"].tolist() == [50.0] * CLASSES


@pytest.mark.slow
def test_the_gallery_shows_frames_and_the_three_best_of_each_method(smoke):
    results = {key: smoke.measure(key) for key in GALLERY_METHODS}
    figure, rows = gallery(smoke, results, UCF)
    shown = rows["video"].nunique()
    assert len(rows) == shown * len(GALLERY_METHODS) * len(DESCRIPTION_KINDS) * 3
    assert len(figure.get_axes()) == 1 + 2 * shown
    assert rows.groupby(["video", "method", "descriptions"])["probability"].sum().max() <= 1.001
    assert layout_faults(figure) == []
    right = next(rows[(rows["chosen"] == "they disagree most")].itertuples())
    scores = results[right.method][UCF, "object"]
    number = scores.video_ids.index(right.video)
    assert right.right == smoke.data.dataset(UCF, "all").class_names[scores.labels[number]]
