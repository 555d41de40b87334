"""The paper's method: a video classifier whose weights are text embeddings of motion descriptions.

    video -> T frames -> CLIP image tower -> frame embeddings -> mean -> video feature
    one description a class -> CLIP text tower, frozen -> text prototypes: the classifier's weights
    logits = exp(logit_scale) x cosine(video feature, text prototypes)

Training is cross-entropy over the source classes; testing puts in the target classes' prototypes.

Source: paper, sections 4.1 and 4.2, A.2 and A.3. Text4Vis d61b34d for what they leave open: the mean is taken
before normalising, and logit_scale is trained with the image tower.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lib.data.preprocessing import Normalise, Preprocess
from motion_lib.models.clip import (
    CLIP,
    CONTEXT_LENGTH,
    ResidualAttentionBlock,
    embed_dim,
    encode_text,
    tokenize,
    transformer_heads,
)
from motion_lib.models.image_tower import encode_images
from motion_lib.models.weights import read_file


class PrototypeClassifier(nn.Module):
    """CLIP with a temporal head, classifying by text prototypes.

    Args:
        clip_model: both towers.
        preprocess: of its input.
        head: "mean" (the paper's method) or "temporal" (A.5, Tables 4 and 5).
        train_text: whether the text tower is trained, as in ViFi-CLIP; the paper freezes it.
    """

    recompute = False  # activation checkpointing of the image tower in training
    independent_frames = True  # a frame's embedding depends on that frame alone

    def __init__(self, clip_model: CLIP, preprocess: Preprocess, head: str = "mean", train_text: bool = False):
        super().__init__()
        self.clip, self.preprocess, self.head_name, self.train_text = clip_model, preprocess, head, train_text
        self.head = build_head(head, embed_dim(clip_model), transformer_heads(clip_model))
        self.normalise = Normalise(preprocess)
        for name, parameter in clip_model.named_parameters():
            parameter.requires_grad_(train_text or name.startswith("visual.") or name == "logit_scale")

    def forward(self, frames: Tensor, prototypes: Tensor) -> Tensor:
        """(B, T, 3, S, S) float frames and (K, D) prototypes -> (B, K) logits."""
        return self.similarity(self.encode_video(frames), prototypes)

    def encode_video(self, frames: Tensor) -> Tensor:
        """(B, T, 3, S, S) float -> (B, D) video features, not unit length."""
        return self.head(self.encode_frames(frames))

    def encode_frames(self, frames: Tensor) -> Tensor:
        """(B, T, 3, S, S) float -> (B, T, D) frame embeddings, not unit length."""
        return encode_images(self.clip.visual, frames.flatten(0, 1), self.recompute).unflatten(0, frames.shape[:2])

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """K texts -> (K, D) prototypes, not unit length; with a gradient only if the text tower is trained."""
        return self.encode_tokens(tokenize(list(texts)).to(self.device))

    def similarity(self, video: Tensor, text: Tensor) -> Tensor:
        """(B, D) features and (K, D) prototypes -> (B, K) logits, exp(logit_scale) x cosine."""
        return self.clip.logit_scale.exp() * F.normalize(video, dim=-1) @ F.normalize(text, dim=-1).T

    def encode_tokens(self, tokens: Tensor, length: int | None = None) -> Tensor:
        """(K, 77) token ids -> (K, D), as `encode_text`; `length`, if known, is their `clip.longest`."""
        with nullcontext() if self.train_text else torch.no_grad():
            return encode_text(self.clip, tokens, length)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.clip.logit_scale.device

    def is_pretrained(self, name: str) -> bool:
        """Whether the parameter of this name starts from CLIP's weights; the others start at random."""
        return name.startswith("clip.")

    def trained_state(self) -> dict[str, Tensor]:
        """What training can change, by name: all but the text tower while that is frozen."""
        frozen = {name for name, parameter in self.named_parameters() if not parameter.requires_grad}
        return {name: tensor for name, tensor in self.state_dict().items() if name not in frozen}

    def load_trained_state(self, state: dict[str, Tensor], source: str) -> None:
        """Load what `trained_state` gave; every missing or foreign key is an error that names `source`."""
        check_state(state, self.trained_state(), source)
        self.load_state_dict({**self.state_dict(), **state}, strict=True)


# ------------------------------------------------------------------ any model
@runtime_checkable
class VideoTextModel(Protocol):
    """What a model must offer to be evaluated; nothing else is asked of it.

    One that also has a `device` is given its frames there, any other on the CPU; its texts it places itself.
    """

    preprocess: Preprocess

    def encode_video(self, frames: Tensor) -> Tensor:
        """(B, T, 3, S, S) float, normalised by `preprocess` -> (B, ...) features."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """K texts -> (K, ...) features."""

    def similarity(self, video: Tensor, text: Tensor) -> Tensor:
        """(B, ...) and (K, ...) features -> (B, K) logits."""


class FrameEncoder:
    """A classifier stopped before its head: `encode_video` gives frame embeddings (B, T, D)."""

    def __init__(self, model: PrototypeClassifier):
        self.preprocess, self.device, self.encode_video = model.preprocess, model.device, model.encode_frames


# ------------------------------------------------------------------ heads
HEADS = ("mean", "temporal")
HEADER_LAYERS = 6
# Text4Vis builds its header with a hand-written LayerNorm of this epsilon; it matters for tiny activations.
HEADER_LAYER_NORM_EPS = 1e-12


class MeanPooling(nn.Module):
    """Mean over frames of the raw frame embeddings; normalisation comes after (paper A.2; Text4Vis, ViFi-CLIP).

    Blind to order: any permutation of the frames gives the same feature, bit for bit. In float32 the sum of
    the same numbers depends on their order; in float64 it is exact for frames of ordinary size.
    """

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, D) -> (B, D)."""
        return frames.double().mean(dim=1).to(frames.dtype)


class TemporalTransformer(nn.Module):
    """The 6-layer temporal header of Text4Vis ("Transf"): position embedding, blocks, residual, mean.

    Source: paper A.5; Text4Vis commit d61b34d, whose parameter names `fusion_model.*` it keeps.

    Args:
        embed_dim: D.
        heads: attention heads, those of the text tower.
        layers: 6 in Text4Vis and in the paper's Tables 4 and 5.
    """

    def __init__(self, embed_dim: int, heads: int, layers: int = HEADER_LAYERS):
        super().__init__()
        self.frame_position_embeddings = nn.Embedding(CONTEXT_LENGTH, embed_dim)
        blocks = nn.Sequential(*[ResidualAttentionBlock(embed_dim, heads) for _ in range(layers)])
        self.transformer = nn.Sequential(OrderedDict(resblocks=blocks))
        self.apply(self._initialise)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        """N(0, 0.02) for Linear and Embedding; the packed attention projection keeps torch's default."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.LayerNorm):
            module.eps = HEADER_LAYER_NORM_EPS
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, D) -> (B, D); the residual adds the frames as they came, without their positions."""
        positions = torch.arange(frames.shape[1], device=frames.device)
        x = frames + self.frame_position_embeddings(positions)
        x = self.transformer(x.permute(1, 0, 2)).permute(1, 0, 2)  # CLIP's blocks take (T, B, D)
        return (x + frames).mean(dim=1)


def build_head(name: str, embed_dim: int, heads: int) -> nn.Module:
    """The head of this name, one of HEADS.

    Raises:
        ValueError: for another name.
    """
    if name not in HEADS:
        raise ValueError(f"temporal head {name!r}: expected one of {', '.join(HEADS)}.")
    return MeanPooling() if name == "mean" else TemporalTransformer(embed_dim, heads)


# ------------------------------------------------------------------ weights
def check_state(state: dict[str, Tensor], expected: dict[str, Tensor], source: str) -> None:
    """Check that a state dict has exactly the names and shapes of another.

    Raises:
        ValueError: that names `source` and the keys that lack, are unknown or have another shape.
    """
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    reshaped = sorted(k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape)
    for fault, keys in (("lacks", missing), ("has unknown", unknown), ("has other shapes for", reshaped)):
        if keys:
            raise ValueError(
                f"{source} {fault} {len(keys)} tensors, e.g. {', '.join(keys[:3])}: not weights of this model."
            )


def read_checkpoint(path: str | Path, device: str | torch.device, entry: str = "model") -> dict:
    """A file written by `fine_tune`: tensors and plain values only.

    Raises:
        FileNotFoundError: for no such file.
        ValueError: if the file is broken or has no `entry`.
    """
    saved = read_file(path, device)
    if not isinstance(saved, dict) or entry not in saved:
        raise ValueError(f"{path}: no entry {entry!r}, so no checkpoint of fine_tune.")
    return saved
