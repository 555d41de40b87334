"""Records of probes: what was right under each condition, one JSON file a method, data set and seed.

A probe asks the same question under changed conditions: other texts, other frames, minimal pairs. Every condition
keeps which clips were right, so that differences are paired; tables and figures are made from these files alone.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from motion_lib.config import RunConfig
from motion_lib.evaluation import retrieval
from motion_lib.experiment.experiment import Experiment, Trained
from motion_lib.experiment.records import device_name, environment
from motion_lib.methods import TABLE_METHODS
from motion_lib.models import loading, released
from motion_lib.probes import text_controls, video_controls
from motion_lib.storage import code_of, content_hash, write_json

SCHEMA = 3  # 2: clips that were not shown, clusters of a condition; 3: how many classes have a text of their own
TEXT, VIDEO, PAIRS, ORDER = "text", "video", "pairs", "order"  # the families of probes
PROBED_METHODS = (*TABLE_METHODS, "motion_temporal")


@dataclass(frozen=True)
class Condition:
    """One condition and who was right under it."""

    name: str
    correct: np.ndarray  # (N,) bool
    chance: float  # share that guessing gets
    kind: str = ""  # of the descriptions, "object" or "masked"; "" where there is but one
    draw: int = 0  # numbers the random ones
    frames: int = 0  # of the clip; 0 where the control is not about frames
    more: dict = field(default_factory=dict)  # further measured numbers
    clusters: np.ndarray | None = None  # (N,) what intervals resample; None: the clusters of the outcome

    def as_record(self) -> dict:
        """As it is in a file."""
        record = {name: getattr(self, name) for name in ("name", "kind", "draw", "frames", "chance")}
        record |= {"clips": len(self.correct), "acc1": float(self.correct.mean()), "correct": pack(self.correct)}
        return record | ({} if self.clusters is None else {"clusters": _codes(self.clusters)}) | self.more


@dataclass(frozen=True)
class Outcome:
    """What a probe measured."""

    video_ids: Sequence[str]  # (N,) the clips that were shown
    clusters: np.ndarray  # (N,) what intervals resample, such as classes
    conditions: list[Condition]
    not_run: dict[str, str] = field(default_factory=dict)  # {control: reason}
    failed: dict[str, str] = field(default_factory=dict)  # {video_id: reason} of the unreadable clips
    missing: Sequence[str] = ()  # listed videos that are not on disk


def _probe_path(cfg: RunConfig, family: str, method: str, dataset: str) -> Path:
    return cfg.results_dir / "probes" / f"{family}-{method}-{dataset}-seed{cfg.seed}.json"


def pack(correct: np.ndarray) -> str:
    """(N,) bool as hexadecimal digits, eight clips in two of them."""
    return np.packbits(correct).tobytes().hex()


def unpack(text: str, count: int) -> np.ndarray:
    """The `count` bools that `pack` wrote."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=count).astype(bool)


def write_probe(cfg: RunConfig, about: dict[str, object], outcome: Outcome, wall_time_sec: float) -> Path:
    """Write one probe atomically and return its path; `about` says of what it is, see `keep`."""
    record = {
        "schema": SCHEMA,
        "profile": cfg.profile,
        "experiment": cfg.experiment_id,
        "seed": cfg.seed,
        **about,
        "n_expected": len(outcome.video_ids) + len(outcome.failed) + len(outcome.missing),
        "n_decoded": len(outcome.video_ids),
        "failed": outcome.failed,
        "missing": list(outcome.missing),
        "video_list_hash": content_hash(list(outcome.video_ids)),
        "clusters": _codes(outcome.clusters),
        "conditions": [condition.as_record() for condition in outcome.conditions],
        "not_run": outcome.not_run,
        "environment": environment(cfg, encoded=about["family"] == TEXT),
        "wall_time_sec": round(wall_time_sec, 2),
    }
    return write_json(_probe_path(cfg, about["family"], about["method"], about["dataset"]), record, indent=0)


def _codes(clusters: np.ndarray) -> str:
    return " ".join(str(code) for code in np.unique(clusters, return_inverse=True)[1])


def keep(
    experiment: Experiment, trained: Trained, family: str, dataset: str,
    made_from: Sequence[object], probe: Callable[[], Outcome],
) -> Path:  # fmt: skip
    """The record of a probe, read if it is there and made otherwise.

    Args:
        family: TEXT, VIDEO, PAIRS or ORDER.
        made_from: what decides the outcome, besides the weights and the code that all probes share.
    """
    cfg, weights = experiment.cfg, trained.weights
    drawn = None if weights.checkpoint_sha256 else cfg.seed
    identity = content_hash(
        asdict(weights), trained.method.head, drawn, trained.model.preprocess.as_dict(),
        experiment.data.label, device_name(cfg), *made_from, _probed_by(),
    )  # fmt: skip
    path = _probe_path(cfg, family, trained.method.key, dataset)
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        if (record["identity"], record["experiment"]) == (identity, cfg.experiment_id):
            return path
    started = time.perf_counter()
    outcome = probe()
    about = {"identity": identity, "family": family, "method": trained.method.key, "label": trained.method.label}
    about |= {"dataset": dataset, "data": experiment.data.label, "weights": asdict(weights)}
    return write_probe(cfg, about, outcome, time.perf_counter() - started)


@cache
def _probed_by() -> str:
    """Hash of the code that decides what a probe gives; the module of a probe adds itself."""
    return code_of(retrieval, loading, released, text_controls, video_controls)


def read_probes(cfg: RunConfig, records: Sequence[dict]) -> list[dict]:
    """All probes of this experiment, any seed, that are of the weights which `records` are of.

    Left out, with a printed count: probes of an older form or of other parameters, and probes of another rendered
    world, backbone or training run than the records of their seed.
    """
    files = sorted((cfg.results_dir / "probes").glob("[!.]*.json"))
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    ours = [p for p in kept if p.get("schema") == SCHEMA and p["experiment"] == cfg.experiment_id]
    hashes = ("backbone_sha256", "checkpoint_sha256")
    known = {(r["seed"], r["data"], *(r[name] for name in hashes)) for r in records}
    current = [p for p in ours if (p["seed"], p["data"], *(p["weights"][name] for name in hashes)) in known]
    reasons = ("of other parameters or an older form", "of weights or data that no record of their seed is of")
    for left_out, why in zip((len(kept) - len(ours), len(ours) - len(current)), reasons, strict=True):
        if left_out:
            print(f"{left_out} probes {why} are left out.")
    return current
