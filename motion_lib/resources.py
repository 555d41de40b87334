"""What a run takes of the machine, estimated before hours are spent: disk for the frame cache, GPU memory."""

import os
import shutil
from pathlib import Path

import pandas as pd
import torch

from motion_lib.config import RunConfig
from motion_lib.datasets import open_dataset
from motion_lib.packed_frames import Packing, cache_folder, shards_of
from motion_lib.preprocessing import Preprocess

# Image towers: trained parameters, width, layers, tokens of one frame.
_TOWERS = {
    "ViT-B/32": (88e6, 768, 12, 50),
    "ViT-B/16": (86e6, 768, 12, 197),
    "ViT-L/14": (304e6, 1024, 24, 257),
    "ViT-L/14@336px": (304e6, 1024, 24, 577),
}
_STATE_BYTES = 16  # of a trained parameter in float32: itself, its gradient and AdamW's two moments
# Values that the backward pass of one transformer layer keeps of each token and channel, attention maps not among
# them since the fused kernel makes them anew (Korthikanti et al. 2022, equation 2, counts 34 bytes in half precision).
_KEPT_VALUES = 17


def training_memory(cfg: RunConfig) -> float | None:
    """Estimated bytes of GPU memory that fine-tuning takes in float32; None for a backbone that is not OpenAI's ViT."""
    if cfg.backbone not in _TOWERS:
        return None
    parameters, width, layers, tokens = _TOWERS[cfg.backbone]
    frames = cfg.batch_size * cfg.num_frames
    return parameters * _STATE_BYTES + frames * layers * tokens * width * _KEPT_VALUES * 4


def cache_space(cfg: RunConfig) -> float | None:
    """Estimated bytes that packing the rest of the source's training videos takes; None if nothing is to be packed
    or the videos are not there."""
    if cfg.frame_cache != "packed":
        return None
    try:
        dataset = open_dataset(cfg.source, cfg.data_root, cfg.split, "train")
    except FileNotFoundError:
        return None
    packing = Packing.of(Preprocess(cfg.num_frames))
    shards = shards_of(dataset, cache_folder(cfg.data_root / "frames", dataset, packing))
    return packing.bytes_per_video() * sum(len(shard.items) for shard in shards if shard.index() is None)


def shortages(cfg: RunConfig) -> list[str]:
    """One sentence for each resource of which there is less than the run is estimated to take."""
    short = []
    space, free = cache_space(cfg), _free_space(cfg.data_root)
    if space is not None and space > free:
        short.append(
            f"disk for the frame cache: about {_gigabytes(space)} below {cfg.data_root}, {_gigabytes(free)} are free"
        )
    memory = training_memory(cfg)
    if memory is not None and cfg.torch_device.type == "cuda":
        total = torch.cuda.get_device_properties(cfg.torch_device).total_memory
        if memory > total:
            short.append(
                f"GPU memory: about {_gigabytes(memory)} for batch_size {cfg.batch_size}, "
                f"{_gigabytes(total)} on this device; lower batch_size"
            )
    return short


def machine_table(cfg: RunConfig) -> pd.DataFrame:
    """What this machine has beside what the run is estimated to take."""
    device, space, memory = cfg.torch_device, cache_space(cfg), training_memory(cfg)
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        has = f"{gpu.name}, {_gigabytes(gpu.total_memory)}"
    else:
        has = "no GPU in use"
    rows = [
        ("Processor cores", str(os.cpu_count()), f"{cfg.num_workers or 1} to load frames"),
        ("GPU memory", has, "any" if memory is None else f"about {_gigabytes(memory)} (estimate, float32)"),
        (
            "Disk for frames",
            f"{_gigabytes(_free_space(cfg.data_root))} free",
            {"cropped": "less than 1 GB", "none": "none"}.get(cfg.frame_cache) or _wanted(space),
        ),
    ]
    return pd.DataFrame(rows, columns=["Resource", "Here", "Wanted"])


def _wanted(space: float | None) -> str:
    if space is None:
        return "not known before the source's videos are there"
    return f"about {_gigabytes(space)} (estimate)" if space else "none, all is packed"


def _free_space(folder: Path) -> int:
    """Of the disk that a folder is on, or will be on."""
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return shutil.disk_usage(there).free


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.0f} GB"
