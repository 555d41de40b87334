"""What the probes say, in three tables: texts, frames, pairs. Cells are numbers until a file is written."""

from itertools import product

import pandas as pd

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import FINE
from motion_lib.methods import METHODS
from motion_lib.probes.answers import answers_of, difference, intervals, probe_numbers, select
from motion_lib.probes.pairs import PAIR_LABEL, REVERSED_PAIRS, SENTENCE
from motion_lib.probes.records import PROBED_METHODS, TEXT, VIDEO
from motion_lib.probes.text_controls import MOTION, NEAREST, RANDOM, TEXT_CONTROLS
from motion_lib.probes.video_controls import FILMED, ORDERS, REVERSED, SHUFFLED, SPREAD, frames_label
from motion_lib.report.tables import NOT_RUN, Percent, Points, write_table

OTHERS = tuple(key for key in PROBED_METHODS if key != "motion")
TAUGHT = {
    "motion_mean_taught": "taught order: mean over frames",
    "motion_temporal_taught": "taught order: 6-layer temporal transformer",
}


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


def _rows(numbers: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows whose columns have these values."""
    return numbers[(numbers[list(wanted)] == list(wanted.values())).all(axis=1)]


def _row(numbers: pd.DataFrame, **wanted: object) -> pd.Series | None:
    rows = _rows(numbers, **wanted)
    return rows.iloc[0] if len(rows) else None


def _share(row: pd.Series | None) -> Percent | str:
    return NOT_RUN if row is None else Percent(row["percent"] / 100)


def _interval(row: pd.Series | None) -> Percent | str:
    return NOT_RUN if row is None else Percent(*(row[name] / 100 for name in ("percent", "low", "high")))


def _change(row: pd.Series | None) -> Points | str:
    if row is None or pd.isna(row["change"]):
        return NOT_RUN
    return Points(*(row[name] / 100 for name in ("change", "change_low", "change_high")))


# ------------------------------------------------------------------ texts
def text_table(probes: list[dict], numbers: pd.DataFrame, targets: tuple[str, ...]) -> pd.DataFrame:
    """Top-1 of every method with every text and among hard negatives; what changes for ours; ours less each other.

    Classes with one and the same text cannot be told apart, so only those with a text of their own can be right.
    """
    rows = []
    for target in targets:
        gaps, known = _gaps(probes, target), _rows(numbers, family=TEXT, dataset=target)
        for name in (*TEXT_CONTROLS, NEAREST, RANDOM):
            results = {key: _row(known, method=key, condition=name) for key in PROBED_METHODS}
            ours = results["motion"]
            own = NOT_RUN if ours is None else "" if pd.isna(ours["own_texts"]) else round(ours["own_texts"])
            row = {
                "Target": DATASETS[target].label,
                "Text": f"the right one among {name}" if name in (NEAREST, RANDOM) else name,
                "Classes with a text of their own": own,
            }
            row |= {METHODS[key].label: _share(result) for key, result in results.items()}
            row["Our method, change"] = "" if name in (MOTION, RANDOM) else _change(ours)
            rows.append(row | {f"less {METHODS[key].label}": gaps.get((name, key), NOT_RUN) for key in OTHERS})
    return pd.DataFrame(rows)


def _gaps(probes: list[dict], target: str) -> dict[tuple[str, str], Points]:
    """Our method less another under the same text: does a gap hold for other words of the same motions?"""
    gaps = {}
    for key, name in product(OTHERS, (*TEXT_CONTROLS, NEAREST, RANDOM)):
        ours, theirs = (answers_of(select(probes, TEXT, method, target), name=name) for method in ("motion", key))
        gaps[name, key] = difference(ours, theirs)
    gaps = {key: gap for key, gap in gaps.items() if gap}
    return {key: Points(*gap) for key, gap in zip(gaps, intervals(list(gaps.values()), FINE), strict=True)}


# ------------------------------------------------------------------ frames
def frame_table(probes: list[dict], numbers: pd.DataFrame, targets: tuple[str, ...]) -> pd.DataFrame:
    """Top-1 with other numbers of frames and what another order changes, objects named.

    Frames are from the middles of as many segments; where a method's weights do not allow a number, the reason stands.
    """
    counts = sorted(_rows(numbers, condition=SPREAD)["frames"].unique())
    rows = []
    for target, key in product(targets, PROBED_METHODS):
        known = _rows(numbers, family=VIDEO, dataset=target, method=key)
        named = known[known["kind"] == "object"]
        reasons = {what: why for p in select(probes, VIDEO, key, target) for what, why in p["not_run"].items()}
        row = {"Target": DATASETS[target].label, "Method": METHODS[key].label, "Head": METHODS[key].head}
        for count in counts:
            result, label = _row(named, condition=SPREAD, frames=count), frames_label(count)
            row[label] = reasons.get(label, NOT_RUN) if result is None else _share(result)
        row["1 frame, change"] = _change(_row(named, condition=SPREAD, frames=1))
        row[FILMED] = _share(_row(named, condition=FILMED))
        row |= {f"{order}, change": _change(_row(named, condition=order)) for order in ORDERS if order != FILMED}
        moved = known[known["condition"].isin((REVERSED, SHUFFLED))]
        row["order alone: other first answer, %"] = (
            Percent(moved["other_first_answer"].max()) if len(moved) else NOT_RUN
        )
        logit = f"{moved['largest_change_of_a_logit'].max():.1e}" if len(moved) else NOT_RUN
        row["order alone: largest change of a logit"] = logit
        rows.append(row)
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ minimal pairs
def pair_table(numbers: pd.DataFrame) -> pd.DataFrame:
    """How often a clip prefers its own sentence to its partner's (chance 50 %), and whole pairs (chance 1 of 6).

    Intervals are 95 % over what the clips of a pair differ in: which two objects or motions, which action. Below the
    methods two heads that were taught to tell actions from their reversals, on clips that they were not taught with.
    """
    asked, rows = _rows(numbers, question=SENTENCE), []
    for key, label in ({key: METHODS[key].label for key in PROBED_METHODS} | TAUGHT).items():
        row: dict[str, object] = {"Method": label}
        for kind in [REVERSED_PAIRS] if key in TAUGHT else PAIR_LABEL:
            result = _row(asked, method=key, condition=kind)
            row[PAIR_LABEL[kind]] = _interval(result)
            row[f"{PAIR_LABEL[kind]}, whole pairs"] = NOT_RUN if result is None else Percent(result["pairs_right"])
        row["Steps of teaching"] = round(result["steps"]) if key in TAUGHT and result is not None else ""
        rows.append(row | {"Seeds": 0 if result is None else int(result["seeds"])})
    return pd.DataFrame(rows, dtype=object).fillna("")
