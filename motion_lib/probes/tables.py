"""What the probes say: answers from their records, all seeds together, every number that follows, three tables."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.answers import Answers
from motion_lib.evaluation.intervals import FINE, Interval, joint_means
from motion_lib.methods import METHODS
from motion_lib.probes.pairs import PAIR_LABEL, REVERSED_PAIRS, SENTENCE
from motion_lib.probes.records import PROBED_METHODS, TEXT, VIDEO, unpack
from motion_lib.probes.text_controls import MOTION, NEAREST, RANDOM, TEXT_CONTROLS
from motion_lib.probes.video_controls import FILMED, ORDERS, REVERSED, SHUFFLED, SPREAD, frames_label
from motion_lib.report.tables import NOT_RUN, Percent, Points, select, write_table

OTHERS = tuple(key for key in PROBED_METHODS if key != "motion")
TAUGHT = {
    "motion_mean_taught": "taught order: mean over frames",
    "motion_mit_taught": "taught order: X-CLIP's 1-layer transformer over frames",
    "motion_temporal_taught": "taught order: 6-layer temporal transformer",
}


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


# ------------------------------------------------------------------ tables
def write_probe_tables(probes: list[dict], cfg: RunConfig) -> dict[str, pd.DataFrame]:
    """The three tables over all seeds, written and returned by name."""
    numbers = probe_numbers(probes)
    tables = {
        "texts": text_table(probes, numbers, cfg.targets),
        "frames": frame_table(probes, numbers, cfg.targets),
        "pairs": pair_table(numbers),
    }
    for name, table in tables.items():
        write_table(table, cfg, name)
    return tables


def _where(numbers: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows whose columns have these values."""
    return numbers[(numbers[list(wanted)] == list(wanted.values())).all(axis=1)]


def _share(rows: pd.DataFrame, *columns: str) -> Percent | str:
    """Of the first row its percentage, or those of other columns; "not run" without one."""
    return Percent(*(rows.iloc[0][name] / 100 for name in columns or ["percent"])) if len(rows) else NOT_RUN


def _change(rows: pd.DataFrame) -> Points | str:
    if not len(rows) or pd.isna(rows["change"].iloc[0]):
        return NOT_RUN
    return Points(*(rows.iloc[0][name] / 100 for name in ("change", "change_low", "change_high")))


# ------------------------------------------------------------------ texts
def text_table(probes: list[dict], numbers: pd.DataFrame, targets: tuple[str, ...]) -> pd.DataFrame:
    """Top-1 of every method with every text and among hard negatives; what changes for ours; ours less each other.

    Classes with one and the same text cannot be told apart, so only those with a text of their own can be right.
    """
    rows = []
    for target in targets:
        gaps, known = _gaps(probes, target), _where(numbers, family=TEXT, dataset=target)
        for name in (*TEXT_CONTROLS, NEAREST, RANDOM):
            results = {key: _where(known, method=key, condition=name) for key in PROBED_METHODS}
            ours = results["motion"]
            own = ours["own_texts"].dropna()  # rivals are not texts of another kind
            row = {
                "Target": DATASETS[target].label,
                "Text": f"the right one among {name}" if name in (NEAREST, RANDOM) else name,
                "Classes with a text of their own": round(own.iloc[0]) if len(own) else "" if len(ours) else NOT_RUN,
            }
            row |= {METHODS[key].label: _share(result) for key, result in results.items()}
            row["Our method, change"] = "" if name in (MOTION, RANDOM) else _change(ours)
            rows.append(row | {f"less {METHODS[key].label}": gaps.get((name, key), NOT_RUN) for key in OTHERS})
    return pd.DataFrame(rows)


def _gaps(probes: list[dict], target: str) -> dict[tuple[str, str], Points]:
    """Our method less another under the same text: does a gap hold for other words of the same motions?"""
    known, gaps = select(probes, family=TEXT, dataset=target), {}
    for key, name in product(OTHERS, (*TEXT_CONTROLS, NEAREST, RANDOM)):
        ours, theirs = (answers_of(select(known, method=method), name=name) for method in ("motion", key))
        if gap := difference(ours, theirs):
            gaps[name, key] = gap
    return {key: Points(*gap) for key, gap in zip(gaps, intervals(list(gaps.values()), FINE), strict=True)}


# ------------------------------------------------------------------ frames
def frame_table(probes: list[dict], numbers: pd.DataFrame, targets: tuple[str, ...]) -> pd.DataFrame:
    """Top-1 with other numbers of frames and what another order changes, objects named.

    Frames are from the middles of as many segments; where a method's weights do not allow a number, the reason stands.
    """
    counts = sorted(_where(numbers, condition=SPREAD)["frames"].unique())
    rows = []
    for target, key in product(targets, PROBED_METHODS):
        known = _where(numbers, family=VIDEO, dataset=target, method=key)
        named = known[known["kind"] == "object"]
        kept = select(probes, family=VIDEO, method=key, dataset=target)
        reasons = {what: why for probe in kept for what, why in probe["not_run"].items()}
        row = {"Target": DATASETS[target].label, "Method": METHODS[key].label, "Head": METHODS[key].head}
        for count in counts:
            result, label = _where(named, condition=SPREAD, frames=count), frames_label(count)
            row[label] = _share(result) if len(result) else reasons.get(label, NOT_RUN)
        row["1 frame, change"] = _change(_where(named, condition=SPREAD, frames=1))
        row[FILMED] = _share(_where(named, condition=FILMED))
        row |= {f"{order}, change": _change(_where(named, condition=order)) for order in ORDERS if order != FILMED}
        moved = known[known["condition"].isin((REVERSED, SHUFFLED))]
        first, logit = moved["other_first_answer"].max(), moved["largest_change_of_a_logit"].max()
        row["order alone: other first answer, %"] = Percent(first) if len(moved) else NOT_RUN
        row["order alone: largest change of a logit"] = f"{logit:.1e}" if len(moved) else NOT_RUN
        rows.append(row)
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ minimal pairs
def pair_table(numbers: pd.DataFrame) -> pd.DataFrame:
    """How often a clip prefers its own sentence to its partner's (chance 50 %), and whole pairs (chance 1 of 6).

    Intervals are 95 % over what the clips of a pair differ in: which two objects or motions, which action. Below the
    methods three heads that were taught to tell actions from their reversals, on clips that they were not taught with.
    """
    asked, rows = _where(numbers, question=SENTENCE), []
    for key, label in ({key: METHODS[key].label for key in PROBED_METHODS} | TAUGHT).items():
        row: dict[str, object] = {"Method": label}
        for kind in [REVERSED_PAIRS] if key in TAUGHT else PAIR_LABEL:
            result = _where(asked, method=key, condition=kind)
            row[PAIR_LABEL[kind]] = _share(result, "percent", "low", "high")
            row[f"{PAIR_LABEL[kind]}, whole pairs"] = Percent(result["pairs_right"].iloc[0]) if len(result) else NOT_RUN
        row["Steps of teaching"] = round(result["steps"].iloc[0]) if key in TAUGHT and len(result) else ""
        rows.append(row | {"Seeds": int(result["seeds"].sum())})
    return pd.DataFrame(rows, dtype=object).fillna("")
