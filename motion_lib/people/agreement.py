"""How far a masker agrees with the authors' own masks, word by word."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

import pandas as pd

from motion_lib.texts.descriptions import DescriptionSet


@dataclass(frozen=True)
class TokenAgreement:
    """Which words of one description two maskers change."""

    class_name: str
    both: tuple[str, ...]
    ours: tuple[str, ...]  # alone
    theirs: tuple[str, ...]  # alone
    tokens: int  # all words


def changed_tokens(named: str, masked: str) -> set[int]:
    """Positions of the words of `named` that are gone in `masked`; case, commas and periods do not count."""
    before, after = ([token.lower().strip(".,;:") for token in text.split()] for text in (named, masked))
    changed: set[int] = set()
    for tag, first, last, _, _ in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag in ("replace", "delete"):
            changed |= set(range(first, last))
    return changed


def agreement(named: DescriptionSet, theirs: DescriptionSet, ours: Mapping[str, str]) -> list[TokenAgreement]:
    """Word by word, for the classes that the authors' masking changes.

    Args:
        ours: {class name: masked text} of the masker that is measured.
    """
    agreements, pairs = [], zip(named.class_names, named.texts, strict=True)
    for (name, text), masked in zip(pairs, theirs.select(named.class_names).texts, strict=True):
        if text == masked:
            continue
        words = text.split()
        a, b = changed_tokens(text, ours[name]), changed_tokens(text, masked)
        picked = ([words[i].strip(".,;:") for i in sorted(part)] for part in (a & b, a - b, b - a))
        agreements.append(TokenAgreement(name, *map(tuple, picked), len(words)))
    return agreements


def agreement_table(of_sets: Mapping[str, list[TokenAgreement]]) -> pd.DataFrame:
    """Per set of descriptions: recall, precision, classes masked alike, and Cohen's kappa over words."""
    rows = []
    for name, classes in of_sets.items():
        both, ours, theirs = (sum(len(getattr(c, part)) for c in classes) for part in ("both", "ours", "theirs"))
        tokens = sum(c.tokens for c in classes)
        rows.append(
            {
                "Descriptions": name,
                "Changed pairs": len(classes),
                "Words": tokens,
                "Masked by both": both,
                "By the rule alone": ours,
                "By the authors alone": theirs,
                "Recall, %": round(100 * both / max(both + theirs, 1), 1),
                "Precision, %": round(100 * both / max(both + ours, 1), 1),
                "Same words": f"{sum(not c.ours and not c.theirs for c in classes)} of {len(classes)}",
                "Kappa": round(_kappa(both, ours, theirs, tokens), 2),
            }
        )
    return pd.DataFrame(rows)


def _kappa(both: int, ours: int, theirs: int, tokens: int) -> float:
    """Cohen's kappa of two maskers' decisions on every word."""
    observed = (tokens - ours - theirs) / tokens
    share_ours, share_theirs = (both + ours) / tokens, (both + theirs) / tokens
    expected = share_ours * share_theirs + (1 - share_ours) * (1 - share_theirs)
    return 1.0 if expected == 1 else (observed - expected) / (1 - expected)
