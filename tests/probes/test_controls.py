"""Controls on texts and on frames: each changes what it says and nothing else."""

import re

import numpy as np
import pytest
import torch

from motion_lib.data.clips import Clips
from motion_lib.data.video import VideoReadError, sample_indices
from motion_lib.models.prototype import MeanPooling, PrototypeClassifier
from motion_lib.models.xclip import XClip
from motion_lib.probes import text_controls
from motion_lib.probes.text_controls import (
    MOTION,
    nearest_texts,
    num_own_texts,
    random_rivals,
    right_among,
    words_of,
)
from motion_lib.probes.video_controls import (
    FILMED,
    FROZEN,
    REPEATED,
    REVERSED,
    SHUFFLED,
    SPREAD,
    Control,
    beyond_its_weights,
    controls_for,
    encode_controls,
)
from motion_lib.texts.descriptions import DescriptionSet
from tests import tiny

NAMED = DescriptionSet(
    "named",
    ("ThrowBall", "brush_hair", "Bow"),
    (
        "throwing a ball forward with one arm.",
        "moving a brush slowly through the hair.",
        "bending the upper body.",
    ),
)


# --- texts ---


@pytest.fixture(scope="module")
def controls():
    return text_controls.text_controls(NAMED, {"objects masked": NAMED, "action description": None}, draws=2)


def test_every_control_is_of_the_same_classes(controls):
    assert controls["action description"] is None  # not at hand, and not dropped
    for name, sets in controls.items():
        for only in sets or ():
            assert only.class_names == NAMED.class_names, name
    assert len(controls["words shuffled"]) == len(controls["random words"]) == 2
    assert controls[MOTION] == [NAMED]


@pytest.mark.parametrize(
    ("control", "text"),
    [
        ("class name", "throw ball"),
        ("class name in a template", "a video of a person throw ball."),
        ("class name and motion", "throw ball: throwing a ball forward with one arm."),
        ("motion description in a template", "a video of a person throwing a ball forward with one arm."),
        ("nouns only", "ball arm"),
        ("verbs only", "throwing"),
    ],
)
def test_a_control_by_hand(controls, control, text):
    assert controls[control][0].texts[0] == text


def test_a_text_without_verbs_says_nothing():
    assert text_controls.only_verbs("a red ball on the table") == text_controls.NOTHING_LEFT
    assert text_controls.only_nouns("slowly, and again") == text_controls.NOTHING_LEFT


def test_shuffled_words_are_the_same_words(controls):
    for draw in controls["words shuffled"]:
        for text, shuffled in zip(NAMED.texts, draw.texts, strict=True):
            assert sorted(words_of(text)) == sorted(words_of(shuffled))
    assert controls["words shuffled"][0].texts != controls["words shuffled"][1].texts


def test_marks_stay_where_they_are():
    """Texts of three words and marks between them: only words change places."""
    marked = DescriptionSet("marked", ("a", "b"), ("Left, right; up.", "one-two, (three) four!"))
    for texts in (text_controls.shuffled(marked, 0).texts, text_controls.random_words(marked, 0).texts):
        assert re.sub(r"[A-Za-z-]+", "w", texts[0]) == "w, w; w."
        assert re.sub(r"[A-Za-z-]+", "w", texts[1]) == "w, (w) w!"
    with pytest.raises(ValueError, match="2 words for the 3 places of 'Left"):
        text_controls.with_words("Left, right; up.", ["a", "b"])


def test_random_words_keep_the_length_and_lose_the_sense(controls):
    pool = {word for text in NAMED.texts for word in words_of(text)}
    for draw in controls["random words"]:
        assert [len(words_of(text)) for text in draw.texts] == [len(words_of(text)) for text in NAMED.texts]
        assert {word for text in draw.texts for word in words_of(text)} <= pool
        assert draw.texts != NAMED.texts


def test_class_names_become_words():
    assert text_controls.readable(["ApplyEyeMakeup", "brush_hair", "YoYo", "DrummingABoxOnAStage"]) == [
        "apply eye makeup",
        "brush hair",
        "yo yo",
        "drumming a box on a stage",
    ]


def test_classes_that_share_a_text_have_none_of_their_own():
    shared = DescriptionSet("s", ("a", "b", "c", "d"), ("jump.", "sit.", "jump.", "run."))
    assert num_own_texts(shared) == 2


def test_nearest_texts_by_hand():
    features = np.array([[1.0, 0], [0.9, 0.1], [0, 2.0], [-1, 0]])
    assert nearest_texts(features, 1)[:, 0].tolist() == [1, 0, 1, 2]
    assert nearest_texts(3 * features, 2).tolist() == nearest_texts(features, 2).tolist()
    with pytest.raises(ValueError, match="4 nearest of 3 other texts"):
        nearest_texts(features, 4)


def test_right_among_rivals_by_hand():
    scores, labels = np.array([[3, 2, 9, 1], [1, 5, 5, 0]]), np.array([0, 1])
    rivals = np.array([[1, 3], [2, 3], [0, 1], [0, 1]])
    assert right_among(scores, labels, rivals).tolist() == [True, False]  # a tie is wrong
    assert right_among(scores, labels, np.array([[1, 2]] * 4))[0] == np.False_


def test_random_rivals_are_others_and_distinct():
    rivals = random_rivals(7, 5, draw=0)
    for own, others in enumerate(rivals):
        assert own not in others
        assert len(set(others)) == 5
    assert (rivals != random_rivals(7, 5, draw=1)).any()


# --- frames ---


def test_positions_of_every_order():
    assert Control(FILMED, 4).positions(0).tolist() == [0, 1, 2, 3]
    assert Control(REVERSED, 4).positions(0).tolist() == [3, 2, 1, 0]
    assert Control(FROZEN, 5).positions(0).tolist() == [2] * 5
    repeated = [Control(REPEATED, 8).positions(index) for index in range(30)]
    assert all(len(set(places)) == 1 for places in repeated)
    assert len({int(places[0]) for places in repeated}) > 3  # another one for each video
    for draw in range(20):
        shuffled = Control(SHUFFLED, 3, draw).positions(0)
        assert sorted(shuffled) == [0, 1, 2]
        assert shuffled.tolist() != [0, 1, 2]
    assert Control(SHUFFLED, 1).positions(0).tolist() == [0]  # one frame has one order


def model_with(head: str) -> PrototypeClassifier:
    return tiny.classifier(head=head).eval()


def encoded(model, clips, controls) -> list[torch.Tensor]:
    batches = list(encode_controls(model, clips, controls, batch_size=3))
    assert [i for indices, _, _ in batches for i in indices] == list(range(len(clips)))
    return [torch.cat([features[k] for _, features, _ in batches]) for k in range(len(controls))]


@pytest.mark.parametrize("head", ["mean", "temporal"])
def test_a_control_equals_encoding_those_frames(head):
    """Frames sampled and ordered by hand, each clip encoded on its own."""
    model, clips = model_with(head), tiny.clips_in_memory(5, length=11)
    controls = [Control(FILMED, 4), Control(REVERSED, 4), Control(FROZEN, 4), Control(SPREAD, 1), Control(SPREAD, 8)]
    found = encoded(model, clips, controls)
    for control, features in zip(controls, found, strict=True):
        for index in range(5):
            sampling = "center" if control.name == SPREAD else "text4vis"
            places = np.asarray(sample_indices(11, control.frames, sampling))[control.positions(index)]
            frames = torch.from_numpy(clips.source.videos[index][places].transpose(0, 3, 1, 2).copy())
            with torch.inference_mode():
                alone = model.encode_video(model.normalise(frames[None]))[0]
            torch.testing.assert_close(features[index], alone, rtol=1e-4, atol=1e-5)


def test_the_mean_is_blind_to_order_to_the_last_bit():
    model, clips = model_with("mean"), tiny.clips_in_memory(6, length=9)
    filmed, reversed_, *shuffled = encoded(
        model, clips, [Control(FILMED, 4), Control(REVERSED, 4), *(Control(SHUFFLED, 4, d) for d in range(3))]
    )
    for other in (reversed_, *shuffled):
        assert torch.equal(filmed, other)


def test_the_transformer_is_not_blind_to_order():
    model, clips = model_with("temporal"), tiny.clips_in_memory(6, length=9)
    filmed, reversed_ = encoded(model, clips, [Control(FILMED, 4), Control(REVERSED, 4)])
    assert not torch.allclose(filmed, reversed_, atol=1e-6)


def test_mean_pooling_is_exact_where_float32_is_not():
    """Numbers whose float32 sum depends on their order."""
    frames = torch.tensor([1e4, 1.0, -1e4, 1e-3]).view(1, 4, 1).repeat(1, 1, 3) * torch.tensor([1.0, 1.1, 1.3])
    orders = [[0, 1, 2, 3], [3, 1, 0, 2], [1, 3, 2, 0]]
    assert len({frames[:, order].mean(dim=1).sum().item() for order in orders}) > 1
    pooled = [MeanPooling()(frames[:, order]) for order in orders]
    assert torch.equal(pooled[0], pooled[1])
    assert torch.equal(pooled[0], pooled[2])


@pytest.mark.parametrize("tower", ["transformer", "resnet"])  # of a resnet each picture goes through the tower once
def test_a_model_whose_frames_talk_is_shown_clips_of_its_own_length(tower):
    torch.manual_seed(0)
    model, clips = XClip(tiny.clip_model(tower), tiny.PREPROCESS).eval(), tiny.clips_in_memory(4, length=9)
    controls = controls_for(model)
    assert {control.frames for control in controls} == {4}
    found = encoded(model, clips, controls)
    places = np.asarray(sample_indices(9, 4, "text4vis"))[::-1]
    frames = torch.from_numpy(clips.source.videos[2][places].transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        alone = model.encode_video(model.normalise(frames[None]))[0]
    torch.testing.assert_close(found[controls.index(Control(REVERSED, 4))][2], alone, rtol=1e-4, atol=1e-5)


def test_other_numbers_of_frames_are_for_models_that_take_them():
    counts = [control.frames for control in controls_for(model_with("mean")) if control.name == SPREAD]
    assert counts == [1, 2, 4, 8, 16, 32]
    assert [c.frames for c in controls_for(model_with("temporal")) if c.name == SPREAD] == [1, 2, 4]
    assert beyond_its_weights(model_with("temporal")) == dict.fromkeys((8, 16, 32), "4 places learned")
    own = [control.name for control in controls_for(model_with("mean")) if control.frames == 4]
    assert own.count(FILMED) == 1
    assert own.count(SHUFFLED) == 3


class _SomeBroken(tiny.InMemory):
    def read(self, index, *wanted):
        if index == 1:
            raise VideoReadError("clip_1.mp4", "broken on purpose")
        return super().read(index, *wanted)


def test_unreadable_videos_are_named_and_the_others_encoded():
    clips = tiny.clips_in_memory(4)
    broken = Clips(clips.dataset, clips.preprocess, {}, _SomeBroken(clips.source.videos))
    batches = list(encode_controls(model_with("mean"), broken, [Control(FILMED, 4)], batch_size=2))
    assert [indices for indices, _, _ in batches] == [[0], [2, 3]]
    assert batches[0][2] == {"clip_1": "broken on purpose"}
