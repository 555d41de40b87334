"""What a profile needs of this machine, in one list before hours are spent: data, texts, weights, disk, memory."""

import math
import os
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.data.catalogue import DATASETS, OFFICIAL
from motion_lib.data.datasets import open_dataset
from motion_lib.data.packed import Packing, cache_folder, shards_of
from motion_lib.data.preprocessing import Preprocess
from motion_lib.experiment.cache import TestViews
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
# Bytes that the backward pass keeps of each token and channel: in a layer (measured; attention maps are not among them,
# the fused kernel makes them anew), and of the layer's input alone.
_KEPT_BYTES = {"fp32": (76, 5), "bf16": (43, 3)}


class MissingInputs(RuntimeError):
    """Inputs of a run that are not there; the message is the whole list."""


def authors_csv(cfg: RunConfig, dataset: str, kind: str) -> Path:
    """Where one of the authors' CSVs would be; `kind` is a key of `DATASETS[dataset].texts`, as "object"."""
    return cfg.data_root / cfg.descriptions_dir / DATASETS[dataset].texts[kind]


def missing_inputs(cfg: RunConfig, models: bool = True, training: bool = True) -> list[str]:
    """One sentence for each input that the run needs and the machine lacks; empty for the miniature.

    Args:
        models: False where none of this project's models is trained or loaded: the targets and all texts are enough.
        training: False where models are loaded and none is trained: no video of the source, no memory for it.

    Raises:
        ValueError: as `check_datasets`.
    """
    check_datasets(cfg)
    if cfg.profile == "miniature":
        return []
    lacking = []
    for name in (cfg.source, *cfg.targets) if models and training else cfg.targets:
        lists, videos = DATASETS[name].lists, DATASETS[name].videos
        for what, pattern, beside in (("official lists", lists, ()), ("videos", videos, {cfg.data_root / lists})):
            if not any(path.is_dir() and path not in beside for path in cfg.data_root.glob(pattern)):
                lacking.append(f"{name}: {what}, expected in {cfg.data_root / pattern}")
    for name, kind in [(cfg.source, "object"), *product(cfg.targets, DESCRIPTION_KINDS)]:
        if not (path := authors_csv(cfg, name, kind)).is_file():
            lacking.append(f"{name}: {kind} motion descriptions, expected at {path}")
    return lacking + (list(_missing_weights(cfg)) if models else [])


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


def clips_at_once(cfg: RunConfig, devices: int | None = None) -> int:
    """The most clips that one of the `devices` (None: the configuration's) takes through the model together."""
    share = math.ceil(cfg.batch_size / (devices or cfg.devices))
    return min(cfg.at_once or share, share)


def training_memory(cfg: RunConfig, clips: int | None = None) -> float | None:
    """Estimated bytes that fine-tuning takes on a device; None for a backbone that is not OpenAI's ViT.

    Args:
        clips: at once; None for those of the configuration.
    """
    if cfg.backbone not in _TOWERS:
        return None
    parameters, width, layers, tokens = _TOWERS[cfg.backbone]
    frames = (clips_at_once(cfg) if clips is None else clips) * cfg.num_frames
    of_layer, of_input = _KEPT_BYTES[cfg.precision]
    kept = of_layer + layers * of_input if cfg.recompute else layers * of_layer  # recomputed one layer at a time
    return parameters * _STATE_BYTES + frames * tokens * width * kept


def cache_space(cfg: RunConfig) -> float | None:
    """Bytes to pack the rest of the source's training videos (an estimate) and to keep the frames of testing.

    Returns:
        None without packing, or without videos to train on.
    """
    if cfg.frame_cache != "packed":
        return None
    try:
        dataset = open_dataset(cfg.source, cfg.data_root, cfg.split, "train")
    except FileNotFoundError:
        return None
    packing = Packing.of(Preprocess(cfg.num_frames))
    shards = shards_of(dataset, cache_folder(cfg.data_root / "frames", dataset, packing))
    packed = packing.bytes_per_video() * sum(len(shard.items) for shard in shards if shard.index() is None)
    return packed + _views_space(cfg)


def _views_space(cfg: RunConfig) -> int:
    """Bytes of the test views, not kept yet, of what is validated: held-out videos of the source, and the targets."""
    needed = 0
    for name, subset in [(cfg.source, "val"), *((target, "all") for target in cfg.targets)]:
        try:
            dataset = open_dataset(name, cfg.data_root, cfg.split, subset)
        except FileNotFoundError:
            continue
        needed += TestViews(dataset, Preprocess(cfg.num_frames), cfg.data_root / "frames").missing()[1]
    return needed


def shortages(cfg: RunConfig, devices: int | None = None) -> list[str]:
    """Warnings of what fine-tuning may not find here: memory of the GPU, an estimate, and what `compiled` builds with.

    No refusals: trying decides. Disk is not looked at: packing itself does, and asking here would walk the source.

    Args:
        devices: that share a batch; None for those of the configuration.
    """
    lacking = []
    if cfg.compiled and not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
        lacking.append(
            "C compiler: compiled needs one, and cc, gcc and clang are not found; if it fails, set it to false"
        )
    clips = clips_at_once(cfg, devices)
    wanted = training_memory(cfg, clips)
    if wanted is None or cfg.torch_device.type != "cuda":
        return lacking
    total = torch.cuda.get_device_properties(cfg.torch_device).total_memory
    if wanted <= total:
        return lacking
    fitting = [n for n in range(1, clips) if training_memory(cfg, n) <= total]
    ways = [f"at_once to {fitting[-1]}"] if fitting else ["num_frames lower"]
    ways += [] if cfg.recompute else ["recompute to true"]
    lacking.append(
        f"GPU memory: about {_gigabytes(wanted)} for {clips} clips at once (estimate, {cfg.precision}), "
        f"{_gigabytes(total)} on this device; if that does not suffice, set {' or '.join(ways)}"
    )
    return lacking


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.0f} GB"
