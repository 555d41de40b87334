"""The authors' released checkpoints: where they are, and how to load them strictly and without running them.

`motion checkpoints` lists and downloads them. Every tensor of a file is loaded or named with the reason why not.
"""

import pickle
import re
import warnings
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from motion_lib.data.download import fetch
from motion_lib.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from motion_lib.models.clip import CLIP, build_clip, load_clip
from motion_lib.models.prototype import PrototypeClassifier, check_state
from motion_lib.models.xclip import XClip

# Both ViFi-CLIP and X-CLIP: 32 frames from the middle of their segments, mmaction's resize, ImageNet's mean and std.
_MMACTION = Preprocess(32, "center", 256, 224, "opencv", IMAGENET_MEAN, IMAGENET_STD)


# ------------------------------------------------------------------ what is released
@dataclass(frozen=True)
class Release:
    """A released checkpoint.

    Attributes:
        file: its name below `MOTION_DATA/checkpoints`.
        url: direct link, or the page where it is linked.
        direct: whether `url` is the file itself.
        million_parameters: of the weights alone; an optimizer's state beside them triples a file.
        preprocess: of the model.
        source: where these facts are from.
    """

    file: str
    url: str
    direct: bool
    million_parameters: float
    preprocess: Preprocess
    source: str

    def path(self, data_root: Path) -> Path:
        """Where the file belongs."""
        return data_root / "checkpoints" / self.file

    @property
    def how_to_get(self) -> str:
        """One sentence for somebody who lacks the file."""
        if self.direct:
            return f"download {self.url}"
        return f"open {self.url}, follow the model's link in the zero-shot results and save the file there"

    @property
    def size(self) -> str:
        """Of the weights in float32."""
        return f"{4 * self.million_parameters:.0f} MB of weights"


RELEASES: dict[str, Release] = {
    "text4vis": Release(
        "k400-vitb-16-f8.pt",
        "https://github.com/whwu95/Text4Vis/releases/download/v1/k400-vitb-16-f8.pt",
        True,
        105.1,
        Preprocess(8, "text4vis", 256, 224, "bicubic"),
        "Text4Vis d61b34d: ViT-B/16, 8 frames, 6-layer header",
    ),
    "vificlip": Release(
        "vifi_clip_10_epochs_k400_full_finetuned.pth",
        "https://github.com/muzairkhattak/ViFi-CLIP",
        False,
        124.3,
        _MMACTION,
        "ViFi-CLIP e2d1948: ViT-B/16, 32 frames, zero-shot",
    ),
    "xclip": Release(
        "zero.pth",
        "https://github.com/nbl97/X-CLIP_Model_Zoo/releases/download/v1.0/zero.pth",
        True,
        194.9,
        _MMACTION,
        "VideoX 1744b21: ViT-B/16, 32 frames, zero-shot",
    ),
    "xclip_transformers": Release(
        "xclip-base-patch16-zero-shot.bin",
        "https://huggingface.co/microsoft/xclip-base-patch16-zero-shot/resolve/main/pytorch_model.bin",
        True,
        194.9,
        _MMACTION,
        "transformers 5.23 XCLIPModel: the same weights under other names",
    ),
}


def fetch_release(key: str, data_root: Path) -> Path:
    """Download a release to its place, unless it is there.

    Raises:
        FileNotFoundError: that says where to click, for one without a direct link.
        DownloadError: if the transfer fails.
    """
    release = RELEASES[key]
    path = release.path(data_root)
    if path.is_file():
        return path
    if not release.direct:
        raise FileNotFoundError(f"{path} is missing: {release.how_to_get}.")
    return fetch(release.url, path, progress=True)  # no hash of it is published


# ------------------------------------------------------------------ models
_Built = tuple[PrototypeClassifier, dict[str, Tensor], dict[str, str]]  # model, its weights, {unused key: reason}


def load_official(
    key: str, path: str | Path, backbone: str | Path = "ViT-B/16", device: str | torch.device = "cpu"
) -> tuple[PrototypeClassifier, dict[str, str]]:
    """Load a released checkpoint as its authors compute it.

    Args:
        key: of RELEASES.
        path: the file.
        backbone: CLIP, for what a file leaves to it (text tower of Text4Vis, token table of ViFi-CLIP).
        device: of the model.

    Returns:
        The model in evaluation mode, and {unused key of the file: reason}.

    Raises:
        ValueError: for an unknown key or a file that is not exactly such a model.
        FileNotFoundError: for no such file.
    """
    if key not in RELEASES:
        raise ValueError(f"released checkpoint {key!r}: expected one of {', '.join(RELEASES)}.")
    state, unused_entries = read_tensors(path)
    build = {"text4vis": _text4vis, "vificlip": _vificlip}.get(key, _xclip)
    model, state, unused_keys = build(state, RELEASES[key].preprocess, backbone, str(path))
    model.load_state_dict({**model.state_dict(), **state}, strict=True)
    return model.to(device).eval(), unused_entries | unused_keys


def _text4vis(state: dict[str, Tensor], preprocess: Preprocess, backbone: str | Path, source: str) -> _Built:
    """Image tower, header and logit_scale; the text tower is CLIP's and is not in the file."""
    clip_model = load_clip(backbone)
    model = PrototypeClassifier(clip_model, _fitting(preprocess, clip_model), "temporal")
    state = _renamed(state, {"visual": "clip.visual", "logit_scale": "clip.logit_scale", "fusion_model": "head"})
    check_state(state, model.trained_state(), source)
    return model, state, {}


def _vificlip(state: dict[str, Tensor], preprocess: Preprocess, backbone: str | Path, source: str) -> _Built:
    """Both towers without the token table, which was not trained."""
    clip_model = load_clip(backbone)
    model = PrototypeClassifier(clip_model, _fitting(preprocess, clip_model), "mean", train_text=True)
    reason = "token embeddings of its own class names: made anew from the texts at hand"
    unused = {key: reason for key in state if key.replace("module.", "").startswith("prompt_learner.")}
    prefixes = {"image_encoder": "clip.visual", "text_encoder": "clip", "logit_scale": "clip.logit_scale"}
    state = _renamed({key: tensor for key, tensor in state.items() if key not in unused}, prefixes)
    expected = {name: t for name, t in model.state_dict().items() if name != "clip.token_embedding.weight"}
    check_state(state, expected, source)
    return model, state, unused


def _xclip(state: dict[str, Tensor], preprocess: Preprocess, backbone: str | Path, source: str) -> _Built:
    """The whole model, in the official or in transformers' names."""
    unused = {}
    if any(key.startswith("vision_model.") for key in state):
        state, unused = official_names(state)
    state = _renamed(state, {part: f"clip.{part}" for part in (*_CLIP_PARTS, "logit_scale")})
    clip_keys = [key for key in state if key.startswith("clip.") and ".message_" not in key]
    try:
        clip_model = build_clip({key.removeprefix("clip."): state[key] for key in clip_keys})
    except (LookupError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{source} holds no whole CLIP ({str(error).partition(chr(10))[0]}).") from error
    positions = state.get("mit.positional_embedding")
    if positions is None:
        raise ValueError(f"{source} lacks mit.positional_embedding: not weights of X-CLIP.")
    model = XClip(clip_model, replace(_fitting(preprocess, clip_model), num_frames=positions.shape[1]))
    check_state(state, model.state_dict(), source)
    return model, state, unused


def _fitting(preprocess: Preprocess, clip_model: CLIP) -> Preprocess:
    """The release's preprocessing at the resolution of the weights."""
    side = clip_model.visual.input_resolution
    return replace(preprocess, short_side=256 * side // 224, crop_size=side)


# ------------------------------------------------------------------ files
def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a released file; nothing in it is executed.

    torch's restricted unpickler builds tensors and plain values only. The configuration that ViFi-CLIP and X-CLIP
    saved is a subclass of dict from the package yacs, and is read as a dict.

    Returns:
        Its state dict, and {entry beside it: reason why it is not used}.

    Raises:
        FileNotFoundError: for no such file.
        ValueError: for a file that is truncated, foreign or asks to run something.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint.")
    try:
        with torch.serialization.safe_globals([(OrderedDict, "yacs.config.CfgNode")]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol", category=UserWarning)
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: refused, {_asked_for(error)}. Nothing in it was run.") from error
    except Exception as error:  # what a broken archive raises is anybody's guess
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path}: truncated or no checkpoint ({type(error).__name__}: {reason}).") from error
    entries = saved if isinstance(saved, dict) else {}
    key = next((k for k in ("model_state_dict", "model", "state_dict") if _is_state(entries.get(k))), None)
    if key is not None:
        return dict(saved[key]), {k: "beside the weights, not needed" for k in saved if k != key}
    if not _is_state(saved):
        raise ValueError(f"{path}: holds no state dict, neither itself nor under model_state_dict or model.")
    return dict(saved), {}


def _is_state(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(tensor, Tensor) for tensor in value.values())


def _asked_for(error: Exception) -> str:
    match = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class|operand)[^:]*:? ?(?:GLOBAL )?([\w.]+)", str(error))
    name = next((part for part in match.groups() if part), "") if match else ""
    return f"it asks for {name}, which is no tensor" if name else "it holds more than tensors, or is damaged"


# ------------------------------------------------------------------ names of tensors
_CLIP_PARTS = ("visual", "transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")
# Of transformers' X-CLIP -> of the official one, tried in order on every key.
_OFFICIAL_NAMES = (
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layernorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^text_model\.embeddings\.token_embedding\.weight$", "token_embedding.weight"),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_projection\.weight$", "text_projection"),
    (r"^mit\.encoder\.layers\.", "mit.resblocks."),
    (r"^mit\.position_embedding$", "mit.positional_embedding"),
    (r"^prompts_visual_layernorm\.", "prompts_visual_ln."),
    (r"^prompts_visual_projection$", "prompts_visual_proj"),
    (r"^prompts_generator\.layernorm\.", "prompts_generator.norm."),
    (r"\.self_attn\.", ".attn."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"(resblocks\.\d+\.mlp)\.fc1\.", r"\1.c_fc."),
    (r"(resblocks\.\d+\.mlp)\.fc2\.", r"\1.c_proj."),
)
_TRANSPOSED = ("visual.proj", "text_projection")
_PROJECTION = re.compile(r"^(.*(?:\.attn|\.message_attn))\.([qkv])_proj\.(weight|bias)$")


def _renamed(state: dict[str, Tensor], prefixes: dict[str, str]) -> dict[str, Tensor]:
    """Replace the prefix of every key; a key of no known prefix keeps its name, and fails the strict check."""
    renamed = {}
    for key, tensor in state.items():
        key = key.replace("module.", "")
        prefix = next((p for p in prefixes if key == p or key.startswith(f"{p}.")), None)
        renamed[key if prefix is None else prefixes[prefix] + key[len(prefix) :]] = tensor.float()
    return renamed


def official_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Rename the state dict of transformers' `XCLIPModel`; its query, key and value projections become one tensor.

    Returns:
        The state dict under official names, and {ignored key: reason}.
    """
    renamed, projections, ignored = {}, {}, {}
    for key, tensor in state.items():
        if key.endswith(".position_ids"):
            ignored[key] = "positions 0, 1, 2, ...: no weight"
            continue
        name = key
        for pattern, replacement in _OFFICIAL_NAMES:
            name = re.sub(pattern, replacement, name)
        if match := _PROJECTION.match(name):
            attention, part, kind = match.groups()
            projections.setdefault(f"{attention}.in_proj_{kind}", {})[part] = tensor
        else:
            renamed[name] = tensor.T if name in _TRANSPOSED else tensor
    renamed |= {name: torch.cat([parts[part] for part in "qkv"]) for name, parts in projections.items()}
    return renamed, ignored
