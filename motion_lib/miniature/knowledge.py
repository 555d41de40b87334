"""What a CLIP knows of the miniature before any fine-tuning, measured on clips whose content is known."""

import numpy as np
import pandas as pd
import torch

from motion_lib.evaluation import VideoFeatures
from motion_lib.miniature import drawing, motions, sentences
from motion_lib.miniature.world import DatasetSpec, draw_clip
from motion_lib.models import PrototypeClassifier


def _prompts() -> dict[str, tuple[list[str], list[str]]]:
    """Aspect -> (values, one prompt each)."""
    items, scenes = list(drawing.OBJECTS), list(drawing.SCENES)
    arms, bodies = list(motions.ARM_MOTIONS), list(motions.BODY_MOTIONS)
    return {
        "scene": (scenes, [f"a person {sentences.SCENE_WORDS[s]}" for s in scenes]),
        "object": (items, [f"a photo of a person with {sentences.with_article(i)}" for i in items]),
        "arm motion": (arms, [f"a person {sentences.VERBS[a]}" for a in arms]),
        "body motion": (bodies, [f"a person {sentences.VERBS[b]}" for b in bodies]),
    }


def zero_shot_knowledge(
    model: PrototypeClassifier, videos: VideoFeatures, spec: DatasetSpec, seed: int
) -> pd.DataFrame:
    """Top-1 percent of naming each aspect of a clip by prompts, beside chance.

    Args: videos: all clips of `spec`, whose true content is drawn again from `seed`.
    """
    clips = [draw_clip(spec, which, clip, seed) for which in spec.classes for clip in range(spec.clips_per_class)]
    if np.repeat(range(len(spec.classes)), spec.clips_per_class).tolist() != videos.dataset.labels:
        raise ValueError(f"{videos.dataset.name}: the clips are not those of world seed {seed}, all and in order.")
    rows = []
    for aspect, (values, prompts) in _prompts().items():
        field = {"object": "item", "arm motion": "arm", "body motion": "body"}.get(aspect, aspect)
        truth = torch.tensor([values.index(getattr(clip, field)) for clip in clips])
        with torch.inference_mode():
            logits = model.similarity(videos.features, model.encode_text(prompts)).cpu()
        right = 100 * (logits.argmax(dim=1) == truth).float().mean().item()
        rows.append(
            {
                "Aspect": aspect,
                "Zero-shot top-1, %": round(right, 1),
                "Chance, %": round(100 / len(values), 1),
            }
        )
    return pd.DataFrame(rows)
