"""What decides the numbers of a training, its recipe and learning rate, and what does not: how it is executed."""

import math
from dataclasses import dataclass
from datetime import timedelta

from motion_lib.data.augmentation import AUGMENTATIONS

CLIP_RATIO_READINGS = ("learning_rate", "gradient_norm")
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}  # and Lightning Fabric's names
# Of one device for another: the first scores the last epoch on 40,000 videos, 11 hours where it decodes one a second.
# (Packing they await without a limit. A process that dies ends the others by torchrun and srun, not by this.)
LONGEST_WAIT = timedelta(days=2)


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune; the defaults are the paper's (appendix A.4) where it states a value.

    `clip_ratio` is read as Text4Vis, the paper's code base, uses the word: the factor on the
    learning rate of CLIP's own weights. The other reading, a gradient norm limit, is a choice.
    The rest of what A.4 states is the model's: ViT-B/16, 8 frames, mean pooling, frozen text tower.
    """

    epochs: int = 10  # paper A.4
    batch_size: int = 80  # of all devices; paper A.4: 20 on 4 GPUs, read as on each, as Text4Vis's is of one process
    lr: float = 5e-5  # paper A.4
    clip_ratio: float = 0.1  # paper A.4
    clip_ratio_reading: str = "learning_rate"  # Text4Vis d61b34d; paper: not stated
    warmup_epochs: float = 5  # paper A.4 "warm step of 5"; epochs in Text4Vis
    weight_decay: float = 0.2  # paper A.4; on all parameters, as Text4Vis
    betas: tuple[float, float] = (0.9, 0.999)  # Text4Vis; paper: "Adam"
    augmentation: str = "text4vis"  # Text4Vis d61b34d as released; paper: not stated
    precision: str = "fp32"  # paper: not stated; Text4Vis trains in mixed precision
    logit_scale: float | None = None  # exp(logit_scale) to start from; None keeps CLIP's (100)
    seed: int = 0

    def __post_init__(self):
        for name, known in (
            ("clip_ratio_reading", CLIP_RATIO_READINGS),
            ("augmentation", AUGMENTATIONS),
            ("precision", PRECISIONS),
        ):
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name} {value!r}: expected one of {', '.join(known)}.")
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs}: expected 0 to epochs ({self.epochs}).")
        if self.batch_size < 1 or self.epochs < 1:
            raise ValueError(f"{self.epochs} epochs of batches of {self.batch_size}: expected at least 1 of each.")


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Base learning rate at a fractional epoch: linear warm-up from 0, then half a cosine to 0 (Text4Vis d61b34d)."""
    if epoch < recipe.warmup_epochs:
        return recipe.lr * epoch / recipe.warmup_epochs
    span = recipe.epochs - recipe.warmup_epochs
    progress = min((epoch - recipe.warmup_epochs) / span, 1.0) if span else 1.0
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class Execution:
    """How a training runs, which changes no number beyond rounding.

    Attributes:
        num_workers: loader processes of each device; 0 loads in the training process.
        at_once: clips that go through the model together on one device; None: its whole share of a batch.
            Gradients of the pieces are summed, so the batch stays the recipe's. (BatchNorm, which only CLIP's
            ResNets have, sees the pieces.)
        checkpoint_minutes: at most this much work is lost to an interruption; each epoch is kept besides.
        recompute: activation checkpointing.
        compiled: torch.compile the model; the first step of each size then takes minutes.
        tensorboard: write event files beside `metrics.jsonl`.
    """

    num_workers: int = 0
    at_once: int | None = None
    checkpoint_minutes: float = 10.0
    recompute: bool = False
    compiled: bool = False
    tensorboard: bool = False

    def __post_init__(self):
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at_once {self.at_once}: expected at least 1 clip, or None for all.")
