"""Several devices from one notebook: torchrun as a subprocess, its log streamed."""

import atexit
import gc
import io
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.distributed as dist
import yaml
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from motion_lib.config import RunConfig
from motion_lib.storage import write_text
from motion_lib.training.recipe import LONGEST_WAIT, PRECISIONS

_SHOWN_LINES = 40  # of the log, in an error


def launched_by_torchrun() -> bool:
    """Whether this process is a member of a group that torchrun started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def write_config(cfg: RunConfig, run_dir: Path) -> Path:
    """All parameters of a run as YAML, for `python -m motion_lib train --config`."""
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(cfg).items()}
    return write_text(run_dir / "config.yaml", yaml.safe_dump(values, sort_keys=False))


def launch(cfg: RunConfig, key: str, run_dir: Path, say: Callable[[str], None] = print) -> None:
    """Train a method by `cfg.devices` processes of this machine, one a device; returns when it is done.

    Several machines: see notebooks/cluster.md.
    An interruption (Ctrl-C, the notebook's stop button) ends the group; the run goes on from its last state.

    Args:
        say: takes each line of the group's log; its progress bar goes to stderr, where it stays one line.

    Raises:
        RuntimeError: with the end of the log, if it fails.
    """
    free_memory(say)
    config = write_config(cfg, run_dir)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(cfg.devices)),
        *("-m", "motion_lib", "train", key, "--config", str(config)),
    ]
    say(f"torchrun --nproc-per-node {cfg.devices} -m motion_lib train {key} --config {config.name}")
    last: deque[str] = deque(maxlen=_SHOWN_LINES)
    at_once = {**os.environ, "PYTHONUNBUFFERED": "1"}  # no line waits for others
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=at_once) as group:
        try:
            with io.TextIOWrapper(group.stdout, errors="replace", newline="") as log:
                stream(log, say, last)
        except BaseException:
            group.terminate()  # torchrun hands it on to its workers
            raise
    if group.returncode:
        raise RuntimeError(f"training on {cfg.devices} devices failed (exit {group.returncode}):\n" + "\n".join(last))


def free_memory(say: Callable[[str], None]) -> None:
    """Give back what nothing refers to: the group is to have this process's GPU, too."""
    gc.collect()
    torch.cuda.empty_cache()
    if (held := torch.cuda.memory_allocated() / 1e9) > 0.1:
        say(f"this process still holds {held:.1f} GB of its GPU, which the group could use: delete its models first.")


def stream(log: io.TextIOWrapper, say: Callable[[str], None], last: deque[str]) -> None:
    """Hand on lines to `say` and `last`, and to stderr the states of a bar, each of which ends with a return."""
    in_bar = False
    for piece in log:
        text, state = piece.rstrip("\r\n"), piece.endswith("\r")
        if not state:
            last.append(text)
        if state or in_bar:  # the last state ends as a line does
            print(text, end=piece[-1], file=sys.stderr, flush=True)
        else:
            say(text)
        in_bar = state and bool(text.strip())


def fabric_of(cfg: RunConfig) -> Fabric | None:
    """What makes this process a member of torchrun's group; None if it was started alone.

    Raises:
        ValueError: for a configuration that names one device: torchrun gives each process its own.
    """
    if not launched_by_torchrun():
        return None
    if cfg.torch_device.index is not None:
        raise ValueError(f"parameter device = {cfg.device!r}: torchrun gives each process its device; write 'cuda'.")
    local, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    fabric = Fabric(
        accelerator=cfg.torch_device.type,
        devices=local,
        num_nodes=everywhere // local,
        # They wait for each other while an epoch is scored, the first time for longer than torch's half hour.
        strategy=DDPStrategy(timeout=LONGEST_WAIT) if everywhere > 1 else "auto",
        precision=PRECISIONS[cfg.precision],
    )
    fabric.launch()
    if dist.is_initialized():  # left to the end of the process, Gloo's threads now and then abort it
        atexit.register(dist.destroy_process_group)
    return fabric
