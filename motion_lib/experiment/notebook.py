"""The first lines of every notebook: configuration, versions, device, commit; quiet libraries."""

import os
import sys
from collections.abc import Mapping

import pandas as pd
import torch

from motion_lib.config import RunConfig
from motion_lib.experiment.inputs import check_datasets
from motion_lib.experiment.records import environment


def begin(namespace: Mapping[str, object]) -> RunConfig:
    """Read the parameters from a notebook's `globals()` and print what this run is.

    Raises:
        ValueError: for what is no parameter, or a value that no run can have.
    """
    cfg = RunConfig.from_namespace(namespace)
    check_datasets(cfg)
    torch.manual_seed(cfg.seed)
    pd.set_option("display.max_colwidth", None)
    now = environment(cfg)
    packages = ", ".join(f"{name} {version}" for name, version in now["packages"].items())
    print(f"profile {cfg.profile}, seed {cfg.seed}, experiment {cfg.experiment_id}")
    print(f"{now['device']}, {now['threads']} threads, python {sys.version.split()[0]}, {packages}")
    print(f"commit {now['commit'] or 'unknown'}{' with local changes' if now['dirty'] else ''}")
    return cfg


def somebody_watches() -> bool:
    """Whether a person may be before this notebook, so that a widget is of use: not in `motion reproduce`."""
    return "MOTION_BATCH" not in os.environ
