"""What a profile needs of this machine, in one list before hours are spent: data, texts, weights, disk, memory."""

import os
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.data.catalogue import DATASETS, OFFICIAL
from motion_lib.data.datasets import open_dataset
from motion_lib.data.packed import Packing, cache_folder, shards_of
from motion_lib.data.preprocessing import Preprocess
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.models.clip import backbone_file, clip
from motion_lib.models.released import RELEASES
from motion_lib.models.weights import fault_of

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


def authors_csv(cfg: RunConfig, dataset: str, kind: str) -> Path:
    """Where one of the authors' CSVs would be; `kind` is a key of `DATASETS[dataset].texts`, as "object"."""
    return cfg.data_root / cfg.descriptions_dir / DATASETS[dataset].texts[kind]


def missing_inputs(cfg: RunConfig, models: bool = True) -> list[str]:
    """One sentence for each input that the run needs and the machine lacks; empty for the miniature.

    Args:
        models: False where none of this project's models is trained or loaded: the targets and all texts are enough.

    Raises:
        ValueError: as `check_datasets`.
    """
    check_datasets(cfg)
    if cfg.profile == "miniature":
        return []
    lacking = []
    for name in (cfg.source, *cfg.targets) if models else cfg.targets:
        lists, videos = DATASETS[name].lists, DATASETS[name].videos
        for what, pattern, beside in (("official lists", lists, ()), ("videos", videos, {cfg.data_root / lists})):
            if not any(path.is_dir() and path not in beside for path in cfg.data_root.glob(pattern)):
                lacking.append(f"{name}: {what}, expected in {cfg.data_root / pattern}")
    for name, kind in [(cfg.source, "object"), *product(cfg.targets, DESCRIPTION_KINDS)]:
        if not (path := authors_csv(cfg, name, kind)).is_file():
            lacking.append(f"{name}: {kind} motion descriptions, expected at {path}")
    return lacking + ([*_missing_weights(cfg), *shortages(cfg)] if models else [])


def check_datasets(cfg: RunConfig) -> None:
    """Refuse data sets that the profile does not know, and targets without masked texts.

    Raises:
        ValueError: that names the known ones.
    """
    ours = [name for name in DATASETS if name.startswith("miniature-")]
    known = ours if cfg.profile == "miniature" else OFFICIAL
    targets = [name for name in known if "masked" in DATASETS[DATASETS[name].paper].texts]
    for parameter, names, among in (("source", (cfg.source,), known), ("targets", cfg.targets, targets)):
        if unknown := [name for name in names if name not in among]:
            raise ValueError(
                f"parameter {parameter}, profile {cfg.profile!r}: no such data set {unknown[0]!r}; "
                f"known are {', '.join(among)}."
            )


def _missing_weights(cfg: RunConfig) -> Iterator[str]:
    """Released checkpoints of the baselines, where the configuration asks for them, and the backbone."""
    for key in [key for key in METHODS if key in RELEASES and cfg.baselines == "official"]:
        release = RELEASES[key]
        if fault_of(path := release.path(cfg.data_root)):
            yield f"{METHODS[key].label} checkpoint, {release.size}, {_expected(path)}; {release.how_to_get}"
    if fault_of(path := backbone_file(resolved(cfg.backbone))):
        load = f'python -c "from motion_lib.models.clip import load_clip; load_clip({cfg.backbone!r})"'
        how = f"; to download them: {load}" if cfg.backbone in clip.available_models() else ""
        yield f"CLIP {cfg.backbone} weights, {_expected(path)}{how}"


def _expected(path: Path) -> str:
    return f"expected at {path}" + (f", which {fault_of(path)}" if path.is_file() else "")


def resolved(backbone: str) -> str:
    """An OpenAI name as it is; a relative path counted from the repository, wherever the kernel runs."""
    named = backbone in clip.available_models()
    return backbone if named else str(REPOSITORY / Path(backbone).expanduser())


def stop_without(cfg: RunConfig, lacking: list[str]) -> None:
    """Raise MissingInputs with the whole list, if there is anything on it."""
    if lacking:
        first = f"profile {cfg.profile!r} lacks {len(lacking)} inputs (MOTION_DATA is {cfg.data_root}):"
        raise MissingInputs("\n  - ".join([first, *lacking]))


def data_status(cfg: RunConfig) -> Iterator[str]:
    """Lines that say what of a profile's data is there, what is missing and what to do."""
    root = cfg.data_root
    yield f"MOTION_DATA is {root}"
    for name in (cfg.source, *cfg.targets):
        for subset in DATASETS[name].subsets:
            try:
                dataset = open_dataset(name, root, 1, subset)
            except (OSError, ValueError) as error:
                yield f"  {name} ({subset}): {error}"
            else:
                yield f"  {dataset.describe()}"
        if not any((root / name).glob("*/*/*")):
            yield f"    to get it: {DATASETS[name].how_to_get.format(root=root)}"
    lacking = missing_inputs(cfg)
    yield f"  {len(lacking)} inputs of profile {cfg.profile!r} are missing" + (":" if lacking else "; all is there")
    yield from (f"    - {line}" for line in lacking)


def training_memory(cfg: RunConfig) -> float | None:
    """Estimated bytes of GPU memory that fine-tuning takes in float32; None for a backbone that is not OpenAI's ViT."""
    if cfg.backbone not in _TOWERS:
        return None
    parameters, width, layers, tokens = _TOWERS[cfg.backbone]
    frames = cfg.batch_size * cfg.num_frames
    return parameters * _STATE_BYTES + frames * layers * tokens * width * _KEPT_VALUES * 4


def cache_space(cfg: RunConfig) -> float | None:
    """Estimated bytes to pack the rest of the source's training videos; None without packing, or without videos."""
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
    wanted = f"about {_gigabytes(memory)} for batch_size {cfg.batch_size}"
    return [f"GPU memory: {wanted}, {_gigabytes(total)} on this device; lower batch_size"] if memory > total else []


def machine_table(cfg: RunConfig) -> pd.DataFrame:
    """What this machine has beside what the run is estimated to take."""
    space, memory, gpu = cache_space(cfg), training_memory(cfg), "no GPU in use"
    if cfg.torch_device.type == "cuda":
        found = torch.cuda.get_device_properties(cfg.torch_device)
        gpu = f"{found.name}, {_gigabytes(found.total_memory)}"
    if cfg.frame_cache != "packed":
        disk = {"cropped": "less than 1 GB", "none": "none"}[cfg.frame_cache]
    elif space is None:
        disk = "not known before the source's videos are there"
    else:
        disk = f"about {_gigabytes(space)} (estimate)" if space else "none, all is packed"
    there = next(folder for folder in (cfg.data_root, *cfg.data_root.parents) if folder.exists())
    rows = [
        ("Processor cores", str(os.cpu_count()), f"{cfg.num_workers or 1} to load frames"),
        ("GPU memory", gpu, "any" if memory is None else f"about {_gigabytes(memory)} (estimate, float32)"),
        ("Disk for frames", f"{_gigabytes(shutil.disk_usage(there).free)} free", disk),
    ]
    return pd.DataFrame(rows, columns=["Resource", "Here", "Wanted"])


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.0f} GB"
