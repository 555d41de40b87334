"""Which target classes have a counterpart among the source classes, and which texts the source shares.

The paper takes its source and target classes to be disjoint (section 4.1). Three rules, each wider than the one
before it, say how far they are:

exact      the names have the same letters and digits
inflected  or the same words up to inflection, spelling and order ("ThrowDiscus", "throwing discus")
activity   or one is the same activity as the other, a kind of it or a part of it: judged by hand from the names, and
           where in doubt so, since what is left is to be without a counterpart

The lists for UCF-101 and HMDB-51 against Kinetics-400 are data, `class_overlap.csv`, with one counterpart for each
class. The classes of the miniature are held against its source by the first rule; it is drawn so that no
(arm, body) pair of a target is in the source, so the others find nothing.
"""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from motion_lib.texts.descriptions import DescriptionSet, squeeze_key

LEVELS = ("exact", "inflected", "activity")
_LISTED = Path(__file__).with_name("class_overlap.csv")


@cache
def listed_overlap() -> dict[str, dict[str, tuple[str, str]]]:
    """{data set: {key of a class: (level, its counterpart in Kinetics-400)}}."""
    listed: dict[str, dict[str, tuple[str, str]]] = {}
    with _LISTED.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            key = squeeze_key(row["class_name"])
            listed.setdefault(row["data_set"], {})[key] = (row["level"], row["source_class"])
    return listed


def without_counterpart(
    dataset: str, class_names: Sequence[str], source_names: Sequence[str], level: str
) -> tuple[int, ...]:
    """Indices of the classes that have no counterpart in the source by the rule `level` and the narrower ones.

    Raises:
        ValueError: for a level that is none.
    """
    if level not in LEVELS:
        raise ValueError(f"overlap level {level!r}: expected one of {', '.join(LEVELS)}.")
    counted = LEVELS[: LEVELS.index(level) + 1]
    listed, source = listed_overlap().get(dataset, {}), {squeeze_key(name) for name in source_names}
    keys = [squeeze_key(name) for name in class_names]
    return tuple(i for i, key in enumerate(keys) if key not in source and listed.get(key, ("none",))[0] not in counted)


def seen_texts(target: DescriptionSet, source: DescriptionSet) -> tuple[int, ...]:
    """Indices of the target's classes whose description is, up to case and end point, one of the source's."""
    known = {_plain(text) for text in source.texts}
    return tuple(i for i, text in enumerate(target.texts) if _plain(text) in known)


def _plain(text: str) -> str:
    return text.lower().rstrip(".")
