"""Stills with short captions: what the tiny CLIP is pretrained on. Needs no torch, so workers start fast."""

from dataclasses import dataclass

import numpy as np

from motion_lib.miniature import drawing, motions, sentences

CAPTIONS_EACH = 3


@dataclass(frozen=True)
class Still:
    """One picture, (size, size, 3) uint8, and several captions of it."""

    picture: np.ndarray
    captions: tuple[str, ...]


def draw_still(index: int, seed: int, shares: tuple[float, float], size: int) -> Still:
    """One still of any motion, object and scene, drawn independently of each other."""
    rng = np.random.default_rng([seed, 9, index])
    arm, body = str(rng.choice(list(motions.ARM_MOTIONS))), str(rng.choice(list(motions.BODY_MOTIONS)))
    item, scene = str(rng.choice(list(drawing.OBJECTS))), str(rng.choice(list(drawing.SCENES)))
    phase = rng.uniform(0, 2 * np.pi, size=2)
    figure = motions.skeleton(arm, body, phase[:1], phase[1:])
    noise_seed = int(rng.integers(2**31))
    picture = drawing.render(figure, item, scene, drawing.random_look(rng), size, size, noise_seed)[0]
    about = (arm, body, item, scene, motions.postures(figure), rng, shares)
    return Still(picture, tuple(sentences.caption(*about) for _ in range(CAPTIONS_EACH)))
