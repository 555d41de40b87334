"""What tests of models by name share."""

from pathlib import Path

import motion_lib.models.clip  # noqa: F401  (open_clip imports torchvision, which an unmatched build survives after it)
from motion_lib.data.datasets import VideoDataset


def own_folder(clips: VideoDataset, folder: Path, count: int) -> Path:
    """A user's folder of class folders, with the first clips of a data set."""
    for item in clips.items[:count]:
        place = folder / clips.class_names[item.label] / item.path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(item.path)
    return folder
