"""Train one method of a profile outside a notebook; `torchrun -m motion_lib.training` uses several devices.

    python -m motion_lib.training motion --profile paper -p batch_size 256
    torchrun --nproc-per-node 4 -m motion_lib.training motion --profile paper

A training that was cut off goes on when the same command is given again.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch
import yaml
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from motion_lib.config import RunConfig, parse_overrides
from motion_lib.experiment import Experiment
from motion_lib.methods import METHODS, get_method
from motion_lib.training.launch import launched_by_torchrun
from motion_lib.training.loop import ClassifierWithTexts, parameter_groups
from motion_lib.training.memory import dry_run, largest_at_once
from motion_lib.training.recipe import PRECISIONS


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code: 0, 1 the training failed, 2 wrong arguments, 130 interrupted."""
    args = _parser().parse_args(argv)
    try:
        cfg = configuration(args)
    except (ValueError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    try:
        if args.largest:
            print(largest(cfg, args.method))
            return 0
        history = Experiment(cfg).train(args.method, fabric_of(cfg))
    except KeyboardInterrupt:
        print("training: interrupted; the same command goes on.", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    for row in history.rows:
        print(f"epoch {row['epoch']}: loss {row['train_loss']:.3f}, top-1 {100 * row['train_acc1']:.1f} %")
    print(f"weights: {history.last_checkpoint.name}; unreadable videos: {len(history.failed)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m motion_lib.training", description=__doc__.split("\n")[0])
    parser.add_argument("method", choices=[key for key, method in METHODS.items() if method.trained])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--profile", default="miniature", help="a file of notebooks/profiles, without .yaml")
    where.add_argument("--config", type=Path, help="YAML with every parameter, as a run writes it")
    parser.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
        help="override a parameter; repeatable",
    )  # fmt: skip
    parser.add_argument(
        "--largest", action="store_true", help="print how many clips fit one device at once (at_once), and stop"
    )
    return parser


def configuration(args: argparse.Namespace) -> RunConfig:
    """The run's parameters: the profile's or the file's, then `-p`."""
    overrides = parse_overrides(args.parameters)
    if args.config is None:
        return RunConfig.load(args.profile, **overrides)
    return RunConfig.load(**{**yaml.safe_load(args.config.read_text(encoding="utf-8")), **overrides})


def fabric_of(cfg: RunConfig) -> Fabric | None:
    """What makes this process a member of torchrun's group; None if it was started alone."""
    if not launched_by_torchrun():
        return None
    local, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    fabric = Fabric(
        accelerator=cfg.torch_device.type,
        devices=local,
        num_nodes=everywhere // local,
        # The others wait while the first device scores an epoch, which may take longer than torch's half hour.
        strategy=DDPStrategy(timeout=timedelta(days=1)) if everywhere > 1 else "auto",
        precision=PRECISIONS[cfg.precision],
    )
    fabric.launch()
    return fabric


def largest(cfg: RunConfig, key: str) -> int:
    """Clips that fit this device at once in training, by trying; several devices need one more copy of the gradients.

    Raises: ValueError without a GPU.
    """
    if cfg.torch_device.type != "cuda":
        raise ValueError("--largest needs a GPU: a CPU would swap instead of saying that memory does not suffice.")
    experiment, method = Experiment(cfg), get_method(key)
    model = experiment.load(method).train()
    model.recompute = cfg.recompute
    classifier = ClassifierWithTexts(model, experiment.training_texts(method).texts)
    dtype = torch.bfloat16 if cfg.precision == "bf16" else torch.float32
    optimizer = torch.optim.AdamW(parameter_groups(model, experiment.recipe()), lr=0.0)
    if not dry_run(classifier, 1, dtype):
        return 0
    optimizer.step()  # its moments and the gradients stay, as in training
    return largest_at_once(lambda clips: dry_run(classifier, clips, dtype))


if __name__ == "__main__":
    sys.exit(main())
