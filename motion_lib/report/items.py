"""The paper item by item, reported beside measured: agrees, differs, cannot tell or not run, and why.

Two questions are kept apart. Does a direction that the paper claims hold in what was run here? And was the paper's
own number measured? The second has an answer in the profile `paper` alone: the miniature is another world.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product

import pandas as pd

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import Interval
from motion_lib.experiment.records import answers_of
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.paper import HUMAN_STUDY, REPORTED_LIKERT, REPORTED_RETRIEVAL, decimals
from motion_lib.people.ratings import (
    NOT_COLLECTED,
    StudyResult,
    judged_target,
    ratings_dir,
    read_likert,
    read_study,
    wilson_interval,
)
from motion_lib.report.claims import AGREES, CANNOT_TELL, DIFFERS, NO_DIFFERENCE, NO_GAIN, NOT_CLAIMED, Curve, Finding
from motion_lib.report.tables import KIND_LABEL, NOT_RUN, Percent, Reported, select

NO_VERDICT = "no verdict"
IN_PART = "agrees in part"  # elsewhere there is no difference
_PEOPLE = "needs people"
_Row = tuple[str, str, str]  # what was found, verdict, reason


@dataclass(frozen=True)
class People:
    """What people were asked here."""

    rated: int = 0  # attributes of Table 1 that have ratings
    studies: Mapping[tuple[str, str], StudyResult] = field(default_factory=dict)  # (target, kind) -> outcome


def people_asked(cfg: RunConfig) -> People:
    """What people answered here: ratings of the descriptions that Table 1 is of, and the retrieval studies."""
    rated = len(read_likert(ratings_dir(cfg, f"likert-{judged_target(cfg)}")))
    cells = product(cfg.targets, DESCRIPTION_KINDS)
    asked = {(target, kind): read_study(ratings_dir(cfg, f"retrieval-{target}-{kind}")) for target, kind in cells}
    return People(rated, {at: result for at, result in asked.items() if result})


# ------------------------------------------------------------------ the numbers of Tables 2 and 3
@dataclass(frozen=True)
class PaperNumber:
    """One percentage of Tables 2 and 3, and what was measured on the same data: agrees, differs or was not run.

    They agree if the reported percent lies in the 95 % interval of what was measured, widened by the rounding of the
    reported number. The interval is over groups of clips, of the mean over seeds; of people it is Wilson's. The
    reported number is the best of five runs, which a mean is below by nature: the verdict is on whether the number is
    what to expect, not on whether it can be reached.
    """

    dataset: str
    method: str  # the paper's row
    kind: str
    percent: float
    reason: str
    measured: Interval | None = None

    @property
    def people(self) -> bool:
        """Whether it is people's and not a model's."""
        return self.method == "Human"

    @property
    def verdict(self) -> str:
        """Whether reported and measured agree."""
        if self.measured is None:
            return NOT_RUN
        rounding = 0.5 * 10 ** -decimals(self.percent)
        low, high = 100 * self.measured.low - rounding, 100 * self.measured.high + rounding
        return AGREES if low <= self.percent <= high else DIFFERS

    @property
    def reported(self) -> Reported:
        """People's with Wilson's interval, as if one person had judged five videos a class."""
        if not self.people:
            return Reported(self.percent)
        asked = _answers_of_people(self.dataset)
        _, low, high = wilson_interval(round(self.percent * asked / 100), asked)
        return Reported(self.percent, 100 * low, 100 * high)

    def share_of(self) -> str:
        """Of how many whole clips it can be a share (GRIM): of split 1's test clips, of the full set's, of those shown
        to people. Of a set above 10,000 every percentage of two decimals is a share."""
        sizes, asked = DATASETS[self.dataset].sizes, _answers_of_people(self.dataset)
        sizes = {f"{asked} answers": asked} if self.people else dict(zip(("split 1", "full set"), sizes, strict=True))
        return "; ".join(f"{name}: {_fits(self.percent, n)}" for name, n in sizes.items())


def _answers_of_people(dataset: str) -> int:
    return HUMAN_STUDY.videos_per_class * DATASETS[dataset].classes


def _fits(percent: float, n: int) -> str:
    if 100 / n <= 10 ** -decimals(percent):
        return "any number is"
    return "yes" if grim_consistent(percent, n, decimals(percent)) else "no"


def paper_numbers(records: Sequence[dict], cfg: RunConfig, people: People | None = None) -> list[PaperNumber]:
    """All 24 of them, in the paper's order."""
    studies = people.studies if people else {}
    keys = {method.paper_row: method.key for method in METHODS.values() if method.paper_row}
    found = []
    for dataset, methods in REPORTED_RETRIEVAL.items():
        for method, percents in methods.items():
            for kind, percent in percents.items():
                if method == "Human":
                    measured = _by_people(studies.get((dataset, kind)), dataset)
                elif dataset not in cfg.targets:
                    measured = ("needs Kinetics-400 and the target's videos, which the miniature stands in for", None)
                else:
                    wanted = {"dataset": dataset, "method": keys[method], "descriptions": kind, "epoch": None}
                    measured = _by_model(select(records, **wanted), cfg)
                found.append(PaperNumber(dataset, method, kind, percent, *measured))
    return found


def _by_people(study: StudyResult | None, dataset: str) -> tuple[str, Interval | None]:
    """Answers to fewer videos than the paper's five a class tell nothing."""
    if study is None:
        return _PEOPLE, None
    asked = _answers_of_people(dataset)
    if study.answers < asked:
        return f"{study.answers} answers, too few: the paper has {asked}", None
    return f"{study.answers} answers of {study.raters} raters", study.accuracy


def _by_model(records: list[dict], cfg: RunConfig) -> tuple[str, Interval | None]:
    if not records:
        return "no record: run the notebooks 02 and 03 of this profile", None
    videos, lacking = records[0]["n_decoded"], records[0]["n_expected"] - records[0]["n_decoded"]
    where = f"split {cfg.split}, {cfg.target_subset}" if cfg.target_subset == "test" else "all videos"
    reason = f"{where}: {videos} videos, {lacking} missing or unreadable; mean of {len(records)} seeds"
    return reason, answers_of(records).interval("groups")


def reported_table(records: Sequence[dict], cfg: RunConfig) -> pd.DataFrame:
    """Every number of Tables 2 and 3: reported, measured on the same data, and of what it can be a share."""
    return numbers_table(paper_numbers(records, cfg, people_asked(cfg)))


def numbers_table(numbers: Sequence[PaperNumber]) -> pd.DataFrame:
    """One row a number."""
    columns = (
        "Data set", "Method", "Descriptions", "Reported, %", "Measured on the same data, %", "Verdict", "Reason",
        "A whole number of clips",
    )  # fmt: skip
    rows = [
        (
            DATASETS[n.dataset].label, n.method, KIND_LABEL[n.kind], n.reported,
            Percent(*n.measured) if n.measured else NOT_RUN, n.verdict, n.reason, n.share_of(),
        )
        for n in numbers
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


# ------------------------------------------------------------------ items
def item_verdicts(
    findings: Sequence[Finding], curves: Sequence[Curve], numbers: Sequence[PaperNumber], cfg: RunConfig, people: People
) -> pd.DataFrame:
    """One row for every table, figure and study of the paper: what it says, what was found here, verdict, reason."""
    main = ("above_vanilla_clip", "above_class_name_training", "noun_bias")
    rows = []
    for offset, target in enumerate(cfg.targets):
        of_target = [finding for finding in findings if finding.dataset == target]
        retrieval = [f.verdict for f in of_target if f.comparison.claim in main]
        heads = [f.verdict for f in of_target if f.comparison.claim == "temporal_transformer_no_better"]
        epochs = [curve.verdict for curve in curves if curve.dataset == target]
        label = DATASETS[target].label
        rows += [
            (f"Table {2 + offset}", "ours is best, masking hurts every method", *counted(retrieval, label)),
            (f"Table {4 + offset}", "a temporal transformer is no better than the mean", *counted(heads, label)),
            (f"Table {6 + offset}", "overfitting is negligible beside the gain", *counted(epochs, label)),
        ]
    own_texts = "counted by the same rule, but of this project's sentences" if cfg.profile == "miniature" else "counted"
    pictures = ("a caption beside a motion description", "prompt, description, masked description", "the method")
    asked = [number for number in numbers if not number.people]
    models = counted([number.verdict for number in asked], "the paper's data")
    if models[1] == NOT_RUN:
        models = (*models[:2], "; ".join(dict.fromkeys(number.reason for number in asked)))
    rated = (NOT_COLLECTED, NOT_RUN, _PEOPLE)
    if people.rated:
        found = f"{people.rated} of {len(REPORTED_LIKERT)} attributes rated"
        rated = (found, NO_VERDICT, "by other people: see table1")
    no_number = ("made here", NO_VERDICT, "an illustration: there is no number to compare")
    rows = [
        ("Table 1", "ratings of the descriptions", *rated),
        *sorted(rows),
        ("Tables 2 and 3, numbers", "20 percentages", *models),
        ("Tables 2 and 3, people", "98 and 98 %, 97.5 and 96 %", *studied([n for n in numbers if n.people], people)),
        *((f"Figure {number}", what, *no_number) for number, what in enumerate(pictures, start=1)),
        ("Appendix D.2", "words and verbs per description", "see statistics", NO_VERDICT, own_texts),
    ]
    return pd.DataFrame(rows, columns=["Item of the paper", "What it says", "Found here", "Verdict", "Reason"])


def studied(numbers: Sequence[PaperNumber], people: People) -> _Row:
    """Of the human row."""
    if not people.studies:
        return NOT_COLLECTED, NOT_RUN, _PEOPLE
    found = [f"{DATASETS[at].label}, {KIND_LABEL[kind]}: {result}" for (at, kind), result in people.studies.items()]
    if not any(target in REPORTED_RETRIEVAL for target, _ in people.studies):
        return "; ".join(found), NO_VERDICT, "of the miniature, which the paper's people did not see"
    asked = [number.verdict for number in numbers if number.measured]
    verdict = DIFFERS if DIFFERS in asked else AGREES if len(asked) == len(numbers) else CANNOT_TELL
    return "; ".join(found), verdict, f"{len(asked)} of {len(numbers)} numbers asked again"


def counted(verdicts: Sequence[str], where: str) -> _Row:
    """Of some comparisons: all run and agreeing, one differing, or some agreeing and no difference in the others.

    What the paper does not claim is left out, and said so.
    """
    counts = Counter(verdicts)
    unclaimed = counts.pop(NOT_CLAIMED, 0)
    total = counts.total()
    if counts[NOT_RUN] == total:
        return NOT_RUN, NOT_RUN, "nothing to compare yet"
    kinds = (AGREES, DIFFERS, NO_DIFFERENCE, CANNOT_TELL, NO_GAIN, NOT_RUN)
    found = ", ".join(f"{kind}: {counts[kind]}" for kind in kinds if counts[kind])
    answered = {kind for kind in (AGREES, NO_DIFFERENCE) if counts[kind]}
    verdict = CANNOT_TELL
    if counts[DIFFERS]:
        verdict = DIFFERS
    elif counts[AGREES] + counts[NO_DIFFERENCE] == total:
        verdict = answered.pop() if len(answered) == 1 else IN_PART
    remarks = (
        (counts[NOT_RUN], "{} of them not run"),
        (counts[CANNOT_TELL], "the intervals of {} leave it open"),
        (counts[NO_GAIN], "in {} the gain itself is not above zero"),
        (unclaimed, "left out: {} that the paper's own numbers contradict"),
    )
    said = (remark.format(count) for count, remark in remarks if count)
    return found, verdict, "; ".join((f"{total} comparisons on {where}", *said))


def grim_consistent(percent: float, n: int, decimals: int = 2) -> bool:
    """Whether some whole number of n clips, in percent rounded to `decimals`, is the reported `percent`.

    The GRIM test (Brown and Heathers 2017), in exact arithmetic; a tie may round either way. It says nothing (always
    True) once 100 / n <= 10**-decimals.

    Raises:
        ValueError: if `percent` is not in [0, 100] or has more decimals, or if n < 1.
    """
    if n < 1 or decimals < 0 or not 0 <= percent <= 100:
        raise ValueError(f"{percent} % of {n} clips at {decimals} decimals; expected n >= 1 and 0 <= percent <= 100.")
    reported = Fraction(str(float(percent)))  # the number as printed, not its binary neighbour
    if (reported * 10**decimals).denominator != 1:
        raise ValueError(f"{percent} % has more than {decimals} decimals; give the number of decimals it has.")
    nearest = round(reported * n / 100)
    return abs(Fraction(100 * nearest, n) - reported) <= Fraction(1, 2 * 10**decimals)
