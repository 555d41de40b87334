"""Intervals by resampling whole groups of clips, one accuracy at a time or many of the same clips at once.

`correct` is a vector over N clips, True where the right description was retrieved; `groups` names what each
clip was cut from (UCF-101: group; HMDB-51: source video), because clips of one recording are not independent.
Accuracies are fractions in [0, 1], float64.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from motion_lib.statistics import Interval, as_bool, check_open_unit, paired_difference

FINE = 100_000  # resamples of gaps, whose limits decide verdicts: limits move by less than 0.1 points then
_COUNTS_AT_ONCE = 2**20  # entries of the counts matrix drawn at a time: 8 MiB


def bootstrap_accuracy(
    correct: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Accuracy with its percentile bootstrap interval over clips, or over whole groups of clips.

    With every clip right, or every clip wrong, the interval has no width: use `wilson_interval` there.

    Args:
        correct: (N,) bool or 0/1.
        groups: (N,) labels; clips with one label are drawn together. None: every clip is a group of its own.
    Raises: ValueError on shape or range faults, or fewer than two groups.
    """
    correct = as_bool(correct, "correct")
    return _bootstrap_interval(correct.astype(np.int64), groups, resamples, confidence, seed)


def bootstrap_difference(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Accuracy of a minus accuracy of b on the same clips, with its paired percentile bootstrap interval.

    Args and Raises: as `bootstrap_accuracy`; index n of both vectors is the same clip.
    """
    difference = paired_difference(correct_a, correct_b)
    return _bootstrap_interval(difference, groups, resamples, confidence, seed)


def smallest_detectable_gap(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    power: float = 0.8,
    alpha: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
) -> float:
    """Accuracy gap that a two-sided test at `alpha` would find with probability `power` on such clips.

    (z_{1 - alpha/2} + z_power) times the bootstrap standard error of the paired difference; normal theory,
    neglecting significance in the wrong direction.

    Returns: fraction; nan where a and b agree on every clip, as nothing is then known about the error.
    Raises: ValueError as `bootstrap_difference`, or if power is not above alpha/2.
    """
    check_open_unit(alpha=alpha, power=power)
    if power <= alpha / 2:
        raise ValueError(f"power {power} must be above alpha/2 = {alpha / 2}, which a test reaches with no gap.")
    difference = paired_difference(correct_a, correct_b)
    means = _bootstrap_means(difference, groups, resamples, seed)
    if not difference.any():
        return float("nan")
    return float((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * means.std(ddof=1))


def joint_means(
    values: ArrayLike, groups: ArrayLike | None = None, *, resamples: int = 10_000, seed: int = 0
) -> np.ndarray:
    """Means of many vectors over the same clips, every resample drawing the same groups for all of them.

    So differences of columns are paired: `np.quantile(means[:, a] - means[:, b], (0.025, 0.975))`.

    Args: values: (N, M) bool or numbers; clip n is the same in all columns.   groups: as `bootstrap_accuracy`.
    Returns: (resamples, M) float64.   Raises: ValueError on shape faults or fewer than two groups.
    """
    values = np.asarray(values)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"values: expected one row per clip, shape (N, M) with N >= 1, got shape {values.shape}.")
    groups = np.arange(len(values)) if groups is None else np.asarray(groups)
    if groups.shape != (len(values),):
        raise ValueError(f"groups: expected shape {(len(values),)}, one label per clip, got {groups.shape}.")
    _check_resamples(resamples)
    names, index = np.unique(groups, return_inverse=True)
    _check_groups(len(names))
    sizes = np.bincount(index)
    order = np.argsort(index, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums = np.add.reduceat(values[order].astype(np.float64), starts, axis=0)  # (G, M)
    rng, count = np.random.default_rng(seed), len(names)
    step = max(1, _COUNTS_AT_ONCE // count)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(count, size=(size, count), dtype=np.int32)
        drawn += np.arange(0, size * count, count, dtype=np.int32)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
        means[start : start + size] = (times @ sums) / (times @ sizes)[:, None]
    return means


def _group_sums(values: np.ndarray, groups: ArrayLike | None) -> np.ndarray:
    """(G, 2) int64: sum of the values and number of clips of each group."""
    if groups is None:
        return np.stack([values, np.ones_like(values)], axis=1)
    groups = np.asarray(groups)
    if groups.shape != values.shape:
        raise ValueError(f"groups: expected shape {values.shape}, one label per clip, got {groups.shape}.")
    _, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.zeros_like(sizes)
    np.add.at(sums, index, values)
    return np.stack([sums, sizes], axis=1)


def _bootstrap_means(values: np.ndarray, groups: ArrayLike | None, resamples: int, seed: int) -> np.ndarray:
    """(resamples,) float64: means over groups drawn with replacement, as many as there are.

    Groups with the same sum and size are interchangeable, so it is enough to draw how often each such kind
    comes up: the distribution is that of drawing groups one by one, at a fraction of the time and memory.
    """
    _check_resamples(resamples)
    kinds, multiplicity = np.unique(_group_sums(values, groups), axis=0, return_counts=True)
    num_groups = int(multiplicity.sum())
    _check_groups(num_groups)
    rng = np.random.default_rng(seed)
    step = max(1, _COUNTS_AT_ONCE // len(kinds))
    means = np.empty(resamples)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        counts = rng.multinomial(num_groups, multiplicity / num_groups, size=size)  # (size, kinds)
        sums, clips = (counts @ kinds).T
        means[start : start + size] = sums / clips
    return means


def _bootstrap_interval(
    values: np.ndarray, groups: ArrayLike | None, resamples: int, confidence: float, seed: int
) -> Interval:
    check_open_unit(confidence=confidence)
    means = _bootstrap_means(values, groups, resamples, seed)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def _check_resamples(resamples: int) -> None:
    if resamples < 2:
        raise ValueError(f"resamples {resamples}: expected at least 2.")


def _check_groups(count: int) -> None:
    if count < 2:
        raise ValueError(f"{count} group: resampling needs at least 2 independent groups of clips.")
