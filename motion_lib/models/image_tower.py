"""CLIP's image towers with less work than as shipped, and the option to keep less memory.

The weights and, up to rounding, the outputs are those of `clip.model`. In the vision transformer tokens stay (frames,
tokens, width), without the transpositions that `nn.MultiheadAttention` asks for, and the last block is computed for
the class token alone, because no other token is read after it. In the ResNet, where nothing is learned, a convolution
and the BatchNorm after it are one convolution.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from motion_lib.models.clip import ModifiedResNet, ResidualAttentionBlock, VisionTransformer


def encode_images(visual: nn.Module, images: Tensor, recompute: bool = False) -> Tensor:
    """(N, 3, S, S) float, normalised -> (N, D) embeddings, not unit length.

    Args:
        visual: CLIP's image tower of either kind.
        recompute: keep a block's input alone and compute the rest again in the backward pass (activation
            checkpointing: less memory, about a third more work, the same numbers).

    Raises:
        ValueError: for `recompute` with a ResNet, whose BatchNorm would count every batch twice.
    """
    images = images.contiguous(memory_format=torch.channels_last)
    if not isinstance(visual, VisionTransformer):
        if recompute:
            raise ValueError("activation checkpointing works for vision transformers; this image tower is a ResNet.")
        return visual.attnpool(resnet_activations(visual, images))
    patches = visual.conv1(images).flatten(2).transpose(1, 2)
    class_token = visual.class_embedding.to(patches).expand(len(patches), 1, -1)
    x = visual.ln_pre(torch.cat([class_token, patches], dim=1) + visual.positional_embedding.to(patches))
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = run_block(_block, block, x, recompute=recompute)
    x = run_block(_last_block, last, x, recompute=recompute)
    return visual.ln_post(x) @ visual.proj


def run_block(function: Callable[..., Tensor], *inputs: object, recompute: bool) -> Tensor:
    """`function(*inputs)`, of which the backward pass keeps the inputs alone if `recompute`."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(function, *inputs, use_reentrant=False)
    return function(*inputs)


def _block(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """(N, L, W) -> (N, L, W)."""
    attention = block.attn
    projected = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = (_heads(part, attention.num_heads) for part in projected.chunk(3, dim=-1))
    return _rest_of_block(block, x, q, k, v)


def _last_block(block: ResidualAttentionBlock, x: Tensor) -> Tensor:
    """(N, L, W) -> (N, W), the class token's."""
    attention, width = block.attn, x.shape[-1]
    weight, bias, normed = attention.in_proj_weight, attention.in_proj_bias, block.ln_1(x)
    q = _heads(F.linear(normed[:, :1], weight[:width], bias[:width]), attention.num_heads)
    projected = F.linear(normed, weight[width:], bias[width:])
    k, v = (_heads(part, attention.num_heads) for part in projected.chunk(2, dim=-1))
    return _rest_of_block(block, x[:, :1], q, k, v)[:, 0]


def _heads(x: Tensor, heads: int) -> Tensor:
    """(N, L, W) -> (N, heads, L, W / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _rest_of_block(block: ResidualAttentionBlock, x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    x = x + block.attn.out_proj(attended)
    return x + block.mlp(block.ln_2(x))


def resnet_activations(visual: ModifiedResNet, images: Tensor) -> Tensor:
    """(N, 3, S, S) float, normalised -> (N, W, S / 32, S / 32): what a ResNet gives to its attention pooling."""
    x = images.contiguous(memory_format=torch.channels_last)
    for stage in (1, 2, 3):
        x = F.relu_(_convolve(getattr(visual, f"conv{stage}"), getattr(visual, f"bn{stage}"), x))
    x = visual.avgpool(x)
    for stage in (1, 2, 3, 4):
        for block in getattr(visual, f"layer{stage}"):
            x = _bottleneck(block, x)
    return x


def _bottleneck(block: nn.Module, x: Tensor) -> Tensor:
    inner = F.relu_(_convolve(block.conv1, block.bn1, x))
    inner = F.relu_(_convolve(block.conv2, block.bn2, inner))
    inner = _convolve(block.conv3, block.bn3, block.avgpool(inner))
    if block.downsample is not None:
        pool, convolution, norm = block.downsample
        x = _convolve(convolution, norm, pool(x))
    return F.relu_(inner.add_(x))


def _convolve(convolution: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """`norm(convolution(x))`."""
    if norm.training or torch.is_grad_enabled():
        return norm(convolution(x))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    bias = norm.bias - norm.running_mean * scale
    return F.conv2d(x, convolution.weight * scale[:, None, None, None], bias, convolution.stride, convolution.padding)
