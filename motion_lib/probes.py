"""Records of probes: what was right under each condition, one JSON file a method, data set and seed.

A probe asks the same question under changed conditions (other texts, other frames, minimal pairs). Every condition
keeps which clips were right, so that differences are paired; tables and figures are made from these files alone.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from motion_lib.config import RunConfig
from motion_lib.methods import Method
from motion_lib.records import Weights, environment
from motion_lib.storage import write_json

SCHEMA = 1
TEXT, VIDEO, PAIRS, ORDER = "text", "video", "pairs", "order"


@dataclass(frozen=True)
class Condition:
    """One condition and who was right under it.

    Attributes:
        name: of the control.   kind: of the descriptions, "object" or "masked"; "" where there is but one.
        correct: (N,) bool.   chance: fraction that guessing gives.   draw: numbers the random ones.
        frames: of the clip; 0 where the control is not about frames.   more: further measured numbers.
    """

    name: str
    correct: np.ndarray
    chance: float
    kind: str = ""
    draw: int = 0
    frames: int = 0
    more: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """What one probe file is about.

    Attributes: clusters: (N,) what intervals resample (classes, pairs); a condition may stop short of N clips.
    """

    family: str
    method: Method
    dataset: str
    weights: Weights
    data: str
    identity: str
    clusters: np.ndarray
    conditions: list[Condition]
    not_run: dict[str, str] = field(default_factory=dict)  # control: reason

    def file_name(self, seed: int) -> str:
        """Name of the file, readable in a listing."""
        return probe_file(self.family, self.method.key, self.dataset, seed)


def probe_file(family: str, method: str, dataset: str, seed: int) -> str:
    """Name of a probe's file."""
    return f"{family}-{method}-{dataset}-seed{seed}.json"


def probes_dir(cfg: RunConfig) -> Path:
    """Folder of a profile's probes."""
    return cfg.results_dir / "probes"


def pack(correct: np.ndarray) -> str:
    """(N,) bool as hexadecimal digits, eight clips in two of them."""
    return np.packbits(correct).tobytes().hex()


def unpack(text: str, count: int) -> np.ndarray:
    """The `count` bools that `pack` wrote."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), dtype=np.uint8), count=count).astype(bool)


def write_probe(cfg: RunConfig, probe: Probe, wall_time_sec: float) -> Path:
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
        "clusters": " ".join(str(code) for code in np.unique(probe.clusters, return_inverse=True)[1]),
        "conditions": [
            {
                "name": c.name,
                "kind": c.kind,
                "draw": c.draw,
                "frames": c.frames,
                "chance": c.chance,
                "clips": len(c.correct),
                "acc1": float(c.correct.mean()),
                "correct": pack(c.correct),
                **c.more,
            }
            for c in probe.conditions
        ],
        "not_run": probe.not_run,
        "environment": environment(cfg),
        "wall_time_sec": round(wall_time_sec, 2),
    }
    return write_json(probes_dir(cfg) / probe.file_name(cfg.seed), record)


def kept_probe(cfg: RunConfig, family: str, method: str, dataset: str, identity: str) -> Path | None:
    """The file of a probe that was made from the same things by the same code, or None."""
    path = probes_dir(cfg) / probe_file(family, method, dataset, cfg.seed)
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    same = record["identity"] == identity and record["experiment"] == cfg.experiment_id
    return path if same else None


def read_probes(cfg: RunConfig) -> list[dict]:
    """All probes of this experiment, any seed; those of other parameters or another world are left out and counted."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(probes_dir(cfg).glob("*.json"))]
    ours = [record for record in records if record["experiment"] == cfg.experiment_id]
    newest = max(ours, key=lambda record: record["environment"]["date"], default=None)
    current = [r for r in ours if _made_from(r) == _made_from(newest)]
    if len(current) < len(records):
        print(f"{len(records) - len(current)} probes of other parameters or data are left out.")
    return current


def _made_from(record: dict) -> tuple[str, str]:
    return record["data"], record["weights"]["backbone_sha256"]


def correct_of(condition: dict) -> np.ndarray:
    """(N,) bool of one condition of a record."""
    return unpack(condition["correct"], condition["clips"])


def clusters_of(record: dict, condition: dict) -> np.ndarray:
    """(N,) what intervals of this condition resample."""
    return np.array(record["clusters"].split()[: condition["clips"]], dtype=np.int64)


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
