"""Where a run is, and how it gets back there: sums of the epoch, numbers still on the device, saving and resuming."""

import math
import time
from dataclasses import dataclass

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn

from motion_lib.data.clips import Clips
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.training import checkpoints
from motion_lib.training.checkpoints import History
from motion_lib.training.progress import Progress
from motion_lib.training.recipe import Execution, Recipe, learning_rate


@dataclass(frozen=True)
class Run:
    """All that a training holds from its first step to its last."""

    fabric: Fabric
    model: PrototypeClassifier
    classifier: nn.Module  # the model with its texts, compiled and wrapped for several devices
    optimizer: torch.optim.Optimizer
    clips: Clips
    recipe: Recipe
    execution: Execution
    history: History
    hosts: dist.ProcessGroup | None  # of the processes without their GPUs, which then never wait; None for one

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return math.ceil(len(self.clips) / self.recipe.batch_size)


@dataclass
class Step:
    """A step whose numbers a GPU may still be computing."""

    epoch: int
    step: int
    rate: float
    count: int  # readable clips on all devices
    waited: float  # seconds for data
    names: list[str]  # of this device's videos
    sums: Tensor

    def __post_init__(self):
        # To pinned memory, right behind the step: whoever reads them waits for this step and for no later one.
        stream = torch.cuda.current_stream(self.sums.device) if self.sums.is_cuda else None
        self.sums = self.sums.to("cpu", non_blocking=True)
        self._arrived = stream.record_event() if stream else None

    def read(self) -> tuple[float, float]:
        """Sum of losses and right clips of this device."""
        if self._arrived is not None:
            self._arrived.synchronize()
        loss, right = self.sums.tolist()
        if not math.isfinite(loss):
            raise ValueError(f"the loss is not finite in {self.place()}. Lower lr or logit_scale.")
        return loss, right

    def place(self) -> str:
        """Which step it is, for a message."""
        names = ", ".join(self.names[:5])
        return f"epoch {self.epoch + 1}, step {self.step + 1} (lr {self.rate:.2e}); batch: {names}, ..."


class State:
    """Position of a run, and the sums of the epoch that it is in; all of it is in a state file."""

    def __init__(self, epoch: int = 0, step: int = 0, totals: tuple[float, ...] = (0.0, 0.0, 0.0), wall: float = 0.0):
        self.epoch, self.step = epoch, step  # epochs done, steps of the next one done
        self.totals = list(totals)  # losses and right clips of this device, clips of all devices
        self._pending: Step | None = None
        self._last: Step | None = None
        self._earlier, self._started = wall, time.perf_counter()
        self._saved = time.monotonic()

    @property
    def wall_time(self) -> float:
        """Seconds spent on this epoch, those before an interruption included."""
        return self._earlier + time.perf_counter() - self._started

    def due(self, minutes: float) -> bool:
        """Whether the last state file is this old."""
        return time.monotonic() - self._saved >= 60 * minutes

    def saved(self) -> None:
        """A state file was written now."""
        self._saved = time.monotonic()

    def launched(self, step: Step, progress: Progress) -> None:
        """A step was handed to the device. Its numbers are read one step later, so that a GPU never waits for it."""
        self.settle(progress)
        self._pending = step

    def settle(self, progress: Progress) -> None:
        """Read and report the numbers of the step that is still out.

        Raises:
            ValueError: if its loss is not finite.
        """
        step, self._pending = self._pending, None
        if step is None:
            return
        loss, right = step.read()
        self._last, mine = step, len(step.names)
        for index, value in enumerate((loss, right, step.count)):
            self.totals[index] += value
        progress.step(step.epoch, step.step, loss / max(mine, 1), step.rate, step.count, step.waited)

    def require_finite(self, model: PrototypeClassifier) -> None:
        """Refuse weights that are not finite: no file may hold them.

        A finite loss can have a gradient that is none, and after the last step no loss would tell.

        Raises:
            ValueError: naming the last batch.
        """
        tensors = model.trained_state().items()
        broken = [name for name, tensor in tensors if tensor.is_floating_point() and not tensor.isfinite().all()]
        if broken:
            after = "" if self._last is None else f" after {self._last.place()}"
            raise ValueError(
                f"{len(broken)} tensors of the model are not finite{after}, e.g. {broken[0]}. Lower lr or logit_scale."
            )

    def restart_clock(self) -> None:
        """Count the epoch's seconds from now, those before an interruption aside."""
        self._started = time.perf_counter()

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch, self.step, self.totals = self.epoch + 1, 0, [0.0, 0.0, 0.0]
        self._earlier, self._started = 0.0, time.perf_counter()


def end_epoch(run: Run, state: State) -> None:
    """Add the epoch's row; write its weights, then the state to go on with, then the history.

    Raises:
        ValueError: if no video could be read, or a weight is not finite.
    """
    fabric, history, clips = run.fabric, run.history, run.clips
    losses, right, count = _all_totals(fabric, state)
    if not count:
        raise ValueError(f"{clips.dataset.name}: not one of its {len(clips)} videos could be read.")
    for failed in _gathered(fabric, history.failed):
        history.failed.update(failed)
    rate = learning_rate(run.recipe, state.epoch + (run.steps - 1) / run.steps)
    row = {"epoch": state.epoch + 1, "lr": rate, "train_loss": losses / count, "train_acc1": right / count}
    history.rows.append({**row, "clips": int(count), "wall_time_sec": round(state.wall_time, 2)})
    state.next_epoch()
    state.require_finite(run.model)
    if fabric.is_global_zero:
        checkpoints.save_epoch(history, run.model)
    save(run, state)
    if fabric.is_global_zero:
        history.write(run.recipe)


def save(run: Run, state: State) -> None:
    """Write everything that the run needs to go on from here."""
    totals, generators = _all_totals(run.fabric, state), _random_states(run.fabric)
    if run.fabric.is_global_zero:
        saved = {
            "epoch": state.epoch,
            "step": state.step,
            "totals": totals,
            "wall_time_sec": state.wall_time,
            "model": run.model.trained_state(),
            "optimizer": run.optimizer.state_dict(),
            "random": generators,
            "rows": run.history.rows,
            "failed": run.history.failed,
        }
        checkpoints.save_state(run.history.run_dir, saved)
    state.saved()


def resume(fabric: Fabric, model: PrototypeClassifier, optimizer: torch.optim.Optimizer, history: History) -> State:
    """Put model, optimizer, history and generators where the newest state is; without one, at the beginning.

    Raises:
        RuntimeError: if the machines see different folders.
    """
    # The first device clears away damaged states before the others look.
    saved = checkpoints.read_state(history.run_dir, fabric.device) if fabric.is_global_zero else None
    fabric.barrier()
    if not fabric.is_global_zero:
        saved = checkpoints.read_state(history.run_dir, fabric.device)
    place = (saved["epoch"], saved["step"]) if saved else (0, 0)
    if fabric.world_size > 1 and fabric.broadcast(place) != place:
        raise RuntimeError(f"{history.run_dir} is not the same folder on all machines: put it on a shared disk.")
    if saved is None:
        history.rows, history.failed = [], {}
        return State()
    model.load_trained_state(saved["model"], f"the state in {history.run_dir}")
    optimizer.load_state_dict(saved["optimizer"])
    history.rows, history.failed = saved["rows"], saved["failed"]
    _set_random_states(fabric, saved["random"])
    totals = saved["totals"] if fabric.is_global_zero else [0.0, 0.0, saved["totals"][2]]
    return State(saved["epoch"], saved["step"], tuple(totals), saved["wall_time_sec"])


def _all_totals(fabric: Fabric, state: State) -> list[float]:
    """Losses, right clips and clips of all devices."""
    if fabric.world_size == 1:
        return list(state.totals)
    mine = torch.tensor(state.totals[:2], dtype=torch.float64, device=fabric.device)
    return [*fabric.all_reduce(mine, reduce_op="sum").tolist(), state.totals[2]]


def _gathered(fabric: Fabric, mine: dict) -> list[dict]:
    """What each device has, in the order of their ranks."""
    if fabric.world_size == 1:
        return [mine]
    everywhere: list[dict] = [{}] * fabric.world_size
    dist.all_gather_object(everywhere, mine)
    return everywhere


def _random_states(fabric: Fabric) -> list[dict[str, Tensor]]:
    """States of torch's generators, one entry a device."""
    mine = {"cpu": torch.get_rng_state()}
    if fabric.device.type == "cuda":
        mine["cuda"] = torch.cuda.get_rng_state(fabric.device)
    return _gathered(fabric, mine)


def _set_random_states(fabric: Fabric, saved: list[dict[str, Tensor]]) -> None:
    """Restore what this device had; a run that goes on with more devices leaves the new ones as they are."""
    if fabric.global_rank >= len(saved):
        return
    mine = saved[fabric.global_rank]
    torch.set_rng_state(mine["cpu"].cpu())
    if "cuda" in mine and fabric.device.type == "cuda":
        torch.cuda.set_rng_state(mine["cuda"].cpu(), fabric.device)
