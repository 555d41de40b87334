"""Probes that need to know what moves: minimal pairs, and heads taught the direction of actions. Miniature only."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from motion_lib import order_control, probes
from motion_lib.clip_loading import embed_dim, transformer_heads
from motion_lib.datasets import VideoDataset, check_missing
from motion_lib.descriptions import DescriptionSet
from motion_lib.evaluation import encode_videos, score
from motion_lib.experiment import Experiment
from motion_lib.frames import Clips, open_clips
from motion_lib.heads import build_head
from motion_lib.models import FrameEncoder, PrototypeClassifier
from motion_lib.probe_subject import Subject, text_prototypes
from motion_lib.probes import ORDER, PAIRS, REVERSED_PAIRS, Condition, Outcome, pair_outcomes
from motion_lib.video_controls import FILMED, REVERSED, Control, encode_controls


# ------------------------------------------------------------------ minimal pairs
def probe_pairs(subject: Subject) -> Path:
    """Clips that differ in one thing alone: which of two sentences fits, and which of two clips.

    The clips of the kind "order" are actions and the same frames played backwards. Intervals resample what the clips
    differ in (which two objects, which two motions, which action): many pairs share it.
    """
    made, model = subject.experiment, subject.model
    paths = made.minimal_pairs
    dataset, sentences = paths.pair_clips()
    actions, action_sentences = paths.actions("test")

    def probe() -> Outcome:
        clips = _open(made, dataset, model)
        scores = score(model, encode_videos(model, clips, device=made.cfg.torch_device), sentences).scores
        kinds, contrasts = (
            np.repeat(values, 2)
            for values in ([pair.kind for pair in paths.pairs], [pair.contrast for pair in paths.pairs])
        )
        conditions = []
        for kind in dict.fromkeys(kinds):
            of = kinds == kind
            conditions += _pair_conditions(kind, scores[np.ix_(of, of)], contrasts[of])
        directions = _direction_scores(subject, model, actions, action_sentences)
        conditions += _pair_conditions(REVERSED_PAIRS, directions, np.repeat(actions.labels, 2))
        shown = [item.video_id for item in (*dataset.items, *actions.items)]
        return Outcome(shown, contrasts, conditions)

    made_from = (paths.root.name, sentences.sha256, action_sentences.sha256, sys.modules[__name__])
    return subject.keep(PAIRS, dataset.name, made_from, probe)


def _pair_conditions(kind: str, scores: np.ndarray, contrasts: np.ndarray) -> list[Condition]:
    texts, videos = pair_outcomes(scores)
    both = float(probes.whole_pairs(texts, videos).mean())
    return [
        Condition(kind, right, 0.5, more={"of": of, "pairs_right": both}, clusters=contrasts)
        for of, right in (("sentence for a clip", texts), ("clip for a sentence", videos))
    ]


def _direction_scores(
    subject: Subject, model: PrototypeClassifier, actions: VideoDataset, sentences: DescriptionSet
) -> np.ndarray:
    """(2N, 2N): N actions as filmed and backwards, in turn, against the sentence of each clip."""
    own = model.preprocess.num_frames
    clips, ways = _open(subject.experiment, actions, model), [Control(FILMED, own), Control(REVERSED, own)]
    texts, labels, scores = text_prototypes(model, [sentences], actions)[0], [], [[], []]
    for indices, features, _ in encode_controls(model, clips, ways):
        labels += [clips.dataset.items[i].label for i in indices]
        with torch.inference_mode():
            for way, encoded in enumerate(features):
                scores[way].append(model.similarity(encoded, texts).float().cpu().numpy())
    both = np.stack([np.concatenate(part) for part in scores], axis=1).reshape(2 * len(labels), -1)
    return both[:, (np.repeat(labels, 2) + np.tile((0, 1), len(labels)))]


def _open(made: Experiment, dataset: VideoDataset, model: PrototypeClassifier) -> Clips:
    """All clips or none: without one of them its partner's pair would be another's."""
    clips = open_clips(dataset, model.preprocess, made.data_root / "frames", "cropped")
    check_missing(clips.dataset, 0.0, clips.failed)
    return clips


# ------------------------------------------------------------------ order, when it is asked for
def probe_order(made: Experiment, key: str = "motion") -> list[Path]:
    """A mean and a temporal head taught to tell actions from their reversals, on the image tower of a method.

    The frame embeddings stay as they are; clips that were trained on are not tested on. One record a head,
    under the method's key with the head's name. Empty where there are no rendered clips. Intervals resample actions.
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

    def probe() -> Outcome:
        torch.manual_seed(made.cfg.seed)
        model.head = build_head(head_name, embed_dim(model.clip), transformer_heads(model.clip))
        model.head.to(model.device)
        shown = encode_videos(FrameEncoder(model), _open(made, training, model), device=made.cfg.torch_device)
        labels = torch.tensor(shown.dataset.labels, device=model.device)
        texts = text_prototypes(model, [sentences], training)[0].clone()
        # A copy out of inference mode, so that a head can be trained on it.
        embeddings = shown.features.clone().to(model.device)
        losses = order_control.train_on_order(model.head, embeddings, labels, texts, steps, seed)
        texts_right, videos_right = pair_outcomes(_direction_scores(subject, model, tested, sentences))
        more = {
            "of": "sentence for a clip",
            "pairs_right": float(probes.whole_pairs(texts_right, videos_right).mean()),
            "steps": len(losses),
        }
        shown = [item.video_id for item in tested.items]
        return Outcome(shown, np.repeat(tested.labels, 2), [Condition(REVERSED_PAIRS, texts_right, 0.5, more=more)])

    asked = Subject(made, taught, model, subject.weights)
    steps, seed = made.cfg.order_steps, made.cfg.seed
    made_from = (made.minimal_pairs.root.name, sentences.sha256, steps, seed, sys.modules[__name__])
    return asked.keep(ORDER, "miniature-actions", made_from, probe)
