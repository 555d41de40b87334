"""Motion descriptions of classes, asked of a language model with the paper's few-shot prompt (appendix D)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from motion_lib.models.clip import CONTEXT_LENGTH, tokenize
from motion_lib.texts.descriptions import DescriptionSet, cut_for_clip, fill
from motion_lib.texts.language_model import LanguageModel, NoAnswer

# The paper's prompt, word for word; {} is the class name.
PAPER_PROMPT = (
    "Characteristic motion of air drumming action is: doing rhythmic, exaggerated hand and arm movement. "
    "The characteristic motion of abseiling is: doing a controlled descent down a vertical drop. "
    "The characteristic motion of swing dancing is: doing energetic, bouncy movements with lots of spins, kicks, and "
    "lifts. Similarly, provide the characteristic motions of action {}."
)
CANDIDATES = 2  # paper, section 3: people choose between two
ATTEMPTS = 3  # at one candidate, before its class is listed as failed
_QUOTES = "\"'\u201c\u201d\u00ab\u00bb`*_ "
_EXPECTED_ANSWER_TOKENS = 30  # a description has about 19 words

# What chatty models put before it.
_LEAD = (
    r"(?i)^((sure|certainly|of course|okay|absolutely)\b[^.!:]{0,60}[.!:]\s*)?(here( is| are|'s)\b[^:]{0,120}:\s*)?"
    r"((description|answer):\s*)?((the )?characteristic motions? of .{1,80}? (is|are)\s*:?\s*)?"
)
# No description of a motion speaks of its writer.
_REFUSAL = re.compile(
    r"^(i|i'm|i'd|i've|i'll|my apologies|apologies|sorry|unfortunately|as an? (ai|large|language|assistant))\b",
    re.IGNORECASE,
)


def clean(answer: str) -> str:
    """An answer as it goes into a description file: one line, without Markdown, quotes and a repeated question."""
    text = " ".join(re.sub(r"```\w*\s|\*\*", " ", answer.replace("\u2019", "'")).split())
    text = re.sub(r"^[-*>\u2022]\s+|^\d[.)]\s+", "", text).strip(_QUOTES)
    return re.sub(_LEAD, "", text).strip(_QUOTES)


def fault(text: str) -> str | None:
    """Why a cleaned answer cannot be a description, or None."""
    if not re.search(r"[A-Za-z]{3}", text):
        return "empty answer"
    if _REFUSAL.match(text):
        return f"refused: {text[:60]}"
    if cut_for_clip(text) != text:
        return f"longer than CLIP's {CONTEXT_LENGTH} tokens: {len(text.split())} words"
    return None


@dataclass(frozen=True)
class Estimate:
    """What a run will ask for, before it asks. Tokens are counted with CLIP's vocabulary, which is close."""

    requests: int
    input_tokens: int
    output_tokens: int

    def describe(self) -> str:
        """One line."""
        tokens = f"{self.input_tokens:,} tokens in and {self.output_tokens:,} out"
        return f"{self.requests} requests left to ask, about {tokens}; thinking and repeated attempts come on top"


@dataclass(frozen=True)
class Generated:
    """What came of a run.

    Attributes:
        candidates: {class name: descriptions}, as many as were asked for.
        failed: {class name: reason}; such a class is in no description file.
    """

    candidates: dict[str, tuple[str, ...]]
    failed: dict[str, str]

    def chosen(self, choices: Mapping[str, int], name: str = "generated") -> DescriptionSet:
        """The chosen candidate of every class that has candidates; without a choice the first.

        Raises:
            ValueError: if no class has any.
        """
        texts = {cls: texts[choices.get(cls, 0)] for cls, texts in self.candidates.items()}
        return DescriptionSet(name, tuple(texts), tuple(texts.values()), f"asked of a language model, {name}")


def prompt_of(class_name: str, template: str = PAPER_PROMPT) -> str:
    """The prompt of a class, put into the one place that the template has for it."""
    return fill(template, class_name)


def _seeds(seed: int, candidate: int) -> Iterator[int]:
    """Of the attempts at one candidate, different for each."""
    yield from range(seed + candidate * ATTEMPTS, seed + (candidate + 1) * ATTEMPTS)


def estimate(
    class_names: Sequence[str],
    model: LanguageModel,
    candidates: int = CANDIDATES,
    template: str = PAPER_PROMPT,
    seed: int = 0,
) -> Estimate:
    """What `generate` with the same arguments will ask for; answered questions cost nothing again."""
    prompts = [
        prompt
        for prompt in (prompt_of(name, template) for name in class_names)
        for candidate in range(candidates)
        if model.audit.answer(model.question(prompt, next(_seeds(seed, candidate))).key) is None
    ]
    return Estimate(len(prompts), count_tokens(prompts), len(prompts) * _EXPECTED_ANSWER_TOKENS)


def count_tokens(texts: Sequence[str]) -> int:
    """Tokens of all texts together; texts longer than CLIP's context are counted in parts."""
    words = [text.split() for text in texts]
    parts = [" ".join(ws[i : i + 15]) for ws in words for i in range(0, len(ws), 15)]
    return int((tokenize(parts) != 0).sum() - 2 * len(parts)) if parts else 0  # less the start and end tokens


def generate(
    class_names: Sequence[str],
    model: LanguageModel,
    candidates: int = CANDIDATES,
    template: str = PAPER_PROMPT,
    seed: int = 0,
    workers: int = 4,
) -> Generated:
    """Ask for `candidates` descriptions of every class.

    A refusal, an empty or an over-long answer is asked for again with another seed, then listed. A run that is cut
    off goes on where it was.

    Args:
        seed: of the first attempt at the first candidate, recorded with every question.
        workers: requests at once.

    Raises:
        LanguageModelError: if the server refuses altogether.
    """
    jobs = [(name, candidate) for name in class_names for candidate in range(candidates)]
    texts: dict[str, list[str]] = {name: [] for name in class_names}
    failed: dict[str, str] = {}

    def work(job: tuple[str, int]) -> tuple[str, str | None]:
        name, candidate = job
        return _candidate(model, prompt_of(name, template), _seeds(seed, candidate))

    pool = ThreadPoolExecutor(workers)
    try:
        asked = pool.map(work, jobs)
        shown = tqdm(asked, f"asking {model.model}", len(jobs), unit="answer", mininterval=1)
        for (name, _), (text, reason) in zip(jobs, shown, strict=True):
            if reason is None:
                texts[name].append(text)
            else:
                failed[name] = reason
    finally:
        pool.shutdown(cancel_futures=True)  # an error or Ctrl-C sends nothing more
    return Generated({name: tuple(answers) for name, answers in texts.items() if name not in failed}, failed)


def described(model: LanguageModel, prompt: str, seed: int = 0) -> str:
    """A cleaned answer.

    Raises:
        NoAnswer: where there is none, or none that can be used.
    """
    text = clean(model.ask(prompt, seed))
    if reason := fault(text):
        raise NoAnswer(reason)
    return text


def _candidate(model: LanguageModel, prompt: str, seeds: Iterator[int]) -> tuple[str, str | None]:
    """A usable description and None, or "" and why there is none."""
    reasons = []
    for seed in seeds:
        try:
            return described(model, prompt, seed), None
        except NoAnswer as error:
            reasons.append(str(error))
    return "", f"{len(reasons)} attempts: {'; '.join(dict.fromkeys(reasons))}"
