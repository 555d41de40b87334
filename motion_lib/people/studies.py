"""Descriptions made and judged in one experiment: what 01_generation runs when it is asked to."""

import json
from pathlib import Path

import pandas as pd

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.experiment.experiment import Experiment
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.paper import REPORTED_LIKERT
from motion_lib.people.ratings import (
    NOT_COLLECTED,
    Session,
    comparison_tasks,
    judged_target,
    likert_tasks,
    ratings_dir,
    read_answers,
    read_likert,
    retrieval_tasks,
    votes,
    write_key,
)
from motion_lib.storage import write_json
from motion_lib.texts.choosing import Choice, judge, majority
from motion_lib.texts.descriptions import DescriptionSet, read_descriptions, squeeze_key, write_descriptions
from motion_lib.texts.generation import Generated, estimate, generate
from motion_lib.texts.language_model import LanguageModel
from motion_lib.texts.masking import agreement, agreement_table, mask, mask_by_model, mask_by_rule


def generated_dir(cfg: RunConfig) -> Path:
    """Where questions, answers and generated descriptions are kept."""
    return cfg.results_dir / "generated" / judged_target(cfg)


# ------------------------------------------------------------------ generation
def regenerate(experiment: Experiment) -> tuple[Generated, dict[str, Choice]]:
    """Ask for two candidates of each class of the target, let the model compare them, mask the chosen ones.

    Writes below `generated_dir`: audit.jsonl, candidates.json, object.csv, masked.csv and origin.json (who masked),
    without the classes that failed, which are listed. What people compared (`rate="comparison"`) goes before the
    model's opinion.

    Raises:
        LanguageModelError: where the server refuses.
    """
    cfg, folder = experiment.cfg, generated_dir(experiment.cfg)
    model = LanguageModel(cfg.llm, folder / "audit.jsonl", cfg.llm_base_url or None)
    names = experiment.data.descriptions(judged_target(cfg), "object").class_names
    print(estimate(names, model, seed=cfg.seed).describe())
    found = generate(names, model, seed=cfg.seed)
    write_json(folder / "candidates.json", {"model": cfg.llm, "candidates": found.candidates, "failed": found.failed})
    for name, reason in found.failed.items():
        print(f"no description of {name!r}: {reason}")
    if not found.candidates:
        return found, {}
    answers = read_answers(ratings_dir(cfg, f"comparison-{judged_target(cfg)}"))
    choices = judge(found.candidates, model) | majority(votes(answers, found.candidates))
    chosen = found.chosen({name: choice.choice for name, choice in choices.items()}, cfg.llm)
    masked = mask(chosen, mask_by_model(model), _overrides(folder, chosen), f"model {cfg.llm}")
    write_descriptions(chosen, folder / "object.csv")
    write_descriptions(masked.descriptions, folder / "masked.csv")
    write_json(folder / "origin.json", masked.origin)
    return found, choices


def _overrides(folder: Path, chosen: DescriptionSet) -> DescriptionSet | None:
    """What a person wrote, for the classes that have a description."""
    path = folder / "masked_by_hand.csv"
    if not path.is_file():
        return None
    by_hand, known = read_descriptions(path), {squeeze_key(name) for name in chosen.class_names}
    of = [name for name in by_hand.class_names if squeeze_key(name) in known]
    if unused := sorted(set(by_hand.class_names) - set(of)):
        print(f"{path.name}: not used, since there is no description: {', '.join(unused)}")
    return by_hand.select(of) if of else None


def candidates(cfg: RunConfig) -> dict[str, list[str]]:
    """Candidates that were generated. Raises: FileNotFoundError that says to generate first."""
    path = generated_dir(cfg) / "candidates.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run 01_generation with regenerate = True first.")
    return json.loads(path.read_text(encoding="utf-8"))["candidates"]


def masking_agreement(cfg: RunConfig) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """The masking rule against the authors' own masks, in sum and word by word; None where their files are absent."""
    found = {}
    for dataset, label in (("ucf101", "UCF-101"), ("hmdb51", "HMDB-51")):
        paths = [cfg.data_root / "descriptions" / DATASETS[dataset].texts[kind] for kind in DESCRIPTION_KINDS]
        if not all(path.is_file() for path in paths):
            return None
        named, masked = map(read_descriptions, paths)
        ours = {name: mask_by_rule(text) for name, text in zip(named.class_names, named.texts, strict=True)}
        found[label] = agreement(named, masked, ours)
    words = [
        {
            "Descriptions": label,
            "Class": c.class_name,
            "Both": _words(c.both),
            "Rule alone": _words(c.ours),
            "Authors alone": _words(c.theirs),
        }
        for label, cells in found.items()
        for c in cells
    ]
    return agreement_table(found), pd.DataFrame(words)


def _words(words: tuple[str, ...]) -> str:
    return " ".join(words) or "-"


# ------------------------------------------------------------------ people
def rating_session(experiment: Experiment) -> Session:
    """The tasks that `rate` and `rater` of the configuration ask for, where this rater left them."""
    cfg = experiment.cfg
    target = judged_target(cfg)
    if cfg.rate == "comparison":
        return Session(
            comparison_tasks(candidates(cfg), cfg.rater), ratings_dir(cfg, f"comparison-{target}"), cfg.rater
        )
    kind = "masked" if cfg.rate == "retrieval_masked" else "object"
    descriptions = experiment.data.descriptions(target, kind)
    if cfg.rate == "likert":
        tasks, folder = likert_tasks(descriptions), ratings_dir(cfg, f"likert-{target}")
    else:
        tasks = retrieval_tasks(experiment.data.dataset(target, cfg.target_subset), descriptions)
        folder = ratings_dir(cfg, f"retrieval-{target}-{kind}")
    write_key(tasks, folder)
    return Session(tasks, folder, cfg.rater)


def likert_table(cfg: RunConfig) -> pd.DataFrame:
    """Table 1: as reported, and as rated here; "not collected" where nobody rated."""
    measured = read_likert(ratings_dir(cfg, f"likert-{judged_target(cfg)}"))
    rows = []
    for name, reported in REPORTED_LIKERT.items():
        row = {
            "Attribute": name,
            "Mean, reported": f"{reported.mean:g}",
            "IAA %, reported (paper)": f"{reported.iaa_percent_paper:g}",
            "IAA %, reported (authors' sheet)": f"{reported.iaa_percent_pdf:g}",
        }
        found = measured.get(name)
        row["Mean, measured"] = f"{found.mean:.2f} ({found.items} items)" if found else NOT_COLLECTED
        row["IAA %, measured"] = _number(found.iaa_percent) if found else NOT_COLLECTED
        row["Krippendorff's alpha, measured"] = _number(found.alpha, 2) if found else NOT_COLLECTED
        rows.append(row)
    return pd.DataFrame(rows)


def _number(value: float, digits: int = 1) -> str:
    return "undefined" if value != value else f"{value:.{digits}f}"
