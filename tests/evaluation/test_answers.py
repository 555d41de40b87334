"""Pooled answers: which may be paired, and what their intervals are."""

from dataclasses import replace

import numpy as np
import pytest

from motion_lib.evaluation.answers import Answers, paired
from motion_lib.evaluation.intervals import bootstrap_accuracy, bootstrap_mean, clustered_error


def answers(right, seeds=(0,), videos="v", chance=0.5) -> Answers:
    """Six clips of three classes and two recordings for each seed; `right` is given for all of them."""
    classes, groups = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 2, 3, 4, 5])
    count = len(seeds)
    tiled = (np.tile(classes, count), np.tile(groups, count))
    hashes = tuple(f"{videos}{seed}" for seed in seeds)
    return Answers(np.array(right, dtype=float), np.repeat(seeds, 6), *tiled, hashes, chance)


ALL, SOME = answers([1, 1, 1, 1, 1, 1]), answers([1, 0, 1, 0, 1, 1])


def test_mean_and_interval_are_those_of_the_bootstrap():
    assert SOME.mean == pytest.approx(4 / 6)
    assert SOME.interval("groups", 500) == bootstrap_accuracy(SOME.right, SOME.groups, resamples=500)
    assert SOME.interval("classes", 500) == bootstrap_accuracy(SOME.right, SOME.classes, resamples=500)
    error = clustered_error(SOME.right, SOME.groups, SOME.classes)
    half = 1.959964 * error
    assert SOME.interval("recordings") == pytest.approx((4 / 6, 4 / 6 - half, 4 / 6 + half))


def test_a_difference_is_paired():
    found = ALL.less(SOME).interval("classes", 500)
    assert found == bootstrap_mean(ALL.right - SOME.right, ALL.classes, resamples=500)
    assert found.estimate == pytest.approx(2 / 6)
    assert np.isnan(ALL.less(ALL).smallest_visible())


def test_smallest_visible_gap_by_formula():
    """10 % of 1000 clips differ, evenly: the standard error is sqrt(0.1 / 1000), times 1.96 + 0.84."""
    right, clips, zeros = np.zeros(1000), np.arange(1000), np.zeros(1000, int)
    right[:50], right[50:100] = 1, -1
    expected = (1.959964 + 0.841621) * np.sqrt(0.1 / 1000)
    assert Answers(right, zeros, clips, clips, ("v",), 0.5).smallest_visible() == pytest.approx(expected, rel=1e-3)
    of_one_class = Answers(right, zeros, zeros, clips, ("v",), 0.5)
    assert of_one_class.smallest_visible("recordings") == pytest.approx(expected, rel=1e-3)


def test_pairs_are_of_the_seeds_that_both_have():
    three, two = answers([1] * 18, (0, 1, 2)), answers([0] * 12, (1, 2))
    one, other = paired(three, two)
    assert (one.known_seeds, other.known_seeds) == ((1, 2), (1, 2))
    assert (one.videos, len(one.right)) == (("v1", "v2"), 12)
    assert three.less(two).mean == 1


@pytest.mark.parametrize(
    "other", [answers([1] * 6, (3,)), answers([1] * 6, videos="w"), replace(ALL, classes=ALL.groups)]
)
def test_what_is_not_of_the_same_clips_is_refused(other):
    with pytest.raises(ValueError, match="paired"):
        ALL.less(other)
