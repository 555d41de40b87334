"""Video features kept on disk as float16: the same weights see the same videos once, however often they are scored.

What was just encoded is rounded too, so that a number does not depend on whether the features were there.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from motion_lib.datasets import VideoDataset
from motion_lib.evaluation import VideoFeatures
from motion_lib.storage import atomic_path


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
