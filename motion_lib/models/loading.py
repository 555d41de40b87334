"""The models of the paper's tables by name, each with its preprocessing."""

from pathlib import Path

import torch

from motion_lib.data.preprocessing import Preprocess
from motion_lib.models.clip import load_clip
from motion_lib.models.prototype import PrototypeClassifier, read_checkpoint
from motion_lib.models.xclip import XClip

# name -> (head, trains the text tower); the weights of each come from `checkpoint`.
ARCHITECTURES = {
    "clip": ("mean", False),
    "motion": ("mean", False),
    "text4vis": ("temporal", False),
    "vificlip": ("mean", True),
    "xclip": ("mit", False),
}


def default_preprocess(name: str, resolution: int, num_frames: int = 8) -> Preprocess:
    """Preprocessing of the paper's models: CLIP resizes to its input, Text4Vis to 256 before a 224 crop."""
    short_side = 256 if resolution == 224 and name != "clip" else resolution
    return Preprocess(num_frames=num_frames, short_side=short_side, crop_size=resolution)


def load_model(
    name: str,
    checkpoint: str | Path | None = None,
    backbone: str | Path = "ViT-B/16",
    head: str | None = None,
    device: str | torch.device = "cpu",
    num_frames: int = 8,
) -> PrototypeClassifier:
    """Load a model for evaluation or training.

    Args:
        name: "clip" (vanilla), "motion" (ours), "text4vis", "vificlip" or "xclip" (those architectures;
            trained here, or from a checkpoint written by `fine_tune`).
        checkpoint: file written by `fine_tune`; None gives CLIP's own weights (and a fresh head).
        backbone: OpenAI name or path of a CLIP state dict.
        head: "mean" or "temporal", in place of the model's own.
        num_frames: T.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: for an unknown name, a head that the model cannot have, or weights of another model.
        FileNotFoundError: for missing files.
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"model {name!r}: expected one of {', '.join(ARCHITECTURES)}.")
    own_head, train_text = ARCHITECTURES[name]
    if name == "xclip" and head not in (None, own_head):
        raise ValueError(f"head {head!r}: X-CLIP has its own temporal module and takes no other.")
    clip_model = load_clip(backbone, device)
    preprocess = default_preprocess(name, clip_model.visual.input_resolution, num_frames)
    if name == "xclip":
        model = XClip(clip_model, preprocess)
    else:
        model = PrototypeClassifier(clip_model, preprocess, head or own_head, train_text)
    model = model.to(device).eval()
    if checkpoint is not None:
        model.load_trained_state(read_checkpoint(checkpoint, device)["model"], str(checkpoint))
    return model
