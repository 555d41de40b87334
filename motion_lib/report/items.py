"""The paper item by item, reported beside measured: agrees, differs, cannot tell or not run, and why.

Two questions are kept apart. Does a direction that the paper claims hold in what was run here? And was the paper's
own number measured? The second has an answer in the profile `paper` alone: the miniature's percentages are of
another world and are never held against the paper's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.methods import METHODS, TABLE_METHODS
from motion_lib.paper import HUMAN_STUDY, REPORTED_LIKERT, REPORTED_RETRIEVAL
from motion_lib.people.ratings import NOT_COLLECTED, StudyResult
from motion_lib.report.breakdowns import limits, pooled
from motion_lib.report.claims import AGREES, CANNOT_TELL, DIFFERS, NO_GAIN, NOT_CLAIMED, NOT_RUN
from motion_lib.report.tables import KIND_LABEL, select

NO_VERDICT = "no verdict"
_DATA_MISSING = "needs Kinetics-400 and the target's videos, which the miniature stands in for"
_ROUNDING = 0.005  # the paper prints the percentages of models with two decimals
_PEOPLE = "needs people"


@dataclass(frozen=True)
class People:
    """What people were asked here.

    Attributes:
        rated: attributes of Table 1 that have ratings.
        studies: {(target, kind): outcome} of the retrieval studies that somebody answered.
    """

    rated: int = 0
    studies: Mapping[tuple[str, str], StudyResult] = field(default_factory=dict)


def number_verdicts(records: list[dict], cfg: RunConfig) -> pd.DataFrame:
    """Every number of Tables 2 and 3 that is a model's: reported, measured on the same data, and whether they agree.

    They agree if the reported percent lies in the 95 % interval over groups of clips of the mean over seeds, widened
    by the reported number's rounding. The reported number is the best of five runs, which a mean is below by nature:
    the verdict is on whether the number is what to expect, not on whether it can be reached.
    """
    rows = []
    for dataset, methods in REPORTED_RETRIEVAL.items():
        for key in (key for key in TABLE_METHODS if METHODS[key].paper_row):
            row = METHODS[key].paper_row
            for kind, percent in methods[row].items():
                measured, verdict, reason = _number(records, cfg, dataset, key, kind, percent)
                rows.append(
                    {
                        "Data set": DATASETS[dataset].label,
                        "Method": row,
                        "Descriptions": KIND_LABEL[kind],
                        "Reported, %": f"{percent:g}",
                        "Measured on the same data": measured,
                        "Verdict": verdict,
                        "Reason": reason,
                    }
                )
    return pd.DataFrame(rows)


def _number(
    records: list[dict], cfg: RunConfig, dataset: str, key: str, kind: str, percent: float
) -> tuple[str, str, str]:
    if dataset not in cfg.targets:
        return NOT_RUN, NOT_RUN, _DATA_MISSING
    cell = select(records, dataset=dataset, method=key, descriptions=kind, epoch=None)
    if not cell:
        return NOT_RUN, NOT_RUN, "no record: run the notebooks 02 and 03 of this profile"
    right, groups = pooled(cell, "groups")
    low, high = (100 * limit for limit in limits(right, groups))
    mean = 100 * right.mean()
    verdict = AGREES if low - _ROUNDING <= percent <= high + _ROUNDING else DIFFERS
    lacking = cell[0]["n_expected"] - cell[0]["n_decoded"]
    of = f"{cell[0]['n_decoded']} videos, {lacking} missing or unreadable"
    where = f"split {cfg.split}, {cfg.target_subset}" if cfg.target_subset == "test" else "all videos"
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]", verdict, f"{where}: {of}; mean of {len(cell)} seeds"


def item_verdicts(tables: Mapping[str, pd.DataFrame], cfg: RunConfig, people: People | None = None) -> pd.DataFrame:
    """One row for every table, figure and study of the paper: what it says, what was found here, verdict, reason.

    Args:
        tables: "claims", "overfitting" and "numbers", as the report makes them.
        people: what was asked of people; None: nothing.
    """
    people = people or People()
    claims, overfitting = tables["claims"], tables["overfitting"]
    main = ("above_vanilla_clip", "above_class_name_training", "noun_bias")
    numbers, rows = tables["numbers"], []
    for offset, target in enumerate(cfg.targets):
        label = DATASETS[target].label
        of_target = claims[claims["Target"] == label]
        retrieval = of_target[of_target["Claim"].isin(main)]["Verdict"]
        heads = of_target[of_target["Claim"] == "temporal_transformer_no_better"]["Verdict"]
        epochs = overfitting[overfitting["Target"] == label]["Verdict"] if len(overfitting) else pd.Series(dtype=str)
        rows += [
            (f"Table {2 + offset}", "ours is best, masking hurts every method", *_counted(retrieval, label)),
            (f"Table {4 + offset}", "a temporal transformer is no better than the mean", *_counted(heads, label)),
            (f"Table {6 + offset}", "overfitting is negligible beside the gain", *_counted(epochs, label)),
        ]
    rows = [
        ("Table 1", "ratings of the descriptions", *_rated(people)),
        *sorted(rows, key=lambda row: row[0]),
        ("Tables 2 and 3, numbers", f"{len(numbers)} percentages", *_of_numbers(numbers)),
        ("Tables 2 and 3, people", "98 and 98 %, 97.5 and 96 %", *_studied(people)),
    ]
    rows += [
        (name, what, "made here", NO_VERDICT, "an illustration: there is no number to compare")
        for name, what in (
            ("Figure 1", "a caption beside a motion description"),
            ("Figure 2", "prompt, description, masked description"),
            ("Figure 3", "the method"),
        )
    ]
    own_texts = "counted by the same rule, but of this project's sentences" if cfg.profile == "miniature" else "counted"
    rows.append(("Appendix D.2", "words and verbs per description", "table of 01_generation", NO_VERDICT, own_texts))
    columns = ["Item of the paper", "What it says", "Found here", "Verdict", "Reason"]
    return pd.DataFrame(rows, columns=columns)


def _of_numbers(numbers: pd.DataFrame) -> tuple[str, str, str]:
    """Found, verdict and reason of the paper's percentages; where none was run, the reasons that each has."""
    found, verdict, reason = _counted(numbers["Verdict"], "the paper's data")
    return found, verdict, "; ".join(dict.fromkeys(numbers["Reason"])) if verdict == NOT_RUN else reason


def _rated(people: People) -> tuple[str, str, str]:
    """Found, verdict and reason of Table 1."""
    if not people.rated:
        return NOT_COLLECTED, NOT_RUN, _PEOPLE
    return f"{people.rated} of {len(REPORTED_LIKERT)} attributes rated", NO_VERDICT, "by other people: see table1"


def _studied(people: People) -> tuple[str, str, str]:
    """Found, verdict and reason of the human row: does the reported percent, rounded as printed, lie in Wilson's
    interval of what people got right on the same data? Answers to fewer videos than the paper's five a class tell
    nothing."""
    if not people.studies:
        return NOT_COLLECTED, NOT_RUN, _PEOPLE
    found, within = [], []
    for (target, kind), result in people.studies.items():
        found.append(f"{DATASETS[target].label}, {KIND_LABEL[kind]}: {result.describe()}")
        if target in REPORTED_RETRIEVAL and result.answers >= HUMAN_STUDY.videos_per_class * DATASETS[target].classes:
            percent = REPORTED_RETRIEVAL[target]["Human"][kind]
            rounding = 0.5 if percent == int(percent) else 0.05
            low, high = (100 * value for value in result.accuracy[1:])
            within.append(low - rounding <= percent <= high + rounding)
    if not any(target in REPORTED_RETRIEVAL for target, _ in people.studies):
        return "; ".join(found), NO_VERDICT, "of the miniature, which the paper's people did not see"
    asked = f"{len(within)} of 4 numbers asked again"
    if not all(within):
        return "; ".join(found), DIFFERS, asked
    return "; ".join(found), AGREES if len(within) == 4 else CANNOT_TELL, asked


def _counted(verdicts: pd.Series, where: str) -> tuple[str, str, str]:
    """Found, verdict and reason of some comparisons: they agree if all were run and do, and differ if one does.

    What the paper does not claim is left out, and said so.
    """
    unclaimed = int((verdicts == NOT_CLAIMED).sum())
    verdicts = verdicts[verdicts != NOT_CLAIMED]
    counts = verdicts.value_counts()
    ran = len(verdicts) - counts.get(NOT_RUN, 0)
    if not ran:
        return NOT_RUN, NOT_RUN, "nothing to compare yet"
    known = [name for name in (AGREES, DIFFERS, CANNOT_TELL, NO_GAIN, NOT_RUN) if counts.get(name, 0)]
    found = ", ".join(f"{name}: {counts[name]}" for name in known)
    verdict = DIFFERS if counts.get(DIFFERS, 0) else AGREES if counts.get(AGREES, 0) == len(verdicts) else CANNOT_TELL
    reason = f"{len(verdicts)} comparisons on {where}"
    if ran < len(verdicts):
        reason += f"; {len(verdicts) - ran} of them not run"
    if counts.get(CANNOT_TELL, 0):
        reason += f"; the intervals of {counts[CANNOT_TELL]} leave it open"
    if counts.get(NO_GAIN, 0):
        reason += f"; in {counts[NO_GAIN]} the gain itself is not above zero"
    if unclaimed:
        reason += f"; left out: {unclaimed} that the paper's own numbers contradict"
    return found, verdict, reason
