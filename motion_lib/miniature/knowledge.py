"""What a CLIP knows of the miniature before any fine-tuning, measured on clips whose content is known."""

from pathlib import Path

import pandas as pd
import torch

from motion_lib.evaluation.features import VideoFeatures
from motion_lib.evaluation.retrieval import similarities
from motion_lib.miniature import drawing, motions, sentences
from motion_lib.miniature.build import video_path
from motion_lib.miniature.world import ClipSpec, DatasetSpec, draw_clip
from motion_lib.models.prototype import PrototypeClassifier


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


def _content(videos: VideoFeatures, spec: DatasetSpec, seed: int) -> list[ClipSpec]:
    """What each video shows, drawn again; found by its name, since data sets order their classes by name."""
    numbered = {
        Path(video_path(spec, which, clip)[1]).stem: (which, clip)
        for which in spec.classes
        for clip in range(spec.clips_per_class)
    }
    ids = [item.video_id for item in videos.dataset.items]
    foreign = [video_id for video_id in ids if video_id not in numbered]
    if foreign:
        raise ValueError(
            f"{videos.dataset.name}: {len(foreign)} of {len(ids)} videos, e.g. {foreign[0]}, are not of this world."
        )
    return [draw_clip(spec, *numbered[video_id], seed) for video_id in ids]


def zero_shot_knowledge(
    model: PrototypeClassifier, videos: VideoFeatures, spec: DatasetSpec, seed: int
) -> pd.DataFrame:
    """Top-1 percent of naming each aspect of a clip by prompts, beside chance.

    Args:
        videos: clips of `spec`, whose true content is drawn again from `seed`.

    Raises:
        ValueError: for videos that are none of `spec`'s.
    """
    clips, rows = _content(videos, spec, seed), []
    for aspect, (values, prompts) in _prompts().items():
        field = {"object": "item", "arm motion": "arm", "body motion": "body"}.get(aspect, aspect)
        truth = torch.tensor([values.index(getattr(clip, field)) for clip in clips])
        logits = similarities(model, videos.features, prompts)
        right = 100 * (logits.argmax(dim=1) == truth).float().mean().item()
        rows.append(
            {
                "Aspect": aspect,
                "Zero-shot top-1, %": round(right, 1),
                "Chance, %": round(100 / len(values), 1),
            }
        )
    return pd.DataFrame(rows)
