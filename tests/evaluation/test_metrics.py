"""Metrics of small score matrices by hand, and against the plain way of sorting."""

import numpy as np
import pytest

from motion_lib.evaluation.metrics import confusion_pairs, ranks_of_texts, ranks_of_videos, retrieval_metrics

# Four videos of classes 0, 0, 1, 2 against four descriptions; nobody is of class 3.
SCORES = np.array([[0.9, 0.1, 0.2, 0.3], [0.2, 0.8, 0.1, 0.0], [0.5, 0.6, 0.7, 0.1], [0.4, 0.3, 0.2, 0.1]])
LABELS = np.array([0, 0, 1, 2])


def test_ranks_by_hand():
    assert ranks_of_texts(SCORES, LABELS).tolist() == [0, 1, 1, 2]
    # Text 0: its best video is first. Text 1: its video (0.6) is behind 0.8. Text 2: its video (0.2) is behind 0.7
    # and beside another 0.2, and a tie counts against the model.
    assert ranks_of_videos(SCORES, LABELS).tolist() == [0, 1, 2, -1]


def test_metrics_by_hand():
    found = retrieval_metrics(SCORES, LABELS)
    assert found["acc1"] == found["recall_at_1"] == 0.25
    assert found["mean_per_class_acc"] == pytest.approx((0.5 + 0 + 0) / 3)
    assert (found["acc5"], found["recall_at_10"]) == (1.0, 1.0)
    assert (found["median_rank"], found["mean_rank"]) == (2.0, 2.0)
    assert found["text_to_video_recall_at_1"] == pytest.approx(1 / 3)
    assert (found["text_to_video_median_rank"], found["text_to_video_mean_rank"]) == (2.0, 2.0)


def test_metrics_equal_sorting():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(12, size=200), rng.normal(size=(200, 12))
    scores[np.arange(200), labels] += 1
    ranks = np.argmax(np.argsort(-scores, axis=1) == labels[:, None], axis=1)
    order = labels[np.argsort(-scores, axis=0)]  # (N, K): classes of the videos, best first for each text
    first = np.argmax(order == np.arange(12), axis=0)
    found = retrieval_metrics(scores, labels)
    for k in (1, 5, 10):
        assert found[f"recall_at_{k}"] == (ranks < k).mean()
        assert found[f"text_to_video_recall_at_{k}"] == (first < k).mean()
    assert found["mean_rank"] == ranks.mean() + 1
    assert found["text_to_video_median_rank"] == np.median(first) + 1


@pytest.mark.parametrize("constant", [0.0, np.nan])
def test_a_score_that_says_nothing_is_never_right(constant):
    found = retrieval_metrics(np.full((6, 3), constant), np.arange(6) % 3)
    assert found["acc1"] == found["text_to_video_recall_at_1"] == 0
    assert found["mean_rank"] == 3
    assert found["text_to_video_mean_rank"] == 5  # behind the four videos of other classes


def test_one_nan_hurts_only_its_own():
    scores = SCORES.copy()
    scores[0, 0] = np.nan
    assert ranks_of_texts(scores, LABELS).tolist() == [3, 1, 1, 2]
    assert ranks_of_videos(scores, LABELS)[0] == 2  # its other video has 0.2, behind 0.5 and 0.4


def test_confusion_pairs_by_hand():
    labels, answers = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 2, 0, 2])
    assert confusion_pairs(labels, answers, 3) == [(0, 1, 2), (1, 0, 1), (1, 2, 1)]
    assert confusion_pairs(labels, answers, 3, most=1) == [(0, 1, 2)]
    assert confusion_pairs(labels, labels, 3) == []
