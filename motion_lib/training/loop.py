"""Fine-tuning by text prototypes: one loop that reads from top to bottom, on one device or many."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from motion_lib.data.augmentation import AUGMENTATIONS
from motion_lib.data.batches import TrainingBatch, epoch_order, split_batch, training_batches
from motion_lib.data.clips import Clips, clips_for
from motion_lib.data.datasets import VideoDataset
from motion_lib.data.preprocessing import normalise
from motion_lib.models import clip as clip_loading
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.storage import content_hash
from motion_lib.texts.descriptions import DescriptionSet
from motion_lib.training import checkpoints as run_files
from motion_lib.training.checkpoints import History
from motion_lib.training.memory import explained_out_of_memory
from motion_lib.training.progress import Progress
from motion_lib.training.recipe import PRECISIONS, Recipe, learning_rate
from motion_lib.training.state import Step, end_epoch, resume, save


@dataclass(frozen=True)
class Execution:
    """How a training runs, which changes no number beyond rounding.

    Attributes:
        num_workers: loader processes of each device; 0 loads in the training process.
        at_once: clips that go through the model together on one device; None: its whole share of a batch.
            Gradients of the pieces are summed, so the batch stays the recipe's. (BatchNorm, which only CLIP's
            ResNets have, sees the pieces.)
        checkpoint_minutes: at most this much work is lost to an interruption; each epoch is kept besides.
        recompute: activation checkpointing, see `image_tower.encode_images`.
        compiled: torch.compile the model; the first step then takes minutes.
        tensorboard: write event files beside `metrics.jsonl`.
    """

    num_workers: int = 0
    at_once: int | None = None
    checkpoint_minutes: float = 10.0
    recompute: bool = False
    compiled: bool = False
    tensorboard: bool = False

    def __post_init__(self):
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at_once {self.at_once}: expected at least 1 clip, or None for all.")


class ClassifierWithTexts(nn.Module):
    """uint8 clips in, logits over the training texts out: what is compiled and wrapped for several devices."""

    def __init__(self, model: PrototypeClassifier, texts: tuple[str, ...]):
        super().__init__()
        self.model = model
        tokens = clip_loading.tokenize(list(texts))
        self.length = clip_loading.longest(tokens)
        tokens = tokens.to(model.device)
        # The prototypes of a frozen text tower never change: encode them once.
        fixed = tokens if model.train_text else model.encode_text(texts)
        self.register_buffer("texts", fixed, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, 3, S, S) uint8 -> (B, K) float32 logits."""
        video = self.model.encode_video(normalise(frames, self.model.preprocess))
        text = self.model.encode_tokens(self.texts, self.length) if self.model.train_text else self.texts
        # Logits reach 100, where bfloat16 knows steps of one half: cosines are taken in float32.
        with torch.autocast(frames.device.type, enabled=False):
            return self.model.similarity(video.float(), text.float())


def parameter_groups(model: PrototypeClassifier, recipe: Recipe) -> list[dict]:
    """CLIP's weights (and logit_scale) and the new ones, each with the `ratio` of its learning rate."""
    ratio = recipe.clip_ratio if recipe.clip_ratio_reading == "learning_rate" else 1.0
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    pretrained = [p for name, p in named if model.is_pretrained(name)]
    fresh = [p for name, p in named if not model.is_pretrained(name)]
    groups = ({"params": pretrained, "ratio": ratio}, {"params": fresh, "ratio": 1.0})
    return [group for group in groups if group["params"]]


def fine_tune(
    model: PrototypeClassifier,
    dataset: VideoDataset | Clips,
    descriptions: DescriptionSet,
    recipe: Recipe,
    run_dir: str | Path,
    execution: Execution = Execution(),
    after_epoch: Callable[[int], dict[str, float] | None] | None = None,
    fabric: Fabric | None = None,
) -> History:
    """Train `model` to tell videos apart by the descriptions of their classes.

    Args:
        descriptions: one text per class of the data set, matched by class name.
        run_dir: checkpoints of every epoch, the history, states to go on from. A run that was cut off goes on
            from its newest state and ends where an uninterrupted run ends, on a CPU bit for bit (GPU kernels that
            add in any order are no more repeatable than without an interruption); a finished run is read.
        after_epoch: called on the first device with the number of epochs done; what it measured is logged.
        fabric: launched, of the recipe's precision; None trains in this process on the model's device.
    Raises: ValueError if `run_dir` holds a run of another recipe, other texts or other videos, or the
        loss is not finite; RuntimeError if memory does not suffice or another process trains there.
    Source: paper, section 4.2 and appendix A.2.
    """
    fabric = fabric or single_device(model, recipe)
    clips, run_dir = clips_for(dataset, model.preprocess), Path(run_dir)
    texts = descriptions.select(clips.dataset.class_names).texts
    inputs = content_hash(texts, clips.video_ids)
    history = run_files.read_history(run_dir, recipe, inputs)
    if fabric.broadcast(run_files.is_finished(run_dir, recipe.epochs)):
        run_files.load_finished(history, model)
        return history
    with run_files.sole_writer(run_dir) if fabric.is_global_zero else nullcontext():
        history = run_files.read_history(run_dir, recipe, inputs)  # what another process did meanwhile counts
        _train(fabric, model, clips, texts, recipe, execution, history, after_epoch)
    fabric.barrier()
    model.eval()
    return history


def single_device(model: PrototypeClassifier, recipe: Recipe) -> Fabric:
    """A Fabric of this process and the device that the model is on."""
    index = model.device.index
    devices = 1 if index is None else [index]
    return Fabric(accelerator=model.device.type, devices=devices, precision=PRECISIONS[recipe.precision])


def _train(
    fabric: Fabric,
    model: PrototypeClassifier,
    clips: Clips,
    texts: tuple[str, ...],
    recipe: Recipe,
    execution: Execution,
    history: History,
    after_epoch: Callable[[int], dict[str, float] | None] | None,
) -> None:
    if recipe.logit_scale is not None:
        model.clip.logit_scale.data.fill_(math.log(recipe.logit_scale))
    model.recompute = execution.recompute
    optimizer = torch.optim.AdamW(
        parameter_groups(model, recipe),
        lr=recipe.lr,
        betas=recipe.betas,
        weight_decay=recipe.weight_decay,
        fused=fabric.device.type == "cuda" or None,
    )
    state = resume(fabric, model, optimizer, history)
    if fabric.is_global_zero:
        history.write(recipe)  # from now on the folder says whose run it is
    # What the processes tell each other in every step goes past the GPUs, which then never wait for it.
    hosts = dist.new_group(backend="gloo") if fabric.world_size > 1 else None
    classifier = ClassifierWithTexts(model, texts)
    if execution.compiled:
        classifier = torch.compile(classifier)
    classifier, optimizer = fabric.setup(classifier, optimizer)

    steps = math.ceil(len(clips) / recipe.batch_size)
    progress = Progress(
        history.run_dir,
        steps,
        recipe.epochs,
        (state.epoch, state.step),
        execution.tensorboard,
        quiet=not fabric.is_global_zero,
    )
    with closing(progress):
        if fabric.broadcast(state.step == 0 and bool(history.rows) and not progress.has_epoch(len(history.rows))):
            _look(fabric, model, history, after_epoch, progress)  # was cut off in the middle of it
        state.restart_clock()
        for epoch in range(state.epoch, recipe.epochs):
            model.train()
            share = _share_of_epoch(fabric, len(clips), recipe, execution, epoch)
            loaded = _loaded(fabric, clips, share[state.step :], recipe, execution, epoch)
            for step in range(state.step, steps):
                pieces, waited = _take(loaded, len(share[step]))
                count, due = _agree(fabric, hosts, pieces, history, state.due(execution.checkpoint_minutes))
                if count:
                    rate = learning_rate(recipe, epoch + step / steps)
                    for group in optimizer.param_groups:
                        group["lr"] = rate * group["ratio"]
                    sums = accumulate(fabric, classifier, [piece for piece in pieces if len(piece)], count)
                    if recipe.clip_ratio_reading == "gradient_norm":
                        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_ratio)
                    with explained_out_of_memory(count):
                        optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                    names = [clips.dataset.items[index].video_id for piece in pieces for index in piece.indices]
                    state.launched(Step(epoch, step, rate, count, waited, names, sums), progress)
                state.step = step + 1
                if due and state.step < steps:
                    state.settle(progress)
                    state.require_finite(model)
                    save(fabric, model, optimizer, history, state)
            state.settle(progress)
            if not state.totals[2]:
                raise ValueError(f"{clips.dataset.name}: not one of its {len(clips)} videos could be read.")
            rate = learning_rate(recipe, epoch + (steps - 1) / steps)
            end_epoch(fabric, model, optimizer, recipe, history, state, rate)
            _look(fabric, model, history, after_epoch, progress)
            state.restart_clock()
    if fabric.is_global_zero:
        run_files.remove_states(history.run_dir)


def _look(
    fabric: Fabric,
    model: PrototypeClassifier,
    history: History,
    after_epoch: Callable[[int], dict[str, float] | None] | None,
    progress: Progress,
) -> None:
    """Let the caller measure the model after the history's last epoch, and report it; the other devices wait."""
    if fabric.is_global_zero:
        model.eval()  # whoever looks at the model now must not move its BatchNorm statistics
        measured = after_epoch(len(history.rows)) if after_epoch is not None else None
        progress.epoch(history.rows[-1], measured or {})
    fabric.barrier()


# --- one step ---


def _share_of_epoch(
    fabric: Fabric, length: int, recipe: Recipe, execution: Execution, epoch: int
) -> list[list[list[int]]]:
    """For each step of an epoch the pieces, lists of clips, that this device takes of the batch."""
    order = epoch_order(length, recipe.seed, epoch)
    batches = (order[start : start + recipe.batch_size] for start in range(0, length, recipe.batch_size))
    at_once = execution.at_once or recipe.batch_size
    return [split_batch(batch, fabric.global_rank, fabric.world_size, at_once) for batch in batches]


def _loaded(
    fabric: Fabric,
    clips: Clips,
    share: list[list[list[int]]],
    recipe: Recipe,
    execution: Execution,
    epoch: int,
) -> Iterator[TrainingBatch]:
    pieces = [piece for step in share for piece in step]
    return iter(
        training_batches(
            clips,
            pieces,
            recipe.seed,
            epoch,
            execution.num_workers,
            AUGMENTATIONS[recipe.augmentation],
            pin_memory=fabric.device.type == "cuda",
        )
    )


def _agree(
    fabric: Fabric,
    hosts: dist.ProcessGroup | None,
    pieces: Iterable[TrainingBatch],
    history: History,
    due: bool,
) -> tuple[int, bool]:
    """Readable clips of this step on all devices, and whether the first device finds that a state is due."""
    for piece in pieces:
        history.failed.update(piece.failed)
    said = torch.tensor([sum(len(piece) for piece in pieces), int(due and fabric.is_global_zero)])
    if hosts is not None:
        dist.all_reduce(said, group=hosts)
    count, wanted = said.tolist()
    return count, bool(wanted)


def accumulate(fabric: Fabric, classifier: nn.Module, pieces: list[TrainingBatch], count: int) -> Tensor:
    """Add up the gradients of the mean loss over all `count` clips of a batch, of which this device has `pieces`.

    Returns: (2,) float64 on the device: sum of this device's losses, and how many of its clips were right.
    """
    sums = torch.zeros(2, dtype=torch.float64, device=fabric.device)
    for number, piece in enumerate(pieces, start=1):
        with fabric.no_backward_sync(classifier, enabled=number < len(pieces)), explained_out_of_memory(len(piece)):
            frames, labels = piece.on(fabric.device)
            logits = classifier(frames)
            loss = F.cross_entropy(logits, labels, reduction="sum")
            # Gradients are averaged over devices: times their number, their sum is that of the whole batch.
            fabric.backward(loss / count * fabric.world_size)
        sums += torch.stack([loss.detach(), (logits.argmax(1) == labels).sum()])
    if not pieces and fabric.world_size > 1:  # the other devices wait for this one's gradients
        _take_part(fabric, classifier)
    return sums


def _take_part(fabric: Fabric, classifier: nn.Module) -> None:
    """Gradients of zero, from a black clip that BatchNorm does not count."""
    model = classifier.module.model
    preprocess = model.preprocess
    shape = (1, preprocess.num_frames, 3, preprocess.crop_size, preprocess.crop_size)
    model.eval()
    fabric.backward(classifier(torch.zeros(shape, dtype=torch.uint8, device=fabric.device)).sum() * 0)
    model.train()


def _take(loaded: Iterator[TrainingBatch], count: int) -> tuple[list[TrainingBatch], float]:
    """The next `count` pieces, and the seconds that they were waited for."""
    start = time.perf_counter()
    return list(islice(loaded, count)), time.perf_counter() - start
