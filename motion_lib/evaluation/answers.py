"""Right or wrong, clip by clip: what every comparison, interval and verdict is made of, until a table is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from motion_lib.evaluation.intervals import Interval, bootstrap_mean, clustered_error

_HALF_WIDTH, _POWER = float(ndtri(0.975)), float(ndtri(0.8))  # standard errors of 95 % confidence and of 80 % power


@dataclass(frozen=True)
class Answers:
    """The answers of one method under one condition: all its seeds, one after the other.

    Attributes:
        right: (N,) float64; 1 where the right description came first, a share where several draws were averaged,
            and from -1 to 1 where it is the difference of two (`less`).
        seeds: (N,) int64, training seed of each answer.
        classes: (N,) int64, class of each clip.
        groups: (N,) int64, recording that each clip was cut from.
        videos: a hash of the list of clips for each seed, seeds in ascending order.
        chance: share that guessing gets.
    """

    right: np.ndarray
    seeds: np.ndarray
    classes: np.ndarray
    groups: np.ndarray
    videos: tuple[str, ...]
    chance: float

    @property
    def mean(self) -> float:
        """Share of right answers over all clips and seeds."""
        return float(self.right.mean())

    @property
    def known_seeds(self) -> tuple[int, ...]:
        """The seeds that are there, ascending."""
        return tuple(np.unique(self.seeds).tolist())

    def of_seeds(self, seeds: Sequence[int]) -> "Answers":
        """The answers of some of the seeds."""
        keep = np.isin(self.seeds, seeds)
        videos = tuple(videos for seed, videos in zip(self.known_seeds, self.videos, strict=True) if seed in seeds)
        parts = (self.right[keep], self.seeds[keep], self.classes[keep], self.groups[keep])
        return Answers(*parts, videos, self.chance)

    def less(self, other: "Answers") -> "Answers":
        """Paired difference: this one's `right` less the other's, over the seeds that both have.

        Raises:
            ValueError: if they share no seed, or saw other clips.
        """
        ours, theirs = paired(self, other)
        return replace(ours, right=ours.right - theirs.right)

    def interval(self, over: str = "classes", resamples: int = 10_000) -> Interval:
        """Mean with its 95 % interval.

        Args:
            over: "classes" (would it hold for other classes?) or "groups" of clips: whole ones are drawn, each with
                the answers of all its seeds, percentile bootstrap. "recordings": for other recordings of these very
                classes, by the error of groups within their classes and the normal distribution.
            resamples: how often whole ones are drawn.

        Raises:
            ValueError: for fewer than two of them.
        """
        if over != "recordings":
            return bootstrap_mean(self.right, getattr(self, over), resamples=resamples)
        half = _HALF_WIDTH * self._error(over)
        return Interval(self.mean, self.mean - half, self.mean + half)

    def smallest_visible(self, over: str = "classes") -> float:
        """Of a difference: the gap that a two-sided test at 5 % would find on such clips with 80 % power.

        By normal theory, neglecting significance in the wrong direction; nan where nothing ever differs, as nothing
        is then known about the error. `over` as in `interval`.
        """
        return (_HALF_WIDTH + _POWER) * self._error(over) if self.right.any() else float("nan")

    def _error(self, over: str) -> float:
        within = (self.groups, self.classes) if over == "recordings" else (getattr(self, over),)
        return clustered_error(self.right, *within)


def paired(one: Answers, other: Answers) -> tuple[Answers, Answers]:
    """Both over the seeds that they share.

    Raises:
        ValueError: if they share no seed, or saw other clips.
    """
    shared = sorted(set(one.known_seeds) & set(other.known_seeds))
    if not shared:
        raise ValueError(f"seeds {one.known_seeds} and {other.known_seeds}: none is shared, so nothing is paired.")
    one, other = one.of_seeds(shared), other.of_seeds(shared)
    if one.videos != other.videos or not np.array_equal(one.classes, other.classes):
        raise ValueError(f"seeds {shared}: the two saw other videos and cannot be paired.")
    return one, other
