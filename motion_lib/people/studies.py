"""Descriptions made and judged in one experiment: what 01_generation runs when it is asked to."""

import json
from pathlib import Path

import pandas as pd

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.experiment.experiment import Experiment
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.paper import REPORTED_LIKERT
from motion_lib.people import ratings
from motion_lib.people.agreement import agreement, agreement_table
from motion_lib.people.ratings import NOT_COLLECTED, Session, judged_target, ratings_dir
from motion_lib.storage import write_json
from motion_lib.texts.choosing import Choice, judge, majority
from motion_lib.texts.descriptions import DescriptionSet, read_descriptions, squeeze_key, write_descriptions
from motion_lib.texts.generation import Generated, estimate, generate
from motion_lib.texts.language_model import LanguageModel
from motion_lib.texts.masking import mask, mask_by_model, mask_by_rule


def generated_dir(cfg: RunConfig) -> Path:
    """Where questions, answers and generated descriptions are kept."""
    return cfg.results_dir / "generated" / judged_target(cfg)


def regenerate(experiment: Experiment) -> tuple[Generated, dict[str, Choice]]:
    """Ask for two candidates of each class of the target, let the model compare them, mask the chosen ones.

    Writes below `generated_dir`: audit.jsonl, candidates.json, object.csv, masked.csv and origin.json (who masked),
    without the classes that failed. What people compared (`rate="comparison"`) goes before the model's opinion.

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
    answers = ratings.read_answers(ratings_dir(cfg, f"comparison-{judged_target(cfg)}"))
    choices = judge(found.candidates, model) | majority(ratings.votes(answers, found.candidates))
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
        (label, one.class_name, *(" ".join(words) or "-" for words in (one.both, one.ours, one.theirs)))
        for label, classes in found.items()
        for one in classes
    ]
    columns = ["Descriptions", "Class", "Both", "Rule alone", "Authors alone"]
    return agreement_table(found), pd.DataFrame(words, columns=columns)


def rating_session(experiment: Experiment) -> Session:
    """The tasks that `rate` and `rater` of the configuration ask for, where this rater left them."""
    cfg, target = experiment.cfg, judged_target(experiment.cfg)
    if cfg.rate == "comparison":
        tasks = ratings.comparison_tasks(candidates(cfg), cfg.rater)
        return Session(tasks, ratings_dir(cfg, f"comparison-{target}"), cfg.rater)
    kind = "masked" if cfg.rate == "retrieval_masked" else "object"
    descriptions = experiment.data.descriptions(target, kind)
    if cfg.rate == "likert":
        tasks, folder = ratings.likert_tasks(descriptions), ratings_dir(cfg, f"likert-{target}")
    else:
        tasks = ratings.retrieval_tasks(experiment.data.dataset(target, cfg.target_subset), descriptions)
        folder = ratings_dir(cfg, f"retrieval-{target}-{kind}")
    ratings.write_key(tasks, folder)
    return Session(tasks, folder, cfg.rater)


def likert_table(cfg: RunConfig) -> pd.DataFrame:
    """Table 1: as reported, and as rated here; "not collected" where nobody rated."""
    measured = ratings.read_likert(ratings_dir(cfg, f"likert-{judged_target(cfg)}"))
    rows = []
    for name, reported in REPORTED_LIKERT.items():
        here = (NOT_COLLECTED,) * 3
        if found := measured.get(name):
            here = (f"{found.mean:.2f} ({found.items} items)", f"{found.iaa_percent:.1f}", f"{found.alpha:.2f}")
            here = (text.replace("nan", "undefined") for text in here)
        printed = (reported.mean, reported.iaa_percent_paper, reported.iaa_percent_pdf)
        rows.append((name, *(f"{value:g}" for value in printed), *here))
    columns = ["Attribute", "Mean, reported", "IAA %, reported (paper)", "IAA %, reported (authors' sheet)"]
    columns += ["Mean, measured", "IAA %, measured", "Krippendorff's alpha, measured"]
    return pd.DataFrame(rows, columns=columns)
