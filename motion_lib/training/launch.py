"""Several devices from one notebook: torchrun as a subprocess, its log streamed."""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import yaml
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from motion_lib.config import RunConfig
from motion_lib.storage import write_text
from motion_lib.training.recipe import PRECISIONS

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

    Several machines: start the printed command on each of them with torchrun's --nnodes and --rdzv-endpoint.
    An interruption (Ctrl-C, the notebook's stop button) ends the group; the run goes on from its last state.

    Args:
        say: takes each line of the group's log.

    Raises:
        RuntimeError: with the end of the log, if it fails.
    """
    config = write_config(cfg, run_dir)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(cfg.devices)),
        *("-m", "motion_lib", "train", key, "--config", str(config)),
    ]
    say(f"torchrun --nproc-per-node {cfg.devices} -m motion_lib train {key} --config {config.name}")
    last: deque[str] = deque(maxlen=_SHOWN_LINES)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as group:
        try:
            for line in group.stdout:
                last.append(line.rstrip())
                say(last[-1])
        except BaseException:
            group.terminate()  # torchrun hands it on to its workers
            raise
    if group.returncode:
        raise RuntimeError(f"training on {cfg.devices} devices failed (exit {group.returncode}):\n" + "\n".join(last))


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
        strategy=DDPStrategy(timeout=timedelta(days=1)) if everywhere > 1 else "auto",
        precision=PRECISIONS[cfg.precision],
    )
    fabric.launch()
    return fabric
