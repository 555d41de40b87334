"""X-CLIP: frames that exchange messages, and texts that depend on the video.

Three modules are added to CLIP: messages between the frames of a video inside the image tower, a
transformer over frames (MIT), and prompts that move every text by what the video's patches show.
Parameter names are the official ones, with CLIP's own below `clip.`.

Source: Ni et al., Expanding Language-Image Pretrained Models for General Video Recognition (2022),
VideoX commit 1744b21; parity with its outputs and with transformers' XCLIPModel is tested.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lib.data.preprocessing import Preprocess
from motion_lib.models.clip import CLIP, ModifiedResNet, QuickGELU, ResidualAttentionBlock, embed_dim
from motion_lib.models.image_tower import resnet_activations, run_block
from motion_lib.models.prototype import PrototypeClassifier

HEAD_WIDTH = 64
PROMPT_LAYERS = 2
INITIAL_ALPHA = 0.1  # of the text's shift
_SCORES_AT_ONCE = 2**25  # numbers of one (videos, texts, D) tensor: bounds the memory of `similarity`


def add_messages(visual: nn.Module) -> int:
    """Give every attention of an image tower the modules that make messages.

    In a ResNet, which the official code does not cover, the one attention is the pooling at the end: the
    mean of all positions asks there as a transformer's class token does, and can attend to the messages.

    Returns:
        The width of the messages.
    """
    blocks = [visual.attnpool] if isinstance(visual, ModifiedResNet) else visual.transformer.resblocks
    for block in blocks:
        width = block.ln_1.normalized_shape[0] if hasattr(block, "ln_1") else block.k_proj.in_features
        heads = block.attn.num_heads if hasattr(block, "attn") else block.num_heads
        block.message_fc = nn.Linear(width, width)
        block.message_ln = nn.LayerNorm(width)
        block.message_attn = nn.MultiheadAttention(width, heads)
    return width


def _messages(block: nn.Module, summary: Tensor, num_frames: int) -> Tensor:
    """(B T, W) class tokens -> (1, B T, W) messages: attention within each video, without order."""
    x = block.message_fc(summary).unflatten(0, (-1, num_frames)).transpose(0, 1)  # (T, B, W)
    normed = block.message_ln(x)
    x = x + block.message_attn(normed, normed, normed, need_weights=False)[0]
    return x.transpose(0, 1).flatten(0, 1)[None]


def _encode_transformer(visual: nn.Module, frames: Tensor, num_frames: int, recompute: bool) -> tuple[Tensor, Tensor]:
    """The class token goes through `ln_post` and the projection, the patches stay as they are."""
    patches = visual.conv1(frames).flatten(2).transpose(1, 2)
    class_token = visual.class_embedding.to(patches).expand(len(patches), 1, -1)
    x = visual.ln_pre(torch.cat([class_token, patches], dim=1) + visual.positional_embedding.to(patches))
    x = x.transpose(0, 1)  # (L, B T, W), the layout of CLIP's blocks
    for block in visual.transformer.resblocks:
        x = run_block(_block_with_messages, block, x, num_frames, recompute=recompute)
    return visual.ln_post(x[0]) @ visual.proj, x[1:]


def _block_with_messages(block: nn.Module, x: Tensor, num_frames: int) -> Tensor:
    normed = block.ln_1(torch.cat([x, _messages(block, x[0], num_frames)]))
    # A message is attended to, but what it would attend to is never used: it asks nothing.
    x = x + block.attn(normed[: len(x)], normed, normed, need_weights=False)[0]
    return x + block.mlp(block.ln_2(x))


def _pool_resnet(visual: ModifiedResNet, activations: Tensor, num_frames: int) -> tuple[Tensor, Tensor]:
    positions, pool = activations.flatten(2).permute(2, 0, 1), visual.attnpool  # (P, B T, W)
    x = torch.cat([positions.mean(dim=0, keepdim=True), positions]) + pool.positional_embedding[:, None]
    x = torch.cat([x, _messages(pool, x[0], num_frames)])
    projections = (pool.q_proj, pool.k_proj, pool.v_proj)
    weights = {f"{name}_proj_weight": linear.weight for name, linear in zip("qkv", projections, strict=True)}
    bias = torch.cat([linear.bias for linear in projections])
    pooled, _ = F.multi_head_attention_forward(
        query=x[:1], key=x, value=x, embed_dim_to_check=x.shape[-1], num_heads=pool.num_heads, in_proj_weight=None,
        in_proj_bias=bias, bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
        out_proj_weight=pool.c_proj.weight, out_proj_bias=pool.c_proj.bias, need_weights=False,
        use_separate_proj_weight=True, **weights,
    )  # fmt: skip
    return pooled[0], positions


class MultiframeIntegration(nn.Module):
    """MIT: one transformer block over the frames, added to them, then their mean; (B, T, D) -> (B, D)."""

    def __init__(self, embed_dim: int, num_frames: int):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(1, num_frames, embed_dim))
        self.resblocks = nn.Sequential(ResidualAttentionBlock(embed_dim, embed_dim // HEAD_WIDTH))
        nn.init.trunc_normal_(self.positional_embedding, std=0.02)

    def forward(self, frames: Tensor) -> Tensor:
        """The residual adds the frames as they came, without their positions."""
        x = self.resblocks((frames + self.positional_embedding).transpose(0, 1)).transpose(0, 1)
        return (x + frames).mean(dim=1)


class _CrossAttention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, texts: Tensor, patches: Tensor) -> Tensor:
        """(1 or B, K, D) and (B, P, D) -> (B, K, D); texts shared by all videos are projected once."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, x in ((self.q_proj, texts), (self.k_proj, patches), (self.v_proj, patches))
        )
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1)  # (B, heads, K, P)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class _PromptLayer(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross_attn = _CrossAttention(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), QuickGELU(), nn.Dropout(0.0), nn.Linear(4 * width, width))

    def forward(self, texts: Tensor, patches: Tensor) -> Tensor:
        texts = texts + self.cross_attn(self.norm1(texts), patches)
        return texts + self.mlp(self.norm3(texts))


class VideoSpecificPrompts(nn.Module):
    """How far a video moves each text: (K, D) texts and (B, P, D) patches -> (B, K, D)."""

    def __init__(self, width: int, layers: int = PROMPT_LAYERS):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList(_PromptLayer(width) for _ in range(layers))
        self.alpha = nn.Parameter(torch.full((width,), INITIAL_ALPHA))

    def forward(self, texts: Tensor, patches: Tensor) -> Tensor:
        """The decoder's own residual stream starts at the texts, so the shift holds them too."""
        patches, x = self.norm(patches), texts[None]
        for layer in self.decoder:
            x = layer(x, patches)
        return self.alpha * x


class XClip(PrototypeClassifier):
    """X-CLIP on any CLIP; the text tower and logit_scale are frozen, as in its official configuration.

    Args:
        clip_model: both towers; the image tower is given its messages.
        preprocess: its `num_frames` is built into the weights, since each frame has its own position.
    """

    independent_frames = False  # its tower passes messages between them

    def __init__(self, clip_model: CLIP, preprocess: Preprocess):
        super().__init__(clip_model, preprocess)
        del self.head  # MIT is X-CLIP's head, under its official name
        size, width = embed_dim(clip_model), add_messages(clip_model.visual)
        self.head_name = "mit"
        self.mit = MultiframeIntegration(size, preprocess.num_frames)
        self.prompts_visual_ln = nn.LayerNorm(width)
        self.prompts_visual_proj = nn.Parameter(torch.empty(width, size))
        self.prompts_generator = VideoSpecificPrompts(size)
        self._initialise()
        clip_model.logit_scale.requires_grad_(False)

    def _initialise(self) -> None:
        """N(0, 0.02) for what is new, as CLIP initialises; nothing of CLIP is touched."""
        nn.init.normal_(self.prompts_visual_proj, std=0.02)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and not self.is_pretrained(f"{name}.weight"):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def is_pretrained(self, name: str) -> bool:
        """Whether a parameter comes from CLIP; the messages live in its tower but do not."""
        return super().is_pretrained(name) and ".message_" not in name

    def encode_frames(self, frames: Tensor) -> Tensor:
        """(B, T, 3, S, S) float -> (B, T, D) frame embeddings, before the multiframe integration."""
        return self._frames_and_patches(self._each(frames))[0]

    def encode_video(self, frames: Tensor) -> Tensor:
        """(B, T, 3, S, S) float -> (B, 1 + P, D): the video's feature, then its projected patches.

        Raises:
            ValueError: for another number of frames than the weights are for.
        """
        return self.encode_sequence(self._each(frames))

    def encode_pictures(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) float -> (N, ...): all that is computed of each picture alone.

        Of a ResNet everything below its pooling. Of a transformer nothing: messages begin with its first block.
        """
        visual = self.clip.visual
        return resnet_activations(visual, pictures) if isinstance(visual, ModifiedResNet) else pictures

    def encode_sequence(self, pictures: Tensor) -> Tensor:
        """(B, T, ...) of `encode_pictures`, in order -> (B, 1 + P, D), as `encode_video`."""
        if pictures.shape[1] != self.preprocess.num_frames:
            raise ValueError(f"this X-CLIP is for {self.preprocess.num_frames} frames, given {pictures.shape[1]}.")
        embedded, patches = self._frames_and_patches(pictures)
        projected = (self.prompts_visual_ln(patches) @ self.prompts_visual_proj).mean(dim=1)
        return torch.cat([self.mit(embedded)[:, None], projected], dim=1)

    def _each(self, frames: Tensor) -> Tensor:
        return self.encode_pictures(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def _frames_and_patches(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Frame embeddings (B, T, D) and the patches of every frame (B, T, P, W), not projected."""
        visual, flat, num_frames = self.clip.visual, pictures.flatten(0, 1), pictures.shape[1]
        if isinstance(visual, ModifiedResNet):
            embedded, patches = _pool_resnet(visual, flat, num_frames)
        else:
            embedded, patches = _encode_transformer(visual, flat, num_frames, self.recompute)
        shape = pictures.shape[:2]
        return embedded.unflatten(0, shape), patches.transpose(0, 1).unflatten(0, shape)

    def similarity(self, video: Tensor, text: Tensor) -> Tensor:
        """(B, 1 + P, D), (K, D) -> (B, K): exp(logit_scale) x cosine with each video's own version of a text."""
        at_once = max(1, _SCORES_AT_ONCE // text.numel())
        return torch.cat([self._logits(part, text) for part in video.split(at_once)])

    def _logits(self, video: Tensor, text: Tensor) -> Tensor:
        texts = text + self.prompts_generator(text, video[:, 1:])
        return self.clip.logit_scale.exp() * torch.einsum(
            "bd,bkd->bk", F.normalize(video[:, 0], dim=-1), F.normalize(texts, dim=-1)
        )
