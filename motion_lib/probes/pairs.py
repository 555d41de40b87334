"""Probes that need to know what moves: minimal pairs, and heads taught the direction of actions. Miniature only."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from motion_lib.data.clips import Clips, open_clips
from motion_lib.data.datasets import VideoDataset, check_missing
from motion_lib.evaluation.features import encode_videos
from motion_lib.evaluation.retrieval import score
from motion_lib.experiment.experiment import Experiment, Trained
from motion_lib.models.clip import embed_dim, transformer_heads
from motion_lib.models.prototype import FrameEncoder, PrototypeClassifier, build_head
from motion_lib.probes.records import (
    ORDER,
    PAIRS,
    REVERSED_PAIRS,
    Condition,
    Outcome,
    keep,
    pair_outcomes,
    whole_pairs,
)
from motion_lib.probes.video_controls import FILMED, REVERSED, Control, encode_controls, text_prototypes
from motion_lib.texts.descriptions import DescriptionSet


# ------------------------------------------------------------------ minimal pairs
def probe_pairs(experiment: Experiment, trained: Trained) -> Path:
    """Clips that differ in one thing alone: which of two sentences fits, and which of two clips.

    The clips of the kind "order" are actions and the same frames played backwards. Intervals resample what the clips
    differ in (which two objects, which two motions, which action): many pairs share it.
    """
    model = trained.model
    paths = experiment.data.minimal_pairs
    dataset, sentences = paths.pair_clips()
    actions, action_sentences = paths.actions("test")

    def probe() -> Outcome:
        clips = _open(experiment, dataset, model)
        scores = score(model, encode_videos(model, clips, device=experiment.cfg.torch_device), sentences).scores
        kinds, contrasts = (
            np.repeat(values, 2)
            for values in ([pair.kind for pair in paths.pairs], [pair.contrast for pair in paths.pairs])
        )
        conditions = []
        for kind in dict.fromkeys(kinds):
            of = kinds == kind
            conditions += _pair_conditions(kind, scores[np.ix_(of, of)], contrasts[of])
        directions = _direction_scores(experiment, model, actions, action_sentences)
        conditions += _pair_conditions(REVERSED_PAIRS, directions, np.repeat(actions.labels, 2))
        shown = [item.video_id for item in (*dataset.items, *actions.items)]
        return Outcome(shown, contrasts, conditions)

    made_from = (paths.root.name, sentences.sha256, action_sentences.sha256, sys.modules[__name__])
    return keep(experiment, trained, PAIRS, dataset.name, made_from, probe)


def _pair_conditions(kind: str, scores: np.ndarray, contrasts: np.ndarray) -> list[Condition]:
    texts, videos = pair_outcomes(scores)
    both = float(whole_pairs(texts, videos).mean())
    return [
        Condition(kind, right, 0.5, more={"of": of, "pairs_right": both}, clusters=contrasts)
        for of, right in (("sentence for a clip", texts), ("clip for a sentence", videos))
    ]


def _direction_scores(
    experiment: Experiment, model: PrototypeClassifier, actions: VideoDataset, sentences: DescriptionSet
) -> np.ndarray:
    """(2N, 2N): N actions as filmed and backwards, in turn, against the sentence of each clip."""
    own = model.preprocess.num_frames
    clips, ways = _open(experiment, actions, model), [Control(FILMED, own), Control(REVERSED, own)]
    texts, labels, scores = text_prototypes(model, [sentences], actions)[0], [], [[], []]
    for indices, features, _ in encode_controls(model, clips, ways):
        labels += [clips.dataset.items[i].label for i in indices]
        with torch.inference_mode():
            for way, encoded in enumerate(features):
                scores[way].append(model.similarity(encoded, texts).float().cpu().numpy())
    both = np.stack([np.concatenate(part) for part in scores], axis=1).reshape(2 * len(labels), -1)
    return both[:, (np.repeat(labels, 2) + np.tile((0, 1), len(labels)))]


def _open(experiment: Experiment, dataset: VideoDataset, model: PrototypeClassifier) -> Clips:
    """All clips or none: without one of them its partner's pair would be another's."""
    clips = open_clips(dataset, model.preprocess, experiment.data.root / "frames", "cropped")
    check_missing(clips.dataset, 0.0, clips.failed)
    return clips


# ------------------------------------------------------------------ order, when it is asked for
def probe_order(experiment: Experiment, key: str = "motion") -> list[Path]:
    """A mean and a temporal head taught to tell actions from their reversals, on the image tower of a method.

    The frame embeddings stay as they are; clips that were trained on are not tested on. One record a head,
    under the method's key with the head's name. Empty where there are no rendered clips. Intervals resample actions.
    """
    if not experiment.data.minimal_pairs:
        return []
    trained = experiment.trained(key)
    return [_taught(experiment, trained, name) for name in ("mean", "temporal")]


def _taught(experiment: Experiment, trained: Trained, head_name: str) -> Path:
    model = trained.model
    training, sentences = experiment.data.minimal_pairs.actions("train")
    tested, _ = experiment.data.minimal_pairs.actions("test")
    taught = replace(trained.method, key=f"{trained.method.key}_{head_name}_taught", head=head_name)

    def probe() -> Outcome:
        torch.manual_seed(experiment.cfg.seed)
        model.head = build_head(head_name, embed_dim(model.clip), transformer_heads(model.clip))
        model.head.to(model.device)
        clips = _open(experiment, training, model)
        shown = encode_videos(FrameEncoder(model), clips, device=experiment.cfg.torch_device)
        labels = torch.tensor(shown.dataset.labels, device=model.device)
        texts = text_prototypes(model, [sentences], training)[0].clone()
        # A copy out of inference mode, so that a head can be trained on it.
        embeddings = shown.features.clone().to(model.device)
        losses = train_on_order(model.head, embeddings, labels, texts, steps, seed)
        texts_right, videos_right = pair_outcomes(_direction_scores(experiment, model, tested, sentences))
        more = {
            "of": "sentence for a clip",
            "pairs_right": float(whole_pairs(texts_right, videos_right).mean()),
            "steps": len(losses),
        }
        shown = [item.video_id for item in tested.items]
        return Outcome(shown, np.repeat(tested.labels, 2), [Condition(REVERSED_PAIRS, texts_right, 0.5, more=more)])

    asked = replace(trained, method=taught)
    steps, seed = experiment.cfg.order_steps, experiment.cfg.seed
    made_from = (experiment.data.minimal_pairs.root.name, sentences.sha256, steps, seed, sys.modules[__name__])
    return keep(experiment, asked, ORDER, "miniature-actions", made_from, probe)


LEARNING_RATE, WEIGHT_DECAY, BATCH = 1e-3, 0.05, 64
SCALE = 16.0  # of the cosines, as exp(logit_scale) in the miniature's recipe


def both_directions(frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(N, T, D) and (N,) of actions as played -> (2N, T, D) and (2N,): backwards has the next label."""
    return torch.cat([frames, frames.flip(1)]), torch.cat([labels, labels + 1])


def train_on_order(
    head: nn.Module, frames: Tensor, labels: Tensor, prototypes: Tensor, steps: int, seed: int
) -> list[float]:
    """Train a temporal head to tell actions and their reversals by cross-entropy over their sentences.

    Args:
        head: (B, T, D) -> (B, D), trained in place; one without parameters is left as it is.
        frames: (N, T, D) embeddings of the clips as played.   labels: (N,) of their sentences, 2k; backwards 2k + 1.
        prototypes: (2A, D) text features.   steps: of AdamW, each on 64 clips.   seed: of their draw.
    Returns: the loss of each step, nats; empty for a head without parameters.
    """
    if not any(parameter.requires_grad for parameter in head.parameters()):
        return []
    shown, wanted = both_directions(frames, labels)
    texts, generator = F.normalize(prototypes, dim=-1), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(head.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    losses = []
    for _ in range(steps):
        batch = torch.randint(len(shown), (BATCH,), generator=generator).to(shown.device)
        logits = SCALE * F.normalize(head(shown[batch]), dim=-1) @ texts.T
        loss = F.cross_entropy(logits, wanted[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
