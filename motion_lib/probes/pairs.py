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
from motion_lib.methods import METHODS
from motion_lib.models.clip import embed_dim, transformer_heads
from motion_lib.models.prototype import FrameEncoder, PrototypeClassifier, build_head
from motion_lib.models.xclip import MultiframeIntegration
from motion_lib.probes.records import ORDER, PAIRS, Condition, Outcome, keep
from motion_lib.probes.video_controls import FILMED, REVERSED, Control, score_controls, text_prototypes
from motion_lib.texts.descriptions import DescriptionSet

REVERSED_PAIRS = "order"  # the kind of minimal pair that differs in the order of frames alone
PAIR_LABEL = {
    "object": "another object, same motion",
    "arms": "another motion of the arms",
    "body": "another motion of the body",
    REVERSED_PAIRS: "the same frames backwards",
}
LEARNING_RATE, WEIGHT_DECAY, BATCH = 1e-3, 0.05, 64  # of the heads that are taught order
SCALE = 16.0  # of the cosines, as exp(logit_scale) in the miniature's recipe
MIT = METHODS["xclip"].head  # the name of X-CLIP's head over frames
SENTENCE, CLIP = "sentence for a clip", "clip for a sentence"  # which is to be chosen


# ------------------------------------------------------------------ minimal pairs
def probe_pairs(experiment: Experiment, trained: Trained) -> Path:
    """Clips that differ in one thing alone: which of two sentences fits, and which of two clips.

    Intervals resample what the clips differ in (which two objects, which two motions, which action): many pairs share
    it.
    """
    model, paths = trained.model, experiment.data.minimal_pairs
    dataset, sentences = paths.pair_clips()
    actions, action_sentences = paths.actions("test")

    def probe() -> Outcome:
        clips = _open(experiment, dataset, model)
        scores = score(model, encode_videos(model, clips), sentences).scores
        kinds = np.repeat([pair.kind for pair in paths.pairs], 2)
        contrasts = np.repeat([pair.contrast for pair in paths.pairs], 2)
        conditions = []
        for kind in dict.fromkeys(kinds):
            rows = kinds == kind
            conditions += _pair_conditions(kind, scores[np.ix_(rows, rows)], contrasts[rows])
        directions = _direction_scores(experiment, model, actions, action_sentences)
        conditions += _pair_conditions(REVERSED_PAIRS, directions, np.repeat(actions.labels, 2))
        shown = [item.video_id for item in (*dataset.items, *actions.items)]
        return Outcome(shown, contrasts, conditions)

    made_from = (paths.root.name, sentences.sha256, action_sentences.sha256, sys.modules[__name__])
    return keep(experiment, trained, PAIRS, dataset.name, made_from, probe)


def _pair_conditions(kind: str, scores: np.ndarray, contrasts: np.ndarray | None) -> list[Condition]:
    texts, videos = pair_outcomes(scores)
    both = float(whole_pairs(texts, videos).mean())
    return [
        Condition(kind, right, 0.5, more={"of": question, "pairs_right": both}, clusters=contrasts)
        for question, right in ((SENTENCE, texts), (CLIP, videos))
    ]


def pair_outcomes(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Who is right within minimal pairs, clips and sentences 2p and 2p + 1: Winoground's text and video score.

    Args:
        scores: (2P, 2P) clips against sentences; only each pair's own four are looked at.

    Returns:
        (2P,) bool that a clip prefers its own sentence, and (2P,) bool that a sentence prefers its own clip; a tie is
        wrong.
    """
    own = np.arange(len(scores))
    return scores[own, own] > scores[own, own ^ 1], scores[own, own] > scores[own ^ 1, own]


def whole_pairs(*rights: np.ndarray) -> np.ndarray:
    """(P,) bool: everything about a pair is right; of both outcomes Winoground's group score (Thrush et al. 2022)."""
    return np.logical_and.reduce([right.reshape(-1, 2).all(axis=1) for right in rights])


def _direction_scores(
    experiment: Experiment, model: PrototypeClassifier, actions: VideoDataset, sentences: DescriptionSet
) -> np.ndarray:
    """(2N, 2N): N actions as filmed and backwards, in turn, against the sentence of each clip."""
    own = model.preprocess.num_frames
    clips, ways = _open(experiment, actions, model), [Control(FILMED, own), Control(REVERSED, own)]
    scores, shown, _ = score_controls(model, clips, ways, [sentences], max_missing=0.0)
    in_turn = scores[:, 0].swapaxes(0, 1).reshape(2 * len(shown), -1)  # (2, N, K) -> (2N, K)
    labels = np.array([item.label for item in shown])
    return in_turn[:, np.stack([labels, labels + 1], axis=1).ravel()]


def _open(experiment: Experiment, dataset: VideoDataset, model: PrototypeClassifier) -> Clips:
    """All clips or none: without one of them its partner's pair would be another's."""
    clips = open_clips(dataset, model.preprocess, experiment.data.root / "frames", "cropped")
    check_missing(clips.dataset, 0.0, clips.failed)
    return clips


# ------------------------------------------------------------------ order, when it is asked for
def probe_order(experiment: Experiment, key: str = "motion") -> list[Path]:
    """Three heads taught to tell actions from their reversals, on the image tower of a method.

    The mean, X-CLIP's integration transformer and the temporal transformer (paper, section 5).

    The frame embeddings stay as they are; clips that were trained on are not tested on. One record a head,
    under the method's key with the head's name. Empty where there are no rendered clips. Intervals resample actions.
    """
    if not experiment.data.minimal_pairs:
        return []
    trained = experiment.trained(key)
    return [_taught(experiment, trained, name) for name in ("mean", MIT, "temporal")]


def _taught(experiment: Experiment, trained: Trained, head_name: str) -> Path:
    cfg, model = experiment.cfg, trained.model
    training, sentences = experiment.data.minimal_pairs.actions("train")
    tested, _ = experiment.data.minimal_pairs.actions("test")

    def probe() -> Outcome:
        torch.manual_seed(cfg.seed)
        width = embed_dim(model.clip)
        if head_name == MIT:
            head = MultiframeIntegration(width, model.preprocess.num_frames)
        else:
            head = build_head(head_name, width, transformer_heads(model.clip))
        model.head = head.to(model.device)
        videos = encode_videos(FrameEncoder(model), _open(experiment, training, model))
        labels = torch.tensor(videos.dataset.labels, device=model.device)
        # Copies out of inference mode, so that a head can be trained on them.
        embeddings = videos.features.clone().to(model.device)
        texts = text_prototypes(model, [sentences], training)[0].clone()
        losses = train_on_order(model.head, embeddings, labels, texts, cfg.order_steps, cfg.seed)
        conditions = _pair_conditions(REVERSED_PAIRS, _direction_scores(experiment, model, tested, sentences), None)
        of_sentences = replace(conditions[0], more=conditions[0].more | {"steps": len(losses)})
        return Outcome([item.video_id for item in tested.items], np.repeat(tested.labels, 2), [of_sentences])

    taught = replace(trained.method, key=f"{trained.method.key}_{head_name}_taught", head=head_name)
    pairs = experiment.data.minimal_pairs.root.name
    made_from = (pairs, sentences.sha256, cfg.order_steps, cfg.seed, sys.modules[__name__])
    return keep(experiment, replace(trained, method=taught), ORDER, "miniature-actions", made_from, probe)


def both_directions(frames: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """(N, T, D) and (N,) of actions as played -> (2N, T, D) and (2N,): backwards has the next label."""
    return torch.cat([frames, frames.flip(1)]), torch.cat([labels, labels + 1])


def train_on_order(
    head: nn.Module, frames: Tensor, labels: Tensor, prototypes: Tensor, steps: int, seed: int
) -> list[float]:
    """Train a temporal head to tell actions and their reversals by cross-entropy over their sentences.

    Args:
        head: (B, T, D) -> (B, D), trained in place; one without parameters is left as it is.
        frames: (N, T, D) embeddings of the clips as played.
        labels: (N,) of their sentences, 2k; backwards 2k + 1.
        prototypes: (2A, D) text features.

    Returns:
        The loss of each step, nats; empty for a head without parameters.
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
