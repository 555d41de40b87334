"""Pretrains the tiny CLIP on stills with CLIP's own contrastive loss: both towers, then the text tower on long texts.

A contrastive loss learns what tells its captions apart most cheaply and then has little gradient
left for the rest. Every still therefore has two kinds of caption, of its thing and of its person,
and each step takes the loss of both over one pass of the image tower. Before that the text tower
learns for a few steps to tell captions apart: started together, each tower waits for the other.

Motion descriptions are much longer than such captions. So the text tower goes on with captions of their length, on the
image tower as it is (locked-image tuning, Zhai et al. 2022). None of them tells how a motion goes.
"""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from motion_lib.miniature.parallel import parallel_map
from motion_lib.miniature.stills import CAPTIONS_EACH, draw_still
from motion_lib.miniature.tiny_clip import TinyClip, build, load, save, used_tokens
from motion_lib.models.clip import CLIP, build_clip, encode_text, tokenize
from motion_lib.models.image_tower import encode_images
from motion_lib.storage import atomic_path, content_hash, write_json

# Mean and std of CLIP's preprocessing; the tiny CLIP keeps them so that nothing downstream differs.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
BETAS = (0.9, 0.98)  # of AdamW; the second as for CLIP's transformers
INITIAL_LOGIT_SCALE = float(np.log(1 / 0.07))  # CLIP's own start
_LOGGED = 50  # steps that a row of the log sums up
_MINUTES = 2  # most work that an interruption loses
_AT_ONCE = 512  # stills through the image tower


@dataclass(frozen=True)
class Pretraining:
    """How the tiny CLIP is pretrained: by default as the shipped one was."""

    num_stills: int = 100_000
    epochs: int = 8
    batch_size: int = 128
    image_lr: float = 1e-3
    text_lr: float = 1e-3
    weight_decay: float = 0.05
    text_warmup_steps: int = 50  # of the text tower alone
    motion_share: float = 0.4  # share of the captions of persons that hold a verb of the motion
    text_stills: int = 12_000  # with which the text tower goes on alone; more, and vanilla CLIP reads descriptions well
    text_epochs: int = 1

    @property
    def steps(self) -> int:
        """Optimizer steps of both towers, after the text tower's first ones."""
        return self.epochs * (self.num_stills // self.batch_size)

    @property
    def text_steps(self) -> int:
        """Those of the text tower on long captions."""
        return self.text_epochs * (self.text_stills // self.batch_size)


def _stills(recipe: Pretraining, resolution: int, seed: int, long: bool = False) -> tuple[Tensor, Tensor]:
    """(N, 3, S, S) uint8 pictures and (N, kinds, C, 77) tokens: C captions of the thing, C of the person, C long ones.

    The long ones only if asked for, of fewer stills.
    """
    count = recipe.text_stills if long else recipe.num_stills
    jobs = [(i, seed, recipe.motion_share, resolution) for i in range(count)]
    drawn = parallel_map(draw_still, jobs, "rendering stills")
    captions = [text for s in drawn for text in (*s.things, *s.persons, *(s.longs if long else ()))]
    distinct, which = np.unique(captions, return_inverse=True)  # captions recur: tokenise each once
    tokens = tokenize(distinct.tolist())[torch.from_numpy(which)]
    pictures = torch.from_numpy(np.stack([still.picture for still in drawn])).permute(0, 3, 1, 2)
    return pictures, tokens.view(len(drawn), 2 + long, CAPTIONS_EACH, -1)


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


def caption_loss(model: CLIP, image: Tensor, tokens: Tensor) -> Tensor:
    """Contrastive loss of images and one caption each; (B, D) features and (B, 77) tokens."""
    distinct, which = torch.unique(tokens, dim=0, return_inverse=True)  # captions recur: encode each once
    return contrastive_loss(image, encode_text(model, distinct)[which], model.logit_scale)


def pretrain(
    path: Path, recipe: Pretraining | None = None, seed: int = 0, tiny: TinyClip | None = None
) -> list[dict[str, float]]:
    """Train the tiny CLIP from scratch and write it in the shipped form; goes on where it was cut off.

    Deterministic for a seed on one machine, interrupted or not.

    Args:
        path: of the weights; what is unfinished lies beside it.
        seed: of stills, order and fresh weights.

    Returns:
        The log: a row for each 50 steps with `step`, the mean losses `thing` and `person`, `seconds` of work, and
        `long` where the text tower goes on alone.
    """
    recipe, tiny = recipe or Pretraining(), tiny or TinyClip()
    half = path.with_name(f"{path.stem}-{content_hash(asdict(recipe), asdict(tiny), seed)}")
    towers, log = half.with_suffix(".towers.pt"), half.with_suffix(".towers.json")
    if not log.is_file():
        write_json(log, pretrain_towers(towers, recipe, seed, tiny))
    rows = [*json.loads(log.read_text(encoding="utf-8")), *tune_text(towers, path, recipe, seed, tiny)]
    towers.unlink()
    log.unlink()
    return rows


def pretrain_towers(path: Path, recipe: Pretraining, seed: int, tiny: TinyClip) -> list[dict[str, float]]:
    """Both towers on short captions.

    Args:
        path: of the weights; the state of an unfinished run lies beside it.
        seed: of stills, order and fresh weights.

    Returns:
        The log: a row for each 50 steps with `step`, the mean losses `thing` and `person`, and `seconds` of work.
    """
    stills, captions = _stills(recipe, tiny.resolution, seed)
    torch.manual_seed(seed)
    model = build(tiny).train().to(memory_format=torch.channels_last)
    full_table = model.token_embedding.weight.detach().clone()
    used, captions = _with_compact_vocabulary(model, captions)
    identity = [asdict(recipe), asdict(tiny), seed]
    run = _Run(path.with_name(f"{path.stem}.state.pt"), identity, model, *_optimizer(model, recipe))
    run.rng.manual_seed(seed)
    if not run.resumed():
        _warm_up_text(model, captions, recipe, run.rng)
    per_epoch, saved = recipe.num_stills // recipe.batch_size, time.monotonic()
    with tqdm(total=recipe.steps, initial=run.step, desc="pretraining the tiny CLIP", mininterval=2) as bar:
        while run.step < recipe.steps:
            place, start = run.step % per_epoch * recipe.batch_size, time.perf_counter()
            if place == 0:
                run.order = torch.randperm(len(stills), generator=run.rng)
            batch = run.order[place : place + recipe.batch_size]
            losses = _step(run, stills[batch], _chosen(captions[batch], run.rng))
            run.note(losses, time.perf_counter() - start)
            bar.update()
            if time.monotonic() - saved > 60 * _MINUTES:
                run.save()
                saved = time.monotonic()
    full_table[used] = model.token_embedding.weight.detach()
    model.token_embedding = torch.nn.Embedding.from_pretrained(full_table)
    save(model, used, path)
    run.path.unlink(missing_ok=True)
    return run.log


def tune_text(towers: Path, path: Path, recipe: Pretraining, seed: int, tiny: TinyClip) -> list[dict[str, float]]:
    """The text tower on captions of all three kinds, the image tower as it is.

    Args:
        towers: what `pretrain_towers` wrote.
        path: of the weights, in the shipped form.

    Returns:
        The log, with the mean loss `long` as well.
    """
    stills, captions = _stills(recipe, tiny.resolution, seed, long=True)
    model = build_clip(load(towers), str(towers))
    with torch.no_grad():
        images = torch.cat([encode_images(model.visual, _normalised(part)) for part in stills.split(_AT_ONCE)])
    full_table = model.token_embedding.weight.detach().clone()
    used, captions = _with_compact_vocabulary(model, captions)
    optimizer = torch.optim.AdamW(
        _text_parameters(model), recipe.text_lr, betas=BETAS, weight_decay=recipe.weight_decay
    )
    per_epoch, steps = recipe.text_stills // recipe.batch_size, recipe.text_steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.text_lr, total_steps=steps, pct_start=0.1)
    rng, losses, start = torch.Generator().manual_seed(seed), [], time.perf_counter()
    for step in tqdm(range(steps), "long captions", mininterval=2):
        place = step % per_epoch * recipe.batch_size
        if place == 0:
            order = torch.randperm(len(images), generator=rng)
        batch = order[place : place + recipe.batch_size]
        of_kinds = [caption_loss(model, images[batch], tokens) for tokens in _chosen(captions[batch], rng)]
        optimizer.zero_grad(set_to_none=True)
        sum(of_kinds).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=float(np.log(100)))
        losses.append([loss.item() for loss in of_kinds])
    full_table[used] = model.token_embedding.weight.detach()
    model.token_embedding = torch.nn.Embedding.from_pretrained(full_table)
    save(model, torch.cat([used, used_tokens(towers)]).unique(), path)
    seconds = (time.perf_counter() - start) / max(1, steps)
    means = [np.mean(losses[max(0, n - _LOGGED) : n], axis=0) for n in range(_LOGGED, steps + 1, _LOGGED)]
    kinds = ("thing", "person", "long")
    return [
        {"step": (n + 1) * _LOGGED, **dict(zip(kinds, mean.round(4).tolist(), strict=True))}
        | {"seconds": (n + 1) * _LOGGED * seconds}
        for n, mean in enumerate(means)
    ]


@dataclass
class _Run:
    """A pretraining that may be cut off: its parts, how far it is, and the file that it goes on from."""

    path: Path
    identity: list  # of what it belongs to: a file of another recipe is not gone on from
    model: CLIP
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rng: torch.Generator = field(default_factory=torch.Generator)
    step: int = 0
    order: Tensor | None = None  # of the stills in this epoch
    log: list[dict[str, float]] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # of losses and seconds, since the last row

    def note(self, losses: list[float], seconds: float) -> None:
        """Count one step."""
        self.step += 1
        self.sums = [total + value for total, value in zip(self.sums, (*losses, seconds), strict=True)]
        if self.step % _LOGGED == 0:
            thing, person = (round(total / _LOGGED, 4) for total in self.sums[:2])
            before = self.log[-1]["seconds"] if self.log else 0
            self.log.append({"step": self.step, "thing": thing, "person": person, "seconds": before + self.sums[2]})
            self.sums = [0.0, 0.0, 0.0]

    def save(self) -> None:
        """Write everything that the rest depends on."""
        parts = (self.model.state_dict(), self.optimizer.state_dict(), self.schedule.state_dict(), self.rng.get_state())
        far = {name: getattr(self, name) for name in ("identity", "step", "order", "log", "sums")}
        with atomic_path(self.path) as temporary:
            torch.save({"parts": parts, **far}, temporary)

    def resumed(self) -> bool:
        """Take up what an interrupted run of the same recipe wrote; whether there was one."""
        saved = torch.load(self.path, weights_only=True) if self.path.is_file() else {}
        if saved.get("identity") != self.identity:
            return False
        model, optimizer, schedule, rng = saved.pop("parts")
        self.model.load_state_dict(model)
        self.optimizer.load_state_dict(optimizer)
        self.schedule.load_state_dict(schedule)
        self.rng.set_state(rng)
        for name, value in saved.items():
            setattr(self, name, value)
        return True


def _step(run: _Run, stills: Tensor, captions: list[Tensor]) -> list[float]:
    """One step on (B, 3, S, S) uint8 pictures with two captions each; the two losses."""
    image = encode_images(run.model.visual, _normalised(stills))
    losses = [caption_loss(run.model, image, tokens) for tokens in captions]
    run.optimizer.zero_grad(set_to_none=True)
    sum(losses).backward()
    run.optimizer.step()
    run.schedule.step()
    with torch.no_grad():
        run.model.logit_scale.clamp_(max=float(np.log(100)))
    return [loss.item() for loss in losses]


def _chosen(captions: Tensor, rng: torch.Generator) -> list[Tensor]:
    """One caption of each kind for every still: (B, kinds, C, 77) -> as many of (B, 77)."""
    kinds, each = captions.shape[1:3]
    picks = torch.randint(each, (kinds, len(captions)), generator=rng)
    return [captions[torch.arange(len(captions)), kind, pick] for kind, pick in enumerate(picks)]


def _warm_up_text(model: CLIP, captions: Tensor, recipe: Pretraining, rng: torch.Generator) -> None:
    """Train the text tower to match two captions of the same still; no picture is seen."""
    optimizer = torch.optim.AdamW(
        _text_parameters(model), recipe.text_lr, betas=BETAS, weight_decay=recipe.weight_decay
    )
    for step in range(recipe.text_warmup_steps):
        batch = captions[torch.randint(len(captions), (recipe.batch_size,), generator=rng)]
        pairs = zip(_chosen(batch, rng), _chosen(batch, rng), strict=True)
        loss = sum(caption_loss(model, encode_text(model, one), other) for one, other in pairs)
        optimizer.param_groups[0]["lr"] = recipe.text_lr * (step + 1) / recipe.text_warmup_steps
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        model.logit_scale.fill_(INITIAL_LOGIT_SCALE)


def _text_parameters(model: CLIP) -> list[torch.nn.Parameter]:
    return [p for name, p in model.named_parameters() if not name.startswith("visual.")]


def _optimizer(model: CLIP, recipe: Pretraining) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW with a rate for each tower, and its one-cycle schedule."""
    rates = [recipe.image_lr, recipe.text_lr]
    towers = [list(model.visual.parameters()), _text_parameters(model)]
    groups = [{"params": tower, "lr": rate} for tower, rate in zip(towers, rates, strict=True)]
    optimizer = torch.optim.AdamW(groups, betas=BETAS, weight_decay=recipe.weight_decay)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=recipe.steps, pct_start=0.1)
