"""Stills with short captions: what the tiny CLIP is pretrained on. Needs no torch, so workers start fast."""

import numpy as np

from motion_lib.miniature import drawing, motions, sentences


def draw_still(index: int, seed: int, motion_share: float, posture_share: float, size: int) -> tuple[np.ndarray, str]:
    """One still of any motion, object and scene (independent of each other) and its caption."""
    rng = np.random.default_rng([seed, 9, index])
    arm, body = str(rng.choice(list(motions.ARM_MOTIONS))), str(rng.choice(list(motions.BODY_MOTIONS)))
    item, scene = str(rng.choice(list(drawing.OBJECTS))), str(rng.choice(list(drawing.SCENES)))
    phase = rng.uniform(0, 2 * np.pi, size=2)
    figure = motions.skeleton(arm, body, phase[:1], phase[1:])
    noise_seed = int(rng.integers(2**31))
    still = drawing.render(figure, item, scene, drawing.random_look(rng), size, size, noise_seed)[0]
    return still, sentences.caption(arm, body, item, scene, motions.postures(figure), rng, motion_share, posture_share)
