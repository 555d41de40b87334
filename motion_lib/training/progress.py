"""What a run tells while it goes: a bar, one JSON line every few steps, and TensorBoard's files if asked."""

import json
import time
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from motion_lib.storage import append_line, read_lines, write_text

LOG_EVERY = 10  # steps


class Progress:
    """Reports the steps and epochs of one run, from the place where it goes on.

    Args:
        run_dir: `metrics.jsonl` and `tensorboard/` are kept there.
        steps: of one epoch.
        epochs: of the whole run.
        done: (epochs, steps of the next) done before.
        tensorboard: also write event files.
        quiet: this process reports nothing (another one of the same run does).
    """

    def __init__(
        self,
        run_dir: Path,
        steps: int,
        epochs: int,
        done: tuple[int, int],
        tensorboard: bool = False,
        quiet: bool = False,
    ):
        self._path, self._steps, self._quiet = run_dir / "metrics.jsonl", steps, quiet
        self._waited = self._total = 0.0
        self._clips, self._mark = 0, time.perf_counter()
        start = done[0] * steps + done[1]
        self._bar = tqdm(
            total=epochs * steps, initial=start, desc="fine-tuning", unit="step", mininterval=2, disable=quiet
        )
        self._events = None
        if quiet:
            return
        self._forget_after(start)
        if tensorboard:
            self._events = _event_writer(run_dir / "tensorboard", start)

    def _forget_after(self, start: int) -> None:
        """Drop what an interrupted run reported of steps that are now done again."""
        if self._path.is_file():
            kept = [line for line in read_lines(self._path) if line["step"] <= start]
            write_text(self._path, "".join(json.dumps(line) + "\n" for line in kept))

    def has_epoch(self, epoch: int) -> bool:
        """Whether the end of this epoch has been reported."""
        lines = read_lines(self._path)
        return any(line["step"] == epoch * self._steps and "train_loss" in line for line in lines)

    def step(self, epoch: int, step: int, loss: float, rate: float, clips: int, waited: float) -> None:
        """One step is done: mean loss of this device's clips, learning rate, all clips, seconds waited for data."""
        now = time.perf_counter()
        self._total += now - self._mark
        self._waited += waited
        self._clips, self._mark = self._clips + clips, now
        speed, share = self._clips / max(self._total, 1e-9), self._waited / max(self._total, 1e-9)
        self._bar.update()
        self._bar.set_postfix_str(
            f"epoch {epoch + 1}, loss {loss:.3f}, lr {rate:.1e}, {speed:.1f} clips/s, {share:.0%} waiting for data",
            refresh=False,
        )
        number = epoch * self._steps + step + 1
        if not self._quiet and number % LOG_EVERY == 0:
            measured = {"loss": loss, "lr": rate, "clips_per_sec": round(speed, 2), "data_wait": round(share, 4)}
            self._write(number, epoch + (step + 1) / self._steps, measured)

    def epoch(self, row: Mapping[str, float], validation: Mapping[str, float]) -> None:
        """An epoch is done: its row of the history, and what was measured after it."""
        if not self._quiet:
            names = ("train_loss", "train_acc1", "clips", "wall_time_sec")
            self._write(row["epoch"] * self._steps, row["epoch"], {**{n: row[n] for n in names}, **validation})
            if validation:
                shown = ", ".join(f"{name} {100 * value:.1f} %" for name, value in validation.items())
                tqdm.write(f"epoch {row['epoch']}: {shown}")
        self._clips, self._total, self._waited = 0, 0.0, 0.0
        self._mark = time.perf_counter()

    def close(self) -> None:
        """Finish the bar and the event file."""
        self._bar.close()
        if self._events is not None:
            self._events.close()

    def _write(self, number: int, epoch: float, measured: Mapping[str, float]) -> None:
        append_line(self._path, {"step": number, "epoch": round(epoch, 4), **measured})
        if self._events is not None:
            for name, value in measured.items():
                self._events.add_scalar(name, value, number)


def _event_writer(folder: Path, start: int):
    """TensorBoard's writer; what was written of later steps is taken back."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise RuntimeError("TensorBoard's files were asked for: pip install tensorboard, or leave it out.") from error
    return SummaryWriter(folder, purge_step=start + 1)
