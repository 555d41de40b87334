"""Fine-tuning by text prototypes: one loop that reads from top to bottom, on one device or many."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from motion_lib.data.augmentation import AUGMENTATIONS
from motion_lib.data.batches import TrainingBatch, epoch_order, explained_loader_errors, split_batch, training_batches
from motion_lib.data.clips import Clips, clips_for
from motion_lib.data.datasets import VideoDataset
from motion_lib.models.clip import longest, tokenize
from motion_lib.models.memory import explained_out_of_memory
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.storage import content_hash
from motion_lib.texts.descriptions import DescriptionSet
from motion_lib.training import checkpoints
from motion_lib.training.checkpoints import History
from motion_lib.training.progress import Progress
from motion_lib.training.recipe import LONGEST_WAIT, PRECISIONS, Execution, Recipe, learning_rate
from motion_lib.training.state import Run, State, Step, end_epoch, resume, save

AfterEpoch = Callable[[int], dict[str, float] | None]


@explained_loader_errors()
def fine_tune(
    model: PrototypeClassifier,
    dataset: VideoDataset | Clips,
    descriptions: DescriptionSet,
    recipe: Recipe,
    run_dir: str | Path,
    execution: Execution = Execution(),  # noqa: B008, it is frozen
    after_epoch: AfterEpoch | None = None,
    fabric: Fabric | None = None,
) -> History:
    """Train `model` to tell videos apart by the descriptions of their classes (paper, section 4.2, appendix A.2).

    A run that was cut off goes on from its newest state and ends where an uninterrupted run ends, on a CPU bit for
    bit (GPU kernels that add in any order are no more repeatable than without an interruption). A finished run is read.

    Args:
        descriptions: one text per class of the data set, matched by class name.
        run_dir: checkpoints of every epoch, the history, states to go on from.
        after_epoch: called on every device with the number of epochs done; what the first one measured is logged.
        fabric: launched, of the recipe's precision; None trains in this process on the model's device.

    Raises:
        ValueError: if `run_dir` holds a run of another recipe, other texts or other videos, or the loss is not finite.
        RuntimeError: if memory does not suffice or another process trains there.
    """
    fabric = fabric or single_device(model, recipe)
    clips, run_dir = clips_for(dataset, model.preprocess), Path(run_dir)
    texts = descriptions.select(clips.dataset.class_names).texts
    listed = sorted([*clips.video_ids, *clips.failed, *clips.dataset.missing])
    inputs = [content_hash(texts, listed), content_hash(clips.video_ids)]
    history = checkpoints.read_history(run_dir, recipe, inputs)
    if fabric.broadcast(checkpoints.finished_history(run_dir, recipe.epochs) is not None):
        checkpoints.load_finished(history, model)
        return history
    with checkpoints.sole_writer(run_dir) if fabric.is_global_zero else nullcontext():
        history = checkpoints.read_history(run_dir, recipe, inputs)  # what another process did meanwhile counts
        run, state = _set_up(fabric, model, clips, texts, recipe, execution, history)
        done, quiet = (state.epoch, state.step), not fabric.is_global_zero
        with closing(Progress(run_dir, run.steps, recipe.epochs, done, execution.tensorboard, quiet)) as progress:
            cut_off = state.step == 0 and bool(history.rows) and not progress.has_epoch(len(history.rows))
            if fabric.broadcast(cut_off):  # while the last epoch was validated
                _validate(run, after_epoch, progress)
            _train(run, state, progress, after_epoch)
        if fabric.is_global_zero:
            checkpoints.remove_states(run_dir)
    fabric.barrier()
    model.eval()
    return history


def _train(run: Run, state: State, progress: Progress, after_epoch: AfterEpoch | None) -> None:
    """The loop, from `state` to the last epoch: data, forward, loss, step, log, save, validate."""
    model, optimizer, recipe, steps = run.model, run.optimizer, run.recipe, run.steps
    for epoch in range(state.epoch, recipe.epochs):
        model.train()
        state.restart_clock()
        batches = _batches(run, epoch, state.step)  # data
        for step, (pieces, waited) in enumerate(batches, start=state.step):
            count, save_now = _agree(run, pieces, state.due(run.execution.checkpoint_minutes))
            if count:
                rate = learning_rate(recipe, epoch + step / steps)
                for group in optimizer.param_groups:
                    group["lr"] = rate * group["ratio"]
                sums = accumulate(run.fabric, run.classifier, pieces, count)  # forward, loss, backward
                if recipe.clip_ratio_reading == "gradient_norm":
                    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_ratio)
                with explained_out_of_memory(count):
                    optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                names = [run.clips.dataset.items[index].video_id for piece in pieces for index in piece.indices]
                state.launched(Step(epoch, step, rate, count, waited, names, sums), progress)  # logs the step before
            state.step = step + 1
            if save_now and state.step < steps:
                state.settle(progress)
                state.require_finite(model)
                save(run, state)
        state.settle(progress)
        end_epoch(run, state)  # save its weights, then the state to go on with
        _validate(run, after_epoch, progress)


def accumulate(fabric: Fabric, classifier: nn.Module, pieces: list[TrainingBatch], count: int) -> Tensor:
    """Add up the gradients of the mean loss over a batch, piece by piece.

    Args:
        pieces: this device's part of the batch.
        count: clips of the whole batch, on all devices.

    Returns:
        (2,) float64 on the device: sum of this device's losses, and how many of its clips were right.
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


def _validate(run: Run, after_epoch: AfterEpoch | None, progress: Progress) -> None:
    """Let the caller measure the model after the history's last epoch, on all devices, and report it."""
    run.model.eval()  # whoever looks at the model now must not move its BatchNorm statistics
    measured = after_epoch(len(run.history.rows)) if after_epoch is not None else None
    progress.epoch(run.history.rows[-1], measured or {})
    run.fabric.barrier()


# --- set-up ---


class ClassifierWithTexts(nn.Module):
    """uint8 clips in, logits over the training texts out: what is compiled and wrapped for several devices."""

    def __init__(self, model: PrototypeClassifier, texts: tuple[str, ...]):
        super().__init__()
        self.model = model
        tokens = tokenize(list(texts))
        self.length = longest(tokens)
        tokens = tokens.to(model.device)
        # The prototypes of a frozen text tower never change: encode them once.
        fixed = tokens if model.train_text else model.encode_text(texts)
        self.register_buffer("texts", fixed, persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, 3, S, S) uint8 -> (B, K) float32 logits."""
        if torch.compiler.is_compiling():
            # Else an epoch's smaller last batch brings a slower graph of any size, which then runs all batches.
            torch._dynamo.mark_static(frames, 0)
        video = self.model.encode_video(self.model.normalise(frames))
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


def single_device(model: PrototypeClassifier, recipe: Recipe) -> Fabric:
    """A Fabric of this process and the device that the model is on."""
    index = model.device.index
    devices = 1 if index is None else [index]
    return Fabric(accelerator=model.device.type, devices=devices, precision=PRECISIONS[recipe.precision])


def _set_up(
    fabric: Fabric,
    model: PrototypeClassifier,
    clips: Clips,
    texts: tuple[str, ...],
    recipe: Recipe,
    execution: Execution,
    history: History,
) -> tuple[Run, State]:
    """Optimizer, the state to go on from, and only then what is encoded, compiled and wrapped."""
    if recipe.logit_scale is not None:
        model.clip.logit_scale.data.fill_(math.log(recipe.logit_scale))
    model.recompute = execution.recompute
    fused = fabric.device.type in ("cuda", "cpu") or None  # one pass over each tensor instead of a dozen
    groups, decay = parameter_groups(model, recipe), recipe.weight_decay
    optimizer = torch.optim.AdamW(groups, recipe.lr, recipe.betas, weight_decay=decay, fused=fused)
    state = resume(fabric, model, optimizer, history)
    if fabric.is_global_zero:
        history.write(recipe)  # from now on the folder says whose run it is
    hosts = dist.new_group(backend="gloo", timeout=LONGEST_WAIT) if fabric.world_size > 1 else None
    classifier = ClassifierWithTexts(model, texts)
    if execution.compiled:
        classifier = torch.compile(classifier)
    classifier, optimizer = fabric.setup(classifier, optimizer)
    return Run(fabric, model, classifier, optimizer, clips, recipe, execution, history, hosts), state


# --- one step on each of several devices ---


def _batches(run: Run, epoch: int, start: int) -> Iterator[tuple[list[TrainingBatch], float]]:
    """This device's pieces of every batch from step `start` on, and the seconds that they were waited for.

    Videos that cannot be read are noted in the history; pieces without a readable one are left out.
    """
    fabric, recipe, execution = run.fabric, run.recipe, run.execution
    order, size = epoch_order(len(run.clips), recipe.seed, epoch), recipe.batch_size
    batches = [order[first : first + size] for first in range(0, len(order), size)][start:]
    at_once = execution.at_once or size
    shares = [split_batch(batch, fabric.global_rank, fabric.world_size, at_once) for batch in batches]
    pieces = [piece for share in shares for piece in share]
    augmentation, pinned = AUGMENTATIONS[recipe.augmentation], fabric.device.type == "cuda"
    loader = iter(training_batches(run.clips, pieces, recipe.seed, epoch, execution.num_workers, augmentation, pinned))
    for share in shares:
        asked = time.perf_counter()
        loaded = list(islice(loader, len(share)))
        waited = time.perf_counter() - asked
        for piece in loaded:
            run.history.failed.update(piece.failed)
        yield [piece for piece in loaded if len(piece)], waited


def _agree(run: Run, pieces: list[TrainingBatch], due: bool) -> tuple[int, bool]:
    """Readable clips of this step on all devices, and whether the first device finds that a state is due."""
    count, wanted = sum(len(piece) for piece in pieces), int(due and run.fabric.is_global_zero)
    if run.hosts is not None:
        said = torch.tensor([count, wanted])
        dist.all_reduce(said, group=run.hosts)
        count, wanted = said.tolist()
    return count, bool(wanted)


def _take_part(fabric: Fabric, classifier: nn.Module) -> None:
    """Gradients of zero, from a black clip that BatchNorm does not count."""
    model = classifier.module.model
    preprocess = model.preprocess
    shape = (1, preprocess.num_frames, 3, preprocess.crop_size, preprocess.crop_size)
    model.eval()
    fabric.backward(classifier(torch.zeros(shape, dtype=torch.uint8, device=fabric.device)).sum() * 0)
    model.train()
