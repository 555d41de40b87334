"""Descriptions without their objects: by the authors' files, by a rule, by a language model, by a person.

The authors' masked files are used as they are. For descriptions of one's own there are a model and a rule that needs
none; what a person wrote into an override file wins over both.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from motion_lib.texts.descriptions import DescriptionSet, squeeze_key
from motion_lib.texts.generation import described
from motion_lib.texts.language_model import LanguageModel, NoAnswer

MASK = "object"
MASKING_PROMPT = (
    "Rewrite the description below so that it names no thing that is held, worn, ridden or played, and no place: "
    "put the word 'object' for each such noun and change nothing else. Keep parts of the body and all motions. "
    "Answer with the sentence alone.\nDescription: {}"
)

# Things that people hold, wear, ride, play or hit, in the singular; written from general knowledge of sports, music,
# tools and households, then extended by what the authors mask in their UCF-101 file. Their HMDB-51 file was not used.
_THINGS = frozenset(Path(__file__).with_name("things.txt").read_text(encoding="utf-8").split())


@dataclass(frozen=True)
class Masked:
    """Masked descriptions and where each is from.

    Attributes:
        descriptions: of all classes.
        origin: {class name: "person", the masker, or "rule, since ... failed: why"}.
    """

    descriptions: DescriptionSet
    origin: dict[str, str]


def mask_by_rule(text: str, class_name: str = "") -> str:
    """Put "object" for each noun of a list of things; `class_name` is not used, so that no name leaks back.

    A thing of several listed words becomes one object: "tennis racket" -> "object".
    """
    masked = re.sub(r"[A-Za-z]+", lambda word: MASK if _is_thing(word[0]) else word[0], text)
    return re.sub(rf"\b{MASK}(?:(?:[\s-]+|,? (?:or|and) (?:the |a |an )?){MASK})+\b", MASK, masked)


def _is_thing(word: str) -> bool:
    lower = word.lower()
    return any(stem in _THINGS for stem in (lower, lower.removesuffix("s"), lower.removesuffix("es")))


def mask_by_model(model: LanguageModel) -> Callable[[str, str], str]:
    """A masker that asks a model; its calls raise NoAnswer where the answer is none that can be used."""
    return lambda text, class_name: described(model, MASKING_PROMPT.replace("{}", text))


def mask(
    descriptions: DescriptionSet,
    masker: Callable[[str, str], str] = mask_by_rule,
    overrides: DescriptionSet | None = None,
    origin: str = "rule",
) -> Masked:
    """Mask every description; a class that the masker fails on falls back to the rule and says so.

    Args:
        masker: (text, class name) -> masked text.
        overrides: texts a person wrote for some of the classes; they win.
        origin: what the masker is called in `Masked.origin`.

    Raises:
        ValueError: if an override is for a class that is not there.
    """
    by_hand = {squeeze_key(name): text for name, text in _pairs(overrides)}
    unknown = set(by_hand) - {squeeze_key(name) for name in descriptions.class_names}
    if unknown:
        raise ValueError(f"{overrides.source}: overrides for classes that are not there: {', '.join(sorted(unknown))}.")
    texts, origins = [], {}
    for name, text in _pairs(descriptions):
        if (key := squeeze_key(name)) in by_hand:
            texts.append(by_hand[key])
            origins[name] = "person"
            continue
        try:
            texts.append(masker(text, name))
            origins[name] = origin
        except NoAnswer as error:
            texts.append(mask_by_rule(text))
            origins[name] = f"rule, since {origin} failed: {error}"
    name, source = f"{descriptions.name}_masked", f"{descriptions.source}, masked by {origin}"
    return Masked(DescriptionSet(name, descriptions.class_names, tuple(texts), source), origins)


def _pairs(descriptions: DescriptionSet | None) -> list[tuple[str, str]]:
    return [] if descriptions is None else list(zip(descriptions.class_names, descriptions.texts, strict=True))
