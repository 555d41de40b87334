"""Temporal heads: from frame embeddings (B, T, D) to one video feature (B, D)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from motion_lib.clip_loading import CONTEXT_LENGTH, ResidualAttentionBlock

# Text4Vis builds its header with a hand-written LayerNorm of this epsilon; it matters for tiny activations.
HEADER_LAYER_NORM_EPS = 1e-12
HEADER_LAYERS = 6


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

    Args:
        embed_dim: D.   heads: attention heads, those of the text tower.   layers: 6 in Text4Vis and
        in the paper's Tables 4 and 5.
    Source: paper A.5; Text4Vis commit d61b34d. Parameter names are Text4Vis's `fusion_model.*`.
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


HEADS = ("mean", "temporal")


def build_head(name: str, embed_dim: int, heads: int) -> nn.Module:
    """`name` is "mean" or "temporal"."""
    if name not in HEADS:
        raise ValueError(f"temporal head {name!r}: expected one of {', '.join(HEADS)}.")
    return MeanPooling() if name == "mean" else TemporalTransformer(embed_dim, heads)
