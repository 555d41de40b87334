"""A model by its name, `family:which`, with its own preprocessing, tokenizer, scale and bias.

    clip:ViT-B/16                                 OpenAI's; "miniature", the tiny one; or the path of a state dict
    open_clip:ViT-B-16/laion2b_s34b_b88k          architecture and tag of open_clip, or a folder that it saved
    transformers:openai/clip-vit-base-patch32     CLIP, SigLIP, SigLIP 2 or X-CLIP of transformers, or a folder
    text4vis, vificlip, xclip                     as released by their authors (`motion checkpoints`)
    motion:results/miniature/runs/motion-seed0-…  a run of this project, or one of its checkpoints
    python:package.module:Factory                 anything that offers `motion_lib.VideoTextModel`

Models of pictures become models of videos by the mean of the frames' features, as the paper does with CLIP.
"""

import importlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lib.config import RunConfig
from motion_lib.data.preprocessing import Normalise, Preprocess
from motion_lib.experiment.data import data_of
from motion_lib.experiment.runs import Runs
from motion_lib.models.clip import CONTEXT_LENGTH
from motion_lib.models.loading import load_model
from motion_lib.models.prototype import MeanPooling, PrototypeClassifier, VideoTextModel
from motion_lib.models.released import RELEASES, load_official
from motion_lib.texts.descriptions import cut_for_clip

MEMBERS = ("preprocess", "encode_video", "encode_text", "similarity")
_RESAMPLING = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as processors of transformers write them


@dataclass(frozen=True)
class Named:
    """A model, and what its card says of it.

    Attributes:
        name: as it was asked for, without the way to a file or folder.
        reads: how many tokens of a text the model reads; None where it does not say.
        cuts: whether a text is longer than that.
        facts: plain values.
    """

    name: str
    model: VideoTextModel
    reads: int | None = None
    cuts: Callable[[str], bool] = field(default=lambda text: False)
    facts: dict[str, object] = field(default_factory=dict)


class Asked(NamedTuple):
    """What a family is asked for: the part of the name after its colon, and the run's parameters."""

    which: str
    cfg: RunConfig


class FrameMean:
    """A model of pictures and texts as one of videos: the mean of the features of the frames.

    Args:
        images: (N, 3, S, S) float -> (N, D).
        texts: K texts -> (K, D).
        scale: by which the cosine is multiplied.
        bias: what is added to that, as in SigLIP.
    """

    independent_frames = True

    def __init__(
        self,
        images: Callable[[Tensor], Tensor],
        texts: Callable[[Sequence[str]], Tensor],
        preprocess: Preprocess,
        scale: Tensor,
        bias: Tensor | None = None,
    ):
        self.images, self.texts, self.preprocess = images, texts, preprocess
        self.scale, self.bias, self.device, self.head = scale, 0 if bias is None else bias, scale.device, MeanPooling()
        self.normalise = Normalise(preprocess).to(self.device)

    def encode_video(self, frames: Tensor) -> Tensor:
        """(B, T, 3, S, S) float -> (B, D)."""
        return self.head(self.encode_frames(frames))

    def encode_frames(self, frames: Tensor) -> Tensor:
        """(B, T, 3, S, S) float -> (B, T, D)."""
        return self.images(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """K texts -> (K, D)."""
        return self.texts(texts)

    def similarity(self, video: Tensor, text: Tensor) -> Tensor:
        """(B, D) and (K, D) -> (B, K) logits."""
        return self.scale * F.normalize(video, dim=-1) @ F.normalize(text, dim=-1).T + self.bias


def named_model(name: str, cfg: RunConfig) -> Named:
    """Load a model by its name, in evaluation mode on the device of `cfg`.

    Raises:
        ValueError: for no such family, a model of a kind that cannot be compared here, or a name without its part.
        ImportError: where the library of a family is not installed, with the command that installs it.
        FileNotFoundError: for weights that are not there.
    """
    family, _, which = name.partition(":")
    if family not in FAMILIES:
        raise ValueError(f"model {name!r}: expected {', '.join(_usage(key) for key in FAMILIES)}.")
    if bool(which) == (family in RELEASES):
        raise ValueError(f"model {name!r}: expected {_usage(family)}.")
    if which.startswith(("/", "./", "../", "~")) and not Path(which).exists():
        raise FileNotFoundError(f"model {name!r}: no such file or folder.")
    named = FAMILIES[family](Asked(which, cfg))
    # A card is for others: of a file or folder it says the name, not where it lies.
    return replace(named, name=f"{family}:{Path(which).name}" if which and Path(which).exists() else name)


def _usage(family: str) -> str:
    return family if family in RELEASES else f"{family}:…"


def _installed(module: str) -> object:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f"{module} is not installed: pip install -e '.[scores]'") from error


# ------------------------------------------------------------------ this project's own
def _of_clip(model: PrototypeClassifier, facts: dict[str, object] | None = None) -> Named:
    """What every model on a CLIP has: its tokenizer, and a scale without a bias."""
    about = {
        "tokenizer": "CLIP's byte pairs",
        "scale": float(model.clip.logit_scale.detach().exp()),
        "bias": 0.0,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "head": model.head_name,
    }
    return Named("", model, CONTEXT_LENGTH, lambda text: cut_for_clip(text) != text, about | (facts or {}))


def _clip(asked: Asked) -> Named:
    cfg, backbone = asked.cfg, data_of(replace(asked.cfg, backbone=asked.which)).backbone
    return _of_clip(load_model("clip", None, backbone, device=cfg.torch_device, num_frames=cfg.num_frames))


def _released(key: str) -> Callable[[Asked], Named]:
    def load(asked: Asked) -> Named:
        path, device = RELEASES[key].path(asked.cfg.data_root), asked.cfg.torch_device
        backbone = data_of(asked.cfg).backbone if asked.cfg.profile == "paper" else "ViT-B/16"  # all are of that
        model, ignored = load_official(key, path, backbone, device)
        return _of_clip(model, {"released": RELEASES[key].source, "not read": ignored})

    return load


def _run(asked: Asked) -> Named:
    """A run's folder stands for its last weights; what they belong to is noted beside them."""
    path = Path(asked.which)
    folder = path.parent if path.suffix == ".pt" else path
    noted = folder / "identity.json"
    if not noted.is_file():
        raise FileNotFoundError(f"{noted} is not there: {path} is no run of this project, nor one of its checkpoints.")
    identity = json.loads(noted.read_text(encoding="utf-8"))
    weights = [path] if path.suffix == ".pt" else sorted(folder.glob("epoch_*.pt"))
    if not weights:
        raise FileNotFoundError(f"{folder} has no epoch_*.pt: nothing was trained to its end there.")
    architecture, head, texts = identity["architecture"]
    cfg, data = asked.cfg, data_of(asked.cfg)
    if identity["backbone"] != Runs(cfg, data).backbone_identity():
        raise ValueError(
            f"{folder.name} was trained from another backbone than {data.backbone_label}: -p backbone PATH."
        )
    model = load_model(
        architecture, weights[-1], data.backbone, head, cfg.torch_device, identity["num_frames"]
    )  # fmt: skip
    return _of_clip(model, {"trained on": texts, "weights": f"{folder.name}/{weights[-1].name}"})


def _python(asked: Asked) -> Named:
    module, _, factory = asked.which.partition(":")
    if not factory:
        raise ValueError(f"model 'python:{asked.which}': expected python:package.module:Factory.")
    made_by = getattr(importlib.import_module(module), factory, None)
    if made_by is None:
        raise ValueError(f"model 'python:{asked.which}': {module} has no {factory}.")
    model = made_by()
    if lacking := [member for member in MEMBERS if not hasattr(model, member)]:
        raise ValueError(f"python:{asked.which} gives a model without {', '.join(lacking)}: see VideoTextModel.")
    parameters = sum(p.numel() for p in model.parameters()) if isinstance(model, nn.Module) else None
    return Named("", model, facts={"tokenizer": "its own", "parameters": parameters})


# ------------------------------------------------------------------ open_clip
def _open_clip(asked: Asked) -> Named:
    library = _installed("open_clip")
    folder = Path(asked.which)
    if folder.is_dir():
        name, tag, quick = f"local-dir:{folder}", None, False  # its configuration says which activation
    else:
        name, _, tag = asked.which.partition("/")
        known = library.pretrained.get_pretrained_cfg(name, tag)
        if not known:
            tags = ", ".join(library.list_pretrained_tags_by_model(name)) or "no weights: no such architecture"
            raise ValueError(f"open_clip has no {asked.which!r}; it has for {name!r}: {tags}.")
        # Weights trained with QuickGELU load into a tower without it and give other features.
        quick = bool(known.get("quick_gelu"))
    model = library.create_model(name, tag, device=asked.cfg.torch_device, force_quick_gelu=quick).eval()
    tokenizer = library.get_tokenizer(name)
    wanted, device = library.get_model_preprocess_cfg(model), asked.cfg.torch_device

    def texts(of_classes: Sequence[str]) -> Tensor:
        return model.encode_text(tokenizer(list(of_classes)).to(device))

    reads = tokenizer.context_length
    longer = library.get_tokenizer(name, context_length=10 * reads)

    def cuts(text: str) -> bool:
        return not torch.equal(tokenizer([text]), longer([text])[:, :reads])

    scale, bias = model.logit_scale.exp().detach(), model.logit_bias
    adapter = FrameMean(model.encode_image, texts, _squared(wanted, asked.cfg.num_frames), scale, bias)
    return Named("", adapter, reads, cuts, _facts(model, tokenizer, scale, bias))


def _squared(wanted: dict, num_frames: int) -> Preprocess:
    """open_clip's words for what a model wants to see, in ours."""
    sides = wanted["size"] if isinstance(wanted["size"], list | tuple) else (wanted["size"],) * 2
    if sides[0] != sides[1] or wanted["resize_mode"] == "longest":
        raise ValueError(f"a model that wants {wanted['size']}, {wanted['resize_mode']}: only squares are made here.")
    return Preprocess(
        num_frames, short_side=sides[0], crop_size=sides[0], interpolation=wanted["interpolation"],
        mean=tuple(wanted["mean"]), std=tuple(wanted["std"]), square=wanted["resize_mode"] == "squash",
    )  # fmt: skip


def _facts(model: nn.Module, tokenizer: object, scale: Tensor, bias: Tensor | None) -> dict[str, object]:
    return {
        "tokenizer": type(tokenizer).__name__,
        "scale": float(scale),
        "bias": 0.0 if bias is None else float(bias.detach()),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "head": "mean",
    }


# ------------------------------------------------------------------ transformers
def _transformers(asked: Asked) -> Named:
    library = _installed("transformers")
    config = library.AutoConfig.from_pretrained(asked.which)
    kinds = {"clip": "CLIPModel", "siglip": "SiglipModel", "siglip2": "Siglip2Model"}
    if config.model_type == "xclip":
        return _xclip_of_transformers(asked, library)
    if config.model_type not in kinds:
        known = ", ".join((*kinds, "xclip"))
        raise ValueError(f"{asked.which} is of the type {config.model_type!r}: expected {known}.")
    device = asked.cfg.torch_device
    model = getattr(library, kinds[config.model_type]).from_pretrained(asked.which).eval().to(device)
    tokenizer = library.AutoTokenizer.from_pretrained(asked.which)
    reads = config.text_config.max_position_embeddings
    # SigLIP was trained on texts filled up to their length; CLIP stops at the mark of the end.
    padding = True if config.model_type == "clip" else "max_length"

    def texts(of_classes: Sequence[str]) -> Tensor:
        tokens = tokenizer(list(of_classes), padding=padding, max_length=reads, truncation=True, return_tensors="pt")
        masked = {"attention_mask": tokens["attention_mask"].to(device)} if config.model_type == "clip" else {}
        return model.get_text_features(input_ids=tokens["input_ids"].to(device), **masked).pooler_output

    wanted, patch = _pictures(asked, library, config), config.vision_config.patch_size

    def images(frames: Tensor) -> Tensor:
        shown = {"pixel_values": frames} if config.model_type != "siglip2" else _patches(frames, patch)
        return model.get_image_features(**shown).pooler_output

    scale, bias = model.logit_scale.exp().detach(), getattr(model, "logit_bias", None)
    adapter = FrameMean(images, texts, wanted, scale, bias)
    facts = _facts(model, tokenizer, scale, bias)
    return Named("", adapter, reads, lambda text: len(tokenizer(text)["input_ids"]) > reads, facts)


def _pictures(asked: Asked, library: object, config: object) -> Preprocess:
    """What a model of pictures wants to see; a NaFlex model, which takes any shape, a square of as many patches."""
    vision = config.vision_config
    if config.model_type != "siglip2":
        return _processor(asked, library, vision.image_size)
    path = _beside(asked, library, "preprocessor_config.json")
    said = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    side = vision.patch_size * math.isqrt(said.get("max_num_patches", vision.num_patches))
    half = [0.5] * 3
    return Preprocess(
        asked.cfg.num_frames, short_side=side, crop_size=side, interpolation=_RESAMPLING[said.get("resample", 2)],
        mean=tuple(said.get("image_mean", half)), std=tuple(said.get("image_std", half)),
    )  # fmt: skip


def _patches(frames: Tensor, patch: int) -> dict[str, Tensor]:
    """(N, 3, S, S) as SigLIP 2's NaFlex models take pictures: (N, P, 3 * patch * patch), colours last in each patch."""
    count, side = len(frames), frames.shape[-1] // patch
    cut = frames.unflatten(3, (side, patch)).unflatten(2, (side, patch))  # (N, 3, rows, patch, columns, patch)
    flat = cut.permute(0, 2, 4, 3, 5, 1).reshape(count, side * side, -1)
    mask = torch.ones(count, side * side, dtype=torch.int32, device=frames.device)
    return {
        "pixel_values": flat,
        "pixel_attention_mask": mask,
        "spatial_shapes": torch.full((count, 2), side, device=frames.device),
    }


def _xclip_of_transformers(asked: Asked, library: object) -> Named:
    """The same computation as the official X-CLIP, under transformers' names."""
    files = ("model.safetensors", "pytorch_model.bin")
    if not (there := [path for path in (_beside(asked, library, name) for name in files) if path]):
        raise FileNotFoundError(f"{asked.which} has neither {files[0]} nor {files[1]}.")
    model, ignored = load_official("xclip_transformers", there[0], device=asked.cfg.torch_device)
    wanted = _processor(asked, library, model.preprocess.crop_size, model.preprocess)
    model.preprocess, model.normalise = wanted, Normalise(wanted).to(model.device)
    return _of_clip(model, {"not read": ignored})


def _beside(asked: Asked, library: object, file: str) -> str | None:
    """A file of a model of the hub or of a folder; None where it has none of this name."""
    return library.utils.cached_file(asked.which, file, _raise_exceptions_for_missing_entries=False)


def _processor(asked: Asked, library: object, side: int, default: Preprocess | None = None) -> Preprocess:
    """What `preprocessor_config.json` beside the weights asks for; without one CLIP's, at the side of the weights."""
    default = default or Preprocess(asked.cfg.num_frames, short_side=side, crop_size=side)
    if (path := _beside(asked, library, "preprocessor_config.json")) is None:
        return default
    config = json.loads(Path(path).read_text(encoding="utf-8"))
    size, crop = config["size"], config.get("crop_size", {})
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    square = "shortest_edge" not in size
    short = size["height"] if square else size["shortest_edge"]
    cut = crop["height"] if config.get("do_center_crop", bool(crop)) and crop else short
    if (square and size["height"] != size["width"]) or (crop and crop["height"] != crop["width"]):
        raise ValueError(f"{asked.which} wants pictures of {size}, {crop}: only squares are made here.")
    return replace(
        default, short_side=short, crop_size=cut, square=square, interpolation=_RESAMPLING[config.get("resample", 3)],
        mean=tuple(config["image_mean"]), std=tuple(config["image_std"]),
    )  # fmt: skip


FAMILIES: dict[str, Callable[[Asked], Named]] = {
    "clip": _clip,
    "open_clip": _open_clip,
    "transformers": _transformers,
    **{key: _released(key) for key in ("text4vis", "vificlip", "xclip")},
    "motion": _run,
    "python": _python,
}
