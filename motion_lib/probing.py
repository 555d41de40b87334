"""Runs the probes of a trained method and keeps their records: other texts, other frames, minimal pairs, order.

A probe that was already made from the same weights, videos and texts by the same code is read, not made again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from motion_lib import (
    evaluation,
    frames,
    heads,
    image_tower,
    metrics,
    models,
    order_control,
    preprocessing,
    probes,
    text_controls,
    video,
    video_controls,
    xclip,
)
from motion_lib.clip_loading import embed_dim, transformer_heads
from motion_lib.datasets import VideoDataset, check_missing
from motion_lib.descriptions import DescriptionSet
from motion_lib.evaluation import RetrievalResult, VideoFeatures, encode_videos, score, score_all
from motion_lib.experiment import Experiment
from motion_lib.frames import open_clips
from motion_lib.heads import MeanPooling, build_head
from motion_lib.methods import DESCRIPTION_KINDS, TABLE_METHODS, Method, get_method
from motion_lib.models import FrameEncoder, PrototypeClassifier
from motion_lib.probes import ORDER, PAIRS, TEXT, VIDEO, Condition, Probe, pair_outcomes
from motion_lib.records import Weights
from motion_lib.storage import content_hash
from motion_lib.text_controls import nearest_texts, random_rivals, right_among
from motion_lib.video_controls import FILMED, REVERSED, SHUFFLED, Control, controls_for, encode_controls

PROBED_METHODS = (*TABLE_METHODS, "motion_temporal")
RIVALS = 5  # hard negatives of each description
NEAREST, RANDOM = f"the {RIVALS} nearest descriptions", f"{RIVALS} random descriptions"
REVERSED_PAIRS = "order"  # the kind of minimal pair that differs in the order of frames alone
# Code that decides what a probe gives, besides its weights, videos and texts.
_PROBED_BY = (
    evaluation,
    frames,
    heads,
    image_tower,
    metrics,
    models,
    order_control,
    preprocessing,
    probes,
    text_controls,
    video,
    video_controls,
    xclip,
)


@dataclass(frozen=True)
class Subject:
    """One trained method of an experiment, loaded once for all probes of a data set."""

    experiment: Experiment
    method: Method
    model: PrototypeClassifier
    weights: Weights

    @classmethod
    def of(cls, made: Experiment, key: str) -> "Subject":
        """The method after its last epoch."""
        model, weights = made.model_and_weights(key)
        return cls(made, get_method(key), model, weights)

    def keep(
        self,
        family: str,
        dataset: str,
        made_from: Sequence[object],
        probe: Callable[[], tuple[np.ndarray, list[Condition], dict[str, str]]],
    ) -> Path:
        """The record of a probe, read if it is there and made otherwise.

        Args:
            made_from: what decides its outcome, besides the weights and the code.
            probe: gives the clusters, the conditions and, by name, what could not be run and why.
        """
        cfg, drawn = self.experiment.cfg, None if self.weights.checkpoint_sha256 else self.experiment.cfg.seed
        identity = content_hash(
            asdict(self.weights), self.method.head, drawn, self.model.preprocess.as_dict(),
            self.experiment.data_label, *made_from, *_PROBED_BY,
        )  # fmt: skip
        if path := probes.kept_probe(cfg, family, self.method.key, dataset, identity):
            return path
        started = time.perf_counter()
        clusters, conditions, not_run = probe()
        about = Probe(
            family, self.method, dataset, self.weights, self.experiment.data_label, identity, clusters, conditions,
            not_run,
        )  # fmt: skip
        return probes.write_probe(cfg, about, time.perf_counter() - started)


def run_probes(made: Experiment, key: str) -> list[Path]:
    """All probes of a method on all targets, and in the miniature its minimal pairs; returns their records."""
    subject = Subject.of(made, key)
    paths = []
    for target in made.cfg.targets:
        paths += [probe_texts(subject, target), probe_videos(subject, target)]
    if made.minimal_pairs:
        paths.append(probe_pairs(subject))
    return paths


# ------------------------------------------------------------------ texts
def probe_texts(subject: Subject, target: str) -> Path:
    """Other texts for the videos of a target: `text_controls`, and the right text among its nearest rivals."""
    made = subject.experiment
    named = made.descriptions(target, "object").select(made.dataset(target, made.cfg.target_subset).class_names)
    others = {"objects masked": made.descriptions(target, "masked"), **made.other_texts(target)}
    controls = text_controls.text_controls(named, others)
    sets = {name: found for name, found in controls.items() if found}
    texts = [[only.sha256 for only in found] for found in sets.values()]

    def probe() -> tuple[np.ndarray, list[Condition], dict[str, str]]:
        everything = made.encode(subject.method, subject.model, subject.weights, target, "all")
        videos = everything.of(made.dataset(target, made.cfg.target_subset))
        conditions = _text_conditions(subject.model, videos, sets)
        result = score(subject.model, videos, named)
        conditions += _rival_conditions(made, result, named)
        lacking = dict.fromkeys((name for name, found in controls.items() if not found), "its file is not at hand")
        return result.labels, conditions, lacking

    return subject.keep(TEXT, target, (texts, _ids(made.dataset(target, made.cfg.target_subset))), probe)


def _text_conditions(
    model: PrototypeClassifier, videos: VideoFeatures, sets: dict[str, list[DescriptionSet]]
) -> list[Condition]:
    flat = [(name, draw, only) for name, found in sets.items() for draw, only in enumerate(found)]
    results = score_all(model, videos, [only for _, _, only in flat])
    return [
        Condition(name, result.correct, 1 / result.scores.shape[1], draw=draw)
        for (name, draw, _), result in zip(flat, results, strict=True)
    ]


def _rival_conditions(made: Experiment, result: RetrievalResult, named: DescriptionSet) -> list[Condition]:
    """The same rivals for every method: those that the backbone's text tower takes to be nearest."""
    classes = len(named)
    if classes <= RIVALS:
        return []
    with torch.inference_mode():
        features = made.vanilla.encode_text(named.texts).float().cpu().numpy()
    chance, found = 1 / (1 + RIVALS), []
    nearest = right_among(result.scores, result.labels, nearest_texts(features, RIVALS))
    found.append(Condition(NEAREST, nearest, chance))
    for draw in range(text_controls.DRAWS):
        rivals = random_rivals(classes, RIVALS, draw)
        found.append(Condition(RANDOM, right_among(result.scores, result.labels, rivals), chance, draw=draw))
    return found


# ------------------------------------------------------------------ videos
def probe_videos(subject: Subject, target: str) -> Path:
    """Other frames for the videos of a target: their number, their order, one alone."""
    made, model = subject.experiment, subject.model
    sets = [made.descriptions(target, kind) for kind in DESCRIPTION_KINDS]
    dataset, controls = made.dataset(target, made.cfg.target_subset), controls_for(model)

    def probe() -> tuple[np.ndarray, list[Condition], dict[str, str]]:
        clips = made.clips(target, made.cfg.target_subset, model)
        labels, scores, failed = [], [[[] for _ in sets] for _ in controls], dict(clips.failed)
        prototypes = _prototypes(model, sets, dataset)
        for indices, features, unreadable in encode_controls(model, clips, controls, num_workers=made.cfg.num_workers):
            failed.update(unreadable)
            labels += [clips.dataset.items[i].label for i in indices]
            with torch.inference_mode():
                for k, encoded in enumerate(features):
                    for s, texts in enumerate(prototypes):
                        scores[k][s].append(model.similarity(encoded, texts).float().cpu().numpy())
        check_missing(clips.dataset, made.cfg.max_missing, failed)
        joined = [[np.concatenate(parts) for parts in row] for row in scores]
        labels = np.array(labels)
        conditions = _video_conditions(controls, joined, labels)
        if model.independent_frames and isinstance(model.head, MeanPooling):
            _assert_blind_to_order(conditions)
        lacking = {} if model.independent_frames else {"other numbers of frames": "its weights are made for its own"}
        return labels, conditions, lacking

    made_from = ([only.sha256 for only in sets], _ids(dataset), [asdict(control) for control in controls])
    return subject.keep(VIDEO, target, made_from, probe)


def _prototypes(
    model: PrototypeClassifier, sets: Sequence[DescriptionSet], dataset: VideoDataset
) -> list[torch.Tensor]:
    with torch.inference_mode():
        return [model.encode_text(only.select(dataset.class_names).texts) for only in sets]


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


# ------------------------------------------------------------------ minimal pairs
def probe_pairs(subject: Subject) -> Path:
    """Clips that differ in one thing alone: which of two sentences fits, and which of two clips.

    The clips of the kind "order" are actions and the same frames played backwards.
    """
    made, model = subject.experiment, subject.model
    paths = made.minimal_pairs
    dataset, sentences = paths.pair_clips()
    actions, action_sentences = paths.actions("test")

    def probe() -> tuple[np.ndarray, list[Condition], dict[str, str]]:
        clips = _open(made, dataset, model)
        scores = score(model, encode_videos(model, clips, device=made.cfg.torch_device), sentences).scores
        kinds = np.array([pair.kind for pair in paths.pairs for _ in (0, 1)])
        outcomes = {kind: pair_outcomes(_block(scores, kinds == kind)) for kind in dict.fromkeys(kinds)}
        outcomes[REVERSED_PAIRS] = pair_outcomes(_direction_scores(subject, model, actions, action_sentences))
        length = max(len(texts) for texts, _ in outcomes.values())
        conditions = [
            Condition(kind, right, 0.5, more={"of": of, "pairs_right": both})
            for kind, (texts, videos) in outcomes.items()
            for of, right, both in (
                ("sentence for a clip", texts, float(probes.whole_pairs(texts, videos).mean())),
                ("clip for a sentence", videos, float(probes.whole_pairs(texts, videos).mean())),
            )
        ]
        return np.arange(length) // 2, conditions, {}

    made_from = (paths.root.name, sentences.sha256, action_sentences.sha256)
    return subject.keep(PAIRS, dataset.name, made_from, probe)


def _block(scores: np.ndarray, of: np.ndarray) -> np.ndarray:
    return scores[np.ix_(of, of)]


def _direction_scores(
    subject: Subject, model: PrototypeClassifier, actions: VideoDataset, sentences: DescriptionSet
) -> np.ndarray:
    """(2N, 2N): N actions as filmed and backwards, in turn, against the sentence of each clip."""
    own = model.preprocess.num_frames
    clips, ways = _open(subject.experiment, actions, model), [Control(FILMED, own), Control(REVERSED, own)]
    texts, labels, scores = _prototypes(model, [sentences], actions)[0], [], [[], []]
    for indices, features, _ in encode_controls(model, clips, ways):
        labels += [clips.dataset.items[i].label for i in indices]
        with torch.inference_mode():
            for way, encoded in enumerate(features):
                scores[way].append(model.similarity(encoded, texts).float().cpu().numpy())
    both = np.stack([np.concatenate(part) for part in scores], axis=1).reshape(2 * len(labels), -1)
    return both[:, (np.repeat(labels, 2) + np.tile((0, 1), len(labels)))]


def _open(made: Experiment, dataset: VideoDataset, model: PrototypeClassifier) -> frames.Clips:
    return open_clips(dataset, model.preprocess, made.data_root / "frames", "cropped")


# ------------------------------------------------------------------ order, when it is asked for
def probe_order(made: Experiment, key: str = "motion") -> list[Path]:
    """A mean and a temporal head taught to tell actions from their reversals, on the image tower of a method.

    The frame embeddings stay as they are; clips that were trained on are not tested on. One record a head,
    under the method's key with the head's name. Empty where there are no rendered clips.
    """
    if not made.minimal_pairs:
        return []
    subject = Subject.of(made, key)
    return [_taught(subject, name) for name in ("mean", "temporal")]


def _taught(subject: Subject, head_name: str) -> Path:
    made, model = subject.experiment, subject.model
    training, sentences = made.minimal_pairs.actions("train")
    tested, _ = made.minimal_pairs.actions("test")
    taught = replace(subject.method, key=f"{subject.method.key}_{head_name}_taught", head=head_name)

    def probe() -> tuple[np.ndarray, list[Condition], dict[str, str]]:
        torch.manual_seed(made.cfg.seed)
        model.head = build_head(head_name, embed_dim(model.clip), transformer_heads(model.clip))
        model.head.to(model.device)
        shown = encode_videos(FrameEncoder(model), _open(made, training, model), device=made.cfg.torch_device)
        labels = torch.tensor(shown.dataset.labels, device=model.device)
        texts = _prototypes(model, [sentences], training)[0].clone()
        embeddings = shown.features.clone()  # out of inference mode, so that a head can be trained on them
        losses = order_control.train_on_order(
            model.head, embeddings, labels, texts, made.cfg.order_steps, made.cfg.seed
        )
        texts_right, videos_right = pair_outcomes(_direction_scores(subject, model, tested, sentences))
        more = {
            "of": "sentence for a clip",
            "pairs_right": float(probes.whole_pairs(texts_right, videos_right).mean()),
            "steps": len(losses),
        }
        return np.arange(len(texts_right)) // 2, [Condition(REVERSED_PAIRS, texts_right, 0.5, more=more)], {}

    asked = Subject(made, taught, model, subject.weights)
    made_from = (made.minimal_pairs.root.name, sentences.sha256, made.cfg.order_steps, made.cfg.seed)
    return asked.keep(ORDER, "miniature-actions", made_from, probe)


def _ids(dataset: VideoDataset) -> list[str]:
    return [item.video_id for item in dataset.items]
