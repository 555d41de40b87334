"""Fine-tuning by text prototypes: the recipe and one loop that reads from top to bottom."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from motion_lib.datasets import VideoDataset
from motion_lib.descriptions import DescriptionSet
from motion_lib.frames import Clips, clips_for
from motion_lib.loading import training_batches
from motion_lib.models import PrototypeClassifier, read_checkpoint
from motion_lib.preprocessing import normalise
from motion_lib.storage import atomic_path, content_hash, write_json

CLIP_RATIO_READINGS = ("learning_rate", "gradient_norm")


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune; the defaults are the paper's (appendix A.4) where it states a value.

    `clip_ratio` is read as Text4Vis, the paper's code base, uses the word: the factor on the
    learning rate of CLIP's own weights. The other reading, a gradient norm limit, is a choice.
    """

    epochs: int = 10  # paper A.4
    batch_size: int = 20  # paper A.4; whether per GPU is not stated
    lr: float = 5e-5  # paper A.4
    clip_ratio: float = 0.1  # paper A.4
    clip_ratio_reading: str = "learning_rate"  # Text4Vis d61b34d; paper: not stated
    warmup_epochs: float = 5  # paper A.4 "warm step of 5"; epochs in Text4Vis
    weight_decay: float = 0.2  # paper A.4; on all parameters, as Text4Vis
    betas: tuple[float, float] = (0.9, 0.999)  # Text4Vis; paper: "Adam"
    flip: float = 0.5  # Text4Vis: probability of mirroring a clip
    logit_scale: float | None = None  # exp(logit_scale) to start from; None keeps CLIP's (100)
    seed: int = 0

    def __post_init__(self):
        if self.clip_ratio_reading not in CLIP_RATIO_READINGS:
            raise ValueError(
                f"clip_ratio_reading {self.clip_ratio_reading!r}: expected one of {', '.join(CLIP_RATIO_READINGS)}."
            )
        if not 0 <= self.warmup_epochs <= self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs}: expected 0 to epochs ({self.epochs}).")


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Base learning rate at a fractional epoch: linear warm-up from 0, then half a cosine to 0.

    Source: Text4Vis d61b34d.
    """
    if epoch < recipe.warmup_epochs:
        return recipe.lr * epoch / recipe.warmup_epochs
    span = recipe.epochs - recipe.warmup_epochs
    progress = min((epoch - recipe.warmup_epochs) / span, 1.0) if span else 1.0
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(model: PrototypeClassifier, recipe: Recipe) -> list[dict]:
    """CLIP's weights (and logit_scale) and the new ones, each with the `ratio` of its learning rate."""
    ratio = recipe.clip_ratio if recipe.clip_ratio_reading == "learning_rate" else 1.0
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    pretrained = [p for name, p in named if model.is_pretrained(name)]
    fresh = [p for name, p in named if not model.is_pretrained(name)]
    groups = ({"params": pretrained, "ratio": ratio}, {"params": fresh, "ratio": 1.0})
    return [group for group in groups if group["params"]]


@dataclass
class History:
    """What a run did: one row an epoch, and the videos that could not be read."""

    run_dir: Path
    inputs: str = ""  # hash of the texts and the video list
    rows: list[dict] = field(default_factory=list)  # epoch, lr, train_loss, train_acc1, clips, wall_time_sec
    failed: dict[str, str] = field(default_factory=dict)

    def checkpoint(self, epoch: int) -> Path:
        """Weights after `epoch` epochs, 1 to the number trained."""
        return self.run_dir / f"epoch_{epoch:02d}.pt"

    @property
    def last_checkpoint(self) -> Path:
        """Weights after the last epoch."""
        return self.checkpoint(len(self.rows))


def fine_tune(
    model: PrototypeClassifier,
    dataset: VideoDataset | Clips,
    descriptions: DescriptionSet,
    recipe: Recipe,
    run_dir: str | Path,
    num_workers: int = 0,
    after_epoch: Callable[[int], None] | None = None,
) -> History:
    """Train `model` to tell videos apart by the descriptions of their classes.

    Args:
        descriptions: one text per class of the data set, matched by class name.
        run_dir: checkpoints of every epoch and the history. A run that was cut off goes on after
            its last whole epoch and ends where an uninterrupted run ends; a finished run is read.
        after_epoch: called with the number of epochs done.
    Raises: ValueError if `run_dir` holds a run of another recipe, other texts or other videos, or the
        loss is not finite.
    Source: paper, section 4.2 and appendix A.2.
    """
    clips = clips_for(dataset, model.preprocess)
    texts = descriptions.select(clips.dataset.class_names).texts
    if recipe.logit_scale is not None:
        model.clip.logit_scale.data.fill_(math.log(recipe.logit_scale))
    groups = parameter_groups(model, recipe)
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay)
    history = _resume(model, optimizer, recipe, Path(run_dir), content_hash(texts, clips.video_ids))
    # The prototypes of a frozen text tower never change: encode them once.
    prototypes = None if model.train_text else model.encode_text(texts)

    steps = math.ceil(len(clips) / recipe.batch_size)
    bar = tqdm(
        total=recipe.epochs * steps,
        initial=len(history.rows) * steps,
        desc="fine-tuning",
        unit="step",
        mininterval=2,
    )
    for epoch in range(len(history.rows), recipe.epochs):
        model.train()
        totals, start = np.zeros(3), time.perf_counter()  # loss, right, clips
        for step, batch in enumerate(training_batches(clips, recipe.batch_size, recipe.seed, epoch, num_workers)):
            history.failed.update(batch.failed)
            if not len(batch):
                continue
            rate = learning_rate(recipe, epoch + step / steps)
            for group in optimizer.param_groups:
                group["lr"] = rate * group["ratio"]

            frames = _mirrored(batch.frames.to(model.device), recipe, epoch, step)
            labels = batch.labels.to(model.device)
            text = model.encode_text(texts) if prototypes is None else prototypes
            logits = model(normalise(frames, model.preprocess), text)
            loss = F.cross_entropy(logits, labels)
            if not torch.isfinite(loss):
                raise ValueError(_not_finite(clips, batch.indices, epoch, step, rate))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if recipe.clip_ratio_reading == "gradient_norm":
                torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_ratio)
            optimizer.step()

            totals += (loss.item() * len(batch), (logits.argmax(1) == labels).sum().item(), len(batch))
            bar.update()
            bar.set_postfix(epoch=epoch + 1, loss=f"{loss.item():.3f}", lr=f"{rate:.1e}", refresh=False)
        if not totals[2]:
            raise ValueError(f"{clips.dataset.name}: not one of its {len(clips)} videos could be read.")
        wall = time.perf_counter() - start
        row = {
            "epoch": epoch + 1,
            "lr": rate,
            "train_loss": totals[0] / totals[2],
            "train_acc1": totals[1] / totals[2],
        }
        history.rows.append({**row, "clips": int(totals[2]), "wall_time_sec": round(wall, 2)})
        _save_epoch(model, optimizer, recipe, history)
        if after_epoch is not None:
            model.eval()  # whoever looks at the model now must not move its BatchNorm statistics
            after_epoch(epoch + 1)
    bar.close()
    model.eval()
    return history


def _mirrored(frames: Tensor, recipe: Recipe, epoch: int, step: int) -> Tensor:
    """Mirror each clip, all of its frames alike, with probability `flip`; (B, T, 3, S, S)."""
    drawn = np.random.default_rng([recipe.seed, epoch, step, 7]).random(len(frames)) < recipe.flip
    mask = torch.from_numpy(drawn).to(frames.device).view(-1, 1, 1, 1, 1)
    return torch.where(mask, frames.flip(-1), frames)


def _not_finite(clips: Clips, indices: Tensor, epoch: int, step: int, rate: float) -> str:
    names = ", ".join(clips.dataset.items[int(i)].video_id for i in indices[:5])
    return (
        f"the loss is not finite in epoch {epoch + 1}, step {step + 1} (lr {rate:.2e}); "
        f"batch: {names}, ... Lower lr or logit_scale."
    )


def _save_epoch(model: PrototypeClassifier, optimizer: torch.optim.Optimizer, recipe: Recipe, history: History) -> None:
    """Weights, then optimizer, then the history that makes both count."""
    epoch = len(history.rows)
    with atomic_path(history.checkpoint(epoch)) as temporary:
        torch.save({"format": "motion_lib", "epoch": epoch, "model": model.trained_state()}, temporary)
    with atomic_path(_optimizer_file(history.run_dir, epoch)) as temporary:
        torch.save({"epoch": epoch, "optimizer": optimizer.state_dict()}, temporary)
    write_json(
        history.run_dir / "history.json",
        {"recipe": asdict(recipe), "inputs": history.inputs, "rows": history.rows, "failed": history.failed},
    )
    # Only now: a run killed before this line still finds the optimizer that its history names.
    _optimizer_file(history.run_dir, epoch - 1).unlink(missing_ok=True)


def _optimizer_file(run_dir: Path, epoch: int) -> Path:
    return run_dir / f"optimizer_{epoch:02d}.pt"


def _resume(
    model: PrototypeClassifier, optimizer: torch.optim.Optimizer, recipe: Recipe, run_dir: Path, inputs: str
) -> History:
    """Put model and optimizer where the run in `run_dir` stopped; an empty folder is a fresh run."""
    history, path = History(run_dir, inputs), run_dir / "history.json"
    if not path.is_file():
        return history
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: broken ({error}). Delete {run_dir} to train anew.") from error
    same_recipe = saved["recipe"] == json.loads(json.dumps(asdict(recipe)))
    if not same_recipe or saved["inputs"] != inputs:
        other = "with other texts or videos" if same_recipe else "of another recipe"
        raise ValueError(f"{run_dir} holds a run {other}. Choose another run_dir, or delete it to train anew.")
    history.rows, history.failed = saved["rows"], saved["failed"]
    weights = read_checkpoint(history.last_checkpoint, model.device)["model"]
    model.load_trained_state(weights, str(history.last_checkpoint))
    if len(history.rows) < recipe.epochs:
        path = _optimizer_file(run_dir, len(history.rows))
        optimizer.load_state_dict(read_checkpoint(path, model.device, "optimizer")["optimizer"])
    return history
