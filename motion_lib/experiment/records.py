"""Run records: one JSON file for each (method, data set, description kind, epoch, seed), with all needed to trust it.

Tables and figures are made from records alone; those of other parameters are never averaged in.
"""

import json
import platform
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.data.preprocessing import Preprocess
from motion_lib.evaluation.answers import Answers
from motion_lib.evaluation.features import VideoFeatures
from motion_lib.evaluation.retrieval import RetrievalResult
from motion_lib.experiment.precision import DTYPES
from motion_lib.methods import Method
from motion_lib.storage import content_hash, write_json
from motion_lib.texts.descriptions import DescriptionSet

SCHEMA = 2  # 2: metrics of both directions, protocols
PACKAGES = ("torch", "torchvision", "clip-anytorch", "av", "numpy", "pillow")


@dataclass(frozen=True)
class Weights:
    """What was run: a label for tables, name and SHA-256 of the backbone, SHA-256 of the checkpoint ("": none)."""

    label: str
    backbone: str
    backbone_sha256: str
    checkpoint_sha256: str = ""


@dataclass(frozen=True)
class Measurement:
    """What a record is about."""

    method: Method
    weights: Weights
    epoch: int | None  # None for the last
    kind: str  # of the descriptions
    descriptions: DescriptionSet
    result: RetrievalResult
    videos: VideoFeatures  # of which the result may hold a part
    data: str = ""  # name of the rendered world; "" for filmed clips
    subset: str = ""  # of the data set; "" for the profile's subset of the targets
    protocols: dict[str, dict] = field(default_factory=dict)  # see `protocols.protocol_results`
    agreement: dict[str, float] = field(default_factory=dict)  # with float32, see `precision.agreement`

    @property
    def paper_item(self) -> str:
        """The paper's table that this number stands beside."""
        dataset = DATASETS[self.result.dataset].paper
        if dataset not in ("ucf101", "hmdb51"):
            return "none"
        first = 6 if self.epoch is not None else 4 if self.method.key == "motion_temporal" else 2
        return f"Table {first + (dataset == 'hmdb51')}"

    def file_name(self, seed: int) -> str:
        """Name of the record's file, readable in a listing."""
        epoch = "" if self.epoch is None else f"-epoch{self.epoch:02d}"
        return f"{self.method.key}-{self.result.dataset}-{self.kind}{epoch}-seed{seed}.json"


def records_dir(cfg: RunConfig) -> Path:
    """Folder of a profile's records."""
    return cfg.results_dir / "records"


def write_record(cfg: RunConfig, measured: Measurement, preprocess: Preprocess) -> Path:
    """Write one record atomically and return its path."""
    method, weights, result = measured.method, measured.weights, measured.result
    texts, videos, interval = measured.descriptions, measured.videos, result.interval(cfg.bootstrap_resamples)
    now, file_name, classes = environment(cfg), measured.file_name(cfg.seed), result.scores.shape[1]
    limits = {"acc1": interval.estimate, "acc1_low": interval.low, "acc1_high": interval.high}
    record = {
        "schema": SCHEMA,
        "run_id": f"{now['date'][:10]}-{method.key}-{content_hash(cfg.experiment_id, file_name)[:8]}",
        "paper_item": measured.paper_item,
        "profile": cfg.profile,
        "experiment": cfg.experiment_id,
        "method": method.key,
        "label": method.label,
        "weights": weights.label,
        "backbone": weights.backbone,
        "backbone_sha256": weights.backbone_sha256,
        "checkpoint_sha256": weights.checkpoint_sha256,
        "data": measured.data,
        "training_texts": method.training_texts,
        "prompt_template": method.template,
        "dataset": result.dataset,
        "descriptions": measured.kind,
        "epoch": measured.epoch,
        "seed": cfg.seed,
        "protocol": {"split": cfg.split, "subset": measured.subset or cfg.target_subset, "classes": classes},
        "metrics": limits | {name: value for name, value in result.metrics().items() if name != "acc1"},
        "protocols": measured.protocols,
        "interval": {"confidence": 0.95, "resamples": cfg.bootstrap_resamples, "unit": "group of clips"},
        "n_groups": len(set(result.groups)),
        "n_expected": len(result.labels) + len(result.failed) + len(result.missing),
        "n_decoded": len(result.labels),
        "failed": result.failed,
        "missing": list(result.missing),
        "ranks": " ".join(map(str, result.ranks)),
        "labels": " ".join(map(str, result.labels)),
        "answers": " ".join(map(str, result.scores.argmax(axis=1))),
        "class_names": list(videos.dataset.class_names),
        "groups": " ".join(map(str, np.unique(result.groups, return_inverse=True)[1])),
        "preprocess": preprocess.as_dict(),
        "descriptions_sha256": texts.sha256,
        "class_list_hash": content_hash(list(texts.class_names)),
        "video_list_hash": content_hash(list(result.video_ids)),
        "parameters": {name: _without_folder(value) for name, value in asdict(cfg).items()},
        "environment": now,
        "wall_time_sec": round(videos.wall_time_sec, 2),
        "clips_per_sec": round(len(videos.dataset) / max(videos.wall_time_sec, 1e-9), 1),
    }
    if measured.agreement:
        record["agreement_with_float32"] = measured.agreement
    return write_json(records_dir(cfg) / file_name, record, indent=0)


def _without_folder(value: object) -> object:
    """A parameter that is a path keeps its last part only: records say nothing of the machine."""
    return Path(value).name if isinstance(value, str) and Path(value).expanduser().is_absolute() else value


def environment(cfg: RunConfig, encoded: bool = True) -> dict:
    """Versions, device, commit and peak memory of this process; nothing of the user or the machine's paths.

    Args:
        encoded: what is recorded was encoded in `eval_precision`; False if in float32 whatever that is.
    """
    return {
        "python": platform.python_version(),
        "packages": {package: _version(package) for package in PACKAGES},
        "device": device_name(cfg),
        "dtype": DTYPES[cfg.encoding_precision if encoded else "fp32"],
        "threads": torch.get_num_threads(),
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", "motion_lib", "notebooks")),
        "peak_mem_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def device_name(cfg: RunConfig) -> str:
    """What a configuration computes on, as "cuda (name)" or "cpu (model, instructions)".

    Processors round differently, and training amplifies that: the same seed gives other numbers on another model.
    """
    device = cfg.torch_device
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({processor()}, {torch.backends.cpu.get_cpu_capability()})"


@cache
def processor() -> str:
    """The processor's model, as Linux names it; its architecture elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str:
    """Output of a git command in the repository; empty where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def read_records(cfg: RunConfig) -> list[dict]:
    """All records of this experiment, any seed.

    Left out, with a printed count: records of an older form, of other parameters, and of another rendered world
    or backbone than the newest has. The same parameters make others once the code that draws them has changed.
    """
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(records_dir(cfg).glob("[!.]*.json"))]
    records = [record for record in found if record.get("schema") == SCHEMA]
    ours = [record for record in records if record["experiment"] == cfg.experiment_id]
    newest = max(ours, key=lambda record: record["environment"]["date"], default=None)
    current = [r for r in ours if all(r[name] == newest[name] for name in ("data", "backbone_sha256"))]
    for left_out, why in (
        (len(found) - len(records), "of an older form"),
        (len(records) - len(ours), "of other parameters"),
        (len(ours) - len(current), "of other data or backbones"),
    ):
        if left_out:
            print(f"{left_out} records {why} in {records_dir(cfg).name}/ are left out.")
    return current


def integers(record: dict, name: str) -> np.ndarray:
    """(N,) int64, one a video: "ranks" of the right description (0 is first), "labels", "answers" or "groups"."""
    return np.array(record[name].split(), dtype=np.int64)


def answers_of(records: Sequence[dict]) -> Answers:
    """The answers of one method under one condition: records of one data set and description kind, one a seed.

    Raises:
        ValueError: without a record, or with two of one seed.
    """
    records = sorted(records, key=lambda record: record["seed"])
    if not records or len({record["seed"] for record in records}) < len(records):
        raise ValueError(f"{len(records)} records of seeds {[r['seed'] for r in records]}: expected one a seed.")
    names = ("ranks", "labels", "groups")
    ranks, classes, groups = (np.concatenate([integers(record, name) for record in records]) for name in names)
    seeds = np.repeat([record["seed"] for record in records], [record["n_decoded"] for record in records])
    videos = tuple(record["video_list_hash"] for record in records)
    return Answers((ranks == 0).astype(float), seeds, classes, groups, videos, 1 / records[0]["protocol"]["classes"])
