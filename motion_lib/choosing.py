"""Which of two candidate descriptions is better: a majority of people, or a model that is marked as such.

Source: paper, section 3: people compare two candidates for each class, five of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from motion_lib.storage import content_hash


@dataclass(frozen=True)
class Vote:
    """One comparison by one rater: `choice` is the index of the better candidate, None for neither."""

    class_name: str
    rater: str
    choice: int | None


@dataclass(frozen=True)
class Choice:
    """What the votes on one class say.

    Attributes:
        choice: index of the better candidate; the first one where the votes are tied.
        votes: for the first, for the second, for neither.   tied: whether nobody won.   by: "people" or the model.
    """

    choice: int
    votes: tuple[int, int, int]
    tied: bool
    by: str


def order_of(class_name: str, rater: str) -> tuple[int, int]:
    """In which order a rater sees the two candidates: fixed by class and rater, either as often as the other."""
    swapped = int(content_hash(class_name, rater), 16) % 2
    return (1, 0) if swapped else (0, 1)


def majority(votes: Iterable[Vote], by: str = "people") -> dict[str, Choice]:
    """The winner of every class that was voted on.

    Raises: ValueError if a rater voted twice on a class.
    """
    counts: dict[str, list[int]] = {}
    seen: set[tuple[str, str]] = set()
    for vote in votes:
        if (vote.class_name, vote.rater) in seen:
            raise ValueError(f"rater {vote.rater!r} voted twice on {vote.class_name!r}; keep one vote.")
        seen.add((vote.class_name, vote.rater))
        counts.setdefault(vote.class_name, [0, 0, 0])[2 if vote.choice is None else vote.choice] += 1
    return {
        name: Choice(int(second > first), (first, second, neither), first == second, by)
        for name, (first, second, neither) in counts.items()
    }


def choice_table(choices: Mapping[str, Choice]) -> pd.DataFrame:
    """How the comparisons went, over all classes: winners, ties and who decided."""
    rows = []
    for by in dict.fromkeys(choice.by for choice in choices.values()):
        of = [choice for choice in choices.values() if choice.by == by]
        first = sum(not c.tied and c.choice == 0 for c in of)
        second = sum(not c.tied and c.choice == 1 for c in of)
        votes = np.array([c.votes for c in of]).sum(axis=0)
        rows.append(
            {
                "Decided by": by,
                "Classes": len(of),
                "First candidate": first,
                "Second candidate": second,
                "Ties (the first is taken)": len(of) - first - second,
                "Votes first / second / neither": " / ".join(map(str, votes)),
            }
        )
    return pd.DataFrame(rows)
