"""Stand-ins for what a machine does not have yet: Kinetics-400 at its real size, clips, a backbone with random weights.

A rehearsal puts them where videos and weights are missing, so that the same code meets the same numbers of files,
bytes and operations. Nothing that is measured on them is a result.
"""

import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import simplejpeg
import torch

from motion_lib.data.catalogue import DATASETS
from motion_lib.data.datasets import VideoDataset, VideoItem, open_dataset
from motion_lib.data.pack import write_index
from motion_lib.data.packed import Packing, cache_folder, shards_of
from motion_lib.data.video import write_video
from motion_lib.models.clip import CLIP, clip, load_clip

KINETICS = {"train": 240_436, "val": 19_877}  # videos on its lists
_SIZE = (256, 340)  # pixels of Kinetics-400 as it is commonly resized
# OpenAI's vision transformers: D, pixels, layers, width, patch, and width of the text tower.
_SHAPES = {
    "ViT-B/32": (512, 224, 12, 768, 32, 512),
    "ViT-B/16": (512, 224, 12, 768, 16, 512),
    "ViT-L/14": (768, 224, 24, 1024, 14, 768),
    "ViT-L/14@336px": (768, 336, 24, 1024, 14, 768),
}


def backbone(name: str, file: Path) -> CLIP:
    """The backbone if its file is there, otherwise one of its shape with random weights, which takes as long.

    Raises:
        FileNotFoundError: if there is no file and the shape is not known.
    """
    if file.is_file() or name not in _SHAPES:
        return load_clip(name if name in clip.available_models() else file)
    dimension, pixels, layers, width, patch, text_width = _SHAPES[name]
    return CLIP(dimension, pixels, layers, width, patch, 77, 49408, text_width, text_width // 64, 12).float().eval()


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 smooth noise with some grain: about as many bytes a pixel in JPEG as an ordinary film."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 12, 16))).float()
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0].numpy()
    return (smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8).transpose(1, 2, 0).copy()


def clips(folder: Path, count: int, frames: int = 300, size: tuple[int, int] = _SIZE) -> VideoDataset:
    """`count` videos of two classes by turns, all links to one film of so many frames in which a texture drifts."""
    folder.mkdir(parents=True)
    field = texture(size[0], size[1] + frames)
    write_video(folder / "film.mp4", np.stack([field[:, t : t + size[1]] for t in range(frames)]), fps=30)
    items = []
    for i in range(count):
        path = folder / f"clip_{i:05d}.mp4"
        path.symlink_to(folder / "film.mp4")
        items.append(VideoItem(path.stem, path, i % 2, path.stem))
    return VideoDataset("stand-in", ("drifting left", "drifting right"), tuple(items), None, "train")


def kinetics(root: Path, packing: Packing, videos: int = KINETICS["train"]) -> None:
    """Lists and empty files of Kinetics-400's training part, and a frame cache in which one JPEG is behind every frame.

    Args:
        root: stands for MOTION_DATA; 240,436 files take about 20 seconds and no space.
        videos: on the list, spread over 400 classes.
    """
    names = [f"class {k:03d}" for k in range(min(videos, DATASETS["kinetics400"].classes))]
    folders = [root / "kinetics400" / "train" / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True)
    lists = root / DATASETS["kinetics400"].lists
    lists.mkdir()
    with (lists / "train.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["label", "youtube_id", "time_start", "time_end", "split"])
        for i in range(videos):
            k = i % len(names)
            rows.writerow([names[k], f"{i:011d}", 10, 20, "train"])
            (folders[k] / f"{i:011d}_000010_000020.mp4").touch()
    dataset = open_dataset("kinetics400", root, 1, "train")
    folder = cache_folder(root / "frames", dataset, packing)
    folder.mkdir(parents=True)
    short = packing.short_side
    jpeg = simplejpeg.encode_jpeg(texture(short, short * 4 // 3), packing.quality, colorsubsampling="420")
    shards = shards_of(dataset, folder)
    pictures = folder / "pictures"
    pictures.write_bytes(jpeg * (packing.candidates * max(len(shard.items) for shard in shards)))
    for shard in shards:
        os.link(pictures, shard.path("jpegs"))
        count = len(shard.items)
        write_index(shard, [300] * count, [len(jpeg)] * count * packing.candidates, [""] * count)


def some(dataset: VideoDataset, count: int) -> VideoDataset:
    """`count` of a data set's videos, spread evenly; all of them where there are fewer."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int))
    return replace(dataset, items=tuple(dataset.items[i] for i in chosen))
