"""The paper's claims against our records: paired differences with intervals, and verdicts.

Every comparison is paired over clips and resampled over whole classes, all seeds of a class together: would the gap
hold for other classes? Beside it stand the interval over recordings (for other clips of these very classes?) and
McNemar's exact test. That one takes every clip to be independent, but asks for the gap in every seed and is corrected
by Holm for the number of comparisons, so that it may be the milder or the stricter. The verdict goes by the interval
over classes, uncorrected.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.answers import Answers, paired
from motion_lib.evaluation.intervals import FINE, Interval
from motion_lib.experiment.records import answers_of
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.paper import REPORTED_RETRIEVAL
from motion_lib.report.tables import KIND_LABEL, NOT_RUN, Percent, Points, PValue, select

AGREES, DIFFERS, NO_DIFFERENCE, CANNOT_TELL = "agrees", "differs", "no difference", "cannot tell"
NO_TEST = "claims no gap"  # in the place of McNemar's p-value, which asks whether there is one
NOT_CLAIMED = "not claimed"  # the paper's own numbers go the other way
NO_GAIN = "no gain to compare with"
MARGIN = (
    0.05  # "no better" and "no difference" allow for less than the 5 points that the paper calls a gain (section 5)
)
COUNTED = (AGREES, DIFFERS, NO_DIFFERENCE, CANNOT_TELL, NOT_CLAIMED, NOT_RUN)
NEGLIGIBLE_SHARE = 0.2  # of the gain: our reading of "negligible"; the paper gives no number

# What the comparisons test is a direction; the sizes that the paper states are of its own data.
DIRECTIONS = {
    "above_vanilla_clip": ("our method above vanilla CLIP", "Tables 2 and 3"),
    "above_class_name_control": ("our method above the same with class names", "control, not in the paper"),
    "above_class_name_training": ("our method above X-CLIP, Text4Vis and ViFi-CLIP", "Tables 2 and 3"),
    "noun_bias": ("objects named above objects masked, every method of the paper", "Tables 2 and 3"),
    "noun_bias_of_control": ("the same for our method with class names", "control, not in the paper"),
    "temporal_transformer_no_better": ("temporal transformer not above mean pooling by 5 points", "Tables 4 and 5"),
}


class Side(NamedTuple):
    """One method scored against one kind of descriptions."""

    method: str
    kind: str


@dataclass(frozen=True)
class Comparison:
    """Claim that `better` is above `worse`, or with `no_better` that `better` does not exceed `worse`."""

    claim: str
    better: Side
    worse: Side
    no_better: bool = False

    def __str__(self) -> str:
        label, above = METHODS[self.better.method].label, "not above" if self.no_better else "above"
        if self.better.method == self.worse.method:
            return f"{label}: {KIND_LABEL[self.better.kind]} {above} {KIND_LABEL[self.worse.kind]}"
        return f"{label} {above} {METHODS[self.worse.method].label} ({KIND_LABEL[self.better.kind]})"

    def reported(self, dataset: str) -> float | None:
        """The gap in the paper's table that a target stands for, as a share; None if it is not there."""
        rows = [METHODS[side.method].paper_row for side in (self.better, self.worse)]
        if None in rows:
            return None
        reported = REPORTED_RETRIEVAL[DATASETS[dataset].paper]
        return (reported[rows[0]][self.better.kind] - reported[rows[1]][self.worse.kind]) / 100


def _both_kinds(claim: str, better: str, *others: str, no_better: bool = False) -> list[Comparison]:
    pairs = ((Side(better, kind), Side(worse, kind)) for worse in others for kind in DESCRIPTION_KINDS)
    return [Comparison(claim, *pair, no_better) for pair in pairs]


def _named_above_masked(claim: str, *methods: str) -> list[Comparison]:
    return [Comparison(claim, Side(method, "object"), Side(method, "masked")) for method in methods]


COMPARISONS: tuple[Comparison, ...] = (
    *_both_kinds("above_vanilla_clip", "motion", "clip"),
    *_both_kinds("above_class_name_control", "motion", "names"),
    *_both_kinds("above_class_name_training", "motion", "xclip", "text4vis", "vificlip"),
    *_named_above_masked("noun_bias", "clip", "xclip", "text4vis", "vificlip", "motion"),
    *_named_above_masked("noun_bias_of_control", "names"),
    *_both_kinds("temporal_transformer_no_better", "motion_temporal", "motion", no_better=True),
)


@dataclass(frozen=True)
class Finding:
    """What one comparison gave on one target."""

    comparison: Comparison
    dataset: str
    verdict: str
    gap: Interval | None = None  # better less worse, as a share, with 95 % over classes; None: no seed in common
    over_recordings: Interval | None = None  # the same gap with 95 % over groups of clips within their classes
    # Gaps that would show with 80 % power over other classes, and over other recordings of these; nan where the two
    # never differ.
    visible: float = math.nan
    visible_in_recordings: float = math.nan
    p_value: float | None = None  # McNemar's for the gap in every seed, by Holm; None where no gap is claimed
    seeds: int = 0  # how many both have


def verdict(difference: Interval, no_better: bool = False) -> str:
    """Read an interval of (better - worse): agrees with the claim, differs, no difference, or cannot tell."""
    if no_better:
        return DIFFERS if difference.low > 0 else AGREES if difference.high < MARGIN else CANNOT_TELL
    if difference.low > 0:
        return AGREES
    if difference.high < 0:
        return DIFFERS
    return NO_DIFFERENCE if max(-difference.low, difference.high) < MARGIN else CANNOT_TELL


def compare(records: Sequence[dict], dataset: str, comparison: Comparison) -> Finding:
    """One comparison on one target, its p-value not corrected yet.

    A gap that the paper itself reports the other way round is measured, and has no verdict: Table 3 has ViFi-CLIP
    above ours with objects masked.

    Raises:
        ValueError: if the two saw other videos.
    """
    reported = comparison.reported(dataset)
    claimed = reported is None or reported > 0
    final = select(records, dataset=dataset, epoch=None)
    sides = [select(final, method=s.method, descriptions=s.kind) for s in (comparison.better, comparison.worse)]
    ours, theirs = (answers_of(side) if side else None for side in sides)
    if not (ours and theirs and set(ours.known_seeds) & set(theirs.known_seeds)):
        return Finding(comparison, dataset, NOT_RUN if claimed else NOT_CLAIMED)
    try:
        difference = ours.less(theirs)
    except ValueError as error:
        raise ValueError(f"{DATASETS[dataset].label}, {comparison}: {error}") from error
    gap = difference.interval("classes", FINE)
    said = verdict(gap, comparison.no_better) if claimed else NOT_CLAIMED
    p_value = mcnemar_in_every_seed(ours, theirs) if claimed and not comparison.no_better else None
    return Finding(
        comparison, dataset, said, gap, difference.interval("recordings"), difference.smallest_visible("classes"),
        difference.smallest_visible("recordings"), p_value, len(difference.known_seeds),
    )  # fmt: skip


def findings(records: Sequence[dict], datasets: Sequence[str], claims: Sequence[str] | None = None) -> list[Finding]:
    """Every comparison on every target, or those of some claims; McNemar's p-values are corrected over all of them."""
    chosen = [c for c in COMPARISONS if claims is None or c.claim in claims]
    found = [compare(records, dataset, c) for c in chosen for dataset in datasets]
    corrected = iter(holm([f.p_value for f in found if f.p_value is not None]))
    return [f if f.p_value is None else replace(f, p_value=float(next(corrected))) for f in found]


def claims_table(records: Sequence[dict], datasets: Sequence[str], claims: Sequence[str] | None = None) -> pd.DataFrame:
    """Every comparison on every target, or those of some claims."""
    return findings_table(findings(records, datasets, claims))


_MEASURED = (
    "Gap, points [95 % over classes]", "Gap, points [95 % over recordings]", "McNemar p, Holm",
    "Smallest visible gap, classes", "Smallest visible gap, recordings",
)  # fmt: skip


def findings_table(found: Iterable[Finding]) -> pd.DataFrame:
    """One row a finding, beside the gap that the paper reports."""
    rows = []
    for finding in found:
        comparison, reported = finding.comparison, finding.comparison.reported(finding.dataset)
        absent = "not at hand" if comparison.no_better else "not in the paper"
        row = {
            "Direction tested": DIRECTIONS[comparison.claim][0],
            "Target": DATASETS[finding.dataset].label,
            "Comparison": str(comparison),
            "Reported gap, points": absent if reported is None else Points(reported),
        }
        measured = [NOT_RUN] * len(_MEASURED)
        if finding.gap and finding.over_recordings:
            visible = (finding.visible, finding.visible_in_recordings)
            shown = ["not known" if math.isnan(gap) else Percent(gap) for gap in visible]
            p = NO_TEST if finding.p_value is None else PValue(finding.p_value)
            measured = [Points(*finding.gap), Points(*finding.over_recordings), p, *shown]
        row |= dict(zip(_MEASURED, measured, strict=True))
        rows.append(row | {"Seeds": finding.seeds, "Verdict": finding.verdict})
    return pd.DataFrame(rows)


def gap_table(found: Sequence[Finding]) -> pd.DataFrame:
    """Our method less every other one, in points with 95 % over classes: a row a method, a column a target and kind."""
    rows: dict[str, dict[str, object]] = {}
    for finding in found:
        better, worse = finding.comparison.better, finding.comparison.worse
        if better.method == "motion" and worse.method != "motion":
            row = rows.setdefault(worse.method, {"Our method less": METHODS[worse.method].label})
            gap = Points(*finding.gap) if finding.gap else NOT_RUN
            row[f"{DATASETS[finding.dataset].label}, {KIND_LABEL[better.kind]}"] = gap
    return pd.DataFrame(list(rows.values()))


def verdict_counts(found: Sequence[Finding]) -> pd.DataFrame:
    """Per direction how many comparisons have each verdict."""
    rows = []
    for claim in dict.fromkeys(finding.comparison.claim for finding in found):
        counts = Counter(finding.verdict for finding in found if finding.comparison.claim == claim)
        row = dict(zip(("Direction tested", "Where"), DIRECTIONS[claim], strict=True))
        rows.append(row | {name: counts[name] for name in COUNTED})
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ overfitting
@dataclass(frozen=True)
class Curve:
    """Accuracy over the epochs of one method, target and description kind, all seeds."""

    dataset: str
    kind: str
    gain: Interval  # last epoch less epoch 0, with 95 % over classes
    best: int  # epoch, chosen on the target itself, so that its loss is biased upwards, against the claim
    loss: Interval  # best epoch less the last

    @property
    def verdict(self) -> str:
        """The loss is negligible if it is below a fifth of a gain that is itself above zero."""
        if self.gain.low <= 0:
            return NO_GAIN
        negligible = self.gain.estimate * NEGLIGIBLE_SHARE
        return AGREES if self.loss.high < negligible else DIFFERS if self.loss.low > negligible else CANNOT_TELL


def curves(records: Sequence[dict], datasets: Sequence[str]) -> list[Curve]:
    """Those of our method with two epochs or more (Tables 6 and 7)."""
    found = []
    for dataset, kind in product(datasets, DESCRIPTION_KINDS):
        chosen = select(records, method="motion", dataset=dataset, descriptions=kind)
        epochs = sorted({record["epoch"] for record in chosen} - {None})
        if len(epochs) >= 2:
            answers = {epoch: answers_of(select(chosen, epoch=epoch)) for epoch in epochs}
            best, last = max(epochs, key=lambda epoch: answers[epoch].mean), answers[epochs[-1]]
            gain, loss = last.less(answers[epochs[0]]), answers[best].less(last)
            found.append(Curve(dataset, kind, gain.interval(resamples=FINE), best, loss.interval(resamples=FINE)))
    return found


def overfitting_table(records: Sequence[dict], datasets: Sequence[str]) -> pd.DataFrame:
    """Loss from the best epoch to the last beside the gain over epoch 0, all seeds (Tables 6 and 7)."""
    return curves_table(curves(records, datasets))


def curves_table(found: Iterable[Curve]) -> pd.DataFrame:
    """One row a curve."""
    rows = [
        {
            "Target": DATASETS[curve.dataset].label,
            "Descriptions": KIND_LABEL[curve.kind],
            "Gain over epoch 0, points": Points(*curve.gain),
            "Best epoch": curve.best,
            "Loss from best to last, points": Points(*curve.loss),
            "Verdict": curve.verdict,
        }
        for curve in found
    ]
    return pd.DataFrame(rows)


def mcnemar_in_every_seed(one: Answers, other: Answers) -> float:
    """McNemar's exact p-value for a gap in one and the same direction in every seed.

    Of the one-sided p-values the largest of the seeds, since the gap must be there in all of them, doubled since
    either direction would do. Seeds are not pooled: the clips are the same in all of them.

    Raises:
        ValueError: if the two cannot be paired.
    """
    one, other = paired(one, other)
    of_seed = [one.seeds == seed for seed in one.known_seeds]
    either = [
        max(mcnemar_exact(one.right[mask], other.right[mask], way) for mask in of_seed) for way in ("greater", "less")
    ]
    return min(1.0, 2 * min(either))


def mcnemar_exact(ours: ArrayLike, theirs: ArrayLike, alternative: str = "two-sided") -> float:
    """p-value of McNemar's exact test that two are equally often right on the same clips; each (N,) bool or 0 and 1.

    Only clips on which one is right and the other wrong count; with none of these p is 1. Clips are taken to be
    independent.

    Args:
        alternative: "two-sided", or one-sided: "greater" (ours is right more often) or "less".
    """
    from scipy import stats  # here: it takes longer to import than most commands take

    difference = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    alone, others = int((difference > 0).sum()), int((difference < 0).sum())
    return float(stats.binomtest(alone, alone + others, 0.5, alternative=alternative).pvalue) if alone + others else 1.0


def holm(p_values: ArrayLike) -> np.ndarray:
    """Holm's step-down adjusted p-values (Holm 1979), for the family-wise error.

    `scipy.stats.false_discovery_control` offers Benjamini-Hochberg and -Yekutieli only, hence these lines.

    Returns:
        (M,) float64, in the order given.

    Raises:
        ValueError: unless (M,) with 0 <= p <= 1.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    if p_values.ndim != 1 or not ((p_values >= 0) & (p_values <= 1)).all():
        raise ValueError(f"p_values: expected one dimension and values in [0, 1], got {p_values}.")
    order = np.argsort(p_values, kind="stable")
    still_open = np.arange(len(p_values), 0, -1)  # hypotheses not yet rejected at each step
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * still_open), 1.0)
    return adjusted
