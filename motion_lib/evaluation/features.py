"""Video features kept on disk as float16: the same weights see the same videos once, however often they are scored.

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
        features: (N, ...) as the model gives them, on the CPU.   dataset: the N videos, in that order.
        failed: {video_id: reason}.   wall_time_sec: of decoding and encoding.
    """

    features: Tensor
    dataset: VideoDataset
    failed: dict[str, str]
    wall_time_sec: float

    def of(self, part: VideoDataset) -> "VideoFeatures":
        """The features of the videos of `part`, a subset of the same data set, in the order that they have here.

        The time is that of all.   Raises: ValueError if `part` has videos that were not encoded.
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
    """Decode and encode every video once.

    `device` None is the model's own, the CPU for a model that names none.
    Unreadable videos are left out, counted and named in `failed`.
    Raises: ValueError if no video can be read.
    """
    clips = clips_for(dataset, model.preprocess)
    device = device or getattr(model, "device", "cpu")
    start, features, kept, failed = time.perf_counter(), [], [], dict(clips.failed)
    batches = evaluation_batches(clips, batch_size, num_workers)
    with torch.inference_mode():
        for batch in tqdm(
            batches,
            desc=f"encoding {clips.dataset.name} ({clips.dataset.subset})",
            unit="batch",
            mininterval=2,
        ):
            failed.update(batch.failed)
            if len(batch):
                encoded = model.encode_video(normalise(batch.frames.to(device), model.preprocess))
                features.append(encoded.cpu())  # X-CLIP's, all patches of all videos, would fill a GPU
                kept += batch.indices.tolist()
    if not kept:
        raise ValueError(
            f"{clips.dataset.name}: none of its {len(clips)} videos could be read, e.g. {next(iter(failed.items()))}."
        )
    read = VideoDataset(
        clips.dataset.name,
        clips.dataset.class_names,
        tuple(clips.dataset.items[i] for i in kept),
        clips.dataset.split,
        clips.dataset.subset,
        clips.dataset.missing,
    )
    return VideoFeatures(torch.cat(features), read, failed, time.perf_counter() - start)


def features_kept(path: Path, dataset: VideoDataset, encode: Callable[[], VideoFeatures]) -> VideoFeatures:
    """Read the features of `dataset` from `path`, or encode and keep them there.

    Args:
        path: named by everything that decides the features: weights, preprocessing, videos, code.
        dataset: the videos asked for.   encode: called if nothing is kept, or what is there cannot be read.
    The time that encoding took is kept with the features, and so stays a measure of the model.
    """
    kept = _read(path)
    if kept is None:
        found = _rounded(encode())
        ids = [item.video_id for item in found.dataset.items]
        with atomic_path(path) as temporary:
            saved = {
                "features": found.features.half().cpu(),
                "ids": ids,
                "failed": found.failed,
                "sec": found.wall_time_sec,
            }
            torch.save(saved, temporary)
        return found
    items = {item.video_id: item for item in dataset.items}
    readable = replace(dataset, items=tuple(items[video_id] for video_id in kept["ids"]))
    return VideoFeatures(kept["features"].float(), readable, kept["failed"], kept["sec"])


def _rounded(videos: VideoFeatures) -> VideoFeatures:
    rounded = videos.features.half().float()
    if not torch.isfinite(rounded).all():
        raise ValueError(
            f"{videos.dataset.name}: the features have values above {torch.finfo(torch.float16).max:g} or none at all, "
            "which float16 does not hold; let the model's encode_video scale them."
        )
    return replace(videos, features=rounded)


def _read(path: Path) -> dict | None:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # what a broken file raises is anybody's guess; features can be made again
        print(f"{path.name}: not readable ({type(error).__name__}), encoding again.")
        return None
