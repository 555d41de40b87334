"""Video features: every video is encoded once per model, however often it is scored."""

import math
import time
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import Tensor
from tqdm import tqdm

from motion_lib.data.batches import evaluation_batches, explained_loader_errors
from motion_lib.data.clips import Clips, clips_for
from motion_lib.data.datasets import VideoDataset
from motion_lib.data.preprocessing import Normalise
from motion_lib.models.memory import InPieces
from motion_lib.models.prototype import VideoTextModel


@dataclass(frozen=True)
class VideoFeatures:
    """Features of every readable video of a data set.

    Attributes:
        features: (N, ...) as the model gives them, on the CPU.
        dataset: the N videos, in that order.
        failed: {video_id: reason} of the others.
        wall_time_sec: of decoding, or reading kept frames, and encoding, on all devices that took part.
    """

    features: Tensor
    dataset: VideoDataset
    failed: dict[str, str]
    wall_time_sec: float

    def of(self, part: VideoDataset) -> "VideoFeatures":
        """The features of some of the videos, in the order that they have here; the time is that of all.

        Args:
            part: a subset of the same data set.

        Raises:
            ValueError: if `part` has videos that were not encoded.
        """
        wanted = {item.video_id for item in part.items}
        kept = [i for i, item in enumerate(self.dataset.items) if item.video_id in wanted]
        failed = {video_id: why for video_id, why in self.failed.items() if video_id in wanted}
        if len(kept) + len(failed) < len(wanted):
            unknown = wanted - {item.video_id for item in self.dataset.items} - failed.keys()
            raise ValueError(
                f"{part.name} ({part.subset}): {len(unknown)} of its videos, e.g. {min(unknown)}, "
                f"are not among the {len(self.dataset)} encoded ones; encode them as well."
            )
        items = tuple(self.dataset.items[i] for i in kept)
        return VideoFeatures(self.features[kept], replace(part, items=items), failed, self.wall_time_sec)


@explained_loader_errors()
def encode_videos(
    model: VideoTextModel,
    dataset: VideoDataset | Clips,
    batch_size: int = 32,
    num_workers: int = 0,
    dtype: torch.dtype | None = None,
    together: bool = False,
) -> VideoFeatures:
    """Decode and encode every video once, on the model's device, the CPU for a model that names none.

    Unreadable videos are left out, counted and named in `failed`.

    Args:
        batch_size: clips to decode together; fewer go through the model at once where memory does not suffice.
        dtype: of the features; None is the model's own.
        together: all processes of torch's group call this, and share the batches; the first gets all features, the
            others get none.
    """
    clips = clips_for(dataset, model.preprocess)
    device, dataset = torch.device(getattr(model, "device", "cpu")), clips.dataset

    normalise = Normalise(model.preprocess).to(device)

    @torch.inference_mode()
    def encode(frames: Tensor) -> Tensor:
        return model.encode_video(normalise(frames.to(device))).to("cpu", dtype)

    start, pieces, readable, failed = time.perf_counter(), InPieces(encode, batch_size), [], dict(clips.failed)
    features, done = torch.empty(0), 0
    rank, count = (dist.get_rank(), dist.get_world_size()) if together else (0, 1)
    batches = iter(evaluation_batches(clips, batch_size, num_workers, rank, count))
    label, rounds = f"encoding {dataset.name} ({dataset.subset})", math.ceil(len(clips) / (batch_size * count))
    for _ in tqdm(range(rounds), label, unit="batch", mininterval=2, disable=rank > 0):
        batch = next(batches, None)  # in the last round some may have none
        mine = (batch.indices.tolist(), batch.failed, list(pieces(batch.frames))) if batch is not None else ([], {}, [])
        for indices, unread, encoded in _gathered(mine, rank, count):
            readable += indices
            failed.update(unread)
            for values in encoded:
                if not done:  # of X-CLIP, all patches of all videos: they would fill a GPU, and twice a host
                    features = torch.empty(len(clips), *values.shape[1:], dtype=values.dtype)
                features[done : done + len(values)] = values
                done += len(values)
    encoded_videos = replace(dataset, items=tuple(dataset.items[i] for i in readable))
    return VideoFeatures(features[:done], encoded_videos, failed, time.perf_counter() - start)


def _gathered(mine: object, rank: int, count: int) -> list:
    """On the first of `count` processes what each has, in the order of their ranks; on the others nothing."""
    if count == 1:
        return [mine]
    everywhere = None if rank else [None] * count
    dist.gather_object(mine, everywhere)
    return everywhere or []
