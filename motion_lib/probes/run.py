"""Runs the probes of a trained method; one already made of the same weights, data and code is read from its record."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from motion_lib.evaluation import metrics
from motion_lib.evaluation.retrieval import RetrievalResult, score, score_all
from motion_lib.experiment.experiment import Experiment, Trained
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.models.prototype import MeanPooling
from motion_lib.probes import text_controls, video_controls
from motion_lib.probes.pairs import probe_pairs
from motion_lib.probes.records import TEXT, VIDEO, Condition, Outcome, keep
from motion_lib.probes.text_controls import DRAWS, NEAREST, RANDOM, RIVALS
from motion_lib.probes.video_controls import REVERSED, SHUFFLED, Control, score_controls
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


def probe_texts(experiment: Experiment, trained: Trained, target: str) -> Path:
    """Other texts for the videos of a target: `text_controls`, and the right text among its nearest rivals."""
    dataset = experiment.data.dataset(target, experiment.cfg.target_subset)
    named = experiment.data.descriptions(target, "object").select(dataset.class_names)
    others = {"objects masked": experiment.data.descriptions(target, "masked"), **experiment.data.other_texts(target)}
    controls = text_controls.text_controls(named, others)
    sets = {name: draws for name, draws in controls.items() if draws}
    hashes = [[texts.sha256 for texts in draws] for draws in sets.values()]

    def probe() -> Outcome:
        videos = experiment.encode(trained, target, "all").of(dataset)
        drawn = [(name, draw, texts) for name, draws in sets.items() for draw, texts in enumerate(draws)]
        results = score_all(trained.model, videos, [texts for _, _, texts in drawn])
        # Classes with one and the same text tie, and a tie is wrong: only those with a text of their own can be right.
        conditions = [
            Condition(
                name, of_texts.correct, 1 / of_texts.scores.shape[1], draw=draw,
                more={"own_texts": text_controls.num_own_texts(texts)},
            )
            for (name, draw, texts), of_texts in zip(drawn, results, strict=True)
        ]  # fmt: skip
        result = score(trained.model, videos, named)
        not_run = {name: "its file is not at hand" for name, draws in controls.items() if not draws}
        if len(named) > RIVALS:
            conditions += _rival_conditions(experiment, result, named)
        else:
            not_run |= dict.fromkeys((NEAREST, RANDOM), f"there are only {len(named)} descriptions")
        return Outcome(result.video_ids, result.labels, conditions, not_run, videos.failed, dataset.missing)

    return keep(experiment, trained, TEXT, target, (hashes, dataset.stamps(), sys.modules[__name__]), probe)


def _rival_conditions(experiment: Experiment, result: RetrievalResult, named: DescriptionSet) -> list[Condition]:
    """The same rivals for every method: those that the backbone's text tower takes to be nearest."""
    with torch.inference_mode():
        features = experiment.vanilla.model.encode_text(named.texts).float().cpu().numpy()
    rivals = [(NEAREST, 0, text_controls.nearest_texts(features, RIVALS))]
    rivals += [(RANDOM, draw, text_controls.random_rivals(len(named), RIVALS, draw)) for draw in range(DRAWS)]
    return [
        Condition(name, text_controls.right_among(result.scores, result.labels, indices), 1 / (1 + RIVALS), draw=draw)
        for name, draw, indices in rivals
    ]


def probe_videos(experiment: Experiment, trained: Trained, target: str) -> Path:
    """Other frames for the videos of a target: their number, their order, one alone."""
    cfg, model = experiment.cfg, trained.model
    sets = [experiment.data.descriptions(target, kind) for kind in DESCRIPTION_KINDS]
    dataset, controls = experiment.data.dataset(target, cfg.target_subset), video_controls.controls_for(model)

    def probe() -> Outcome:
        clips = experiment.data.clips(target, cfg.target_subset, model.preprocess)
        scores, shown, failed = score_controls(model, clips, controls, sets, cfg.max_missing, cfg.num_workers)
        labels = np.array([item.label for item in shown])
        conditions = _video_conditions(controls, scores, labels)
        if model.independent_frames and isinstance(model.head, MeanPooling):
            _assert_blind_to_order(conditions)
        beyond = video_controls.beyond_its_weights(model)
        not_run = {video_controls.frames_label(count): why for count, why in beyond.items()}
        return Outcome([item.video_id for item in shown], labels, conditions, not_run, failed, dataset.missing)

    texts = [descriptions.sha256 for descriptions in sets]
    made_from = (texts, dataset.stamps(), [asdict(control) for control in controls], sys.modules[__name__])
    return keep(experiment, trained, VIDEO, target, made_from, probe)


def _video_conditions(controls: Sequence[Control], scores: np.ndarray, labels: np.ndarray) -> list[Condition]:
    """Conditions of (C, S, N, K) scores of all controls, the clip as filmed first, with named and masked texts."""
    conditions = []
    for control, of_control in zip(controls, scores, strict=True):
        for kind, logits, filmed in zip(DESCRIPTION_KINDS, of_control, scores[0], strict=True):
            changed, moved = logits.argmax(axis=1) != filmed.argmax(axis=1), np.abs(logits - filmed)
            more = {"other_first_answer": float(changed.mean()), "largest_change_of_a_logit": float(moved.max())}
            correct, chance = metrics.ranks_of_texts(logits, labels) == 0, 1 / logits.shape[1]
            conditions.append(Condition(control.name, correct, chance, kind, control.draw, control.frames, more))
    return conditions


def _assert_blind_to_order(conditions: Sequence[Condition]) -> None:
    """Mean pooling gives reversed and shuffled clips the same scores, to the last bit."""
    for condition in conditions:
        if condition.name in (REVERSED, SHUFFLED):
            assert condition.more["largest_change_of_a_logit"] == 0.0, f"{condition.name} moved a mean-pooled score"
