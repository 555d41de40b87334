"""Pooled answers: which may be paired, and what their intervals are."""

from dataclasses import replace

import numpy as np
import pytest

from motion_lib.evaluation.answers import Answers, paired
from motion_lib.evaluation.intervals import bootstrap_accuracy, bootstrap_mean, paired_difference


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


def test_a_difference_is_paired():
    found = ALL.less(SOME).interval("classes", 500)
    assert found == bootstrap_mean(paired_difference(ALL.right, SOME.right), ALL.classes, resamples=500)
    assert found.estimate == pytest.approx(2 / 6)
    assert np.isnan(ALL.less(ALL).smallest_visible())


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
