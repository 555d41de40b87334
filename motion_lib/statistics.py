"""Exact intervals, paired tests, corrections and checks of reported numbers; `bootstrap` resamples.

Accuracies are fractions in [0, 1], float64, unless a name says percent. `correct` is a vector over N clips,
True where the right description was retrieved.
"""

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Interval(NamedTuple):
    """An estimate and its confidence limits, in the unit of the estimate."""

    estimate: float
    low: float
    high: float

    def in_percent(self) -> str:
        """A share with its limits in percent: "12.3 [4.5, 20.1]"."""
        return "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * value for value in self))

    def in_points(self) -> str:
        """A difference of shares with its limits in points: "+1.2 [-3.4, +5.8]"."""
        return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * value for value in self))


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Share of successes in n independent trials with Wilson's score interval.

    Raises: ValueError unless 0 <= successes <= n, n >= 1 and 0 < confidence < 1.
    """
    check_open_unit(confidence=confidence)
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials; expected 0 <= successes <= n and n >= 1.")
    limits = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(limits.low), float(limits.high))


def mcnemar_exact(correct_a: ArrayLike, correct_b: ArrayLike, alternative: str = "two-sided") -> float:
    """p-value of McNemar's exact test that a and b are equally often right on the same clips.

    Only clips on which one is right and the other wrong count; with none of these p is 1. Clips are taken to
    be independent: where they come in groups, prefer `bootstrap_difference` with `groups`.

    Args: alternative: "two-sided", or one-sided: "greater" (a is right more often) or "less".
    """
    difference = paired_difference(correct_a, correct_b)
    only_a, only_b = int((difference == 1).sum()), int((difference == -1).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b, 0.5, alternative=alternative).pvalue)


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down adjusted p-values, in the order given: (M,) float64, for the family-wise error.

    `scipy.stats.false_discovery_control` offers Benjamini-Hochberg and -Yekutieli only, hence these lines.
    Source: Holm 1979. Raises: ValueError unless (M,) with 0 <= p <= 1.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    if p_values.ndim != 1 or not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p_values: expected one dimension and values in [0, 1], got {p_values}.")
    order = np.argsort(p_values, kind="stable")
    still_open = np.arange(len(p_values), 0, -1)  # hypotheses not yet rejected at each step
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * still_open), 1.0)
    return adjusted


def mean_and_sd(values: Sequence[float] | np.ndarray) -> tuple[float, float, int]:
    """Mean, sample standard deviation (ddof 1) and n, e.g. over seeds; the deviation of one value is nan."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"values: expected a non-empty vector of finite numbers, got {values}.")
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return float(values.mean()), sd, len(values)


def mean_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> Interval:
    """Mean with its interval by Student's t, e.g. over training seeds; the limits of one value are nan.

    For what training alone contributes: the clips and classes are the same in all seeds.
    """
    check_open_unit(confidence=confidence)
    mean, sd, n = mean_and_sd(values)
    half = stats.t.ppf((1 + confidence) / 2, n - 1) * sd / np.sqrt(n) if n > 1 else float("nan")
    return Interval(mean, float(mean - half), float(mean + half))


def grim_consistent(percent: float, n: int, decimals: int = 2) -> bool:
    """Whether some whole number of n clips, in percent rounded to `decimals`, is the reported `percent`.

    Exact arithmetic; a tie may round either way. Says nothing (always True) once 100 / n <= 10**-decimals.
    Source: the GRIM test, Brown and Heathers 2017. Raises: ValueError if `percent` is not in [0, 100] or has
    more decimals, or if n < 1.
    """
    if n < 1 or decimals < 0 or not 0 <= percent <= 100:
        raise ValueError(f"{percent} % of {n} clips at {decimals} decimals; expected n >= 1 and 0 <= percent <= 100.")
    reported = Fraction(str(float(percent)))  # the number as printed, not its binary neighbour
    if (reported * 10**decimals).denominator != 1:
        raise ValueError(f"{percent} % has more than {decimals} decimals; give the number of decimals it has.")
    nearest = round(reported * n / 100)
    return abs(Fraction(100 * nearest, n) - reported) <= Fraction(1, 2 * 10**decimals)


def as_bool(values: ArrayLike, name: str) -> np.ndarray:
    """(N,) bool of a vector of bool or 0/1; ValueError names what is wrong with it."""
    values = np.asarray(values)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name}: expected one value per clip, shape (N,) with N >= 1, got shape {values.shape}.")
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise ValueError(f"{name}: expected bool or 0/1, got {values.dtype} values; pass predicted == target.")
    return values.astype(bool)


def paired_difference(correct_a: ArrayLike, correct_b: ArrayLike) -> np.ndarray:
    """(N,) int64: 1 where only a is right, -1 where only b is, 0 where they agree."""
    a, b = as_bool(correct_a, "correct_a"), as_bool(correct_b, "correct_b")
    if len(a) != len(b):
        raise ValueError(f"correct_a has {len(a)} clips, correct_b {len(b)}; pair them by clip.")
    return a.astype(np.int64) - b.astype(np.int64)


def check_open_unit(**fractions: float) -> None:
    """Raise ValueError for a named value that is not strictly between 0 and 1."""
    for name, value in fractions.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} {value}: expected a fraction above 0 and below 1.")
