"""Pretrains the tiny CLIP on stills with CLIP's own contrastive loss.

A contrastive loss learns what tells its captions apart most cheaply and then has little gradient
left for the rest. Every still therefore has two kinds of caption, of its thing and of its person,
and each step takes the loss of both over one pass of the image tower. Before that the text tower
learns for a few steps to tell captions apart: started together, each tower waits for the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from motion_lib.miniature.parallel import parallel_map
from motion_lib.miniature.stills import CAPTIONS_EACH, draw_still
from motion_lib.models.clip import CLIP, encode_text, tokenize

# Mean and std of CLIP's preprocessing; the tiny CLIP keeps them so that nothing downstream differs.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
BETAS = (0.9, 0.98)  # of AdamW; the second as for CLIP's transformers
INITIAL_LOGIT_SCALE = float(np.log(1 / 0.07))  # CLIP's own start


@dataclass(frozen=True)
class TinyClip:
    """Architecture and training of the tiny CLIP. A ModifiedResNet tower, since a tiny ViT learns too slowly."""

    resolution: int = 64
    vision_width: int = 16
    vision_layers: tuple[int, int, int, int] = (1, 1, 1, 1)
    embed_dim: int = 128
    text_width: int = 128
    text_layers: int = 2
    num_stills: int = 20_000
    epochs: int = 3
    batch_size: int = 128
    image_lr: float = 1e-3
    text_lr: float = 1e-3
    weight_decay: float = 0.05
    text_warmup_steps: int = 50  # of the text tower alone
    motion_share: float = 0.4  # share of the captions of persons that hold a verb of the motion


def build(config: TinyClip) -> CLIP:
    """A randomly initialised `clip.model.CLIP` of this size."""
    model = CLIP(
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
    # CLIP starts its residual branches at zero, which suits deep towers. With one block a stage they
    # may start at one, and poses are learned sooner so.
    for name, parameter in model.visual.named_parameters():
        if name.endswith("bn3.weight"):
            torch.nn.init.ones_(parameter)
    return model


def _stills(config: TinyClip, seed: int) -> tuple[Tensor, Tensor]:
    """(N, 3, S, S) uint8 pictures and (N, 2, C, 77) tokens: C captions of the thing, C of the person."""
    jobs = [(i, seed, config.motion_share, config.resolution) for i in range(config.num_stills)]
    drawn = parallel_map(draw_still, jobs, "rendering stills")
    captions = [text for still in drawn for text in (*still.things, *still.persons)]
    distinct, which = np.unique(captions, return_inverse=True)  # captions recur: tokenise each once
    tokens = tokenize(distinct.tolist())[torch.from_numpy(which)]
    pictures = torch.from_numpy(np.stack([still.picture for still in drawn])).permute(0, 3, 1, 2)
    return pictures, tokens.view(len(drawn), 2, CAPTIONS_EACH, -1)


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

    Returns:
        The ids in use and the tokens as ranks among them.
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
    _warm_up_text(model, captions, config, rng)
    optimizer, schedule, steps = _optimizer(model, config)
    with tqdm(total=steps, desc="pretraining the tiny CLIP", unit="step", mininterval=2) as bar:
        for _ in range(config.epochs):
            for batch in _batches(len(stills), config.batch_size, rng):
                images = _normalised(stills[batch]).contiguous(memory_format=torch.channels_last)
                image = model.visual(images)
                of_thing, of_person = (caption_loss(model, image, c) for c in _chosen(captions[batch], rng))
                loss = of_thing + of_person
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    model.logit_scale.clamp_(max=float(np.log(100)))
                bar.update()
                bar.set_postfix(thing=f"{of_thing.item():.3f}", person=f"{of_person.item():.3f}", refresh=False)
    _restore_vocabulary(model, used, full_table)
    return model.eval()


def _chosen(captions: Tensor, rng: torch.Generator) -> list[Tensor]:
    """One caption of each kind for every still: (B, 2, C, 77) -> two of (B, 77)."""
    kinds, each = captions.shape[1:3]
    picks = torch.randint(each, (kinds, len(captions)), generator=rng)
    return [captions[torch.arange(len(captions)), kind, pick] for kind, pick in enumerate(picks)]


def _warm_up_text(model: CLIP, captions: Tensor, config: TinyClip, rng: torch.Generator) -> None:
    """Train the text tower to match two captions of the same still; no picture is seen."""
    optimizer = torch.optim.AdamW(
        _text_parameters(model), config.text_lr, betas=BETAS, weight_decay=config.weight_decay
    )
    for step in range(config.text_warmup_steps):
        batch = captions[torch.randint(len(captions), (config.batch_size,), generator=rng)]
        pairs = zip(_chosen(batch, rng), _chosen(batch, rng), strict=True)
        loss = sum(caption_loss(model, encode_text(model, one), other) for one, other in pairs)
        optimizer.param_groups[0]["lr"] = config.text_lr * (step + 1) / config.text_warmup_steps
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        model.logit_scale.fill_(INITIAL_LOGIT_SCALE)


def _text_parameters(model: CLIP) -> list[torch.nn.Parameter]:
    return [p for name, p in model.named_parameters() if not name.startswith("visual.")]


def _optimizer(
    model: CLIP, config: TinyClip
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, int]:
    """AdamW with a rate for each tower, its one-cycle schedule and the number of steps."""
    rates = [config.image_lr, config.text_lr]
    towers = [list(model.visual.parameters()), _text_parameters(model)]
    groups = [{"params": tower, "lr": rate} for tower, rate in zip(towers, rates, strict=True)]
    optimizer = torch.optim.AdamW(groups, betas=BETAS, weight_decay=config.weight_decay)
    steps = config.epochs * (config.num_stills // config.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.1)
    return optimizer, schedule, steps
