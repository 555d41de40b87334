"""The one place that imports OpenAI's CLIP, and the functions that load and run its towers.

clip imports torchvision, whose compiled operators load only beside the torch they were built for. Beside another one,
such as a CPU build, its import ends with "operator torchvision::nms does not exist". No operator of it is called here,
so declaring the two that it asks for is enough then; where they load, a second declaration would abort the process.
"""

import pickle
import sys
import warnings
import zipfile
from functools import cache
from pathlib import Path

import torch
from torch import Tensor


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
_LARGER_INPUT = {"RN50x4": 288, "RN50x16": 384, "RN50x64": 448, "ViT-L/14@336px": 336}  # of OpenAI's; else 224
_NO_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size"})  # entries of OpenAI's state dicts


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
        backbone: an OpenAI name ("ViT-B/16": downloaded by clip on first use) or the path of an
            OpenAI archive or of a plain state dict saved with torch.save.

    Raises:
        FileNotFoundError: if `backbone` is neither.
        ValueError: if the file is not a CLIP.
    """
    path = Path(backbone)
    if str(backbone) not in clip.available_models() and not path.is_file():
        names = ", ".join(clip.available_models())
        raise FileNotFoundError(f"CLIP weights {backbone}: neither a file nor one of {names}.")
    try:
        model, _ = clip.load(str(backbone), device="cpu", jit=False)
    except (LookupError, AttributeError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{backbone}: not a CLIP state dict ({type(error).__name__}: {reason}).") from error
    model = model.float().eval()
    if path.is_file():
        _restore_float32(model, path)
    return model.to(device)


def _restore_float32(model: CLIP, path: Path) -> None:
    """Undo that clip.load rounds every weight to half precision, where the file holds more than that."""
    if _is_torchscript(path):  # OpenAI's own files, which are in half precision
        return
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict({name: tensor for name, tensor in state.items() if name not in _NO_WEIGHTS})


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def build_clip(state: dict[str, Tensor]) -> CLIP:
    """A CLIP in float32 from a state dict; its sizes follow from the shapes.

    Raises:
        LookupError, RuntimeError: if the state dict is not exactly one of a CLIP.
    """
    model = clip.model.build_model(dict(state)).float()  # it rounds the weights to half precision ...
    model.load_state_dict(state)  # ... which this undoes
    return model.eval()


@cache
def input_resolution(backbone: str | Path) -> int:
    """Side of the pictures that a CLIP takes, in pixels; by an OpenAI name without loading it."""
    if str(backbone) in clip.available_models():
        return _LARGER_INPUT.get(str(backbone), 224)
    return load_clip(backbone).visual.input_resolution


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
    for block in model.transformer.resblocks:
        mask = block.attn_mask[:length, :length].to(x)
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
