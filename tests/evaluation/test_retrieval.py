"""Retrieval metrics by hand, any model that follows the protocol, and real CLIP features."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F

from motion_lib.data.clips import open_clips
from motion_lib.data.datasets import VideoDataset, VideoItem
from motion_lib.data.preprocessing import Preprocess
from motion_lib.data.video import write_video
from motion_lib.evaluation import retrieval as evaluation
from motion_lib.evaluation.features import VideoFeatures, encode_videos
from motion_lib.evaluation.retrieval import RetrievalResult, evaluate, score, score_all, similarities
from motion_lib.models.prototype import VideoTextModel
from motion_lib.texts.descriptions import DescriptionSet


def result(scores, labels):
    scores, labels = np.array(scores, dtype=float), np.array(labels)
    ids = tuple(f"clip_{i}" for i in range(len(labels)))
    return RetrievalResult("hand", "hand", scores, labels, np.array(ids), ids, {})


# --- 4 x 6 by hand ---

SCORES = [
    [9, 1, 2, 3, 4, 5],  # right: 0, alone at the top
    [1, 5, 5, 0, 0, 0],  # right: 1, tied with 2
    [6, 5, 4, 3, 2, 1],  # right: 3, three are better
    [7, 7, 7, 7, 7, 7],  # right: 5, everything is tied
]
LABELS = [0, 1, 3, 5]


def test_ranks_by_hand():
    assert result(SCORES, LABELS).ranks.tolist() == [0, 1, 3, 5]
    assert result(SCORES, LABELS).correct.tolist() == [True, False, False, False]


@pytest.mark.parametrize(("k", "expected"), [(1, 0.25), (2, 0.5), (3, 0.5), (4, 0.75), (5, 0.75), (6, 1.0)])
def test_accuracy_by_hand(k, expected):
    assert result(SCORES, LABELS).accuracy(k) == expected


def test_breaking_the_ties_helps():
    scores = np.array(SCORES, dtype=float)
    scores[1, 1] += 1e-6
    scores[3, 5] += 1e-6
    assert result(scores, LABELS).accuracy() == 0.75


def test_mean_per_class_by_hand():
    scores = [[1, 0], [1, 0], [1, 0], [1, 0]]  # always says class 0
    unbalanced = result(scores, [0, 0, 0, 1])
    assert unbalanced.accuracy() == 0.75
    assert unbalanced.mean_per_class_acc == 0.5  # (3/3 + 0/1) / 2


def test_class_without_videos_does_not_count():
    assert result([[1, 0, 0], [0, 1, 0]], [0, 1]).mean_per_class_acc == 1.0


def test_order_of_descriptions_does_not_matter():
    order = np.random.default_rng(0).permutation(6)
    permuted = result(np.array(SCORES)[:, order], np.argsort(order)[LABELS])
    assert permuted.ranks.tolist() == result(SCORES, LABELS).ranks.tolist()


@pytest.mark.parametrize("constant", [0.0, -3.5, float("nan"), float("inf")])
def test_constant_scores_are_never_right(constant):
    found = result(np.full((4, 6), constant), LABELS)
    assert found.accuracy(1) == found.accuracy(5) == 0.0


def test_nan_never_counts_for_the_model():
    found = result([[float("nan"), 1, 2], [5, float("nan"), 2]], [0, 0])
    assert found.ranks.tolist() == [2, 1]


def test_interval_holds_the_accuracy():
    low_high = result(SCORES * 5, LABELS * 5).interval(resamples=200)
    assert low_high.estimate == 0.25
    assert 0 <= low_high.low < 0.25 < low_high.high < 1


# --- models of anybody's making ---


LEVELS = {"a dark scene.": 0.1, "a grey scene.": 0.5, "a bright scene.": 0.9}


class GreyLevel:
    """A model that knows one thing: how bright a video is. Nothing of motion_lib but Preprocess is used."""

    preprocess = Preprocess(num_frames=2, short_side=32, crop_size=32, mean=(0, 0, 0), std=(1, 1, 1))

    def encode_video(self, frames):
        return frames.mean(dim=(1, 2, 3, 4))

    def encode_text(self, texts):
        return torch.tensor([LEVELS[text] for text in texts])

    def similarity(self, video, text):
        return -(video[:, None] - text[None]).abs()


class Prepared:
    """A model whose features were computed elsewhere."""

    preprocess = tiny.PREPROCESS

    def __init__(self, text_features):
        self.text_features = text_features  # text -> (D,)

    def encode_video(self, frames):
        raise AssertionError("score must not encode videos again")

    def encode_text(self, texts):
        return torch.stack([self.text_features[text] for text in texts])

    def similarity(self, video, text):
        return 100 * F.normalize(video, dim=-1) @ F.normalize(text, dim=-1).T


SCENES = DescriptionSet("scenes", ("Bright", "Dark", "Grey"), ("a bright scene.", "a dark scene.", "a grey scene."))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Two videos each of three grey levels; the classes are not in the order of the descriptions."""
    folder, items = tmp_path_factory.mktemp("scenes"), []
    for label, level in enumerate((25, 128, 230)):
        for take in range(2):
            path = folder / f"{level}_{take}.mp4"
            write_video(path, np.full((4, 32, 32, 3), level + take, dtype=np.uint8), fps=25)
            items.append(VideoItem(path.stem, path, label, str(level)))
    return VideoDataset("scenes", ("dark", "grey", "bright"), tuple(items), None, "test")


def test_protocol_is_four_names():
    assert isinstance(GreyLevel(), VideoTextModel)
    assert isinstance(tiny.classifier(), VideoTextModel)
    assert not isinstance(torch.nn.Linear(2, 2), VideoTextModel)


def test_user_made_model_is_evaluated(scenes):
    found = evaluate(GreyLevel(), scenes, SCENES)
    assert found.accuracy() == 1.0
    assert found.scores.shape == (6, 3)
    assert (found.dataset, found.descriptions, found.failed) == ("scenes", "scenes", {})
    assert found.video_ids == ("25_0", "25_1", "128_0", "128_1", "230_0", "230_1")


def test_swapped_descriptions_are_noticed(scenes):
    swapped = DescriptionSet("swapped", ("bright", "dark", "grey"), ("a dark scene.", *SCENES.texts[::2]))
    assert evaluate(GreyLevel(), scenes, swapped).accuracy() < 1.0


def test_missing_description_is_named(scenes):
    with pytest.raises(ValueError, match="'grey'"):
        evaluate(GreyLevel(), scenes, SCENES.select(["dark", "bright"]))


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_batches_do_not_matter(scenes, batch_size):
    model = tiny.classifier().eval()
    whole, parts = (encode_videos(model, scenes, size).features for size in (6, batch_size))
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_features_are_compared_where_the_texts_are(scenes):
    """A model may name no device and place its texts itself; "meta" stands for a GPU."""

    class Elsewhere(GreyLevel):
        def encode_text(self, texts):
            return super().encode_text(texts).to("meta")

        def similarity(self, video, text):
            assert video.device == text.device == torch.device("meta")
            return torch.zeros(len(video), len(text))

    features = encode_videos(Elsewhere(), scenes).features
    assert features.device == torch.device("cpu")
    assert similarities(Elsewhere(), features, SCENES.texts).shape == (6, 3)


def test_features_are_compared_in_pieces(scenes, monkeypatch):
    model = tiny.classifier().eval()
    features = encode_videos(model, scenes).features
    whole = similarities(model, features, SCENES.texts)
    monkeypatch.setattr(evaluation, "_COMPARED_AT_ONCE", 4 * features[0].numel())  # numbers: X-CLIP has more a video
    asked = []
    compare = model.similarity
    monkeypatch.setattr(model, "similarity", lambda video, text: asked.append(len(video)) or compare(video, text))
    torch.testing.assert_close(similarities(model, features, SCENES.texts), whole, rtol=1e-5, atol=1e-5)
    assert asked == [4, 2]


def test_features_kept_as_float16_are_compared_in_the_type_of_the_texts(scenes):
    model = tiny.classifier().eval()
    half = encode_videos(model, scenes, dtype=torch.float16).features
    assert torch.equal(similarities(model, half, SCENES.texts), similarities(model, half.float(), SCENES.texts))


def test_stored_frames_do_not_matter(scenes, tmp_path):
    model = GreyLevel()
    stored = encode_videos(model, open_clips(scenes, model.preprocess, tmp_path))
    assert torch.equal(stored.features, encode_videos(model, scenes).features)


@pytest.mark.parametrize("cached", [False, True])
def test_unreadable_videos_are_left_out_and_named(scenes, tmp_path, cached):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    items = (VideoItem("broken", broken, 1, "x"), *scenes.items)
    dataset = VideoDataset("scenes", scenes.class_names, items, None, "test")
    clips = open_clips(dataset, GreyLevel.preprocess, tmp_path / "cache" if cached else None)
    found = evaluate(GreyLevel(), clips, SCENES)
    assert list(found.failed) == ["broken"]
    assert found.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.accuracy() == 1.0


def test_no_readable_video_is_an_error(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    with pytest.raises(ValueError, match=r"none of its 1 videos could be read.*broken"):
        evaluate(GreyLevel(), tiny.dataset([broken]), tiny.DESCRIPTIONS)


# --- features given ---


def videos_of(features, class_names, labels):
    items = [VideoItem(f"clip_{i}", Path(f"clip_{i}.mp4"), label, f"clip_{i}") for i, label in enumerate(labels)]
    dataset = VideoDataset("given", tuple(class_names), tuple(items), None, "test")
    return VideoFeatures(features, dataset, {}, 0.0)


def test_orthogonal_prototypes_are_all_retrieved():
    model = Prepared(dict(zip(tiny.DESCRIPTIONS.texts, torch.eye(8), strict=True)))
    labels = [3, 0, 7, 7, 1, 2, 4, 5, 6]
    videos = videos_of(3 * torch.eye(8)[labels], tiny.MOTIONS, labels)
    assert score(model, videos, tiny.DESCRIPTIONS).accuracy() == 1.0
    rotated = videos_of(torch.eye(8)[labels].roll(1, dims=1), tiny.MOTIONS, labels)
    assert score(model, rotated, tiny.DESCRIPTIONS).accuracy() == 0.0


def test_one_encoding_serves_several_description_sets():
    videos = videos_of(torch.eye(8), tiny.MOTIONS, range(8))
    other = DescriptionSet("names", tuple(tiny.MOTIONS), tuple(tiny.MOTIONS))
    texts = [*tiny.DESCRIPTIONS.texts, *other.texts]
    model = Prepared(dict(zip(texts, torch.cat([torch.eye(8), torch.eye(8).roll(1, dims=0)]), strict=True)))
    accuracies = [score(model, videos, chosen).accuracy() for chosen in (tiny.DESCRIPTIONS, other)]
    assert accuracies == [1.0, 0.0]


def test_many_sets_at_once_equal_one_by_one():
    """Sets that share texts, in other orders of the classes."""
    generator = torch.Generator().manual_seed(0)
    texts = dict(zip((*tiny.MOTIONS, *tiny.MOTIONS.values()), torch.randn(16, 12, generator=generator), strict=True))
    backwards = DescriptionSet("backwards", tuple(tiny.MOTIONS)[::-1], tuple(tiny.MOTIONS.values())[::-1])
    half = dict(list(tiny.MOTIONS.items())[:4])
    mixed = tuple(half.get(name, name) for name in tiny.MOTIONS)
    sets = [tiny.DESCRIPTIONS, backwards, DescriptionSet("mixed", tuple(tiny.MOTIONS), mixed)]
    model, videos = (
        Prepared(texts),
        videos_of(torch.randn(30, 12, generator=generator), tiny.MOTIONS, [*range(8)] * 3 + [0] * 6),
    )
    for alone, together in zip(
        (score(model, videos, only) for only in sets), score_all(model, videos, sets), strict=True
    ):
        # Scores are sums of some tens: what cancels to nearly nothing keeps their rounding.
        np.testing.assert_allclose(together.scores, alone.scores, rtol=1e-5, atol=1e-4)
        assert together.descriptions == alone.descriptions
    np.testing.assert_allclose(score_all(model, videos, sets)[0].scores, score_all(model, videos, sets)[1].scores)


def test_a_part_of_the_videos_keeps_its_features_and_failures():
    videos = videos_of(torch.arange(5.0)[:, None], tiny.MOTIONS, [0, 1, 2, 3, 4])
    videos = VideoFeatures(videos.features, videos.dataset, {"broken": "cut off", "other": "cut off"}, 2.0)
    items = (videos.dataset.items[3], videos.dataset.items[1], VideoItem("broken", Path("b.mp4"), 2, "g"))
    part = videos.of(VideoDataset("given", videos.dataset.class_names, items, 1, "test", ("absent",)))
    assert part.features[:, 0].tolist() == [1, 3]
    assert [item.video_id for item in part.dataset.items] == ["clip_1", "clip_3"]
    assert (part.failed, part.dataset.missing) == ({"broken": "cut off"}, ("absent",))
    strange = VideoDataset("given", videos.dataset.class_names, (VideoItem("new", Path("n.mp4"), 0, "g"),), 1, "test")
    with pytest.raises(ValueError, match=r"1 of its videos, e.g. new, are not among the 5 encoded ones"):
        videos.of(strange)


@pytest.fixture(scope="module")
def clip_reference(shared_dir):
    """(frame features (355, 512) of a weightlifting video, {object: text feature}), both of CLIP ViT-B/32."""
    folder = shared_dir / "data" / "clip_reference"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    with np.load(folder / "v_GGSY1Qvo990_ViT-B-32_image_features.npz") as arrays:
        frames = torch.from_numpy(arrays["features"])
    texts = torch.from_numpy(np.load(folder / "lvis_v1_clip_a+cname.npy").astype(np.float32))
    categories = json.loads((folder / "lvis_v1_train_cat_info.json").read_text(encoding="utf-8"))
    names = [category["name"] for category in sorted(categories, key=lambda category: category["id"])]
    return frames, dict(zip(names, texts, strict=True))


def best_names(frames, texts):
    """The object that each video, (N, 512), is retrieved as."""
    names = list(texts)
    videos = videos_of(frames, names, [names.index("barbell")] * len(frames))
    found = score(Prepared(texts), videos, DescriptionSet("objects", tuple(names), tuple(names)))
    return [names[best] for best in found.scores.argmax(axis=1)], found.accuracy()


@pytest.mark.data
def test_real_clip_features_find_the_barbell(clip_reference):
    frames, texts = clip_reference
    assert best_names(frames.mean(dim=0, keepdim=True), texts) == (["barbell"], 1.0)
    assert best_names(frames, texts) == (["barbell"] * 355, 1.0)


@pytest.mark.data
def test_real_clip_features_under_wrong_names_do_not(clip_reference):
    frames, texts = clip_reference
    shifted = dict(zip(texts, torch.stack(list(texts.values())).roll(1, dims=0), strict=True))
    assert best_names(frames.mean(dim=0, keepdim=True), shifted)[1] == 0.0
