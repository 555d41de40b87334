"""Intervals, standard errors and resampling against hand-computed cases, scipy and closed formulas."""

import math

import numpy as np
import pytest
from scipy import stats

from motion_lib.evaluation import intervals
from motion_lib.evaluation.intervals import (
    Interval,
    bootstrap_accuracy,
    bootstrap_mean,
    clustered_error,
    joint_means,
    mean_and_sd,
    mean_interval,
)


def width(interval: Interval) -> float:
    return interval.high - interval.low


def clustered(rng, num_groups: int, size: int, p: float) -> tuple[np.ndarray, np.ndarray]:
    """Clips of one group are all right or all wrong."""
    return np.repeat(rng.random(num_groups) < p, size), np.repeat(np.arange(num_groups), size)


# --- how they are printed ---


def test_intervals_as_tables_print_them():
    found = Interval(0.1234, -0.04, 0.2)
    assert (found.in_percent(), found.in_points()) == ("12.3 [-4.0, 20.0]", "+12.3 [-4.0, +20.0]")


# --- mean and spread ---


def test_mean_interval_by_hand():
    """t of 3 values, two-sided 95 %: 4.3027 (table); their standard deviation is 1."""
    assert mean_interval([1, 2, 3]) == pytest.approx((2, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-4)
    assert mean_interval([4, 4, 4]) == (4, 4, 4)
    assert np.isnan(mean_interval([4]).low)


def test_mean_and_sd_by_hand():
    assert mean_and_sd([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx((5, math.sqrt(32 / 7), 8))


def test_sd_of_one_value_is_nan():
    mean, sd, n = mean_and_sd([0.25])
    assert (mean, n) == (0.25, 1)
    assert math.isnan(sd)


@pytest.mark.parametrize("bad", [[], [[1.0, 2.0]], [1.0, float("nan")], [float("inf")]])
def test_mean_and_sd_refuses(bad):
    with pytest.raises(ValueError, match="values"):
        mean_and_sd(bad)


# --- bootstrap ---


@pytest.mark.parametrize(("successes", "n"), [(7, 10), (30, 100), (1234, 3783)])
def test_bootstrap_limits_are_binomial_quantiles(successes, n):
    """Resampling a 0/1 vector draws Binomial(n, p) / n exactly."""
    found = bootstrap_accuracy(np.arange(n) < successes)
    expected = stats.binom.ppf([0.025, 0.975], n, successes / n) / n
    assert found.estimate == successes / n
    assert found[1:] == pytest.approx(expected, abs=1.5 / n if n < 1000 else 1e-3)


def test_bootstrap_agrees_with_scipy():
    correct = np.arange(60) % 3 > 0
    theirs = stats.bootstrap((correct,), np.mean, method="percentile", rng=np.random.default_rng(1))
    found = bootstrap_accuracy(correct)
    assert found[1:] == pytest.approx(tuple(theirs.confidence_interval), abs=1.01 / 60)


def test_paired_bootstrap_agrees_with_scipy():
    a, b = np.arange(60) % 3 > 0, np.arange(60) % 4 > 1
    theirs = stats.bootstrap(
        (a.astype(float) - b,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    found = bootstrap_mean(a * 1.0 - b)
    assert found.estimate == pytest.approx(a.mean() - b.mean())
    assert found[1:] == pytest.approx(tuple(theirs), abs=1.01 / 60)


def test_clustered_bootstrap_equals_drawing_groups_one_by_one():
    """Groups of unequal size: the accuracy of a resample is its right clips over its own number of clips."""
    groups = np.array([*"aaabbcddddee"])
    correct = np.array([1, 1, 0, 1, 0, 1, 0, 0, 1, 0, 1, 1], dtype=bool)
    members = [np.flatnonzero(groups == name) for name in "abcde"]
    rng = np.random.default_rng(3)
    plain = [correct[np.concatenate([members[g] for g in rng.integers(5, size=5)])].mean() for _ in range(20_000)]
    found = bootstrap_accuracy(correct, groups, resamples=20_000)
    assert found[1:] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.02)
    means = intervals._bootstrap_means(correct.astype(int), groups, 20_000, seed=0)
    assert means.mean() == pytest.approx(np.mean(plain), abs=0.005)
    assert means.std() == pytest.approx(np.std(plain), rel=0.03)


def test_perfectly_clustered_clips_widen_the_interval_by_root_size():
    correct, groups = clustered(np.random.default_rng(0), num_groups=100, size=9, p=0.6)
    ratio = width(bootstrap_accuracy(correct, groups)) / width(bootstrap_accuracy(correct))
    assert ratio == pytest.approx(3, rel=0.1)


def test_groups_of_one_change_nothing():
    correct = np.arange(50) % 7 > 2
    assert bootstrap_accuracy(correct, np.arange(50)) == bootstrap_accuracy(correct)


def test_coverage_needs_the_groups():
    """On clustered clips 95 % intervals hold the truth about 95 % of the time, but only with the groups."""
    rng, hits, hits_without = np.random.default_rng(7), 0, 0
    for seed in range(200):
        correct, groups = clustered(rng, num_groups=60, size=10, p=0.7)
        low, high = bootstrap_accuracy(correct, groups, resamples=500, seed=seed)[1:]
        hits += low <= 0.7 <= high
        low, high = bootstrap_accuracy(correct, resamples=500, seed=seed)[1:]
        hits_without += low <= 0.7 <= high
    assert 0.90 <= hits / 200 <= 0.99
    assert hits_without / 200 < 0.6


def test_bootstrap_ignores_order_and_group_names():
    rng = np.random.default_rng(5)
    correct, groups = rng.random(80) < 0.4, rng.integers(10, size=80)
    order = rng.permutation(80)
    renamed = np.array([f"group {9 - g}" for g in groups])
    assert bootstrap_accuracy(correct[order], renamed[order]) == bootstrap_accuracy(correct, groups)


def test_bootstrap_is_reproducible_and_chunks_do_not_matter(monkeypatch):
    correct, groups = np.arange(90) % 4 > 0, np.arange(90) // 7
    whole = bootstrap_accuracy(correct, groups, resamples=1000, seed=2)
    assert whole != bootstrap_accuracy(correct, groups, resamples=1000, seed=3)
    monkeypatch.setattr(intervals, "_COUNTS_AT_ONCE", 50)
    assert whole == bootstrap_accuracy(correct, groups, resamples=1000, seed=2)


def test_confidence_widens_the_interval():
    correct = np.arange(200) % 2 == 0
    assert width(bootstrap_accuracy(correct, confidence=0.99)) > width(bootstrap_accuracy(correct, confidence=0.9))


def test_bootstrap_of_a_difference_is_antisymmetric_and_zero_for_equals():
    a, b = np.arange(40) % 3 > 0, np.arange(40) % 5 > 2
    forth, back = bootstrap_mean(a * 1.0 - b), bootstrap_mean(b * 1.0 - a)
    assert forth.estimate == -back.estimate
    assert forth[1:] == pytest.approx((-back.high, -back.low), abs=0.026)
    assert bootstrap_mean(a * 1.0 - a) == Interval(0.0, 0.0, 0.0)


def test_pairing_narrows_the_interval():
    a = np.arange(100) % 2 == 0
    b = a.copy()
    b[:4] = False  # a is right on two clips more; elsewhere they agree
    independent = stats.norm.interval(0.95, 0, math.hypot(a.std(), b.std()) / 10)
    assert width(bootstrap_mean(a * 1.0 - b)) < 0.3 * (independent[1] - independent[0])


# --- many results at once ---


def test_joint_means_equal_drawing_groups_one_by_one():
    rng = np.random.default_rng(11)
    groups = np.array([*"aaabbcddddee"])
    values = rng.random((12, 3))
    members = [np.flatnonzero(groups == name) for name in "abcde"]
    plain = np.stack(
        [values[np.concatenate([members[g] for g in rng.integers(5, size=5)])].mean(axis=0) for _ in range(20_000)]
    )
    means = joint_means(values, groups, resamples=20_000)
    np.testing.assert_allclose(means.mean(axis=0), plain.mean(axis=0), atol=0.005)
    np.testing.assert_allclose(means.std(axis=0), plain.std(axis=0), rtol=0.03)
    np.testing.assert_allclose(np.corrcoef(means.T), np.corrcoef(plain.T), atol=0.03)


def test_joint_means_are_paired():
    """The difference of two equal columns has no spread; that of independent draws would have."""
    right = np.random.default_rng(0).random((200, 1)) < 0.5
    means = joint_means(np.concatenate([right, right, ~right], axis=1), np.arange(200) // 4, resamples=500)
    np.testing.assert_array_equal(means[:, 0], means[:, 1])
    np.testing.assert_allclose(means[:, 0] + means[:, 2], 1, atol=1e-12)
    assert means[:, 0].std() > 0.01


def test_joint_means_agree_with_the_interval_of_one():
    right, groups = clustered(np.random.default_rng(4), num_groups=80, size=5, p=0.6)
    low, high = np.quantile(joint_means(right[:, None], groups)[:, 0], [0.025, 0.975])
    assert (low, high) == pytest.approx(bootstrap_accuracy(right, groups)[1:], abs=0.01)


def test_joint_means_do_not_depend_on_pieces(monkeypatch):
    values, groups = np.random.default_rng(1).random((60, 2)), np.arange(60) // 6
    whole = joint_means(values, groups, resamples=300, seed=5)
    monkeypatch.setattr(intervals, "_COUNTS_AT_ONCE", 37)
    np.testing.assert_allclose(joint_means(values, groups, resamples=300, seed=5), whole, atol=1e-12)


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        ([True, False], None, "shape \\(N, M\\)"),
        (np.empty((0, 2)), None, "shape \\(N, M\\)"),
        (np.ones((3, 1)), [1, 2], "one label per clip"),
        (np.ones((3, 1)), [1, 1, 1], "at least 2 independent groups"),
    ],
)
def test_joint_means_refuse(values, groups, message):
    with pytest.raises(ValueError, match=message):
        joint_means(values, groups)


# --- standard errors ---


def test_error_of_single_clips_is_that_of_the_textbook():
    values = np.random.default_rng(0).normal(size=50)
    assert clustered_error(values) == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_error_is_that_of_the_bootstrap_over_groups():
    correct, groups = clustered(np.random.default_rng(0), 200, 4, 0.6)
    low, high = bootstrap_accuracy(correct, groups)[1:]
    assert clustered_error(correct, groups) == pytest.approx((high - low) / (2 * 1.959964), rel=0.05)


def test_error_within_strata_is_how_means_scatter_over_worlds():
    """300 times groups of clips are drawn anew for classes that stay: their error, and none of the classes' own."""
    rng = np.random.default_rng(1)
    classes, per_class, per_group = 40, 3, 2
    of_class = rng.normal(scale=3, size=classes)
    strata = np.repeat(np.arange(classes), per_class * per_group)
    groups = np.repeat(np.arange(classes * per_class), per_group)
    worlds = [of_class[strata] + rng.normal(size=classes * per_class)[groups] for _ in range(300)]
    told = np.mean([clustered_error(values, groups, strata) for values in worlds])
    assert told == pytest.approx(np.std([values.mean() for values in worlds], ddof=1), rel=0.1)
    assert told < clustered_error(worlds[0], groups) / 2


def test_error_of_unequal_groups_and_single_ones():
    values, groups, strata = [1, 2, 3, 5, 9], [0, 0, 1, 2, 0], [0, 0, 0, 0, 1]  # group 0 is in both strata
    mean = 11 / 4
    sums = np.array([3 - 2 * mean, 3 - mean, 5 - mean])  # the second stratum has one group, and adds nothing
    assert clustered_error(values, groups, strata) == pytest.approx(math.sqrt(3 / 2 * (sums**2).sum()) / 5)
    assert math.isnan(clustered_error([1, 2], [0, 0], [0, 0]))
    with pytest.raises(ValueError, match="shape"):
        clustered_error([1, 2], [0, 0, 1])


# --- faults in the vectors ---


@pytest.mark.parametrize(
    ("correct", "groups", "message"),
    [
        ([], None, r"shape \(0,\)"),
        ([[True, False]], None, r"shape \(1, 2\)"),
        (True, None, r"shape \(\)"),
        ([0.2, 0.9], None, "expected bool or 0/1"),
        ([0, 1, 2], None, "expected bool or 0/1"),
        ([True, float("nan")], None, "expected bool or 0/1"),
        ([True], None, "at least 2 independent groups"),
        ([True, False], ["a", "a"], "at least 2 independent groups"),
        ([True, False], ["a", "b", "c"], "one label per clip"),
    ],
)
def test_bootstrap_refuses(correct, groups, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_accuracy(correct, groups)


@pytest.mark.parametrize("bad", [{"resamples": 1}, {"confidence": 0}, {"confidence": 1}, {"confidence": 95}])
def test_bootstrap_refuses_settings(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        bootstrap_accuracy([True, False], **bad)


def test_zeros_and_ones_are_accepted():
    assert bootstrap_accuracy([1, 0, 1, 1]) == bootstrap_accuracy([True, False, True, True])
