"""Other texts in the place of the motion descriptions: what does the text have to say for a video to find it?

Each control makes of a class's name and description another text, for the same classes; the videos stay. Nouns and
verbs are found by the lexicon tagger of TextBlob (a port of Pattern's); those controls are as good as that tagger.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from motion_lib.texts.descriptions import DescriptionSet

TEMPLATE = "a video of a person {}."  # Text4Vis's, and that of our class-name control
MOTION = "motion description"
TEXT_CONTROLS = (
    MOTION, "motion description in a template", "alternate version", "class name and motion", "class name",
    "class name in a template", "action description", "objects masked", "nouns only", "verbs only", "words shuffled",
    "random words",
)  # fmt: skip
DRAWS = 5  # of the controls that a random generator makes
RIVALS = 5  # hard negatives of each description
NEAREST, RANDOM = f"the {RIVALS} nearest descriptions", f"{RIVALS} random descriptions"
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
_NEXT_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # in names without blanks
# What stands in for a text of which a control leaves nothing: every such class gets the same.
NOTHING_LEFT = "something"


def words_of(text: str) -> list[str]:
    """The words of a text, lower case, without marks."""
    return [word.lower() for word in _WORD.findall(text)]


def only_nouns(text: str) -> str:
    """The nouns of a text, in order, lower case."""
    return _tagged_as(text, "NN")


def only_verbs(text: str) -> str:
    """The verbs of a text, in order, lower case."""
    return _tagged_as(text, "VB")


def _tagged_as(text: str, tags: str) -> str:
    """The words whose Penn Treebank tag begins so."""
    from textblob.en import tag  # half a second, which only these controls need

    words = [word.lower() for word, kind in tag(text) if kind.startswith(tags) and _WORD.fullmatch(word)]
    return " ".join(words) or NOTHING_LEFT


def with_words(text: str, words: Sequence[str]) -> str:
    """The text with other words in the places of its own; its marks stay where they are.

    Raises:
        ValueError: unless there are as many words as places.
    """
    places = len(_WORD.findall(text))
    if places != len(words):
        raise ValueError(f"{len(words)} words for the {places} places of {text!r}.")
    remaining = iter(words)
    return _WORD.sub(lambda _: str(next(remaining)), text)


def shuffled(descriptions: DescriptionSet, draw: int) -> DescriptionSet:
    """Every text with its words in a random order."""
    rng = np.random.default_rng([draw, 0])
    texts = [with_words(text, rng.permutation(words_of(text))) for text in descriptions.texts]
    return _with_texts(descriptions, "words shuffled", texts)


def random_words(descriptions: DescriptionSet, draw: int) -> DescriptionSet:
    """Texts of as many words as the real ones, drawn from all words of the set as often as they occur."""
    rng = np.random.default_rng([draw, 1])
    pool = [word for text in descriptions.texts for word in words_of(text)]
    drawn = [with_words(text, rng.choice(pool, size=len(words_of(text)))) for text in descriptions.texts]
    return _with_texts(descriptions, "random words", drawn)


def readable(class_names: Sequence[str]) -> list[str]:
    """Class names as words: "DrummingABox" -> "drumming a box", "brush_hair" -> "brush hair"."""
    apart = (_NEXT_WORD.sub(" ", name).replace("_", " ") for name in class_names)
    return [" ".join(name.split()).lower() for name in apart]


def text_controls(
    named: DescriptionSet, others: Mapping[str, DescriptionSet | None], draws: int = DRAWS
) -> dict[str, list[DescriptionSet] | None]:
    """Every text control for the classes of `named`; those that are random have `draws` sets, the others one.

    Args:
        named: motion descriptions with their objects.
        others: further description sets of the same classes; None, here and in what is returned, for a set that is
            not at hand.
        draws: of shuffled and of random words.
    """
    names = readable(named.class_names)
    plain = _with_texts(named, "class name", names)
    both = [f"{name}: {text}" for name, text in zip(names, named.texts, strict=True)]
    made = {
        MOTION: [named],
        "motion description in a template": [named.with_template(TEMPLATE)],
        "class name and motion": [_with_texts(named, "class name and motion", both)],
        "class name": [plain],
        "class name in a template": [plain.with_template(TEMPLATE)],
        "nouns only": [_with_texts(named, "nouns only", map(only_nouns, named.texts))],
        "verbs only": [_with_texts(named, "verbs only", map(only_verbs, named.texts))],
        "words shuffled": [shuffled(named, draw) for draw in range(draws)],
        "random words": [random_words(named, draw) for draw in range(draws)],
    }
    return made | {name: [other.select(named.class_names)] if other else None for name, other in others.items()}


def _with_texts(descriptions: DescriptionSet, control: str, texts: Iterable[str]) -> DescriptionSet:
    source = f"{descriptions.source}, {control}"
    return DescriptionSet(f"{descriptions.name}, {control}", descriptions.class_names, tuple(texts), source)


def num_own_texts(descriptions: DescriptionSet) -> int:
    """Classes whose text no other class has: the only ones that can be told, where a tie is wrong."""
    counts = Counter(descriptions.texts)
    return sum(counts[text] == 1 for text in descriptions.texts)


def nearest_texts(text_features: np.ndarray, count: int) -> np.ndarray:
    """(K, D) text features -> (K, count) indices of each text's most similar others by cosine, nearest first.

    Raises:
        ValueError: if there are not that many others.
    """
    if count >= len(text_features):
        raise ValueError(f"{count} nearest of {len(text_features) - 1} other texts asked for; ask for fewer.")
    unit = text_features / np.linalg.norm(text_features, axis=1, keepdims=True)
    similarity = unit @ unit.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :count]


def right_among(scores: np.ndarray, labels: np.ndarray, rivals: np.ndarray) -> np.ndarray:
    """(N,) bool: the right description scores above each rival of its class.

    Args:
        scores: (N, K).
        labels: (N,).
        rivals: (K, R) indices of other descriptions.
    """
    right = np.take_along_axis(scores, labels[:, None], axis=1)
    return (np.take_along_axis(scores, rivals[labels], axis=1) < right).all(axis=1)


def random_rivals(num_classes: int, count: int, draw: int) -> np.ndarray:
    """(K, count) other descriptions of each class, drawn at random: what the nearest ones are compared with."""
    rng, classes = np.random.default_rng([draw, 2]), np.arange(num_classes)
    return np.stack([rng.choice(np.delete(classes, own), size=count, replace=False) for own in classes])
