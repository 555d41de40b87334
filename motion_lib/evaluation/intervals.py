"""How sure a number is: exact intervals and tests first, then resampling.

Accuracies are fractions in [0, 1], float64, unless a name says percent. `correct` is a vector over N clips, True where
the right description was retrieved. `groups` are (N,) labels: clips of one label (one recording, one class) are drawn
together; None makes every clip a group of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri, stdtrit

FINE = 100_000  # resamples of gaps, whose limits decide verdicts: limits move by less than 0.1 points then
_COUNTS_AT_ONCE = 2**20  # entries of the counts matrix drawn at a time: 8 MiB


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


# --- exact intervals and tests ---


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
    _check_open_unit(confidence=confidence)
    mean, sd, n = mean_and_sd(values)
    half = stdtrit(n - 1, (1 + confidence) / 2) * sd / np.sqrt(n) if n > 1 else float("nan")
    return Interval(mean, float(mean - half), float(mean + half))


def mcnemar_exact(correct_a: ArrayLike, correct_b: ArrayLike, alternative: str = "two-sided") -> float:
    """p-value of McNemar's exact test that a and b are equally often right on the same clips.

    Only clips on which one is right and the other wrong count; with none of these p is 1. Clips are taken to
    be independent: where they come in groups, prefer `bootstrap_mean` of `paired_difference` with `groups`.

    Args:
        alternative: "two-sided", or one-sided: "greater" (a is right more often) or "less".
    """
    difference = paired_difference(correct_a, correct_b)
    a_alone, b_alone = int((difference == 1).sum()), int((difference == -1).sum())
    if a_alone + b_alone == 0:
        return 1.0
    from scipy import stats  # here: it takes longer to import than most commands take

    return float(stats.binomtest(a_alone, a_alone + b_alone, 0.5, alternative=alternative).pvalue)


def paired_difference(correct_a: ArrayLike, correct_b: ArrayLike) -> np.ndarray:
    """(N,) int64: 1 where a alone is right, -1 where b alone is, 0 where they agree."""
    a, b = _as_bool(correct_a, "correct_a"), _as_bool(correct_b, "correct_b")
    if len(a) != len(b):
        raise ValueError(f"correct_a has {len(a)} clips, correct_b {len(b)}; pair them by clip.")
    return a.astype(np.int64) - b.astype(np.int64)


# --- resampling ---


def bootstrap_mean(
    values: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean of (N,) numbers with its percentile bootstrap interval over clips, or over whole groups of clips.

    Where all values are equal the interval has no width.

    Raises:
        ValueError: on shape or range faults, or for fewer than two groups.
    """
    _check_open_unit(confidence=confidence)
    values = np.asarray(values, dtype=np.float64)
    means = _bootstrap_means(values, groups, resamples, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def bootstrap_accuracy(correct: ArrayLike, groups: ArrayLike | None = None, **settings: float) -> Interval:
    """Accuracy, as `bootstrap_mean` of right and wrong answers, with its settings."""
    return bootstrap_mean(_as_bool(correct, "correct"), groups, **settings)


def smallest_detectable(
    difference: ArrayLike, groups: ArrayLike | None = None, *, resamples: int = 10_000, seed: int = 0
) -> float:
    """Gap that a two-sided test at 5 % would find with 80 % power on such clips.

    (z_0.975 + z_0.8) times the bootstrap standard error of the paired difference; normal theory, neglecting
    significance in the wrong direction.

    Args:
        difference: (N,) of two answers to the same clips, from -1 to 1.

    Returns:
        A fraction; nan where the two agree on every clip, as nothing is then known about the error.

    Raises:
        ValueError: as `bootstrap_mean`.
    """
    difference = np.asarray(difference, dtype=np.float64)
    means = _bootstrap_means(difference, groups, resamples, seed)
    if not difference.any():
        return float("nan")
    return float((ndtri(0.975) + ndtri(0.8)) * means.std(ddof=1))


def joint_means(
    values: ArrayLike, groups: ArrayLike | None = None, *, resamples: int = 10_000, seed: int = 0
) -> np.ndarray:
    """Means of many vectors over the same clips, every resample drawing the same groups for all of them.

    So differences of columns are paired: `np.quantile(means[:, a] - means[:, b], (0.025, 0.975))`.

    Args:
        values: (N, M) bool or numbers; clip n is the same in all columns.

    Returns:
        (resamples, M) float64.

    Raises:
        ValueError: on shape faults, or for fewer than two groups.
    """
    values = np.asarray(values)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"values: expected one row per clip, shape (N, M) with N >= 1, got shape {values.shape}.")
    index, sizes = _indexed(groups, len(values))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    in_order = values[np.argsort(index, kind="stable")].astype(np.float64)
    sums, count = np.add.reduceat(in_order, starts, axis=0), len(sizes)  # (G, M)
    rng, parts = np.random.default_rng(seed), _parts(resamples, count)
    means = np.empty((resamples, values.shape[1]))
    for part in parts:
        size = part.stop - part.start
        drawn = rng.integers(count, size=(size, count), dtype=np.int32)
        drawn += np.arange(0, size * count, count, dtype=np.int32)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
        means[part] = (times @ sums) / (times @ sizes)[:, None]
    return means


def _bootstrap_means(values: np.ndarray, groups: ArrayLike | None, resamples: int, seed: int) -> np.ndarray:
    """(resamples,) float64: means over groups drawn with replacement, as many as there are.

    Groups with the same sum and size are interchangeable, so it is enough to draw how often each such kind
    comes up: the distribution is that of drawing groups one by one, at a fraction of the time and memory.
    """
    index, sizes = _indexed(groups, len(values))
    of_groups = np.stack([np.bincount(index, weights=values), sizes], axis=1)  # (G, 2): sum and number of clips
    kinds, multiplicity = np.unique(of_groups, axis=0, return_counts=True)
    rng, parts = np.random.default_rng(seed), _parts(resamples, len(kinds))
    means = np.empty(resamples)
    for part in parts:
        counts = rng.multinomial(len(sizes), multiplicity / len(sizes), size=part.stop - part.start)  # (size, kinds)
        sums, clips = (counts @ kinds).T
        means[part] = sums / clips
    return means


def _parts(resamples: int, width: int) -> list[slice]:
    """Resamples that are drawn together, so that their counts, `width` each, fit the memory."""
    if resamples < 2:
        raise ValueError(f"resamples {resamples}: expected at least 2.")
    size = max(1, _COUNTS_AT_ONCE // width)
    return [slice(start, min(start + size, resamples)) for start in range(0, resamples, size)]


def _indexed(groups: ArrayLike | None, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """(N,) group of each clip, counted from 0, and (G,) clips of each group."""
    groups = np.arange(clips) if groups is None else np.asarray(groups)
    if groups.shape != (clips,):
        raise ValueError(f"groups: expected shape {(clips,)}, one label per clip, got {groups.shape}.")
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError(f"{len(sizes)} group: resampling needs at least 2 independent groups of clips.")
    return index, sizes


# --- checks ---


def _as_bool(values: ArrayLike, name: str) -> np.ndarray:
    """(N,) bool of a vector of bool or 0/1; ValueError names what is wrong with it."""
    values = np.asarray(values)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name}: expected one value per clip, shape (N,) with N >= 1, got shape {values.shape}.")
    if values.dtype != bool and not np.isin(values, (0, 1)).all():
        raise ValueError(f"{name}: expected bool or 0/1, got {values.dtype} values; pass predicted == target.")
    return values.astype(bool)


def _check_open_unit(**fractions: float) -> None:
    """Raise ValueError for a named value that is not strictly between 0 and 1."""
    for name, value in fractions.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} {value}: expected a fraction above 0 and below 1.")
