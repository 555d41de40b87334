"""Pretrains the tiny CLIP on stills with CLIP's own contrastive loss."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from motion_lib.clip_loading import CLIP, encode_text, tokenize
from motion_lib.miniature.parallel import parallel_map
from motion_lib.miniature.stills import CAPTIONS_EACH, draw_still

# Mean and std of CLIP's preprocessing; the tiny CLIP keeps them so that nothing downstream differs.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class TinyClip:
    """Architecture and training of the tiny CLIP. A ModifiedResNet tower, since a tiny ViT learns too slowly."""

    resolution: int = 64
    vision_width: int = 16
    vision_layers: tuple[int, int, int, int] = (1, 1, 1, 1)
    embed_dim: int = 128
    text_width: int = 128
    text_layers: int = 2
    num_stills: int = 16_000
    epochs: int = 5
    batch_size: int = 128
    image_lr: float = 3e-3
    text_lr: float = 1e-3  # a transformer at the image tower's rate does not learn to read
    weight_decay: float = 0.05
    posture_share: float = 0.9  # share of captions that name the visible pose
    motion_share: float = 0.2  # share of captions that name a verb of the motion


def build(config: TinyClip) -> CLIP:
    """A randomly initialised `clip.model.CLIP` of this size."""
    return CLIP(
        config.embed_dim,
        config.resolution,
        config.vision_layers,
        config.vision_width,
        None,
        77,
        49408,
        config.text_width,
        config.text_width // 64,
        config.text_layers,
    )


def _stills(config: TinyClip, seed: int) -> tuple[Tensor, Tensor]:
    """(N, 3, S, S) uint8 pictures and (N, C, 77) tokens of their captions."""
    jobs = [(i, seed, (config.posture_share, config.motion_share), config.resolution) for i in range(config.num_stills)]
    drawn = parallel_map(draw_still, jobs, "rendering stills")
    tokens = tokenize([text for still in drawn for text in still.captions])
    pictures = torch.from_numpy(np.stack([still.picture for still in drawn])).permute(0, 3, 1, 2)
    return pictures, tokens.view(len(drawn), CAPTIONS_EACH, -1)


def _batches(count: int, size: int, rng: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(count, generator=rng)
    yield from order[: count - count % size].split(size)


def _normalised(stills: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) -> float, CLIP's mean and std."""
    scale = torch.tensor(STD).view(3, 1, 1)
    return (stills.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / scale


def contrastive_loss(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy over a batch of pairs; image and text (B, D), any length."""
    logits = logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def _with_compact_vocabulary(model: CLIP, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Shrink the token table to the ids that occur, for the time of training.

    A dense optimizer step over 49,408 rows, of which a few dozen are read, would cost as much as
    the image tower. Ranks keep the order of the ids, so the end token stays the largest.
    Returns: the ids in use and the tokens as ranks among them.
    """
    used, ranks = torch.unique(tokens, return_inverse=True)
    model.token_embedding = torch.nn.Embedding.from_pretrained(
        model.token_embedding.weight[used].detach(), freeze=False
    )
    return used, ranks


def _restore_vocabulary(model: CLIP, used: Tensor, full_table: Tensor) -> None:
    full_table = full_table.clone()
    full_table[used] = model.token_embedding.weight.detach()
    model.token_embedding = torch.nn.Embedding.from_pretrained(full_table, freeze=False)


def caption_loss(model: CLIP, image: Tensor, tokens: Tensor) -> Tensor:
    """Contrastive loss of images and one caption each; (B, D) features and (B, 77) tokens."""
    distinct, which = torch.unique(tokens, dim=0, return_inverse=True)  # captions recur: encode each once
    return contrastive_loss(image, encode_text(model, distinct)[which], model.logit_scale)


def pretrain(config: TinyClip, seed: int) -> CLIP:
    """Render stills and train the tiny CLIP from scratch; deterministic for a seed on one machine."""
    stills, captions = _stills(config, seed)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    model = build(config).train().to(memory_format=torch.channels_last)
    full_table = model.token_embedding.weight.detach()
    used, captions = _with_compact_vocabulary(model, captions)
    optimizer, schedule, steps = _optimizer(model, config)
    with tqdm(total=steps, desc="pretraining the tiny CLIP", unit="step", mininterval=2) as bar:
        for _ in range(config.epochs):
            for batch in _batches(len(stills), config.batch_size, rng):
                images = _normalised(stills[batch]).contiguous(memory_format=torch.channels_last)
                image = model.visual(images)
                choice = torch.randint(CAPTIONS_EACH, (len(batch),), generator=rng)
                loss = caption_loss(model, image, captions[batch, choice])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    model.logit_scale.clamp_(max=float(np.log(100)))
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    _restore_vocabulary(model, used, full_table)
    return model.eval()


def _optimizer(
    model: CLIP, config: TinyClip
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, int]:
    """AdamW with a rate for each tower, its one-cycle schedule and the number of steps."""
    image = list(model.visual.parameters())
    text = [p for name, p in model.named_parameters() if not name.startswith("visual.")]
    optimizer = torch.optim.AdamW(
        [{"params": image, "lr": config.image_lr}, {"params": text, "lr": config.text_lr}],
        betas=(0.9, 0.98),
        weight_decay=config.weight_decay,
    )
    steps = config.epochs * (config.num_stills // config.batch_size)
    rates = [config.image_lr, config.text_lr]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.1)
    return optimizer, schedule, steps
