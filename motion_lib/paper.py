"""The paper's reported numbers, as data. Nothing in this module is measured here.

Paper: Devaraj, Fermüller, Aloimonos, "Diving Deep into the Motion Representation of Video-Text Models".
Accuracies are percent top-1, as printed. "object" is the column with the objects named, "masked" the one with
object names replaced. Tables 4 to 7 exist in the paper, but their numbers are not in the text we have.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LikertScore:
    """One row of Table 1: mean rating on a 5-point scale and agreement of the two raters in percent.

    The agreement has two readings that differ for two rows: `iaa_percent_pdf` is the authors' published
    user-study PDF, `iaa_percent_paper` the paper's own table.
    """

    mean: float
    iaa_percent_pdf: float
    iaa_percent_paper: float


@dataclass(frozen=True)
class ReportedStatistics:
    """One row of the statistics table of appendix D.2. `verbs` counts occurrences over all descriptions."""

    videos: int
    classes: int
    unique_descriptions: int
    words_per_description: float
    verbs_per_description: float
    verbs: int


@dataclass(frozen=True)
class ReportedHumanStudy:
    """Size of the human studies (sections 3, 5 and 7, appendix D.1)."""

    videos_per_class: int = 5
    raters_likert: int = 2
    raters_pairwise: int = 5
    volunteer_hours: float = 16  # section 7; the authors' user-study PDF says 8


# Table 1, page 3. Means are the paper's; Harmfulness, blank in our text, is the PDF's.
REPORTED_LIKERT: dict[str, LikertScore] = {
    "Conciseness": LikertScore(mean=3.86, iaa_percent_pdf=47.5, iaa_percent_paper=47.5),
    # 19.35 is also X-CLIP's masked accuracy in Table 3, and the PDF's 87 stands one row lower in the paper.
    "Hallucinations": LikertScore(mean=1.12, iaa_percent_pdf=87.0, iaa_percent_paper=19.35),
    "Relevance": LikertScore(mean=3.4, iaa_percent_pdf=54.0, iaa_percent_paper=87.0),
    "Correctness": LikertScore(mean=3.92, iaa_percent_pdf=72.0, iaa_percent_paper=72.0),
    "Harmfulness": LikertScore(mean=1.0, iaa_percent_pdf=100.0, iaa_percent_paper=100.0),
}

# dataset -> method -> column -> percent.
REPORTED_RETRIEVAL: dict[str, dict[str, dict[str, float]]] = {
    # Table 2, page 5.
    "ucf101": {
        "Vanilla CLIP": {"object": 25.92, "masked": 23.33},
        "Text4Vis": {"object": 51.23, "masked": 33.80},
        "X-CLIP": {"object": 52.37, "masked": 32.01},
        "ViFi-CLIP": {"object": 52.70, "masked": 34.76},
        "Our method": {"object": 58.46, "masked": 47.80},
        "Human": {"object": 98.0, "masked": 98.0},
    },
    # Table 3, page 5.
    "hmdb51": {
        "Vanilla CLIP": {"object": 25.26, "masked": 16.67},
        "X-CLIP": {"object": 29.35, "masked": 19.35},
        "Text4Vis": {"object": 34.12, "masked": 24.93},
        "ViFi-CLIP": {"object": 36.20, "masked": 28.9},
        "Our method": {"object": 39.24, "masked": 28.41},
        "Human": {"object": 97.5, "masked": 96.0},
    },
}

# Models have two decimals but one; people have as many as they need.
_FEWER_DECIMALS = {28.9: 1, 97.5: 1, 98.0: 0, 96.0: 0}


def decimals(percent: float) -> int:
    """How many decimals the paper prints a number of Tables 2 and 3 with."""
    return _FEWER_DECIMALS.get(percent, 2)


# Appendix D.2, page 10. Our text has no numbers there; these are the authors' user-study PDF's.
REPORTED_STATISTICS: dict[str, ReportedStatistics] = {
    "kinetics400": ReportedStatistics(246_000, 400, 400, 19.0, 3.4, 1371),
    "ucf101": ReportedStatistics(13_320, 101, 101, 19.0, 3.2, 325),
    "hmdb51": ReportedStatistics(6_849, 51, 51, 17.0, 3.2, 164),
}

HUMAN_STUDY = ReportedHumanStudy()
