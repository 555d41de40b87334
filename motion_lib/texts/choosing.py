"""Which of two candidate descriptions is better: a majority of people (paper, section 3), or a model that is named."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from motion_lib.storage import content_hash
from motion_lib.texts.language_model import LanguageModel, NoAnswer

JUDGE_PROMPT = (
    "Two sentences are meant to say how a person moves in the action '{name}'.\n"
    "A: {first}\nB: {second}\n"
    "Which one says more exactly how the body moves, without inventing anything? Answer with the single letter A or B."
)


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
        votes: for the first, for the second, for neither.
        tied: whether nobody won.
        by: "people" or the model.
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
    """The winner of every class that was voted on; in the paper five people vote on each.

    Raises:
        ValueError: if a rater voted twice on a class.
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


def judge(candidates: Mapping[str, Sequence[str]], model: LanguageModel) -> dict[str, Choice]:
    """Let a model compare the two candidates of every class, in both orders.

    A model that prefers a place and not a sentence answers differently in the two orders: that is a tie. So is an
    answer that names neither letter, and no answer.

    Raises:
        ValueError: for a class without exactly two candidates.
    """
    choices = {}
    for name, texts in candidates.items():
        if len(texts) != 2:
            raise ValueError(f"{name!r}: {len(texts)} candidates, expected 2 to compare.")
        answers = []
        for order in ((0, 1), (1, 0)):
            prompt = JUDGE_PROMPT.format(name=name, first=texts[order[0]], second=texts[order[1]])
            answers.append(_answer(model, prompt, order))
        tied = answers[0] is None or answers[0] != answers[1]
        votes = (answers.count(0), answers.count(1), answers.count(None))
        choices[name] = Choice(0 if tied else answers[0], votes, tied, f"model {model.model}")
    return choices


def _answer(model: LanguageModel, prompt: str, order: tuple[int, int]) -> int | None:
    """Index of the candidate that the model prefers, None for neither."""
    try:
        answer = model.ask(prompt)
    except NoAnswer:
        return None
    letters = set(re.findall(r"\b[AB]\b", answer))
    return order["AB".index(letters.pop())] if len(letters) == 1 else None


def choice_table(choices: Mapping[str, Choice]) -> pd.DataFrame:
    """How the comparisons went, over all classes: winners, ties and who decided."""
    rows = []
    for by in dict.fromkeys(choice.by for choice in choices.values()):
        decided = [choice for choice in choices.values() if choice.by == by]
        first = sum(not c.tied and c.choice == 0 for c in decided)
        second = sum(not c.tied and c.choice == 1 for c in decided)
        votes = np.array([c.votes for c in decided]).sum(axis=0)
        counts = (len(decided), first, second, len(decided) - first - second)
        rows.append((by, *counts, " / ".join(map(str, votes))))
    columns = ("Decided by", "Classes", "First candidate", "Second candidate", "Ties (the first is taken)")
    return pd.DataFrame(rows, columns=[*columns, "Votes first / second / neither"])
