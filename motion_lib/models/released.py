"""The authors' released checkpoints: where they are, and how to load them strictly and without running them.

`motion checkpoints` lists and downloads them. Every tensor of a file is loaded or named with the reason why not.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from motion_lib.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from motion_lib.models.clip import CLIP, build_clip, load_clip
from motion_lib.models.prototype import PrototypeClassifier, check_state
from motion_lib.models.weights import fault_of, fetch_weights, official_names, read_tensors
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
        "k400-vitb-16-f8.pt", "https://github.com/whwu95/Text4Vis/releases/download/v1/k400-vitb-16-f8.pt", True, 105.1,
        Preprocess(8, "text4vis", 256, 224, "bicubic"), "Text4Vis d61b34d: ViT-B/16, 8 frames, 6-layer header",
    ),
    "vificlip": Release(
        "vifi_clip_10_epochs_k400_full_finetuned.pth", "https://github.com/muzairkhattak/ViFi-CLIP", False, 124.3,
        _MMACTION, "ViFi-CLIP e2d1948: ViT-B/16, 32 frames, zero-shot",
    ),
    "xclip": Release(
        "zero.pth", "https://github.com/nbl97/X-CLIP_Model_Zoo/releases/download/v1.0/zero.pth", True, 194.9,
        _MMACTION, "VideoX 1744b21: ViT-B/16, 32 frames, zero-shot",
    ),
    "xclip_transformers": Release(
        "xclip-base-patch16-zero-shot.bin",
        "https://huggingface.co/microsoft/xclip-base-patch16-zero-shot/resolve/main/pytorch_model.bin", True, 194.9,
        _MMACTION, "transformers 5.23 XCLIPModel: the same weights under other names",
    ),
}  # fmt: skip


def fetch_release(key: str, data_root: Path) -> Path:
    """Download a release to its place, unless it is there.

    Raises:
        FileNotFoundError: that says where to click, for one without a direct link.
        DownloadError: if the transfer fails, or brings no weights.
    """
    release = RELEASES[key]
    path = release.path(data_root)
    if not release.direct and (fault := fault_of(path)):
        raise FileNotFoundError(f"{path} {fault}: {release.how_to_get}.")
    return fetch_weights(release.url, path)  # no hash of it is published


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
    unused = {key: reason for key in state if key.startswith("prompt_learner.")}
    prefixes = {"image_encoder": "clip.visual", "text_encoder": "clip", "logit_scale": "clip.logit_scale"}
    state = _renamed({key: tensor for key, tensor in state.items() if key not in unused}, prefixes)
    expected = {name: t for name, t in model.state_dict().items() if name != "clip.token_embedding.weight"}
    check_state(state, expected, source)
    return model, state, unused


def _xclip(state: dict[str, Tensor], preprocess: Preprocess, backbone: str | Path, source: str) -> _Built:
    """The whole model, in the official or in transformers' names."""
    state, unused = official_names(state)
    state = _renamed(state, {part: f"clip.{part}" for part in (*_CLIP_PARTS, "logit_scale")})
    clip_keys = [key for key in state if key.startswith("clip.") and ".message_" not in key]
    clip_model = build_clip({key.removeprefix("clip."): state[key] for key in clip_keys}, source)
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


_CLIP_PARTS = ("visual", "transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")


def _renamed(state: dict[str, Tensor], prefixes: dict[str, str]) -> dict[str, Tensor]:
    """Replace the prefix of every key; a key of no known prefix keeps its name, and fails the strict check."""
    found = {key: next((p for p in prefixes if f"{key}.".startswith(f"{p}.")), "") for key in state}
    return {prefixes.get(p, "") + key[len(p) :]: state[key].float() for key, p in found.items()}
