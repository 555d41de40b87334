"""Where a benchmark ran, written beside what it measured."""

import json
import os
from importlib.metadata import version

import torch

from motion_lib.config import REPOSITORY
from motion_lib.experiment.records import processor
from motion_lib.storage import write_json

_PACKAGES = ("torch", "numpy", "decord", "av", "simplejpeg")


def write_result(name: str, result: dict) -> str:
    """Write `results/benchmarks/<name>.json` and return it as text."""
    machine = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {package: version(package) for package in _PACKAGES},
    }
    full = {"machine": machine, **result}
    write_json(REPOSITORY / "results" / "benchmarks" / f"{name}.json", full)
    return json.dumps(full, indent=2)
