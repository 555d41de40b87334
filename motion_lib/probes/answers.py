"""Answers from the records of probes, all seeds of one condition together, and every number that follows from them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from motion_lib.evaluation.answers import Answers
from motion_lib.evaluation.intervals import Interval, joint_means
from motion_lib.probes.records import unpack
from motion_lib.probes.text_controls import MOTION, NEAREST, RANDOM, TEXT_CONTROLS
from motion_lib.probes.video_controls import FILMED, ORDERS, SPREAD
from motion_lib.report.tables import select


def answers_of(records: Sequence[dict], **wanted: object) -> Answers | None:
    """All seeds and draws of one method's condition, whose fields are `wanted`; None where it was not run.

    `right` is a share over the draws; `classes` and `groups` are both what the probe's intervals resample.
    """
    parts, videos, chance = [], [], float("nan")
    for record in sorted(records, key=lambda record: record["seed"]):
        draws = select(record["conditions"], **wanted)
        if draws:
            right = np.mean([unpack(c["correct"], c["clips"]) for c in draws], axis=0)
            clusters = np.array(draws[0].get("clusters", record["clusters"]).split(), dtype=np.int64)
            parts.append((right, np.full(len(right), record["seed"]), clusters, clusters))
            videos.append(record["video_list_hash"])
            chance = draws[0]["chance"]
    return Answers(*map(np.concatenate, zip(*parts, strict=True)), tuple(videos), chance) if parts else None


def difference(one: Answers | None, other: Answers | None) -> Answers | None:
    """Paired, `one` less `other`; None where they were not run with a seed in common."""
    if one is None or other is None or not set(one.known_seeds) & set(other.known_seeds):
        return None
    return one.less(other)


def intervals(several: Sequence[Answers], resamples: int = 10_000) -> list[Interval]:
    """Means with 95 % limits; answers to the same clips are resampled together, as one by one would take minutes."""
    together: dict[bytes, list[int]] = {}
    for index, answers in enumerate(several):
        together.setdefault(answers.classes.tobytes(), []).append(index)
    limits = np.empty((len(several), 2))
    for members in together.values():
        values = np.stack([several[i].right for i in members], axis=1)
        means = joint_means(values, several[members[0]].classes, resamples=resamples)
        limits[members] = np.quantile(means, (0.025, 0.975), axis=0).T
    return [Interval(answers.mean, *pair) for answers, pair in zip(several, limits.tolist(), strict=True)]


# ------------------------------------------------------------------ all numbers
_IDENTITY = ("name", "kind", "frames", "of")  # of a condition; "of": which question was asked of minimal pairs
_MEASURED = ("own_texts", "pairs_right", "other_first_answer", "largest_change_of_a_logit", "steps")
COLUMNS = (
    "family", "dataset", "method", "condition", "kind", "frames", "question", "percent", "low", "high", "change",
    "change_low", "change_high", "chance", "seeds", *_MEASURED,
)  # fmt: skip
_USUAL = {NEAREST: RANDOM} | dict.fromkeys(TEXT_CONTROLS, MOTION) | dict.fromkeys(ORDERS, FILMED)


def probe_numbers(probes: list[dict]) -> pd.DataFrame:
    """Every condition of every probe, columns as COLUMNS; from percent to chance in percent.

    Intervals are 95 % over classes, or over what the clips of a pair differ in, all seeds of one together. A change is
    paired: to the motion description, to the random rivals, to the clip as filmed, to the number of frames as tested.
    What else was measured is the mean over seeds and draws, and of logits the largest.
    """
    subjects = dict.fromkeys((p["family"], p["dataset"], p["method"]) for p in probes)
    rows = [
        (family, dataset, method, *row)
        for family, dataset, method in subjects
        for row in _rows(select(probes, family=family, method=method, dataset=dataset))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(records: list[dict]) -> list[tuple]:
    """One row a condition of one method on one data set."""
    conditions: dict[tuple, list[dict]] = {}
    for condition in (c for record in records for c in record["conditions"]):
        key = tuple(condition.get(name, "") for name in _IDENTITY)
        conditions.setdefault(key, []).append(condition)
    as_tested = next((frames for name, _, frames, _ in conditions if name == FILMED), 0)
    answers, changes = {}, {}
    for key in conditions:
        asked = {name: value for name, value in zip(_IDENTITY, key, strict=True) if value != ""}
        answers[key] = answers_of(records, **asked)
    for key, of_key in answers.items():
        name, kind, frames, question = key
        usual = (_USUAL.get(name, name), kind, as_tested if name == SPREAD else frames, question)
        changes[key] = None if usual == key else difference(of_key, answers.get(usual))
    run = [*answers.values(), *filter(None, changes.values())]
    limits = dict(zip(map(id, run), intervals(run), strict=True))
    nothing = (float("nan"),) * 3
    return [
        (
            *key, *(100 * value for part in (answers[key], changes[key]) for value in limits.get(id(part), nothing)),
            100 * answers[key].chance, len(answers[key].known_seeds), *_measured(of_key),
        )
        for key, of_key in conditions.items()
    ]  # fmt: skip


def _measured(conditions: list[dict]) -> list[float]:
    known = {name: [c[name] for c in conditions if name in c] or [float("nan")] for name in _MEASURED}
    return [max(values) if "largest" in name else float(np.mean(values)) for name, values in known.items()]
