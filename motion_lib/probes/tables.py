"""What the probes say: means over seeds with intervals, and paired differences to the clip and text as they are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import FINE, Interval
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.probes.cells import cell_of, family, interval_of, limits_together, paired_right
from motion_lib.probes.records import (
    NEAREST,
    ORDER,
    PAIRS,
    PROBED_METHODS,
    RANDOM,
    REVERSED_PAIRS,
    TEXT,
    VIDEO,
    frames_label,
)
from motion_lib.probes.text_controls import MOTION
from motion_lib.probes.video_controls import (
    FILMED,
    FROZEN,
    REPEATED,
    REVERSED,
    SHUFFLED,
    SPREAD,
)
from motion_lib.report.tables import KIND_LABEL, NOT_RUN

TEXT_CONTROLS = (
    MOTION, "motion description in a template", "alternate version", "class name and motion", "class name",
    "class name in a template", "action description", "objects masked", "nouns only", "verbs only", "words shuffled",
    "random words",
)  # fmt: skip
ORDERS = (FILMED, REVERSED, SHUFFLED, REPEATED, FROZEN)
PAIR_LABEL = {
    "object": "another object, same motion",
    "arms": "another motion of the arms",
    "body": "another motion of the body",
    REVERSED_PAIRS: "the same frames backwards",
}


def _percent(cell: dict | None) -> str:
    return f"{100 * cell['right'].mean():.1f}" if cell else NOT_RUN


# ------------------------------------------------------------------ texts
_OWN_TEXTS = "Classes with a text of their own"


def text_control_table(probes: list[dict], dataset: str) -> pd.DataFrame:
    """Top-1 percent of every method with every text, mean over seeds and draws; for ours the gap with its interval.

    Classes with one and the same text cannot be told apart, so only those with a text of their own can be right.
    """
    rows = []
    ours = family(probes, TEXT, "motion", dataset)
    usual = cell_of(ours, name=MOTION)
    for control in TEXT_CONTROLS:
        row = {"Text": control, _OWN_TEXTS: _own_texts(ours, control)}
        for key in PROBED_METHODS:
            row[METHODS[key].label] = _percent(cell_of(family(probes, TEXT, key, dataset), name=control))
        cell = cell_of(ours, name=control)
        row["Our method, against its motion descriptions"] = (
            "" if control == MOTION else interval_of(cell, usual).in_points() if cell else NOT_RUN
        )
        rows.append(row)
    return pd.DataFrame(rows)


def _own_texts(of_method: list[dict], control: str) -> str:
    counts = {c["own_texts"] for p in of_method for c in p["conditions"] if c["name"] == control}
    return " to ".join(str(count) for count in sorted({min(counts), max(counts)})) if counts else NOT_RUN


def text_gap_table(probes: list[dict], dataset: str) -> pd.DataFrame:
    """Our method less every other one under each text, in points with 95 % over classes: does the gap hold for other
    words of the same motions?"""
    gaps: dict[tuple[str, str], dict | None] = {}
    for key in (key for key in PROBED_METHODS if key != "motion"):
        sides = _of_common_seeds(*(family(probes, TEXT, method, dataset) for method in ("motion", key)))
        for control in TEXT_CONTROLS:
            ours, theirs = (cell_of(side, name=control) for side in sides)
            gaps[control, key] = ours | {"right": paired_right(ours, theirs)} if ours and theirs else None
    found = [cell for cell in gaps.values() if cell]
    limits = iter(limits_together(found, FINE))
    shown = {
        at: Interval(float(cell["right"].mean()), *next(limits)).in_points() if cell else NOT_RUN
        for at, cell in gaps.items()
    }
    columns = {f"less {METHODS[key].label}": key for key in PROBED_METHODS if key != "motion"}
    rows = [{"Text": name} | {column: shown[name, key] for column, key in columns.items()} for name in TEXT_CONTROLS]
    return pd.DataFrame(rows)


def _of_common_seeds(*sides: list[dict]) -> list[list[dict]]:
    common = set.intersection(*({record["seed"] for record in side} for side in sides))
    return [[record for record in side if record["seed"] in common] for side in sides]


def rival_table(probes: list[dict], datasets: Sequence[str]) -> pd.DataFrame:
    """The right description among five others: the nearest ones against random ones; chance is 1 of 6."""
    rows = []
    for dataset in datasets:
        for key in PROBED_METHODS:
            cells = [cell_of(family(probes, TEXT, key, dataset), name=name) for name in (NEAREST, RANDOM)]
            row = {"Target": DATASETS[dataset].label, "Method": METHODS[key].label}
            row |= {f"Among {name}": _percent(cell) for name, cell in zip((NEAREST, RANDOM), cells, strict=True)}
            row["Nearest less random, points"] = interval_of(*cells).in_points() if all(cells) else NOT_RUN
            rows.append(row)
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ videos
_ONE_FRAME = "1 frame less as tested, points"


def frame_count_table(probes: list[dict], dataset: str) -> pd.DataFrame:
    """Top-1 percent with so many frames from the middles of as many segments, objects named; where a method's weights
    do not allow a number, the reason. Beside it what one frame alone costs, paired, with 95 % over classes.
    """
    spread = [c for p in family(probes, VIDEO, dataset=dataset) for c in p["conditions"] if c["name"] == SPREAD]
    rows, counts = [], sorted({c["frames"] for c in spread})
    for key in PROBED_METHODS:
        of_method = family(probes, VIDEO, key, dataset)
        reasons = {name: why for probe in of_method for name, why in probe["not_run"].items()}
        own, row = _own_frames(of_method), {"Method": METHODS[key].label, "Head": METHODS[key].head}
        one, usual = (cell_of(of_method, name=SPREAD, kind="object", frames=count) for count in (1, own))
        for count in counts:
            cell, label = cell_of(of_method, name=SPREAD, kind="object", frames=count), frames_label(count)
            row[label] = _percent(cell) if cell else reasons.get(label, NOT_RUN)
        rows.append(row | {_ONE_FRAME: interval_of(one, usual).in_points() if one and usual else NOT_RUN})
    return pd.DataFrame(rows)


def order_control_table(probes: list[dict], dataset: str) -> pd.DataFrame:
    """What is left of the accuracy when frames are reversed, shuffled, repeated or frozen; objects named and masked.

    Each with the paired difference to the clip as filmed, in points.
    """
    rows = []
    for key in PROBED_METHODS:
        of_method = family(probes, VIDEO, key, dataset)
        own = _own_frames(of_method)
        for order in ORDERS:
            row = {"Method": METHODS[key].label, "Frames": order}
            for kind in DESCRIPTION_KINDS:
                wanted = {"kind": kind, "frames": own}
                cell, usual = (cell_of(of_method, name=name, **wanted) for name in (order, FILMED))
                changed = cell and order != FILMED
                row[KIND_LABEL[kind]] = _percent(cell)
                row[f"{KIND_LABEL[kind]}: difference"] = interval_of(cell, usual).in_points() if changed else ""
            rows.append(row | _changes(of_method, order, own))
    return pd.DataFrame(rows)


def _own_frames(of_method: list[dict]) -> int | None:
    """The number of frames that a method's orders were shown with."""
    reversed_ = [c["frames"] for p in of_method for c in p["conditions"] if c["name"] == REVERSED]
    return reversed_[0] if reversed_ else None


def _changes(of_method: list[dict], order: str, own: int | None) -> dict[str, str]:
    found = [c for p in of_method for c in p["conditions"] if c["name"] == order and c["frames"] == own]
    if not found:
        return dict.fromkeys(_CHANGES, NOT_RUN)
    other = [100 * np.mean([c["other_first_answer"] for c in found if c["kind"] == kind]) for kind in DESCRIPTION_KINDS]
    largest = max(c["largest_change_of_a_logit"] for c in found)
    return dict(zip(_CHANGES, (*(f"{share:.2f}" for share in other), f"{largest:.1e}"), strict=True))


_CHANGES = (*(f"{label}: other first answer, %" for label in KIND_LABEL.values()), "largest change of a logit")


# ------------------------------------------------------------------ minimal pairs
def pair_table(probes: list[dict]) -> pd.DataFrame:
    """How often a clip prefers its own sentence to its partner's (chance 50 %), and whole pairs (chance 1 of 6).

    Intervals are 95 % over what the clips of a pair differ in: which two objects or motions, which action.
    """
    rows = []
    for key in PROBED_METHODS:
        of_method = family(probes, PAIRS, key)
        row = {"Method": METHODS[key].label}
        for kind, label in PAIR_LABEL.items():
            cell = cell_of(of_method, name=kind, of="sentence for a clip")
            row[label] = interval_of(cell).in_percent() if cell else NOT_RUN
            row[f"{label}, whole pairs"] = _whole_pairs(of_method, kind)
        rows.append(row)
    return pd.DataFrame(rows)


def _whole_pairs(of_method: list[dict], kind: str) -> str:
    found = [c["pairs_right"] for p in of_method for c in p["conditions"] if c["name"] == kind]
    return f"{100 * np.mean(found):.1f}" if found else NOT_RUN


def taught_table(probes: list[dict]) -> pd.DataFrame:
    """Heads taught to tell actions from their reversals: clips that prefer the right direction, test clips alone."""
    rows = []
    for label, name in (("mean over frames", "mean"), ("6-layer temporal transformer", "temporal")):
        of_head = family(probes, ORDER, f"motion_{name}_taught")
        cell, steps = cell_of(of_head, name=REVERSED_PAIRS), {c["steps"] for p in of_head for c in p["conditions"]}
        measured = interval_of(cell).in_percent() if cell else NOT_RUN
        rows.append(
            {
                "Head": label,
                "Steps of training": ", ".join(str(count) for count in sorted(steps)) or NOT_RUN,
                "Right direction, %": measured,
                "Whole pairs, %": _whole_pairs(of_head, REVERSED_PAIRS),
                "Seeds": len(cell["seeds"]) if cell else 0,
            }
        )
    return pd.DataFrame(rows)
