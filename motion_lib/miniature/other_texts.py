"""Two more texts for each class of the miniature, as the authors wrote two more for each of their targets.

An action description tells what activity it is, by its thing and place, and not how the body moves; the alternate
version tells the same motion in other phrases. Apart from `sentences`, which the world and its CLIP are made of.
"""

from motion_lib.descriptions import DescriptionSet
from motion_lib.miniature.sentences import ARM_PHRASES, BODY_PHRASES, SCENE_WORDS, TEMPO_WORDS, with_article
from motion_lib.miniature.world import DatasetSpec, MotionClass


def action_descriptions(dataset: DatasetSpec) -> DescriptionSet:
    """What each class is an activity with, and where."""
    texts = tuple(
        f"an activity that is done with {with_article(c.item)}, most often {SCENE_WORDS[c.scene]}."
        for c in dataset.classes
    )
    return DescriptionSet(f"{dataset.key}_action", tuple(c.name for c in dataset.classes), texts)


def alternate_version(dataset: DatasetSpec) -> DescriptionSet:
    """The motion of each class in phrases that its description does not use."""
    texts = tuple(_otherwise(c) for c in dataset.classes)
    return DescriptionSet(f"{dataset.key}_alternate", tuple(c.name for c in dataset.classes), texts)


def _otherwise(which: MotionClass) -> str:
    arms = [phrase.format(item=which.item) for phrase in ARM_PHRASES[which.arm]]
    arm = next(phrase for phrase in arms if phrase not in which.description)
    body = next(phrase for phrase in BODY_PHRASES[which.body] if phrase not in which.description)
    word = next(word for word in TEMPO_WORDS[which.tempo] if word not in which.description)
    return f"a {word} motion: {arm} and {body}."
