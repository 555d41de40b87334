"""Video features: every video is encoded once per model, however often it is scored, and kept on disk as float16.

What was just encoded is rounded too, so that a number does not depend on whether the features were there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from motion_lib.data.batches import evaluation_batches
from motion_lib.data.clips import Clips, clips_for
from motion_lib.data.datasets import VideoDataset
from motion_lib.data.preprocessing import normalise
from motion_lib.models.prototype import VideoTextModel
from motion_lib.storage import atomic_path


@dataclass(frozen=True)
class VideoFeatures:
    """Features of every readable video of a data set.

    Attributes:
        features: (N, ...) as the model gives them, on the CPU.
        dataset: the N videos, in that order.
        failed: {video_id: reason} of the others.
        wall_time_sec: of decoding and encoding; kept with the features, and so a measure of the model.
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


def encode_videos(
    model: VideoTextModel,
    dataset: VideoDataset | Clips,
    batch_size: int = 32,
    num_workers: int = 0,
    device: str | torch.device | None = None,
) -> VideoFeatures:
    """Decode and encode every video once; unreadable ones are left out, counted and named in `failed`.

    Args:
        device: None is the model's own, the CPU for a model that names none.

    Raises:
        ValueError: if no video can be read.
    """
    clips = clips_for(dataset, model.preprocess)
    device, dataset = device or getattr(model, "device", "cpu"), clips.dataset
    start, features, readable, failed = time.perf_counter(), [], [], dict(clips.failed)
    batches = evaluation_batches(clips, batch_size, num_workers)
    with torch.inference_mode():
        for batch in tqdm(batches, f"encoding {dataset.name} ({dataset.subset})", unit="batch", mininterval=2):
            failed.update(batch.failed)
            if len(batch):
                encoded = model.encode_video(normalise(batch.frames.to(device), model.preprocess))
                features.append(encoded.cpu())  # X-CLIP's, all patches of all videos, would fill a GPU
                readable += batch.indices.tolist()
    if not readable:
        raise ValueError(
            f"{dataset.name}: none of its {len(clips)} videos could be read, e.g. {next(iter(failed.items()))}."
        )
    encoded_videos = replace(dataset, items=tuple(dataset.items[i] for i in readable))
    return VideoFeatures(torch.cat(features), encoded_videos, failed, time.perf_counter() - start)


def features_kept(path: Path, dataset: VideoDataset, encode: Callable[[], VideoFeatures]) -> VideoFeatures:
    """Read the features of `dataset` from `path`, or encode and keep them there.

    Args:
        path: named by everything that decides the features: weights, preprocessing, videos, code.
        dataset: the videos asked for.
        encode: called if nothing is kept, or what is there cannot be read.

    Raises:
        ValueError: if float16 does not hold the features.
    """
    if (kept := _read(path)) is not None:
        items = {item.video_id: item for item in dataset.items}
        readable = replace(dataset, items=tuple(items[video_id] for video_id in kept["ids"]))
        return VideoFeatures(kept["features"].float(), readable, kept["failed"], kept["sec"])
    videos = encode()
    half = videos.features.half()
    if not torch.isfinite(half).all():
        raise ValueError(
            f"{videos.dataset.name}: the features have values above {torch.finfo(torch.float16).max:g} or none at all, "
            "which float16 does not hold; let the model's encode_video scale them."
        )
    ids = [item.video_id for item in videos.dataset.items]
    with atomic_path(path) as temporary:
        torch.save({"features": half, "ids": ids, "failed": videos.failed, "sec": videos.wall_time_sec}, temporary)
    return replace(videos, features=half.float())


def _read(path: Path) -> dict | None:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # what a broken file raises is anybody's guess; features can be made again
        print(f"{path.name}: not readable ({type(error).__name__}), encoding again.")
        return None
