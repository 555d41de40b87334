"""Intervals, tests and corrections against hand-computed cases, scipy and closed formulas."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from motion_lib import paper
from motion_lib.evaluation.intervals import (
    Interval,
    bootstrap_accuracy,
    grim_consistent,
    holm,
    mcnemar_exact,
    mean_and_sd,
    mean_interval,
    wilson_interval,
)


def width(interval: Interval) -> float:
    return interval.high - interval.low


# --- Wilson ---


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (7, 10), (10, 10), (495, 505)])
def test_wilson_by_formula(successes, n):
    z, p = 1.959963984540054, successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson_interval(successes, n) == pytest.approx((p, centre - half, centre + half), abs=1e-12)


def test_wilson_has_width_where_the_bootstrap_has_none():
    assert width(bootstrap_accuracy(np.ones(30, bool))) == 0
    assert width(wilson_interval(30, 30)) > 0.1


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_refuses(successes, n):
    with pytest.raises(ValueError, match="expected 0 <= successes <= n"):
        wilson_interval(successes, n)


# --- McNemar and Holm ---


def outcomes(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


@pytest.mark.parametrize(
    ("only_a", "only_b", "p"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (5, 0, 2 / 32),
        (1, 7, 2 * (1 + 8) / 256),
        (10, 2, 2 * (1 + 12 + 66) / 4096),
    ],
)
def test_mcnemar_by_hand(only_a, only_b, p):
    a, b = outcomes(20, only_a, only_b, 9)
    assert mcnemar_exact(a, b) == pytest.approx(p)
    assert mcnemar_exact(b, a) == pytest.approx(p)
    order = np.random.default_rng(0).permutation(len(a))
    assert mcnemar_exact(a[order], b[order]) == pytest.approx(p)


def test_mcnemar_one_sided_by_hand():
    """8 against 2 of ten clips: the binomial tail of 8 and more, and of 8 and fewer."""
    a, b = outcomes(3, 8, 2, 3)
    assert mcnemar_exact(a, b, "greater") == pytest.approx(56 / 1024)
    assert mcnemar_exact(a, b, "less") == mcnemar_exact(b, a, "greater") == pytest.approx(1013 / 1024)


def test_mcnemar_ignores_clips_on_which_both_agree():
    assert mcnemar_exact(*outcomes(0, 8, 1, 0)) == mcnemar_exact(*outcomes(500, 8, 1, 300))


def test_intervals_as_tables_print_them():
    found = Interval(0.1234, -0.04, 0.2)
    assert (found.in_percent(), found.in_points()) == ("12.3 [-4.0, 20.0]", "+12.3 [-4.0, +20.0]")


def test_holm_by_hand():
    """Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1; the running maximum lifts the last one."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9, 0.001]) == pytest.approx([1.0, 1.0, 0.003])


def test_holm_ties_and_permutations():
    values = (0.02, 0.02, 0.3, 0.004)
    expected = dict(zip(values, holm(values), strict=True))
    for order in itertools.permutations(values):
        assert holm(order) == pytest.approx([expected[p] for p in order])


def test_holm_lies_between_raw_and_bonferroni():
    p = np.random.default_rng(0).random(20) / 10
    assert (holm(p) >= p).all()
    assert (holm(p) <= np.minimum(20 * p, 1)).all()
    assert not np.allclose(holm(p), stats.false_discovery_control(p))  # that one is no Holm


def test_holm_of_none_and_one():
    assert holm([]).shape == (0,)
    assert holm([0.2]) == pytest.approx([0.2])


@pytest.mark.parametrize("bad", [[0.1, 1.1], [-0.1], [float("nan")], [[0.1, 0.2]]])
def test_holm_refuses(bad):
    with pytest.raises(ValueError, match="p_values"):
        holm(bad)


# --- mean and spread, GRIM ---


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


@pytest.mark.parametrize(
    ("percent", "n", "decimals", "consistent"),
    [
        (33.33, 3, 2, True),
        (33.34, 3, 2, False),
        (66.67, 3, 2, True),
        (50.0, 3, 2, False),
        (0.0, 7, 2, True),
        (100.0, 7, 2, True),
        (12.0, 8, 0, True),  # 12.5 may be rounded down or up
        (13.0, 8, 0, True),
        (14.0, 8, 0, False),
        (0.01, 20_000, 2, True),  # 100 / n is finer than the printed decimals: never refuted
    ],
)
def test_grim_by_hand(percent, n, decimals, consistent):
    assert grim_consistent(percent, n, decimals) is consistent


def test_grim_equals_trying_every_count():
    for n in (3, 51, 101):
        printed = {round(100 * k / n, 1) for k in range(n + 1)}
        for tenth in range(1001):
            assert grim_consistent(tenth / 10, n, decimals=1) == (tenth / 10 in printed)


def test_grim_on_the_human_study():
    """Five clips per class: 98 % of 505 and 96 % of 255 exist, 97.5 % of 255 does not."""
    clips = {"ucf101": 101 * 5, "hmdb51": 51 * 5}
    human = {dataset: rows["Human"] for dataset, rows in paper.REPORTED_RETRIEVAL.items()}
    assert grim_consistent(human["ucf101"]["object"], clips["ucf101"], decimals=0)
    assert grim_consistent(human["hmdb51"]["masked"], clips["hmdb51"], decimals=0)
    assert not grim_consistent(human["hmdb51"]["object"], clips["hmdb51"], decimals=1)


@pytest.mark.parametrize(
    ("percent", "n", "decimals"), [(101, 10, 2), (-1, 10, 2), (50, 0, 2), (50, 10, -1), (28.415, 10, 2)]
)
def test_grim_refuses(percent, n, decimals):
    with pytest.raises(ValueError, match=r"clips|decimals"):
        grim_consistent(percent, n, decimals)
