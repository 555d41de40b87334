"""Run records: one JSON file a number, with everything needed to trust it.

A record is one (method, data set, description kind, epoch, seed). Tables and figures are made
from records alone; records of another experiment (other parameters) are never averaged in.
"""

import json
import platform
import resource
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.descriptions import DescriptionSet
from motion_lib.evaluation import RetrievalResult
from motion_lib.methods import Method
from motion_lib.preprocessing import Preprocess
from motion_lib.storage import content_hash, write_json

SCHEMA = 1
PACKAGES = ("torch", "torchvision", "clip-anytorch", "decord", "av", "numpy", "pillow")


@dataclass(frozen=True)
class Measurement:
    """What a record is about. `epoch` None means after the last epoch."""

    method: Method
    dataset: str
    kind: str
    epoch: int | None
    result: RetrievalResult
    descriptions: DescriptionSet
    wall_time_sec: float

    def file_name(self, seed: int) -> str:
        """Name of the record's file, readable in a listing."""
        epoch = "" if self.epoch is None else f"-epoch{self.epoch:02d}"
        return f"{self.method.key}-{self.dataset}-{self.kind}{epoch}-seed{seed}.json"


def records_dir(cfg: RunConfig) -> Path:
    """Folder of a profile's records."""
    return cfg.results_dir / "records"


def write_record(cfg: RunConfig, measured: Measurement, preprocess: Preprocess) -> Path:
    """Write one record atomically and return its path."""
    result, interval = measured.result, measured.result.interval(cfg.bootstrap_resamples)
    record = {
        "schema": SCHEMA,
        "profile": cfg.profile,
        "experiment": cfg.experiment_id,
        "method": measured.method.key,
        "label": measured.method.label,
        "weights": measured.method.weights,
        "training_texts": measured.method.training_texts,
        "prompt_template": measured.method.template,
        "dataset": measured.dataset,
        "descriptions": measured.kind,
        "epoch": measured.epoch,
        "seed": cfg.seed,
        "protocol": {"split": cfg.split, "subset": cfg.target_subset, "classes": result.scores.shape[1]},
        "metrics": {
            "acc1": interval.estimate,
            "acc1_low": interval.low,
            "acc1_high": interval.high,
            "acc5": result.accuracy(5),
            "mean_per_class_acc": result.mean_per_class_acc,
        },
        "interval": {"confidence": 0.95, "resamples": cfg.bootstrap_resamples, "unit": "group of clips"},
        "n_groups": len(set(result.groups)),
        "n_expected": len(result.labels) + len(result.failed),
        "n_decoded": len(result.labels),
        "failed": result.failed,
        "ranks": " ".join(str(rank) for rank in result.ranks),
        "labels": " ".join(str(label) for label in result.labels),
        "groups": " ".join(str(code) for code in np.unique(result.groups, return_inverse=True)[1]),
        "preprocess": preprocess.as_dict(),
        "descriptions_sha256": measured.descriptions.sha256,
        "class_list_hash": content_hash(list(measured.descriptions.class_names)),
        "video_list_hash": content_hash(list(result.video_ids)),
        "parameters": asdict(cfg),
        "environment": environment(cfg),
        "wall_time_sec": round(measured.wall_time_sec, 2),
        "clips_per_sec": round(len(result.labels) / max(measured.wall_time_sec, 1e-9), 1),
    }
    return write_json(records_dir(cfg) / measured.file_name(cfg.seed), record)


def environment(cfg: RunConfig) -> dict:
    """Versions, device, commit and peak memory of this process; nothing of the user or the machine's paths."""
    device = cfg.torch_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in PACKAGES},
        "device": f"{device.type} ({name})",
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", "motion_lib", "notebooks")),
        "peak_mem_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str:
    """Output of a git command in the repository; empty where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def read_records(cfg: RunConfig) -> list[dict]:
    """All records of this experiment, any seed; those of other experiments are counted in a printed line."""
    paths = sorted(records_dir(cfg).glob("*.json"))
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    ours = [record for record in records if record["experiment"] == cfg.experiment_id]
    if len(ours) < len(records):
        print(f"{len(records) - len(ours)} records of other parameters in {records_dir(cfg).name}/ are left out.")
    return ours


def ranks_of(record: dict) -> np.ndarray:
    """(N,) rank of the right description of each video, 0 is first."""
    return np.array(record["ranks"].split(), dtype=np.int64)


def frame_of(records: list[dict]) -> pd.DataFrame:
    """One row a record: method, dataset, kind, epoch, seed and the metrics as fractions."""
    columns = ("method", "label", "dataset", "descriptions", "epoch", "seed", "n_decoded", "clips_per_sec")
    rows = [{**{c: record[c] for c in columns}, **record["metrics"]} for record in records]
    return pd.DataFrame(rows).rename(columns={"descriptions": "kind"})
