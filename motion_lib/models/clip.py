"""The one place that imports OpenAI's CLIP, and the functions that load and run its towers.

clip imports torchvision, whose compiled operators load only beside the torch they were built for. Beside another one,
such as a CPU build, its import ends with "operator torchvision::nms does not exist". No operator of it is called here,
so declaring the two that it asks for is enough then; where they load, a second declaration would abort the process.
"""

import re
import sys
import warnings
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from motion_lib.data.download import DownloadError
from motion_lib.models.weights import fetch_weights, official_names, read_tensors
from motion_lib.storage import home


def _import_torchvision() -> None:
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # what a failed import leaves behind would not be bound to the package again
        for name in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", schema)
        import torchvision  # noqa: F401


_import_torchvision()
with warnings.catch_warnings():
    # clip-anytorch 2.6.0 imports pkg_resources; pinning setuptools below 81 keeps it, deprecated.
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    import clip
    from clip.model import CLIP, ModifiedResNet, QuickGELU, ResidualAttentionBlock, VisionTransformer  # noqa: F401

CONTEXT_LENGTH = 77
CLIP_CACHE = home() / ".cache" / "clip"  # where the package clip keeps them, too
_WITHOUT_QUICK_GELU = ("open_clip", "openclip", "laion", "datacomp", "commonpool")  # in names of files


def tokenize(texts: list[str]) -> Tensor:
    """(K, 77) int token ids, zero padded.

    Raises:
        ValueError: for a text of more than 77 tokens, which it quotes.
    """
    try:
        return clip.tokenize(list(texts))
    except RuntimeError as error:
        raise ValueError(f"a description does not fit CLIP's {CONTEXT_LENGTH} tokens: {error}. Shorten it.") from error


def load_clip(backbone: str | Path, device: str | torch.device = "cpu") -> CLIP:
    """Load CLIP in float32 and evaluation mode.

    Args:
        backbone: an OpenAI name ("ViT-B/16": downloaded on first use) or the path of a file: OpenAI's archive, or a
            state dict in OpenAI's or transformers' names, saved by torch or safetensors, wrapped as it may be.

    Raises:
        FileNotFoundError: if `backbone` is neither, or cannot be downloaded.
        ValueError: if the file is not a CLIP, or one without QuickGELU.
    """
    path = backbone_file(backbone)
    if str(backbone) in clip.available_models():
        url = clip.clip._MODELS[str(backbone)]
        try:
            fetch_weights(url, path, sha256=url.split("/")[-2])
        except (DownloadError, OSError) as error:
            raise FileNotFoundError(f"CLIP {backbone} weights: {error}") from error
    elif not path.is_file():
        names = ", ".join(clip.available_models())
        raise FileNotFoundError(f"CLIP weights {backbone}: neither a file nor one of {names}.")
    state, beside = read_tensors(path)
    _check_activation(path, beside)
    return build_clip(official_names(state)[0], str(path)).to(device)


def backbone_file(backbone: str | Path) -> Path:
    """Where the weights of an OpenAI name or a path lie, or would lie."""
    if str(backbone) in clip.available_models():
        return CLIP_CACHE / clip.clip._MODELS[str(backbone)].rpartition("/")[2]
    return Path(backbone).expanduser()


def _check_activation(path: Path, beside: Collection[str]) -> None:
    """Refuse a CLIP that was trained without QuickGELU: its tensors look alike, and its features would be wrong.

    A state dict does not say its activation. This is the rule: what a configuration of open_clip or transformers
    beside the file says; else "quickgelu" in the file's name; else it has another one if the name is one of
    open_clip's, or the entries are those of open_clip's trainer. All other files are taken for OpenAI's kind.
    """
    name, quick, why = path.name.lower(), None, ""
    for file in (path.parent / "open_clip_config.json", path.parent / "config.json"):
        text = file.read_text(encoding="utf-8") if quick is None and file.is_file() else ""
        if '"vision_c' in text:  # open_clip's vision_cfg and quick_gelu, transformers' vision_config and hidden_act
            open_clip, other = '"vision_cfg"' in text, re.search(r'"hidden_act": *"(?!quick_gelu")', text)
            quick = bool(re.search(r'"quick_gelu": *true', text)) if open_clip else not other
            why = "" if quick else f"{file.name} beside it"
    if quick is None and "quickgelu" not in name:
        why = next((f"{word!r} in its name" for word in _WITHOUT_QUICK_GELU if word in name), "")
        why = why or ("the entries of open_clip's trainer" if {"epoch", "name", "optimizer"} <= {*beside} else "")
        why = why and f"{why} (if that is wrong, put quickgelu in its name)"
    if why:
        raise ValueError(
            f"{path}: weights of a CLIP without QuickGELU, by {why}; this project's CLIP has it, as OpenAI's. "
            "Take weights that were trained with it."
        )


def build_clip(state: dict[str, Tensor], source: str) -> CLIP:
    """A CLIP in float32 from a state dict; its sizes follow from the shapes.

    Raises:
        ValueError: that names `source`, if the state dict is not exactly one of a CLIP.
    """
    state = {name: tensor.float() for name, tensor in state.items()}
    try:
        model = clip.model.build_model(dict(state)).float()  # it rounds the weights to half precision ...
        model.load_state_dict(state)  # ... which this undoes
    except (LookupError, RuntimeError, AttributeError, AssertionError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ValueError(f"{source} holds no whole CLIP, or other tensors too ({reason}).") from error
    return model.eval()


def published_sha256(backbone: str) -> str | None:
    """SHA-256 of OpenAI's file of this name, which `clip.load` holds it to; None for any other backbone."""
    url = clip.clip._MODELS.get(backbone)  # ".../<SHA-256>/ViT-B-16.pt"
    return url and url.split("/")[-2]


def longest(tokens: Tensor) -> int:
    """Tokens up to and with the last end token of any text; (K, 77) -> at most 77."""
    return int(tokens.argmax(dim=-1).max()) + 1


def encode_text(model: CLIP, tokens: Tensor, length: int | None = None) -> Tensor:
    """CLIP's text tower, run only as far as the longest end token.

    The tower is causal and reads its output at the end token: leaving out the padding after it is exact and, for
    short texts, several times faster.

    Args:
        tokens: (K, 77) int.
        length: `longest(tokens)` where it is known: a GPU then need not be asked.

    Returns:
        (K, D) float, not unit length.
    """
    ends = tokens.argmax(dim=-1)
    length = length or longest(tokens)
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = x.permute(1, 0, 2)  # (K, L, W) -> (L, K, W), the layout of CLIP's blocks
    mask = torch.full((length, length), -torch.inf, dtype=x.dtype, device=x.device).triu(1)  # theirs is on the host
    for block in model.transformer.resblocks:
        normed = block.ln_1(x)
        x = x + block.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        x = x + block.mlp(block.ln_2(x))
    x = model.ln_final(x.permute(1, 0, 2))
    return x[torch.arange(len(tokens), device=x.device), ends] @ model.text_projection


def embed_dim(model: CLIP) -> int:
    """Size D of CLIP's joint space."""
    return model.text_projection.shape[1]


def transformer_heads(model: CLIP) -> int:
    """Attention heads of the text tower; Text4Vis's temporal header uses the same number."""
    return model.transformer.resblocks[0].attn.num_heads
