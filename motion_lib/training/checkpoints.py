"""The folder of a run: weights of every epoch, its history, and where to go on after an interruption.

    epoch_01.pt, ...          weights after each epoch, for evaluation
    history.json              recipe, hash of texts and videos, one row an epoch
    resume-0002-000040.pt     everything to go on with after step 40 of the third epoch, and
    resume-0002-000040.json   its SHA-256, written last: without it the state does not count

Two states are kept, so that one that is damaged costs no more than the time between two of them. A finished
run needs none.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from motion_lib.models.prototype import PrototypeClassifier, read_checkpoint
from motion_lib.storage import atomic_path, file_sha256, locked, make_folder, write_json
from motion_lib.training.recipe import Recipe

_KEPT_STATES = 2


@dataclass
class History:
    """What a run did: one row an epoch, and the videos that could not be read."""

    run_dir: Path
    inputs: Sequence[str] = ()  # hashes of the texts and the list of videos, and of the videos that can be read
    rows: list[dict] = field(default_factory=list)  # epoch, lr, train_loss, train_acc1, clips, wall_time_sec
    failed: dict[str, str] = field(default_factory=dict)  # {video_id: reason}

    def checkpoint(self, epoch: int) -> Path:
        """Weights after `epoch` epochs, 1 to the number trained."""
        return self.run_dir / f"epoch_{epoch:02d}.pt"

    @property
    def last_checkpoint(self) -> Path:
        """Weights after the last epoch."""
        return self.checkpoint(len(self.rows))

    def write(self, recipe: Recipe) -> None:
        """Write `history.json`."""
        value = {"recipe": asdict(recipe), "inputs": self.inputs, "rows": self.rows, "failed": self.failed}
        write_json(self.run_dir / "history.json", value)


def read_history(run_dir: Path, recipe: Recipe, inputs: Sequence[str]) -> History:
    """The history of a run; an empty folder is a run that has not begun.

    Videos that were lost after the last epoch do not matter; before it they would change the batches.

    Raises:
        ValueError: if the folder holds a run of another recipe, other texts or other videos, or a broken file.
    """
    if (saved := _saved(run_dir)) is None:
        return History(run_dir, inputs)
    other = ""
    if saved["recipe"] != json.loads(json.dumps(asdict(recipe))):
        other = "of another recipe"
    elif saved["inputs"][0] != inputs[0]:
        other = "with other texts or another list of videos"
    elif saved["inputs"] != inputs and finished_history(run_dir, recipe.epochs) is None:
        other = "that began when other videos of its list could be read: bring them back to go on"
    if other:
        raise ValueError(f"{run_dir} holds a run {other}. Choose another run_dir, or delete it to train anew.")
    return History(run_dir, saved["inputs"], saved["rows"], saved["failed"])


def finished_history(run_dir: Path, epochs: int) -> History | None:
    """The history of a finished run, read from its folder alone; None if the run is not finished."""
    if (saved := _saved(run_dir)) is None or len(saved["rows"]) != epochs or _states(run_dir):
        return None
    return History(run_dir, saved["inputs"], saved["rows"], saved["failed"])


def _saved(run_dir: Path) -> dict | None:
    path = run_dir / "history.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:
        raise ValueError(f"{path}: broken ({error}). Delete {run_dir} to train anew.") from error


def load_finished(history: History, model: PrototypeClassifier) -> None:
    """Put the weights after the last epoch into `model`."""
    weights = read_checkpoint(history.last_checkpoint, model.device)["model"]
    model.load_trained_state(weights, str(history.last_checkpoint))


def save_epoch(history: History, model: PrototypeClassifier) -> None:
    """Write the weights after the epoch of the history's last row."""
    epoch = len(history.rows)
    with atomic_path(history.checkpoint(epoch)) as temporary:
        torch.save({"format": "motion_lib", "epoch": epoch, "model": model.trained_state()}, temporary)


def save_state(run_dir: Path, state: dict) -> None:
    """Write a state to go on with; `state["epoch"]` epochs and `state["step"]` steps of the next are done."""
    path = run_dir / f"resume-{state['epoch']:04d}-{state['step']:06d}.pt"
    with atomic_path(path) as temporary:
        torch.save(state, temporary)
        digest = file_sha256(temporary)
    write_json(path.with_suffix(".json"), {"sha256": digest})
    for old in _states(run_dir)[:-_KEPT_STATES]:
        _remove(old)


def read_state(run_dir: Path, device: torch.device) -> dict | None:
    """The newest state that is whole, or None; each one that is damaged is named in a printed sentence."""
    for path in reversed(_states(run_dir)):
        try:
            if file_sha256(path) != json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["sha256"]:
                raise ValueError("its SHA-256 is not the one that was noted")
            return read_checkpoint(path, device, "optimizer")
        except (OSError, ValueError, LookupError) as error:
            _remove(path)
            then = "going on from the state before it" if _states(run_dir) else "none is left, training begins anew"
            print(f"{path.name} is damaged ({error}); {then}.", flush=True)
    return None


def remove_states(run_dir: Path) -> None:
    """Remove what only an unfinished run needs."""
    for path in _states(run_dir):
        _remove(path)


def _states(run_dir: Path) -> list[Path]:
    """States whose SHA-256 was noted, oldest first."""
    return sorted(path.with_suffix(".pt") for path in run_dir.glob("resume-*.json"))


def _remove(state: Path) -> None:
    state.with_suffix(".json").unlink(missing_ok=True)  # first: what has no note does not count
    state.unlink(missing_ok=True)


@contextmanager
def sole_writer(run_dir: Path) -> Iterator[None]:
    """Hold the folder for this process, and clear away what a killed one left half written.

    Without locks on the file system nothing is cleared away, and a printed sentence says so.

    Raises:
        RuntimeError: if another process is training there.
    """
    with locked(make_folder(run_dir) / ".lock") as lock:
        if lock == "taken":
            raise RuntimeError(f"another process is training in {run_dir}: wait for it, or stop it.")
        if lock == "free":  # as on Lustre without its option flock
            print(f"{run_dir}: no locks here; let one process alone train in it.", flush=True)
        else:
            _clear_away(run_dir)
        yield


def _clear_away(run_dir: Path) -> None:
    """Remove what a process that was killed left half written."""
    for pattern in (".resume-*", ".epoch_*", ".history.json*", ".metrics.jsonl*"):
        for half_written in run_dir.glob(pattern):
            half_written.unlink(missing_ok=True)
    for state in run_dir.glob("resume-*.pt"):
        if not state.with_suffix(".json").exists():
            state.unlink()
