"""The paper's claims against our records: paired differences with intervals, and verdicts.

Every comparison is paired over clips and resampled over whole classes, all seeds of a class
together: what is asked is whether the gap would hold for other classes, and clips of one class
are far from independent. Beside it stand the interval over groups of clips, which asks whether it
would hold for other recordings of the same classes, and McNemar's exact test. That one takes every
clip to be independent, but asks for the gap in every seed and is corrected by Holm for the number of
comparisons, so that it may be the milder or the stricter. The verdict goes by the first, uncorrected.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import (
    FINE,
    Interval,
    bootstrap_difference,
    holm,
    mcnemar_exact,
    smallest_detectable,
)
from motion_lib.experiment.records import ranks_of
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.paper import REPORTED_RETRIEVAL
from motion_lib.report.tables import KIND_LABEL, select

AGREES, DIFFERS, CANNOT_TELL, NOT_RUN = "agrees", "differs", "cannot tell", "not run"
NO_TEST = "claims no gap"  # in the place of McNemar's p-value, which asks whether there is one
NOT_CLAIMED = "not claimed"  # the paper's own numbers go the other way
MARGIN = 0.05  # "no better" allows for less than the 5 points that the paper calls a gain (section 5)


@dataclass(frozen=True)
class Cell:
    """One method scored against one kind of descriptions."""

    method: str
    kind: str


@dataclass(frozen=True)
class Comparison:
    """Claim that `better` is above `worse`, or with `no_better` that `better` does not exceed `worse`."""

    claim: str
    better: Cell
    worse: Cell
    no_better: bool = False


def _both_kinds(claim: str, better: str, worse: str, no_better: bool = False) -> list[Comparison]:
    return [Comparison(claim, Cell(better, kind), Cell(worse, kind), no_better) for kind in DESCRIPTION_KINDS]


COMPARISONS: tuple[Comparison, ...] = (
    *_both_kinds("above_vanilla_clip", "motion", "clip"),
    *_both_kinds("above_class_name_control", "motion", "names"),
    *_both_kinds("above_class_name_training", "motion", "xclip"),
    *_both_kinds("above_class_name_training", "motion", "text4vis"),
    *_both_kinds("above_class_name_training", "motion", "vificlip"),
    *(
        Comparison("noun_bias", Cell(m, "object"), Cell(m, "masked"))
        for m in ("clip", "xclip", "text4vis", "vificlip", "motion")
    ),
    Comparison("noun_bias_of_control", Cell("names", "object"), Cell("names", "masked")),
    *_both_kinds("temporal_transformer_no_better", "motion_temporal", "motion", no_better=True),
)


@dataclass(frozen=True)
class _Pair:
    """Correctness of two cells over all clips of all common seeds, with the class, group and seed of each."""

    better: np.ndarray
    worse: np.ndarray
    classes: np.ndarray
    groups: np.ndarray
    seeds: np.ndarray

    def p_value(self) -> float:
        """McNemar's p-value for a gap in one and the same direction in every seed.

        Of the one-sided p-values the largest of the seeds, since the gap must be there in all of them, doubled since
        either direction would do. Seeds are not pooled: the clips are the same in all of them.
        """
        of_seed = [self.seeds == seed for seed in np.unique(self.seeds)]
        either = [
            max(mcnemar_exact(self.better[mask], self.worse[mask], way) for mask in of_seed)
            for way in ("greater", "less")
        ]
        return min(1.0, 2 * min(either))


def _paired(records: list[dict], dataset: str, better: Cell, worse: Cell) -> _Pair | None:
    """Both cells over their common seeds; None without one. Raises: ValueError if they saw other videos."""
    final = select(records, dataset=dataset, epoch=None)
    sides = [
        {r["seed"]: r for r in select(final, method=cell.method, descriptions=cell.kind)} for cell in (better, worse)
    ]
    seeds = sorted(sides[0].keys() & sides[1].keys())
    if not seeds:
        return None
    for seed in seeds:
        if sides[0][seed]["video_list_hash"] != sides[1][seed]["video_list_hash"]:
            raise ValueError(f"{dataset}, seed {seed}: {better} and {worse} saw other videos and cannot be paired.")
    correct = [np.concatenate([ranks_of(side[seed]) == 0 for seed in seeds]) for side in sides]
    classes, groups = (
        np.concatenate([np.array(sides[0][seed][name].split(), dtype=np.int64) for seed in seeds])
        for name in ("labels", "groups")
    )
    number = np.concatenate([np.full(len(ranks_of(sides[0][seed])), seed) for seed in seeds])
    return _Pair(correct[0], correct[1], classes, groups, number)


def verdict(difference: Interval, no_better: bool = False) -> str:
    """Read an interval of (better - worse): does it agree with the claim, differ, or not tell?"""
    if no_better:
        if difference.low > 0:
            return DIFFERS
        return AGREES if difference.high < MARGIN else CANNOT_TELL
    if difference.low > 0:
        return AGREES
    return DIFFERS if difference.high < 0 else CANNOT_TELL


def reported_gap(dataset: str, comparison: Comparison) -> float | None:
    """The gap between the two cells in the paper's table that this target stands for, in points; None if not there."""
    reported, cells = REPORTED_RETRIEVAL[DATASETS[dataset].paper], (comparison.better, comparison.worse)
    rows = [METHODS[cell.method].paper_row for cell in cells]
    if None in rows:
        return None
    better, worse = (reported[row][cell.kind] for row, cell in zip(rows, cells, strict=True))
    return better - worse


def compare(records: list[dict], dataset: str, comparison: Comparison) -> dict:
    """One row: the two cells, their gap in points with its interval, the gap that could be seen, the verdict.

    A gap that the paper itself reports the other way round is measured, and has no verdict: Table 3 has ViFi-CLIP
    above ours with objects masked.
    """
    better, worse = comparison.better, comparison.worse
    reported = reported_gap(dataset, comparison)
    claimed = reported is None or reported > 0
    row = {
        "Claim": comparison.claim,
        "Target": DATASETS[dataset].label,
        "Comparison": _named(comparison),
        "Reported gap, points": _reported(reported, comparison),
    }
    paired = _paired(records, dataset, better, worse)
    if paired is None:
        missing = dict.fromkeys(_MEASURED, NOT_RUN)
        return {**row, **missing, "Seeds": 0, "Verdict": NOT_RUN if claimed else NOT_CLAIMED}
    a, b = paired.better, paired.worse
    gap = bootstrap_difference(a, b, paired.classes, resamples=FINE)
    visible = smallest_detectable(a.astype(float) - b, paired.classes, resamples=FINE)
    return {
        **row,
        "Gap, points": f"{100 * gap.estimate:+.1f}",
        "95 % CI": _limits(gap),
        "95 % CI over groups": _limits(bootstrap_difference(a, b, paired.groups, resamples=FINE)),
        "McNemar p": NO_TEST if comparison.no_better or not claimed else paired.p_value(),
        "Smallest visible gap": "not known" if np.isnan(visible) else f"{100 * visible:.1f}",
        "Seeds": len(set(paired.seeds)),
        "Verdict": verdict(gap, comparison.no_better) if claimed else NOT_CLAIMED,
    }


_MEASURED = ("Gap, points", "95 % CI", "95 % CI over groups", "McNemar p", "Smallest visible gap")


def _reported(gap: float | None, comparison: Comparison) -> str:
    if gap is not None:
        return f"{gap:+.1f}"
    return "not at hand" if comparison.no_better else "not in the paper"


def _limits(gap: Interval) -> str:
    return f"[{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"


def _named(comparison: Comparison) -> str:
    better, worse = comparison.better, comparison.worse
    label, above = METHODS[better.method].label, "not above" if comparison.no_better else "above"
    if better.method == worse.method:
        return f"{label}: {KIND_LABEL[better.kind]} {above} {KIND_LABEL[worse.kind]}"
    return f"{label} {above} {METHODS[worse.method].label} ({KIND_LABEL[better.kind]})"


def claims_table(records: list[dict], datasets: tuple[str, ...], claims: tuple[str, ...] | None = None) -> pd.DataFrame:
    """Every comparison on every target; `claims` keeps those of some claims.

    McNemar's p-values are corrected over all rows of the table that claim a gap.
    """
    chosen = [c for c in COMPARISONS if claims is None or c.claim in claims]
    table = pd.DataFrame([compare(records, dataset, c) for c in chosen for dataset in datasets])
    tested = [not isinstance(p, str) for p in table["McNemar p"]]
    corrected = iter(holm(table.loc[tested, "McNemar p"].astype(float)))
    shown = [_p_value(next(corrected)) if ran else p for ran, p in zip(tested, table["McNemar p"], strict=True)]
    table.insert(table.columns.get_loc("McNemar p"), "McNemar p, Holm", shown)
    return table.drop(columns="McNemar p")


def gap_table(claims: pd.DataFrame, datasets: tuple[str, ...]) -> pd.DataFrame:
    """Our method less every other one: a row a method, a column a target and description kind.

    Args: claims: `claims_table` of all claims.   Cells: points [95 % over classes], McNemar's p after Holm.
    """
    shown = claims.set_index(["Target", "Comparison"])
    ours = (c for c in COMPARISONS if c.better.method == "motion")
    rivals = dict.fromkeys(c.worse.method for c in ours if c.worse.method != "motion")
    rows = []
    for rival in rivals:
        row = {"Our method less": METHODS[rival].label}
        for kind in DESCRIPTION_KINDS:
            cells = (Cell("motion", kind), Cell(rival, kind))
            comparison = next(c for c in COMPARISONS if (c.better, c.worse) == cells)
            for dataset in datasets:
                cell = shown.loc[(DATASETS[dataset].label, _named(comparison))]
                row[f"{DATASETS[dataset].label}, {KIND_LABEL[kind]}"] = _gap_cell(cell)
        rows.append(row)
    return pd.DataFrame(rows)


def _gap_cell(row: pd.Series) -> str:
    if row["Seeds"] == 0:
        return NOT_RUN
    p = row["McNemar p, Holm"]
    tested = "" if p == NO_TEST else f", p {p}" if p.startswith("<") else f", p = {p}"
    return f"{row['Gap, points']} {row['95 % CI']}{tested}"


def _p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def verdict_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Per claim how many comparisons agree, differ, cannot tell, are not claimed or were not run."""
    counts = table.groupby("Claim", sort=False)["Verdict"].value_counts().unstack(fill_value=0)
    return counts.reindex(columns=[AGREES, DIFFERS, CANNOT_TELL, NOT_CLAIMED, NOT_RUN], fill_value=0).reset_index()


NO_GAIN = "no gain to compare with"
NEGLIGIBLE_SHARE = 0.2  # of the gain: our reading of "negligible"; the paper gives no number


def _epoch_correct(records: list[dict], epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Correctness and class of every clip after an epoch, all seeds one after the other."""
    chosen = sorted(select(records, epoch=epoch), key=lambda record: record["seed"])
    correct = np.concatenate([ranks_of(record) == 0 for record in chosen])
    return correct, np.concatenate([np.array(r["labels"].split(), dtype=np.int64) for r in chosen])


def overfitting_verdict(gain: Interval, loss: Interval) -> str:
    """The loss is negligible if it is below a fifth of a gain that is itself above zero."""
    if gain.low <= 0:
        return NO_GAIN
    if loss.high < gain.estimate * NEGLIGIBLE_SHARE:
        return AGREES
    return DIFFERS if loss.low > gain.estimate * NEGLIGIBLE_SHARE else CANNOT_TELL


def overfitting_table(records: list[dict], datasets: tuple[str, ...], method: str = "motion") -> pd.DataFrame:
    """Loss from the best epoch to the last beside the gain over epoch 0, all seeds (Tables 6 and 7).

    The best epoch is chosen on the target itself, so its loss is biased upwards, against the claim.
    """
    rows = []
    for dataset in datasets:
        for kind in DESCRIPTION_KINDS:
            cells = select(records, method=method, dataset=dataset, descriptions=kind)
            epochs = sorted({r["epoch"] for r in cells if r["epoch"] is not None})
            if len(epochs) < 2:
                continue
            correct, classes = zip(*(_epoch_correct(cells, epoch) for epoch in epochs), strict=True)
            best = int(np.argmax([c.mean() for c in correct]))
            gain = bootstrap_difference(correct[-1], correct[0], classes[0], resamples=FINE)
            loss = bootstrap_difference(correct[best], correct[-1], classes[0], resamples=FINE)
            rows.append(
                {
                    "Target": DATASETS[dataset].label,
                    "Descriptions": KIND_LABEL[kind],
                    "Gain over epoch 0, points": gain.in_points(),
                    "Best epoch": epochs[best],
                    "Loss from best to last, points": loss.in_points(),
                    "Verdict": overfitting_verdict(gain, loss),
                }
            )
    return pd.DataFrame(rows)
