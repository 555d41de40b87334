"""Files of weights as people keep them: read without running anything in them, and freed of what is wrapped around."""

import argparse
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motion_lib.data.download import DownloadError, fetch
from motion_lib.storage import fault_of, file_sha256

# Beside weights lie numbers of numpy, arguments, and yacs's configuration, a subclass of dict: none of them runs code.
_HARMLESS = [np.dtype, np.ndarray, *{type(np.dtype(code)) for code in "?bBhHiIlLqQefdgUS"}, argparse.Namespace]
_HARMLESS += [(getattr(np._core.multiarray, name), f"numpy.{core}.multiarray.{name}")
              for name in ("scalar", "_reconstruct") for core in ("core", "_core")]  # fmt: skip
_HARMLESS += [(OrderedDict, "yacs.config.CfgNode")]
_ENTRIES = ("model_state_dict", "state_dict", "model", "module")  # that hold the weights; the first that is there
_NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "n_averaged")  # numbers, though tensors


def fetch_weights(url: str, path: Path, sha256: str = "") -> Path:
    """Download a file of weights, unless it is there and whole; what arrives and is no weights is not kept.

    Raises:
        DownloadError: with one sentence.
    """
    if not fault_of(path) and sha256 in ("", file_sha256(path)):
        return path
    arrived = path.with_name(f"{path.name}.new")  # what is at `path` stays until there is something better
    try:
        fetch(url, arrived, sha256, progress=True)
        if fault := fault_of(arrived):
            arrived.unlink()
            raise DownloadError(f"{url}: what arrives {fault}; nothing was kept.")
    except DownloadError as error:
        raise type(error)(f"{error} Or bring the file from elsewhere, and put it at {path}.") from error
    return arrived.replace(path)


def read_file(path: str | Path, device: str | torch.device = "cpu") -> object:
    """What a file of torch or safetensors holds, and of OpenAI's TorchScript the state dict; nothing in it is run.

    Raises:
        FileNotFoundError: for no such file.
        ValueError: for a file that is damaged, foreign or asks to run something.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint.")
    if fault := fault_of(path):
        raise ValueError(f"{path} {fault}, no checkpoint. Get the file of weights itself.")
    with path.open("rb") as file:
        first = file.read(1)
    try:
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript ages, and of pickle's protocols
            if first not in b"P\x80":  # a ZIP archive and a pickle, torch's newer and older form
                from safetensors.torch import load_file

                return load_file(path, str(device))
            if first == b"P" and any(name.endswith("/constants.pkl") for name in zipfile.ZipFile(path).namelist()):
                return torch.jit.load(path, map_location=device).state_dict()
            return torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        alone = "Where it was made, save the tensors alone: torch.save(model.state_dict(), path)"
        raise ValueError(f"{path}: refused, {_asked_for(error)}. Nothing in it was run. {alone}.") from error
    except ImportError as error:
        raise ValueError(f"{path}: to read this file of safetensors, `pip install safetensors`.") from error
    except Exception as error:  # what a broken archive raises is anybody's guess
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: truncated or no checkpoint ({type(error).__name__}: {reason}).") from error


def _asked_for(error: Exception) -> str:
    match = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class|operand)[^:]*:? ?(?:GLOBAL )?([\w.]+)", str(error))
    name = next((part for part in match.groups() if part), "") if match else ""
    return f"it asks for {name}, which is no tensor" if name else "it holds more than tensors, or is damaged"


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state dict of a file under its model's own names: without `module.`, `_orig_mod.` and what all share.

    Returns:
        It, and {entry that is left out: reason}.

    Raises:
        FileNotFoundError: for no such file.
        ValueError: as `read_file`, and for a file that holds no state dict, or several.
    """
    saved, beside = read_file(path), {}
    while inner := _entries(saved):
        key = next((name for name in _ENTRIES if name in inner), inner[0])
        if len(inner) > 1 and key not in _ENTRIES:
            raise ValueError(
                f"{path}: holds several state dicts, {', '.join(inner)}. Save alone the one that is meant."
            )
        beside |= {str(name): "beside the weights, not needed" for name in saved if name != key}
        saved = saved[key]
    state = {name: tensor for name, tensor in _tensors(saved).items() if name not in _NO_WEIGHTS}
    if not state:
        raise ValueError(f"{path}: holds no state dict, neither itself nor under {', '.join(_ENTRIES)}.")
    beside |= {str(name): "no weight" for name in saved if name not in state}
    names = [".".join(part for part in name.split(".") if part not in ("module", "_orig_mod")) for name in state]
    while all("." in name for name in names) and len({name.partition(".")[0] for name in names}) == 1:
        names = [name.partition(".")[2] for name in names]
    if len(set(names)) < len(names):
        raise ValueError(f"{path}: holds tensors twice, with and without module. or _orig_mod. in their names.")
    return dict(zip(names, state.values(), strict=True)), beside


def _tensors(value: object) -> dict[str, Tensor]:
    return {k: t for k, t in value.items() if isinstance(t, Tensor)} if isinstance(value, dict) else {}


def _entries(value: object) -> list[str]:
    """Names of the state dicts inside a dict that is none itself: its own tensors would have names of several parts."""
    if not isinstance(value, dict) or any("." in str(name) for name in _tensors(value)):
        return []
    return [k for k, v in value.items() if isinstance(k, str) and (_tensors(v) or set(_ENTRIES) & {*_entries(v)})]


# Parts of names, of transformers' CLIP and X-CLIP -> of the official ones, in this order.
_OFFICIAL_NAMES = (
    ("vision_model.encoder.layers", "visual.transformer.resblocks"), ("vision_model.embeddings", "visual"),
    ("text_model.encoder.layers", "transformer.resblocks"), ("text_model.embeddings.", ""),
    ("vision_model", "visual"), ("text_model.", ""), ("visual_projection.weight", "visual.proj"),
    ("text_projection.weight", "text_projection"), ("mit.encoder.layers", "mit.resblocks"),
    ("position_embedding.weight", "positional_embedding"), ("mit.position_embedding", "mit.positional_embedding"),
    ("pre_layrnorm", "ln_pre"), ("pre_layernorm", "ln_pre"), ("post_layernorm", "ln_post"), ("self_attn", "attn"),
    ("final_layer_norm", "ln_final"), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"), ("prompts_visual_layernorm", "prompts_visual_ln"), ("patch_embedding", "conv1"),
    ("prompts_visual_projection", "prompts_visual_proj"), ("prompts_generator.layernorm", "prompts_generator.norm"),
)  # fmt: skip
_TRANSPOSED = ("visual.proj", "text_projection")
_PROJECTION = re.compile(r"^(.*(?:\.attn|\.message_attn))\.([qkv])_proj\.(weight|bias)$")


def official_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The state dict of transformers' CLIP or X-CLIP renamed; another one as it is.

    Its query, key and value projections become one tensor.

    Returns:
        The state dict under official names, and {ignored key: reason}.
    """
    if not any(key.startswith("vision_model.") for key in state):
        return state, {}
    ignored = {key: "positions 0, 1, 2, ...: no weight" for key in state if key.endswith(".position_ids")}
    renamed, projections = {}, {}
    for name, tensor in state.items():
        for theirs, official in _OFFICIAL_NAMES:
            name = name.replace(theirs, official)
        if name.endswith(".position_ids"):
            continue
        if match := _PROJECTION.match(name):
            attention, part, kind = match.groups()
            projections.setdefault(f"{attention}.in_proj_{kind}", {})[part] = tensor
        else:
            renamed[name] = tensor.T if name in _TRANSPOSED else tensor
    renamed |= {name: torch.cat([parts[part] for part in "qkv"]) for name, parts in projections.items()}
    return renamed, ignored
