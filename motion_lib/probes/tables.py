"""What the probes say, in three tables: texts, frames, pairs."""

from itertools import product

import pandas as pd

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import FINE
from motion_lib.methods import METHODS
from motion_lib.probes.answers import answers_of, difference, intervals, probe_numbers
from motion_lib.probes.pairs import PAIR_LABEL, REVERSED_PAIRS, SENTENCE
from motion_lib.probes.records import PROBED_METHODS, TEXT, VIDEO
from motion_lib.probes.text_controls import MOTION, NEAREST, RANDOM, TEXT_CONTROLS
from motion_lib.probes.video_controls import FILMED, ORDERS, REVERSED, SHUFFLED, SPREAD, frames_label
from motion_lib.report.tables import NOT_RUN, Percent, Points, select, write_table

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
        gaps, known = _gaps(probes, target), _rows(numbers, family=TEXT, dataset=target)
        for name in (*TEXT_CONTROLS, NEAREST, RANDOM):
            results = {key: _rows(known, method=key, condition=name) for key in PROBED_METHODS}
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
    counts = sorted(_rows(numbers, condition=SPREAD)["frames"].unique())
    rows = []
    for target, key in product(targets, PROBED_METHODS):
        known = _rows(numbers, family=VIDEO, dataset=target, method=key)
        named = known[known["kind"] == "object"]
        kept = select(probes, family=VIDEO, method=key, dataset=target)
        reasons = {what: why for probe in kept for what, why in probe["not_run"].items()}
        row = {"Target": DATASETS[target].label, "Method": METHODS[key].label, "Head": METHODS[key].head}
        for count in counts:
            result, label = _rows(named, condition=SPREAD, frames=count), frames_label(count)
            row[label] = _share(result) if len(result) else reasons.get(label, NOT_RUN)
        row["1 frame, change"] = _change(_rows(named, condition=SPREAD, frames=1))
        row[FILMED] = _share(_rows(named, condition=FILMED))
        row |= {f"{order}, change": _change(_rows(named, condition=order)) for order in ORDERS if order != FILMED}
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
    methods two heads that were taught to tell actions from their reversals, on clips that they were not taught with.
    """
    asked, rows = _rows(numbers, question=SENTENCE), []
    for key, label in ({key: METHODS[key].label for key in PROBED_METHODS} | TAUGHT).items():
        row: dict[str, object] = {"Method": label}
        for kind in [REVERSED_PAIRS] if key in TAUGHT else PAIR_LABEL:
            result = _rows(asked, method=key, condition=kind)
            row[PAIR_LABEL[kind]] = _share(result, "percent", "low", "high")
            row[f"{PAIR_LABEL[kind]}, whole pairs"] = Percent(result["pairs_right"].iloc[0]) if len(result) else NOT_RUN
        row["Steps of teaching"] = round(result["steps"].iloc[0]) if key in TAUGHT and len(result) else ""
        rows.append(row | {"Seeds": int(result["seeds"].sum())})
    return pd.DataFrame(rows, dtype=object).fillna("")
