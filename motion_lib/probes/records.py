"""Records of probes: what was right under each condition, one JSON file a method, data set and seed.

A probe asks the same question under changed conditions (other texts, other frames, minimal pairs). Every condition
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
from motion_lib.experiment.records import Weights, device_name, environment
from motion_lib.methods import TABLE_METHODS, Method
from motion_lib.models import loading, released
from motion_lib.probes import text_controls, video_controls
from motion_lib.storage import code_of, content_hash, write_json

SCHEMA = 3  # 2: clips that were not shown, clusters of a condition; 3: how many classes have a text of their own
TEXT, VIDEO, PAIRS, ORDER = "text", "video", "pairs", "order"
PROBED_METHODS = (*TABLE_METHODS, "motion_temporal")
RIVALS = 5  # hard negatives of each description
NEAREST, RANDOM = f"the {RIVALS} nearest descriptions", f"{RIVALS} random descriptions"
REVERSED_PAIRS = "order"  # the kind of minimal pair that differs in the order of frames alone


@dataclass(frozen=True)
class Condition:
    """One condition and who was right under it.

    Attributes:
        name: of the control.   kind: of the descriptions, "object" or "masked"; "" where there is but one.
        correct: (N,) bool.   chance: fraction that guessing gives.   draw: numbers the random ones.
        frames: of the clip; 0 where the control is not about frames.   more: further measured numbers.
        clusters: (N,) what intervals resample; None: the clusters of the probe.
    """

    name: str
    correct: np.ndarray
    chance: float
    kind: str = ""
    draw: int = 0
    frames: int = 0
    more: dict = field(default_factory=dict)
    clusters: np.ndarray | None = None


@dataclass(frozen=True)
class Outcome:
    """What a probe found.

    Attributes:
        video_ids: (N,) the clips that were shown.   clusters: (N,) what intervals resample, such as classes.
        conditions: of them.   not_run: {control: reason}.   failed: {video_id: reason} of the unreadable clips.
        missing: listed videos that are not on disk.
    """

    video_ids: Sequence[str]
    clusters: np.ndarray
    conditions: list[Condition]
    not_run: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class Probe:
    """What one probe file is about."""

    family: str
    method: Method
    dataset: str
    weights: Weights
    data: str
    identity: str

    def file_name(self, seed: int) -> str:
        """Name of the file, readable in a listing."""
        return probe_file(self.family, self.method.key, self.dataset, seed)


def probe_file(family: str, method: str, dataset: str, seed: int) -> str:
    """Name of a probe's file."""
    return f"{family}-{method}-{dataset}-seed{seed}.json"


def probes_dir(cfg: RunConfig) -> Path:
    """Folder of a profile's probes."""
    return cfg.results_dir / "probes"


def frames_label(count: int) -> str:
    """Name of a number of frames in tables."""
    return "1 frame" if count == 1 else f"{count} frames"


def pack(correct: np.ndarray) -> str:
    """(N,) bool as hexadecimal digits, eight clips in two of them."""
    return np.packbits(correct).tobytes().hex()


def unpack(text: str, count: int) -> np.ndarray:
    """The `count` bools that `pack` wrote."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=count).astype(bool)


def write_probe(cfg: RunConfig, probe: Probe, outcome: Outcome, wall_time_sec: float) -> Path:
    """Write one probe atomically and return its path."""
    record = {
        "schema": SCHEMA,
        "profile": cfg.profile,
        "experiment": cfg.experiment_id,
        "identity": probe.identity,
        "family": probe.family,
        "method": probe.method.key,
        "label": probe.method.label,
        "dataset": probe.dataset,
        "seed": cfg.seed,
        "data": probe.data,
        "weights": asdict(probe.weights),
        "n_expected": len(outcome.video_ids) + len(outcome.failed) + len(outcome.missing),
        "n_decoded": len(outcome.video_ids),
        "failed": outcome.failed,
        "missing": list(outcome.missing),
        "video_list_hash": content_hash(list(outcome.video_ids)),
        "clusters": _codes(outcome.clusters),
        "conditions": [_described(condition) for condition in outcome.conditions],
        "not_run": outcome.not_run,
        "environment": environment(cfg),
        "wall_time_sec": round(wall_time_sec, 2),
    }
    return write_json(probes_dir(cfg) / probe.file_name(cfg.seed), record)


def _described(condition: Condition) -> dict:
    own = {} if condition.clusters is None else {"clusters": _codes(condition.clusters)}
    return {
        "name": condition.name,
        "kind": condition.kind,
        "draw": condition.draw,
        "frames": condition.frames,
        "chance": condition.chance,
        "clips": len(condition.correct),
        "acc1": float(condition.correct.mean()),
        "correct": pack(condition.correct),
        **own,
        **condition.more,
    }


def _codes(clusters: np.ndarray) -> str:
    return " ".join(str(code) for code in np.unique(clusters, return_inverse=True)[1])


def keep(
    experiment: Experiment,
    trained: Trained,
    family: str,
    dataset: str,
    made_from: Sequence[object],
    probe: Callable[[], Outcome],
) -> Path:
    """The record of a probe, read if it is there and made otherwise.

    Args:
        experiment: whose data were shown.
        trained: the model that is probed.
        family: TEXT, VIDEO, PAIRS or ORDER.
        dataset: name of what was shown.
        made_from: what decides the outcome, besides the weights and the code that all probes share.
        probe: makes the outcome.
    """
    cfg, weights = experiment.cfg, trained.weights
    drawn = None if weights.checkpoint_sha256 else cfg.seed
    identity = content_hash(
        asdict(weights), trained.method.head, drawn, trained.model.preprocess.as_dict(),
        experiment.data.label, device_name(cfg), *made_from, _probed_by(),
    )  # fmt: skip
    path = probes_dir(cfg) / probe_file(family, trained.method.key, dataset, cfg.seed)
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        if (record["identity"], record["experiment"]) == (identity, cfg.experiment_id):
            return path
    started = time.perf_counter()
    outcome = probe()
    about = Probe(family, trained.method, dataset, weights, experiment.data.label, identity)
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
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(probes_dir(cfg).glob("*.json"))]
    ours = [p for p in found if p.get("schema") == SCHEMA and p["experiment"] == cfg.experiment_id]
    known = {(r["seed"], r["data"], r["backbone_sha256"], r["checkpoint_sha256"]) for r in records}
    current = [p for p in ours if (p["seed"], p["data"], *_weights_of(p)) in known]
    for left_out, why in (
        (len(found) - len(ours), "of other parameters or an older form"),
        (len(ours) - len(current), "of weights or data that no record of their seed is of"),
    ):
        if left_out:
            print(f"{left_out} probes {why} are left out.")
    return current


def _weights_of(probe: dict) -> tuple[str, str]:
    return probe["weights"]["backbone_sha256"], probe["weights"]["checkpoint_sha256"]


def correct_of(condition: dict) -> np.ndarray:
    """(N,) bool of one condition of a record."""
    return unpack(condition["correct"], condition["clips"])


def clusters_of(record: dict, condition: dict) -> np.ndarray:
    """(N,) what intervals of this condition resample."""
    return np.array(condition.get("clusters", record["clusters"]).split(), dtype=np.int64)


def pair_outcomes(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Who is right within minimal pairs: clips 2p and 2p + 1, sentences 2p and 2p + 1.

    Args: scores: (2P, 2P) clips against sentences; only each pair's own four are looked at.
    Returns: (2P,) bool that a clip prefers its own sentence, and (2P,) bool that a sentence prefers its own clip.
        A tie is wrong.   Source: text and video score of Winoground (Thrush et al. 2022).
    """
    own = np.arange(len(scores))
    return scores[own, own] > scores[own, own ^ 1], scores[own, own] > scores[own ^ 1, own]


def whole_pairs(*rights: np.ndarray) -> np.ndarray:
    """(P,) bool: everything about a pair is right (Winoground's group score where both outcomes are given)."""
    return np.logical_and.reduce([right.reshape(-1, 2).all(axis=1) for right in rights])
