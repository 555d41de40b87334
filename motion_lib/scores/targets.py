"""What a named model is shown: videos, the texts to choose from, and its features of the videos, which are kept."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.data.clips import Clips, open_clips
from motion_lib.data.datasets import VideoDataset, check_missing, open_dataset
from motion_lib.evaluation.features import VideoFeatures, encode_videos
from motion_lib.experiment.data import Data
from motion_lib.experiment.inputs import missing_inputs, stop_without
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.scores.names import Named
from motion_lib.storage import atomic_path, content_hash
from motion_lib.texts.descriptions import DescriptionSet, read_descriptions


@dataclass(frozen=True)
class Target:
    """Videos and the texts to choose from.

    Attributes:
        name: of the data set.
        label: as tables say it.
        videos: all of them.
        sets: {kind: descriptions}, "object" at least.
        data: where further texts and lists of the same classes are; None for a user's own folder.
    """

    name: str
    label: str
    videos: VideoDataset
    sets: Mapping[str, DescriptionSet]
    data: Data | None = None


def slug(name: str) -> str:
    """A name as that of a folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


def targets_of(data: Data, names: Sequence[str] = ()) -> list[Target]:
    """Data sets of a profile: both targets without names.

    Args:
        names: of targets or the source, whose validation videos are then scored; the paper's names ("ucf101") stand
            for the miniature's too.

    Raises:
        ValueError: for a name that the profile does not have.
        MissingInputs: with one list of what the targets among them lack on this machine.
    """
    cfg = data.cfg
    by_name = {key: t for t in (*cfg.targets, cfg.source) for key in (t, DATASETS[t].paper)}
    if unknown := [name for name in names if name not in by_name]:
        raise ValueError(f"data set {unknown[0]!r}: the profile {cfg.profile!r} has {', '.join(by_name)}.")
    chosen = dict.fromkeys(by_name[name] for name in names) or cfg.targets
    asked = tuple(name for name in chosen if name in cfg.targets)
    stop_without(cfg, missing_inputs(replace(cfg, targets=asked), models=False))
    return [_target(data, name, cfg) for name in chosen]


def _target(data: Data, name: str, cfg: RunConfig) -> Target:
    source = name == cfg.source  # the authors masked no text of it
    kinds = DESCRIPTION_KINDS[:1] if source else DESCRIPTION_KINDS
    videos = data.dataset(name, "val" if source else cfg.target_subset)
    return Target(name, DATASETS[name].label, videos, {kind: data.descriptions(name, kind) for kind in kinds}, data)


def own_target(videos: Path, descriptions: Path, masked: Path | None = None) -> Target:
    """A folder of class folders, and a CSV with a class and its description a row."""
    sets = {"object": read_descriptions(descriptions)} | ({"masked": read_descriptions(masked)} if masked else {})
    # A folder may be called ucf101, and is not the data set that the paper's numbers are of.
    return Target(f"folder:{videos.name}", videos.name, open_dataset("folder", videos), sets)


def clips_of(named: Named, target: Target) -> Clips:
    """A target's videos as a model wants to see them, with the profile's frame cache."""
    if target.data is None:
        return open_clips(target.videos, named.model.preprocess)
    return target.data.clips(target.name, target.videos.subset, named.model.preprocess)


def strip_of(clip: np.ndarray, count: int, most: int = 96) -> str:
    """Frames of a clip side by side in one picture, as the address that a page holds.

    Args:
        clip: (T, 3, S, S) uint8.
        count: frames, spread over the clip; all where it has fewer.
        most: pixels of a frame's side; a smaller one stays as it is.
    """
    chosen = clip[np.linspace(0, len(clip) - 1, min(count, len(clip))).round().astype(int)].transpose(0, 2, 3, 1)
    side, data = min(most, clip.shape[-1]), io.BytesIO()
    small = [np.asarray(Image.fromarray(frame).resize((side, side))) for frame in chosen]
    Image.fromarray(np.concatenate(small, axis=1)).save(data, "webp", quality=60, method=2)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"


# ------------------------------------------------------------------ features that are kept
def kept_path(named: Named, target: Target, folder: Path) -> Path:
    """Where features are kept: named by the videos and by what the model makes of noise, whatever its weights are."""
    model, size = named.model, named.model.preprocess.crop_size
    noise = torch.rand(1, model.preprocess.num_frames, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        seen = model.encode_video(noise.to(getattr(model, "device", "cpu"))).float().cpu().numpy().round(4)
    made_from = (seen.tolist(), asdict(model.preprocess), target.videos.stamps())
    return folder / "features" / f"{slug(target.name)}-{content_hash(*made_from)}.pt"


def kept_features(named: Named, cfg: RunConfig, target: Target, path: Path) -> VideoFeatures:
    """Features of a target's videos, read from a file or encoded and written to it.

    Args:
        path: as `kept_path` names it.

    Raises:
        TooManyMissing: above the share `max_missing`.
    """
    if path.is_file():
        kept = torch.load(path, weights_only=True)
        items = {item.video_id: item for item in target.videos.items}
        shown = replace(target.videos, items=tuple(items[video_id] for video_id in kept["videos"]))
        return VideoFeatures(kept["features"], shown, kept["failed"], kept["wall_time_sec"])
    videos = encode_videos(named.model, clips_of(named, target), num_workers=cfg.num_workers)
    check_missing(videos.dataset, cfg.max_missing, videos.failed)
    kept = {"features": videos.features, "failed": videos.failed, "wall_time_sec": videos.wall_time_sec}
    with atomic_path(path) as temporary:
        torch.save(kept | {"videos": [item.video_id for item in videos.dataset.items]}, temporary)
    return videos
