"""Stills with short captions: what the tiny CLIP is pretrained on. Needs no torch, so workers start fast."""

from dataclasses import dataclass

import numpy as np

from motion_lib.miniature import drawing, motions, sentences

CAPTIONS_EACH = 3  # of either kind


@dataclass(frozen=True)
class Still:
    """One picture, (size, size, 3) uint8, with captions of its thing, of its person, and long ones."""

    picture: np.ndarray
    things: tuple[str, ...]
    persons: tuple[str, ...]
    longs: tuple[str, ...]


def draw_still(index: int, seed: int, motion_share: float, size: int) -> Still:
    """One still of any motion, object and scene, drawn independently of each other.

    Args:
        motion_share: probability that a person's caption holds a verb.
        size: pixels a side.
    """
    rng = np.random.default_rng([seed, 9, index])
    arm, body = str(rng.choice(list(motions.ARM_MOTIONS))), str(rng.choice(list(motions.BODY_MOTIONS)))
    item, scene = str(rng.choice(list(drawing.OBJECTS))), str(rng.choice(list(drawing.SCENES)))
    phase = rng.uniform(0, 2 * np.pi, size=2)
    figure = motions.skeleton(arm, body, phase[:1], phase[1:])
    noise_seed = int(rng.integers(2**31))
    picture = drawing.render(figure, item, scene, drawing.random_look(rng), size, size, noise_seed)[0]
    things = tuple(sentences.thing_caption(item, rng) for _ in range(CAPTIONS_EACH))
    postures = motions.postures(figure)
    persons = (arm, body, postures, scene, motion_share, rng)
    return Still(
        picture,
        things,
        tuple(sentences.person_caption(*persons) for _ in range(CAPTIONS_EACH)),
        tuple(sentences.long_caption(item, scene, postures, rng) for _ in range(CAPTIONS_EACH)),
    )
