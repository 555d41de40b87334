"""What a CLIP knows of the miniature before any fine-tuning, measured on clips whose content is known."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from motion_lib.evaluation.features import VideoFeatures
from motion_lib.miniature import drawing, motions, sentences
from motion_lib.miniature.build import video_path
from motion_lib.miniature.world import ClipSpec, DatasetSpec, draw_clip
from motion_lib.models.prototype import PrototypeClassifier


def _prompts() -> dict[str, tuple[list[str], list[list[str]]]]:
    """Aspect -> (values, prompts of each): as captions tell a place or a verb beside any posture."""
    items, scenes = list(drawing.OBJECTS), list(drawing.SCENES)
    arms, bodies = list(motions.ARM_MOTIONS), list(motions.BODY_MOTIONS)

    def persons(values: list[str], words: Mapping[str, str]) -> list[list[str]]:
        return [[f"a person {p} {words[v]}" for p in sentences.POSTURE_WORDS.values()] for v in values]

    return {
        "scene": (scenes, persons(scenes, sentences.SCENE_WORDS)),
        "object": (items, [[f"a photo of a person with {sentences.with_article(item)}"] for item in items]),
        "arm motion": (arms, persons(arms, sentences.VERBS)),
        "body motion": (bodies, persons(bodies, sentences.VERBS)),
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
    """Top-1 percent of naming each aspect of a clip, beside chance; a value is the mean of its prompts' embeddings.

    Args:
        videos: clips of `spec`, whose true content is drawn again from `seed`.

    Raises:
        ValueError: for videos that are none of `spec`'s.
    """
    clips, rows = _content(videos, spec, seed), []
    for aspect, (values, prompts) in _prompts().items():
        field = {"object": "item", "arm motion": "arm", "body motion": "body"}.get(aspect, aspect)
        truth = torch.tensor([values.index(getattr(clip, field)) for clip in clips])
        with torch.inference_mode():
            of_values = [F.normalize(model.encode_text(several), dim=-1).mean(dim=0) for several in prompts]
        logits = model.similarity(videos.features.to(model.device, torch.float32), torch.stack(of_values)).cpu()
        right = 100 * (logits.argmax(dim=1) == truth).float().mean().item()
        rows.append(
            {
                "Aspect": aspect,
                "Zero-shot top-1, %": round(right, 1),
                "Chance, %": round(100 / len(values), 1),
            }
        )
    return pd.DataFrame(rows)
