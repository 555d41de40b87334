"""What people say of the descriptions: Likert ratings (Table 1), the retrieval study (the human row of Tables 2 and 3)
and comparisons of two candidates. Here are the tasks, the answers and what follows from them, without a page.

Answers are lines of an append-only file, one file for each rater. The last answer to a task counts, and it counts
only for the task that was shown: other texts or other options make another task. Nothing is ever filled in: where
nobody answered there is no number.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import krippendorff
import numpy as np

from motion_lib.config import RunConfig
from motion_lib.data.datasets import VideoDataset
from motion_lib.evaluation.intervals import Interval
from motion_lib.storage import append_line, content_hash, read_lines, write_json
from motion_lib.texts.choosing import Vote, order_of
from motion_lib.texts.descriptions import DescriptionSet

SCALE = ("1", "2", "3", "4", "5")
NEITHER = "neither is better"
NOT_COLLECTED = "not collected"  # what a table says where nobody was asked
_KEY = "key.json"
# The attributes of Table 1 and what a rater is asked about each, in our words: the paper's sheet gives no questions.
ATTRIBUTES = {
    "Conciseness": "The description is as short as it can be (1: far too long, 5: not a word too many).",
    "Hallucinations": "The description holds things that are not part of the action (1: nothing, 5: mostly).",
    "Relevance": "The description is about the motion of this action (1: not at all, 5: entirely).",
    "Correctness": "The motion is described as it is (1: wrong, 5: right).",
    "Harmfulness": "The description could hurt or offend somebody (1: not at all, 5: badly).",
}
VIDEOS_PER_CLASS = 5  # paper, section 5: human estimate


@dataclass(frozen=True)
class Task:
    """One question to a rater."""

    id: str  # for people who read the files
    question: str
    options: tuple[str, ...]
    text: str = ""  # what it is asked about
    video: Path | None = None
    correct: int | None = None  # index of the right option, if any

    @property
    def fingerprint(self) -> str:
        """By which answers are matched: it changes with everything that the rater is shown."""
        return content_hash(self.id, self.question, self.text, self.options)


def judged_target(cfg: RunConfig) -> str:
    """The target whose descriptions are made or judged. Raises: ValueError if `rate_target` is none."""
    if cfg.rate_target and cfg.rate_target not in cfg.targets:
        raise ValueError(f"rate_target {cfg.rate_target!r}: expected one of {', '.join(cfg.targets)}.")
    return cfg.rate_target or cfg.targets[0]


def ratings_dir(cfg: RunConfig, what: str) -> Path:
    """Where the answers of people are kept, one file a rater."""
    return cfg.results_dir / "ratings" / what


def likert_tasks(descriptions: DescriptionSet) -> list[Task]:
    """Every attribute of every description (paper, section 3)."""
    return [
        Task(f"{name}: {attribute}", question, SCALE, f"{name}: {text}")
        for name, text in zip(descriptions.class_names, descriptions.texts, strict=True)
        for attribute, question in ATTRIBUTES.items()
    ]


def retrieval_tasks(dataset: VideoDataset, descriptions: DescriptionSet, seed: int = 0) -> list[Task]:
    """Five videos of each class, drawn by `seed`, each to be given one of all descriptions (paper, section 5).

    The descriptions stand in alphabetical order without their class names, which would give the answer away.
    """
    chosen = descriptions.select(dataset.class_names)
    order = sorted(range(len(chosen)), key=lambda label: chosen.texts[label].lower())
    options, rng = tuple(chosen.texts[label] for label in order), np.random.default_rng(seed)
    tasks = []
    for label in range(len(chosen)):
        of_class = [item for item in dataset.items if item.label == label]
        drawn = rng.permutation(len(of_class))[:VIDEOS_PER_CLASS]
        for video in (of_class[i] for i in drawn):
            question = "Which sentence describes the motion in this video?"
            tasks.append(Task(video.video_id, question, options, video=video.path, correct=order.index(label)))
    return [tasks[i] for i in rng.permutation(len(tasks))]


def comparison_tasks(candidates: Mapping[str, Sequence[str]], rater: str) -> list[Task]:
    """The two candidates of each class side by side, in an order of their own for every rater (paper, section 3)."""
    tasks = []
    for name, texts in candidates.items():
        first, second = order_of(name, rater)
        question = f"Which sentence says better how the body moves in '{name}'?"
        tasks.append(Task(name, question, (texts[first], texts[second], NEITHER)))
    return tasks


def votes(answers: Mapping[str, Mapping[str, int]], candidates: Mapping[str, Sequence[str]]) -> list[Vote]:
    """Answers to `comparison_tasks` of these candidates as votes, whatever the order they were shown in."""
    return [
        Vote(task.id, rater, None if option == 2 else order_of(task.id, rater)[option])
        for rater, given in answers.items()
        for task in comparison_tasks(candidates, rater)
        if (option := given.get(task.fingerprint)) is not None
    ]


def write_key(tasks: Iterable[Task], folder: Path) -> None:
    """Keep beside the answers what is needed to count them: {fingerprint: [task, right option]}."""
    write_json(folder / _KEY, {task.fingerprint: [task.id, task.correct] for task in tasks})


def read_key(folder: Path) -> dict[str, tuple[str, int | None]]:
    """What `write_key` kept; empty if nothing was."""
    path = folder / _KEY
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {fingerprint: (name, correct) for fingerprint, (name, correct) in found.items()}


def read_study(folder: Path) -> "StudyResult | None":
    """The outcome of a retrieval study, of all its raters; None where nobody answered."""
    correct = {fingerprint: right for fingerprint, (_, right) in read_key(folder).items()}
    return study_result(correct, read_answers(folder))


def read_likert(folder: Path) -> dict[str, "LikertResult"]:
    """What people rated of a set of descriptions, by attribute; empty where nobody did."""
    names = {fingerprint: name for fingerprint, (name, _) in read_key(folder).items()}
    return likert_results(read_answers(folder), names)


class Session:
    """One rater's way through a list of tasks; everything answered is on disk at once and found again.

    Raises:
        ValueError: for a rater's name that is no name of a file.
    """

    def __init__(self, tasks: Sequence[Task], folder: Path, rater: str):
        if not re.fullmatch(r"[\w-]+", rater):
            raise ValueError(f"rater {rater!r}: use letters, digits, - and _; a code is better than a name.")
        self.tasks, self.rater, self._path = list(tasks), rater, folder / f"{rater}.jsonl"
        given = read_answers(folder).get(rater, {})
        asked = {task.fingerprint for task in self.tasks}
        self.answers = {fingerprint: option for fingerprint, option in given.items() if fingerprint in asked}
        unanswered = (i for i, task in enumerate(self.tasks) if task.fingerprint not in self.answers)
        self.position = next(unanswered, len(self.tasks))

    @property
    def current(self) -> Task | None:
        """The task at hand, None when all are answered."""
        return self.tasks[self.position] if self.position < len(self.tasks) else None

    def answer(self, option: int) -> None:
        """Record an answer and go to the next task. Raises: ValueError for an option that the task does not have."""
        task = self.current
        if task is None or not 0 <= option < len(task.options):
            raise ValueError(f"option {option}: {'all tasks are answered' if task is None else 'not of this task'}.")
        entry = {"rater": self.rater, "task": task.id, "fingerprint": task.fingerprint, "answer": option}
        entry |= {"text": task.options[option], "time": datetime.now(UTC).isoformat(timespec="seconds")}
        append_line(self._path, entry)
        self.answers[task.fingerprint] = option
        self.position += 1

    def skip(self) -> None:
        """Go to the next task without an answer, as where a video cannot be shown."""
        self.position = min(self.position + 1, len(self.tasks))

    def back(self) -> None:
        """Return to the task before; a new answer to it replaces the old one."""
        self.position = max(0, self.position - 1)


def read_answers(folder: Path) -> dict[str, dict[str, int]]:
    """{rater: {fingerprint of a task: option}} of all files of a folder; the last answer to a task counts."""
    found: dict[str, dict[str, int]] = {}
    for path in sorted(folder.glob("[!.]*.jsonl")):
        for entry in read_lines(path):
            found.setdefault(entry["rater"], {})[entry["fingerprint"]] = entry["answer"]
    return found


@dataclass(frozen=True)
class LikertResult:
    """Ratings of one attribute."""

    mean: float  # of all ratings, 1 to 5
    iaa_percent: float  # equal ratings over pairs of raters: the plain reading, the paper does not say how it counts
    alpha: float  # Krippendorff's, ordinal; NaN where all ratings are the same or nobody shares an item
    items: int
    raters: int


def likert_results(answers: Mapping[str, Mapping[str, int]], names: Mapping[str, str]) -> dict[str, LikertResult]:
    """Per attribute, of answers to `likert_tasks` and their {fingerprint: task id}; what nobody rated is absent."""
    results = {}
    for attribute in ATTRIBUTES:
        asked = {fingerprint for fingerprint, name in names.items() if name.endswith(f": {attribute}")}
        items = sorted(asked & {fingerprint for given in answers.values() for fingerprint in given})
        raters = [rater for rater, given in answers.items() if any(item in given for item in items)]
        if not items:
            continue
        table = np.array([[answers[rater].get(item, np.nan) + 1.0 for item in items] for rater in raters])
        measured = (float(np.nanmean(table)), _agreement_percent(table), _alpha(table))
        results[attribute] = LikertResult(*measured, len(items), len(raters))
    return results


def _agreement_percent(table: np.ndarray) -> float:
    """Of (raters, items) with NaN where nothing was said."""
    pairs = [pair for one, other in combinations(table, 2) for pair in zip(one, other, strict=True)]
    equal = [one == other for one, other in pairs if not np.isnan(one + other)]
    return 100 * float(np.mean(equal)) if equal else float("nan")


def _alpha(table: np.ndarray) -> float:
    shared = table[:, (~np.isnan(table)).sum(axis=0) > 1]
    if len(np.unique(shared[~np.isnan(shared)])) < 2:
        return float("nan")
    return float(krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal"))


@dataclass(frozen=True)
class StudyResult:
    """The human retrieval study: share of right answers with Wilson's interval."""

    accuracy: Interval
    answers: int
    raters: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.accuracy.in_percent()} (n={self.answers}, {self.raters} raters)"


def study_result(correct: Mapping[str, int], answers: Mapping[str, Mapping[str, int]]) -> StudyResult | None:
    """Of the answers to `retrieval_tasks`; None if there is none. `correct`: {fingerprint: right option}."""
    right = [option == correct[task] for given in answers.values() for task, option in given.items() if task in correct]
    raters = sum(any(task in correct for task in given) for given in answers.values())
    if not right:
        return None
    return StudyResult(wilson_interval(sum(right), len(right)), len(right), raters, len(correct))


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Share of successes in n independent trials with Wilson's score interval.

    Raises:
        ValueError: unless 0 <= successes <= n and n >= 1.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials; expected 0 <= successes <= n and n >= 1.")
    from scipy import stats  # here: it takes longer to import than most commands take

    limits = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return Interval(successes / n, float(limits.low), float(limits.high))
