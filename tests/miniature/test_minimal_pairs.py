"""Minimal pairs differ in one thing alone; actions and their reversals have the same frames."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from motion_lib.data.datasets import VideoDataset
from motion_lib.data.video import read_clip
from motion_lib.miniature import minimal_pairs
from motion_lib.miniature.minimal_pairs import ACTIONS, KINDS, build_pairs, make_pairs
from motion_lib.miniature.sentences import ARM_PHRASES, BODY_PHRASES
from motion_lib.miniature.world import action_descriptions, alternate_version, make_world, render_clip
from motion_lib.models.prototype import MeanPooling, TemporalTransformer
from motion_lib.probes.pairs import both_directions, pair_outcomes, train_on_order, whole_pairs
from motion_lib.probes.records import pack, unpack

WORLD = make_world(0)


@pytest.fixture(scope="module")
def pairs():
    return make_pairs(WORLD, seed=0, per_kind=20)


def differing(pair) -> set[str]:
    first, second = pair.clips
    return {f.name for f in fields(first) if getattr(first, f.name) != getattr(second, f.name)}


def test_the_clips_of_a_pair_differ_in_one_thing(pairs):
    wanted = {"arms": {"arm"}, "body": {"body"}, "object": {"item"}}
    assert [pair.kind for pair in pairs] == [kind for kind in KINDS for _ in range(20)]
    for pair in pairs:
        assert differing(pair) == wanted[pair.kind]


def test_the_sentences_differ_in_the_same_thing(pairs):
    for pair in pairs:
        first, second = pair.texts
        assert first != second
        if pair.kind == "object":
            items = [clip.item for clip in pair.clips]
            assert first.replace(items[0], "x") == second.replace(items[1], "x")
        else:
            arms, bodies = ([text.split(" while ")[part] for text in pair.texts] for part in (0, 1))
            assert (arms[0] == arms[1]) == (pair.kind == "body")
            assert (bodies[0] == bodies[1]) == (pair.kind == "arms")


def test_a_contrast_is_what_the_clips_differ_in(pairs):
    field = {"arms": "arm", "body": "body", "object": "item"}
    for pair in pairs:
        both = sorted(getattr(clip, field[pair.kind]) for clip in pair.clips)
        assert pair.contrast == f"{pair.kind}: {both[0]} or {both[1]}"
        assert replace(pair, clips=pair.clips[::-1]).contrast == pair.contrast


def test_a_sentence_tells_its_clip(pairs):
    for pair in pairs:
        for clip, text in zip(pair.clips, pair.texts, strict=True):
            arm, _, body = text.removesuffix(".").partition(" while ")
            assert arm in [phrase.format(item=clip.item) for phrase in ARM_PHRASES[clip.arm]]
            assert body in BODY_PHRASES[clip.body]


def test_no_motion_of_a_pair_is_in_the_source(pairs):
    source = {(c.arm, c.body) for c in WORLD.source.classes}
    assert not source & {(clip.arm, clip.body) for pair in pairs for clip in pair.clips}


def test_only_the_object_changes_in_the_picture_of_an_object_pair(pairs):
    """Without it, two clips of a pair are the same picture; with another motion they are not."""
    one = next(pair for pair in pairs if pair.kind == "object")
    first, second = (render_clip(clip) for clip in one.clips)
    assert (first != second).any()
    share = (first != second).any(axis=-1).mean()
    assert share < 0.2
    same = replace(one.clips[1], item=one.clips[0].item)
    np.testing.assert_array_equal(render_clip(same), first)


def test_pairs_follow_from_the_seed():
    assert make_pairs(WORLD, 0, 3) == make_pairs(WORLD, 0, 3)
    assert make_pairs(WORLD, 0, 3) != make_pairs(WORLD, 1, 3)


# --- on disk ---


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_pairs(tmp_path_factory.mktemp("pairs"), WORLD, seed=0, per_kind=1, action_clips=3)


def test_every_clip_is_rendered_and_readable(built):
    dataset, sentences = built.pair_clips()
    assert len(dataset) == len(sentences) == 2 * len(KINDS)
    for item, pair_clip in zip(dataset.items, [c for pair in built.pairs for c in pair.clips], strict=True):
        assert len(read_clip(item.path, np.arange)) == pair_clip.num_frames
    assert [item.label for item in dataset.items] == list(range(len(dataset)))


def test_actions_are_split_into_taught_and_tested(built):
    train, sentences = built.actions("train")
    test, _ = built.actions("test")
    assert (len(train), len(test)) == (2 * len(ACTIONS), len(ACTIONS))
    assert not {item.path for item in train.items} & {item.path for item in test.items}
    assert len(sentences) == 2 * len(ACTIONS)
    assert {item.label for item in train.items} == set(range(0, 2 * len(ACTIONS), 2))
    assert isinstance(test, VideoDataset)


def test_what_is_there_is_not_rendered_again(built, monkeypatch):
    monkeypatch.setattr(minimal_pairs, "parallel_map", lambda *_: pytest.fail("rendered again"))
    again = build_pairs(built.root.parent, WORLD, seed=0, per_kind=1, action_clips=3)
    assert again == built


def moved_backwards(action: minimal_pairs.Action) -> float:
    """How far hands and feet are from where the reversed clip has them, on average, in figure units."""
    clip = minimal_pairs._random_clip(action.arm, action.body, np.random.default_rng(0))
    figure = minimal_pairs._action_figure(action, clip)
    return float(np.mean([np.linalg.norm(j - j[::-1], axis=-1).mean() for j in (figure.hands, figure.feet)]))


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.name)
def test_an_action_is_not_its_own_reversal(action):
    """Its limbs are elsewhere, or nothing could tell the directions apart; those of a still figure are not."""
    still = replace(action, turns=(0.1 * np.pi) / (2 * np.pi), moves=action.moves)
    assert moved_backwards(action) > 10 * moved_backwards(still)
    assert len(set(action.texts)) == 2


# --- outcomes ---


def test_pair_outcomes_by_hand():
    scores = np.array([[5, 1, 9, 9], [4, 6, 9, 9], [9, 9, 2, 2], [9, 9, 1, 3]])
    texts, videos = pair_outcomes(scores)
    assert texts.tolist() == [True, True, False, True]  # clip 2 has a tie
    assert videos.tolist() == [True, True, True, True]
    assert whole_pairs(texts, videos).tolist() == [True, False]


def test_equal_features_are_right_in_exactly_one_direction():
    """What mean pooling gives an action and its reversal: one of two, and never the whole pair."""
    scores = np.random.default_rng(0).normal(size=(40, 40))
    scores[1::2] = scores[::2]
    texts, videos = pair_outcomes(scores)
    assert texts.reshape(-1, 2).sum(axis=1).tolist() == [1] * 20
    assert not videos.any()
    assert not whole_pairs(texts, videos).any()


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64])
def test_packed_answers_come_back(count):
    right = np.random.default_rng(count).random(count) < 0.5
    np.testing.assert_array_equal(unpack(pack(right), count), right)


# --- teaching order ---


def rising(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames that drift along one of two directions, which name the class; backwards they drift back."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2 * 2
    way = torch.eye(16)[labels // 2]
    steps = torch.linspace(-2, 2, 8).view(1, 8, 1)
    return way[:, None] * steps + 0.1 * torch.randn(count, 8, 16, generator=generator), labels


def direction_accuracy(head, frames, labels, texts) -> float:
    shown, wanted = both_directions(frames, labels)
    with torch.inference_mode():
        scores = torch.nn.functional.normalize(head.eval()(shown), dim=-1) @ texts.T
    own, other = scores.gather(1, wanted[:, None]), scores.gather(1, (wanted ^ 1)[:, None])
    return (own > other).float().mean().item()


def test_a_transformer_can_be_taught_order_and_the_mean_cannot():
    texts = torch.nn.functional.normalize(torch.randn(4, 16, generator=torch.Generator().manual_seed(3)), dim=-1)
    torch.manual_seed(0)
    transformer, mean = TemporalTransformer(16, heads=2, layers=2), MeanPooling()
    losses = train_on_order(transformer, *rising(40, 0), texts, steps=250, seed=0)
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert direction_accuracy(transformer, *rising(20, 1), texts) > 0.9
    assert train_on_order(mean, *rising(40, 0), texts, steps=5, seed=0) == []
    assert direction_accuracy(mean, *rising(20, 1), texts) == 0.5


# --- two more texts ---


def test_action_descriptions_tell_the_thing_and_no_motion():
    words = {word for phrases in (*ARM_PHRASES.values(), *BODY_PHRASES.values()) for p in phrases for word in p.split()}
    verbs = {word for word in words if word.endswith("ing")}
    for dataset in (WORLD.ucf, WORLD.hmdb):
        for which, text in zip(dataset.classes, action_descriptions(dataset).texts, strict=True):
            assert which.item in text
            assert not verbs & set(text.replace(".", "").split())


def test_the_alternate_version_tells_the_same_motion_in_other_phrases():
    for dataset in (WORLD.ucf, WORLD.hmdb):
        for which, text in zip(dataset.classes, alternate_version(dataset).texts, strict=True):
            arms = [phrase.format(item=which.item) for phrase in ARM_PHRASES[which.arm]]
            (used,) = [phrase for phrase in arms if phrase in text]
            assert used not in which.description
            assert any(phrase in text and phrase not in which.description for phrase in BODY_PHRASES[which.body])
