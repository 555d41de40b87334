"""Runs the probes of a trained method and keeps their records: other texts, other frames, minimal pairs, order.

A probe that was already made from the same weights, videos and texts by the same code is read, not made again.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from motion_lib.data.datasets import check_missing
from motion_lib.evaluation import metrics
from motion_lib.evaluation.features import VideoFeatures
from motion_lib.evaluation.retrieval import RetrievalResult, score, score_all
from motion_lib.experiment.experiment import Experiment, Trained
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.models.prototype import MeanPooling, PrototypeClassifier
from motion_lib.probes import text_controls
from motion_lib.probes.pairs import probe_pairs
from motion_lib.probes.records import (
    NEAREST,
    RANDOM,
    RIVALS,
    TEXT,
    VIDEO,
    Condition,
    Outcome,
    frames_label,
    keep,
)
from motion_lib.probes.text_controls import nearest_texts, num_own_texts, random_rivals, right_among
from motion_lib.probes.video_controls import (
    REVERSED,
    SHUFFLED,
    Control,
    beyond_its_weights,
    controls_for,
    encode_controls,
    text_prototypes,
)
from motion_lib.texts.descriptions import DescriptionSet


def run_probes(experiment: Experiment, key: str) -> list[Path]:
    """All probes of a method on all targets, and in the miniature its minimal pairs; returns their records."""
    trained = experiment.trained(key)
    paths = []
    for target in experiment.cfg.targets:
        paths += [probe_texts(experiment, trained, target), probe_videos(experiment, trained, target)]
    if experiment.data.minimal_pairs:
        paths.append(probe_pairs(experiment, trained))
    return paths


# ------------------------------------------------------------------ texts
def probe_texts(experiment: Experiment, trained: Trained, target: str) -> Path:
    """Other texts for the videos of a target: `text_controls`, and the right text among its nearest rivals."""
    dataset = experiment.data.dataset(target, experiment.cfg.target_subset)
    named = experiment.data.descriptions(target, "object").select(dataset.class_names)
    others = {"objects masked": experiment.data.descriptions(target, "masked"), **experiment.data.other_texts(target)}
    controls = text_controls.text_controls(named, others)
    sets = {name: found for name, found in controls.items() if found}
    texts = [[only.sha256 for only in found] for found in sets.values()]

    def probe() -> Outcome:
        videos = experiment.encode(trained, target, "all").of(dataset)
        conditions = _text_conditions(trained.model, videos, sets)
        result = score(trained.model, videos, named)
        lacking = dict.fromkeys((name for name, found in controls.items() if not found), "its file is not at hand")
        if len(named) > RIVALS:
            conditions += _rival_conditions(experiment, result, named)
        else:
            lacking |= dict.fromkeys((NEAREST, RANDOM), f"there are only {len(named)} descriptions")
        return Outcome(result.video_ids, result.labels, conditions, lacking, videos.failed, dataset.missing)

    return keep(experiment, trained, TEXT, target, (texts, dataset.stamps(), sys.modules[__name__]), probe)


def _text_conditions(
    model: PrototypeClassifier, videos: VideoFeatures, sets: dict[str, list[DescriptionSet]]
) -> list[Condition]:
    flat = [(name, draw, only) for name, found in sets.items() for draw, only in enumerate(found)]
    results = score_all(model, videos, [only for _, _, only in flat])
    # Classes with one and the same text tie, and a tie is wrong: only those with a text of their own can be right.
    return [
        Condition(name, result.correct, 1 / result.scores.shape[1], draw=draw, more={"own_texts": num_own_texts(only)})
        for (name, draw, only), result in zip(flat, results, strict=True)
    ]


def _rival_conditions(experiment: Experiment, result: RetrievalResult, named: DescriptionSet) -> list[Condition]:
    """The same rivals for every method: those that the backbone's text tower takes to be nearest."""
    with torch.inference_mode():
        features = experiment.vanilla.model.encode_text(named.texts).float().cpu().numpy()
    chance, found = 1 / (1 + RIVALS), []
    nearest = right_among(result.scores, result.labels, nearest_texts(features, RIVALS))
    found.append(Condition(NEAREST, nearest, chance))
    for draw in range(text_controls.DRAWS):
        rivals = random_rivals(len(named), RIVALS, draw)
        found.append(Condition(RANDOM, right_among(result.scores, result.labels, rivals), chance, draw=draw))
    return found


# ------------------------------------------------------------------ videos
def probe_videos(experiment: Experiment, trained: Trained, target: str) -> Path:
    """Other frames for the videos of a target: their number, their order, one alone."""
    model = trained.model
    sets = [experiment.data.descriptions(target, kind) for kind in DESCRIPTION_KINDS]
    dataset, controls = experiment.data.dataset(target, experiment.cfg.target_subset), controls_for(model)

    def probe() -> Outcome:
        clips = experiment.data.clips(target, experiment.cfg.target_subset, model.preprocess)
        shown, scores, failed = [], [[[] for _ in sets] for _ in controls], dict(clips.failed)
        prototypes = text_prototypes(model, sets, dataset)
        for indices, features, unreadable in encode_controls(
            model, clips, controls, num_workers=experiment.cfg.num_workers
        ):
            failed.update(unreadable)
            shown += [clips.dataset.items[i] for i in indices]
            with torch.inference_mode():
                for k, encoded in enumerate(features):
                    for s, texts in enumerate(prototypes):
                        scores[k][s].append(model.similarity(encoded, texts).float().cpu().numpy())
        check_missing(replace(dataset, items=tuple(shown)), experiment.cfg.max_missing, failed)
        joined = [[np.concatenate(parts) for parts in row] for row in scores]
        labels = np.array([item.label for item in shown])
        conditions = _video_conditions(controls, joined, labels)
        if model.independent_frames and isinstance(model.head, MeanPooling):
            _assert_blind_to_order(conditions)
        lacking = {frames_label(count): why for count, why in beyond_its_weights(model).items()}
        return Outcome([item.video_id for item in shown], labels, conditions, lacking, failed, dataset.missing)

    made_from = ([only.sha256 for only in sets], dataset.stamps(), [asdict(control) for control in controls])
    return keep(experiment, trained, VIDEO, target, (*made_from, sys.modules[__name__]), probe)


def _video_conditions(
    controls: Sequence[Control], scores: list[list[np.ndarray]], labels: np.ndarray
) -> list[Condition]:
    filmed = scores[0]  # controls begin with the clip as filmed
    found = []
    for control, of_sets in zip(controls, scores, strict=True):
        for kind, values, before in zip(DESCRIPTION_KINDS, of_sets, filmed, strict=True):
            changed = (values.argmax(axis=1) != before.argmax(axis=1)).mean()
            more = {
                "other_first_answer": float(changed),
                "largest_change_of_a_logit": float(np.abs(values - before).max()),
            }
            right = metrics.ranks_of_texts(values, labels) == 0
            chance = 1 / values.shape[1]
            found.append(Condition(control.name, right, chance, kind, control.draw, control.frames, more))
    return found


def _assert_blind_to_order(conditions: Sequence[Condition]) -> None:
    """Mean pooling gives reversed and shuffled clips the same scores, to the last bit."""
    for condition in conditions:
        if condition.name in (REVERSED, SHUFFLED):
            assert condition.more["largest_change_of_a_logit"] == 0.0, f"{condition.name} moved a mean-pooled score"
