"""Features of a tiny model, encoded alone or by a group of processes that torchrun started.

torchrun --nproc-per-node 2 tests/encode_in_group.py FOLDER CLIPS
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiny
import torch

from motion_lib.config import RunConfig
from motion_lib.data.packed import Choose, Memory, fresh
from motion_lib.data.preprocessing import Cut
from motion_lib.data.video import VideoReadError
from motion_lib.evaluation.features import VideoFeatures, encode_videos
from motion_lib.experiment.cache import features_kept
from motion_lib.experiment.launch import fabric_of

BATCH = 4
BROKEN = (2, *range(8, 12))  # one, and all of a batch


@dataclass
class SomeBroken(tiny.InMemory):
    """Some videos cannot be read."""

    def read(self, index: int, choose: Choose, cut: Cut | None = None, memory: Memory = fresh) -> np.ndarray:
        if index in BROKEN:
            raise VideoReadError(Path(f"clip_{index}.mp4"), "broken")
        return super().read(index, choose, cut, memory)


def main(folder: Path, count: int) -> None:
    fabric = fabric_of(RunConfig.load("miniature", device="cpu"))
    torch.set_num_threads(1)
    clips, model, calls = tiny.clips_in_memory(count), tiny.classifier().eval(), []
    clips.source = SomeBroken(clips.source.videos)

    def encode() -> VideoFeatures:
        calls.append(1)
        return encode_videos(model, clips, BATCH, dtype=torch.float16, together=fabric is not None)

    for _ in range(2):  # encoded, then read
        kept = features_kept(folder / "kept.pt", clips.dataset, encode, fabric)
    ids = [item.video_id for item in kept.dataset.items]
    seen = {"features": kept.features.clone(), "ids": ids, "failed": kept.failed, "calls": len(calls)}
    torch.save(seen, folder / f"seen_{fabric.global_rank if fabric else 0}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
