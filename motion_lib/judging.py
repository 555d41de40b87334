"""A language model in place of people: which of two candidates is the better description; marked as such."""

import re
from collections.abc import Mapping, Sequence

from motion_lib.choosing import Choice
from motion_lib.language_model import LanguageModel, NoAnswer

JUDGE_PROMPT = (
    "Two sentences are meant to say how a person moves in the action '{name}'.\n"
    "A: {first}\nB: {second}\n"
    "Which one says more exactly how the body moves, without inventing anything? Answer with the single letter A or B."
)


def judge(candidates: Mapping[str, Sequence[str]], model: LanguageModel) -> dict[str, Choice]:
    """Let a model compare the two candidates of every class, in both orders.

    A model that prefers a place and not a sentence answers differently in the two orders: that is a tie. So is an
    answer that names neither letter, and no answer.
    """
    choices = {}
    for name, texts in candidates.items():
        if len(texts) != 2:
            raise ValueError(f"{name!r}: {len(texts)} candidates, expected 2 to compare.")
        found = []
        for order in ((0, 1), (1, 0)):
            prompt = JUDGE_PROMPT.format(name=name, first=texts[order[0]], second=texts[order[1]])
            found.append(_letter(model, prompt, order))
        tied = found[0] is None or found[0] != found[1]
        votes = (found.count(0), found.count(1), found.count(None))
        choices[name] = Choice(0 if tied else found[0], votes, tied, f"model {model.model}")
    return choices


def _letter(model: LanguageModel, prompt: str, order: tuple[int, int]) -> int | None:
    try:
        answer = model.ask(prompt)
    except NoAnswer:
        return None
    letters = set(re.findall(r"\b[AB]\b", answer))
    return order["AB".index(letters.pop())] if len(letters) == 1 else None
