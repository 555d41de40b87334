"""What a profile needs of this machine, in one list before hours are spent: data, texts, weights, disk, memory."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch

from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.data.catalogue import DATASETS, OFFICIAL
from motion_lib.data.datasets import open_dataset
from motion_lib.data.packed import Packing, cache_folder, shards_of
from motion_lib.data.preprocessing import Preprocess
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.models.clip import clip
from motion_lib.models.released import RELEASES

CLIP_CACHE = Path.home() / ".cache" / "clip"
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


class MissingInputs(RuntimeError):
    """Inputs of a run that are not there; the message is the whole list."""


# --- data, texts and weights ----------------------------------------------------------------------


def authors_csv(cfg: RunConfig, dataset: str, kind: str) -> Path:
    """Path of one of the authors' CSVs for a data set, which need not be there.

    Args:
        cfg: whose folder of descriptions is meant.
        dataset: "kinetics400", "ucf101" or "hmdb51".
        kind: "object", "masked", "action description" or "alternate version".
    """
    return cfg.data_root / cfg.descriptions_dir / DATASETS[dataset].texts[kind]


def missing_inputs(cfg: RunConfig, models: bool = True) -> list[str]:
    """One sentence for each input that the run needs and the machine lacks; empty for the miniature.

    Args:
        cfg: the run.
        models: False where none of this project's models is trained or loaded: the targets and all texts are enough.

    Raises:
        ValueError: for a data set that is not an official one.
    """
    if cfg.profile == "miniature":
        return []
    if unknown := [name for name in (cfg.source, *cfg.targets) if name not in OFFICIAL]:
        raise ValueError(f"profile {cfg.profile!r}: no such data set {unknown[0]!r}; known are {', '.join(OFFICIAL)}.")
    lacking = [line for name in ((cfg.source, *cfg.targets) if models else cfg.targets) for line in _missing(cfg, name)]
    wanted = [(cfg.source, "object")] + [(name, kind) for name in cfg.targets for kind in DESCRIPTION_KINDS]
    for name, kind in wanted:
        if not (path := authors_csv(cfg, name, kind)).is_file():
            lacking.append(f"{name}: {kind} motion descriptions, expected at {path}")
    return lacking + (_missing_releases(cfg) + _missing_backbone(cfg.backbone) + shortages(cfg) if models else [])


def _missing(cfg: RunConfig, name: str) -> Iterator[str]:
    """What is not there of one data set: its lists, its videos."""
    facts = DATASETS[name]
    for what, pattern in (("official lists", facts.lists), ("videos", facts.videos)):
        found = {path for path in cfg.data_root.glob(pattern) if path.is_dir()}
        if what == "videos":
            found -= {cfg.data_root / facts.lists}
        if not found:
            yield f"{name}: {what}, expected in {cfg.data_root / pattern}"


def _missing_releases(cfg: RunConfig) -> list[str]:
    """Released checkpoints of the baselines, where the configuration asks for them."""
    if cfg.baselines != "official":
        return []
    wanted = [(method.label, RELEASES[key]) for key, method in METHODS.items() if key in RELEASES]
    return [
        f"{label} checkpoint, {release.size}, expected at {release.path(cfg.data_root)}; {release.how_to_get}"
        for label, release in wanted
        if not release.path(cfg.data_root).is_file()
    ]


def backbone_file(backbone: str) -> Path:
    """Where the weights of an OpenAI name or a path lie, or would lie."""
    if backbone in clip.available_models():
        return CLIP_CACHE / re.sub("[/@]", "-", f"{backbone}.pt")
    return Path(resolved(backbone))


def resolved(backbone: str) -> str:
    """An OpenAI name as it is; a relative path counted from the repository, wherever the kernel runs."""
    named = backbone in clip.available_models()
    return backbone if named else str(REPOSITORY / Path(backbone).expanduser())


def _missing_backbone(backbone: str) -> list[str]:
    path = backbone_file(backbone)
    if path.is_file():
        return []
    load = f'python -c "from motion_lib.models.clip import load_clip; load_clip({backbone!r})"'
    how = f"; to download them: {load}" if backbone in clip.available_models() else ""
    return [f"CLIP {backbone} weights, expected at {path}{how}"]


def stop_without(cfg: RunConfig, lacking: list[str]) -> None:
    """Stop if something is lacking.

    Raises:
        MissingInputs: with the whole list, if there is anything on it.
    """
    if lacking:
        items = "\n".join(f"  - {item}" for item in lacking)
        raise MissingInputs(
            f"profile {cfg.profile!r} lacks {len(lacking)} inputs (MOTION_DATA is {cfg.data_root}):\n{items}"
        )


def data_status(cfg: RunConfig) -> Iterator[str]:
    """Lines that say what of a profile's data is there, what is missing and what to do."""
    root = cfg.data_root
    yield f"MOTION_DATA is {root}"
    for name in (cfg.source, *cfg.targets):
        for subset in DATASETS[name].subsets:
            try:
                dataset = open_dataset(name, root, 1, subset)
            except FileNotFoundError as error:
                yield f"  {name} ({subset}): {error}"
            else:
                examples = f", e.g. {', '.join(dataset.missing[:3])}" if dataset.missing else ""
                yield f"  {dataset.describe()}{examples}"
        if not any((root / name).glob("*/*/*")):
            yield f"    to get it: {DATASETS[name].how_to_get.format(root=root)}"
    lacking = missing_inputs(cfg)
    yield f"  {len(lacking)} inputs of profile {cfg.profile!r} are missing" + (":" if lacking else "; all is there")
    yield from (f"    - {line}" for line in lacking)


# --- disk and memory ------------------------------------------------------------------------------


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
    """One sentence for each resource of which there is less than the run is estimated to take.

    Disk is not among them: packing looks at it itself, and asking here would walk the whole source.
    """
    memory = training_memory(cfg)
    if memory is None or cfg.torch_device.type != "cuda":
        return []
    total = torch.cuda.get_device_properties(cfg.torch_device).total_memory
    if memory <= total:
        return []
    return [
        f"GPU memory: about {_gigabytes(memory)} for batch_size {cfg.batch_size}, "
        f"{_gigabytes(total)} on this device; lower batch_size"
    ]


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
