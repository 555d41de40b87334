"""A training on a tiny model whose gradients are written down: run alone, or by torchrun as a group.

torchrun --nproc-per-node 2 tests/train_in_group.py FOLDER
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiny
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from motion_lib.config import RunConfig
from motion_lib.data.packed import Choose, Memory, fresh
from motion_lib.data.preprocessing import Cut
from motion_lib.data.video import VideoReadError
from motion_lib.experiment.launch import fabric_of
from motion_lib.training import Execution, Recipe, fine_tune

CLIPS, BROKEN = 9, 4
# Batches of 4, 4 and 1: in the last one a second device has nothing. No learning rate: every step can be compared.
RECIPE = Recipe(epochs=2, batch_size=4, lr=0.0, warmup_epochs=1, augmentation="text4vis", seed=3)


@dataclass
class OneBroken(tiny.InMemory):
    """One video cannot be read."""

    def read(self, index: int, choose: Choose, cut: Cut | None = None, memory: Memory = fresh) -> np.ndarray:
        if index == BROKEN:
            raise VideoReadError(Path("clip_4.mp4"), "broken")
        return super().read(index, choose, cut, memory)


def main(folder: Path, train_text: bool) -> None:
    fabric = fabric_of(RunConfig.load("miniature", device="cpu"))
    gradients: list[list[torch.Tensor]] = []

    def keep(optimizer: torch.optim.Optimizer, *_: object) -> None:
        gradients.append([p.grad.clone() for group in optimizer.param_groups for p in group["params"]])

    hook = register_optimizer_step_pre_hook(keep)
    clips = tiny.clips_in_memory(CLIPS)
    clips.source = OneBroken(clips.source.videos)
    model = tiny.classifier(train_text=train_text)
    # Pieces of one clip in one of the two cases: devices then have unequal numbers of them.
    execution = Execution(checkpoint_minutes=0, at_once=None if train_text else 1)
    history = fine_tune(model, clips, tiny.DESCRIPTIONS, RECIPE, folder / "run", execution, fabric=fabric)
    hook.remove()
    if fabric is None or fabric.is_global_zero:
        torch.save({"gradients": gradients, "rows": history.rows, "failed": history.failed}, folder / "seen.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2] == "trained")
