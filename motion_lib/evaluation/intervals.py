"""How sure a number is: exact intervals first, then standard errors, then resampling.

Accuracies are fractions in [0, 1], float64, unless a name says percent. `correct` is a vector over N clips, True where
the right description was retrieved. `groups` are (N,) labels: clips of one label (one recording, one class) are drawn
together; None makes every clip a group of its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

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


# --- exact intervals ---


def mean_and_sd(values: Sequence[float] | np.ndarray) -> tuple[float, float, int]:
    """Mean, sample standard deviation (ddof 1) and n, e.g. over seeds; the deviation of one value is nan."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"values: expected a non-empty vector of finite numbers, got {values}.")
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    return float(values.mean()), sd, len(values)


def mean_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean with its 95 % interval by Student's t, e.g. over training seeds; the limits of one value are nan.

    For what training alone contributes: the clips and classes are the same in all seeds.
    """
    mean, sd, n = mean_and_sd(values)
    half = stdtrit(n - 1, 0.975) * sd / np.sqrt(n) if n > 1 else float("nan")
    return Interval(mean, float(mean - half), float(mean + half))


# --- standard errors ---


def clustered_error(values: ArrayLike, groups: ArrayLike | None = None, strata: ArrayLike | None = None) -> float:
    """Standard error of the mean of (N,) numbers whose groups might have been others, within strata that stay.

    The ultimate-cluster estimator of survey statistics (Hansen, Hurwitz and Madow 1953).

    Args:
        strata: (N,) labels, None for a single stratum. A group in two strata counts as two.

    Returns:
        In the unit of the values; nan where no stratum has two groups. A stratum of one adds nothing.

    Raises:
        ValueError: on shape faults.
    """
    values = np.asarray(values, dtype=np.float64)
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    strata = np.zeros(len(values), dtype=np.int64) if strata is None else np.asarray(strata)
    if not values.ndim == groups.ndim == strata.ndim == 1 or not len(values) == len(groups) == len(strata) > 0:
        shapes = f"{values.shape}, {groups.shape} and {strata.shape}"
        raise ValueError(f"values, groups and strata: expected shape (N,) each with N >= 1, got {shapes}.")
    strata, groups = (np.unique(labels, return_inverse=True)[1] for labels in (strata, groups))
    pairs, cluster = np.unique(np.stack([strata, groups]), axis=1, return_inverse=True)
    means = np.bincount(strata, values) / np.bincount(strata)
    excess, of = np.bincount(cluster.ravel(), values - means[strata]), pairs[0]
    squares, count = np.bincount(of, excess**2), np.bincount(of)
    several = count > 1
    if not several.any():
        return float("nan")
    return float(np.sqrt((squares * count)[several] @ (1 / (count[several] - 1))) / len(values))


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
