"""Tables and figures of what goes in: data sets, texts, masking."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from motion_lib.data.catalogue import DATASETS
from motion_lib.data.datasets import open_dataset
from motion_lib.experiment.experiment import Experiment
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.paper import REPORTED_STATISTICS
from motion_lib.report.diagrams import caption_table, contact_sheet
from motion_lib.texts import descriptions as texts
from motion_lib.texts.generation import prompt_of


def dataset_table(experiment: Experiment) -> pd.DataFrame:
    """Videos, classes and absent files of every data set and subset that the experiment uses."""
    cfg = experiment.cfg
    wanted = [(cfg.source, "train"), (cfg.source, "val"), *((t, cfg.target_subset) for t in cfg.targets)]
    rows = [
        (DATASETS[d.name].label, d.subset, len(d), len(d.class_names), len(d.missing))
        for d in (experiment.data.dataset(name, subset) for name, subset in wanted)
    ]
    return pd.DataFrame(rows, columns=["Data set", "Subset", "Videos", "Classes", "Listed but absent"])


def _example_clips(experiment: Experiment, count: int) -> list[tuple[np.ndarray, str]]:
    """Model input (T, S, S, 3) uint8 and class name of the first video of `count` classes spread over a target."""
    cfg, preprocess = experiment.cfg, experiment.vanilla.model.preprocess
    clips = experiment.data.clips(cfg.targets[0], cfg.target_subset, preprocess)
    labels, names = np.array(clips.dataset.labels), clips.dataset.class_names
    chosen = np.linspace(0, len(names) - 1, count).astype(int)
    return [(clips[int(np.flatnonzero(labels == c)[0])].transpose(0, 2, 3, 1), names[c]) for c in chosen]


def world_figure(experiment: Experiment, clips: int) -> Figure:
    """Contact sheet of target clips, each with its class name and motion description."""
    named = experiment.data.descriptions(experiment.cfg.targets[0], "object")
    examples = _example_clips(experiment, clips)
    chosen = [named.select([name]) for _, name in examples]  # in the descriptions' spelling of the class names
    captions = [f"{only.class_names[0]}: {only.texts[0]}" for only in chosen]
    return contact_sheet([clip for clip, _ in examples], captions)


def backbone_table(experiment: Experiment) -> pd.DataFrame:
    """What the backbone names of the HMDB-like target's clips; outside the miniature the truth is not known."""
    return experiment.backbone_knowledge()


def caption_figure(experiment: Experiment, classes: int) -> tuple[Figure, pd.DataFrame]:
    """Figure 1: an ordinary caption beside the motion description of the same class, and the texts."""
    named = experiment.data.descriptions(experiment.cfg.source, "object")
    rows = [(named.class_names[i], experiment.data.caption(i), named.texts[i]) for i in range(classes)]
    headers = ("Class", "Ordinary caption", "Motion description")
    return caption_table(headers, rows, (22, 34, 64)), pd.DataFrame(rows, columns=headers)


def generation_figure(experiment: Experiment, classes: int) -> tuple[Figure, pd.DataFrame]:
    """Figure 2: the end of the prompt, the answer, its masked version, above frames of a video; and the texts."""
    sets = [experiment.data.descriptions(experiment.cfg.targets[0], kind) for kind in DESCRIPTION_KINDS]
    prompt = "Prompt (not sent: the texts are the miniature's own)" if experiment.data.label else "Prompt"
    examples, captions, rows = _example_clips(experiment, classes), [], []
    for _, name in examples:
        named, masked = (of_kind.select([name]) for of_kind in sets)
        asked = prompt_of(named.class_names[0]).rpartition(". ")[2]
        captions.append(f"{prompt}: … {asked}\nDescription: {named.texts[0]}\nObjects masked: {masked.texts[0]}")
        rows.append((asked, named.texts[0], masked.texts[0]))
    texts_shown = pd.DataFrame(rows, columns=["Prompt", "Description", "Objects masked"])
    return contact_sheet([clip for clip, _ in examples], captions), texts_shown


def statistics_table(experiment: Experiment) -> pd.DataFrame:
    """Appendix D.2: reported numbers of the paper's data sets, measured ones of this profile's, and how many
    descriptions masking changes."""
    rows = []
    for name in (experiment.cfg.source, *experiment.cfg.targets):
        measured = texts.statistics(experiment.data.descriptions(name, "object"))
        listed = open_dataset(name, experiment.data.root, experiment.cfg.split, "all")
        reported = REPORTED_STATISTICS[DATASETS[name].paper]
        # The miniature's texts are others than the paper's: there is nothing to deviate from.
        deviation = f"{100 * (measured.verbs / reported.verbs - 1):+.1f} %" if name in REPORTED_STATISTICS else None
        row = {
            "Descriptions of": DATASETS[name].label,
            "Videos, measured": len(listed) + len(listed.missing),  # whether they are on disk or not
            "Videos, reported": reported.videos,
            "Descriptions": measured.descriptions,
            "Distinct": measured.unique,
            "Changed by masking": "not masked" if name == experiment.cfg.source else len(_masked(experiment, name)),
            "Words each, measured": round(measured.words_per_description, 2),
            "Words each, reported": reported.words_per_description,
            "Verbs each, measured": round(measured.verbs_per_description, 2),
            "Verbs each, reported": reported.verbs_per_description,
            "Verbs, measured": measured.verbs,
            "Verbs, reported": reported.verbs,
            "Verbs, deviation": deviation or "other texts",
            "Counting rule (measured)": measured.verb_rule,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def _masked(experiment: Experiment, target: str) -> list[int]:
    """The classes of a target whose description masking changes."""
    return texts.changed_by_masking(*(experiment.data.descriptions(target, kind) for kind in DESCRIPTION_KINDS))


def masking_table(experiment: Experiment) -> pd.DataFrame:
    """How many descriptions masking changes, with one example of each target."""
    rows = []
    for target in experiment.cfg.targets:
        named, masked = (experiment.data.descriptions(target, kind) for kind in DESCRIPTION_KINDS)
        changed = _masked(experiment, target)
        first = changed[0] if changed else 0
        texts_of_first = (named.texts[first], masked.select(named.class_names).texts[first])
        rows.append((DATASETS[target].label, f"{len(changed)} of {len(named)}", *texts_of_first))
    return pd.DataFrame(rows, columns=["Target", "Changed", "Named", "Masked"])
