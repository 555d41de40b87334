"""What others wrote of the classes: read by name or by number, one sentence or the mean of many."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.features import VideoFeatures
from motion_lib.experiment.data import data_of
from motion_lib.scores.wordings import VERB_CLASSES, Wording, read_wording, score_wording, verb_classes, wordings_of
from motion_lib.texts.descriptions import read_descriptions
from tests import tiny

NAMES = ("ApplyEyeMakeup", "apply_lipstick", "Archery")


def write(path, content: dict):
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_lists_by_name_are_matched_as_names_are(tmp_path):
    path = write(tmp_path / "a.json", {"Archery": ["x"], "apply lipstick": ["y", " z  z "], "Apply Eye Makeup": ["w"]})
    assert read_wording(path, NAMES) == Wording(NAMES, (("w",), ("y", "z z"), ("x",)))


def test_numbers_count_classes_alphabetically_and_leave_names_out(tmp_path):
    names = ("Archery", "applyLipstick", "ApplyEyeMakeup")
    path = write(tmp_path / "a.json", {"0": "Apply Eye Makeup: it: e", "1": "l", "2": ["Step 1: a", "b"]})
    assert read_wording(path, names).sentences == (("a", "b"), ("l",), ("it: e",))


@pytest.mark.parametrize("content", [{"Archery": ["x"]}, {"0": "x", "1": "y"}, {n: [] for n in NAMES}])
def test_a_class_without_a_sentence_is_named(tmp_path, content):
    with pytest.raises(ValueError, match=r"a\.json: no sentence of '\w+', one of \d of 3"):
        read_wording(write(tmp_path / "a.json", content), NAMES)


def test_several_sentences_are_one_prototype(cfg):
    model = tiny.classifier()
    dataset = tiny.clips_in_memory(8).dataset
    features = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    videos = VideoFeatures(features, dataset, {}, 1.0)
    texts = list(tiny.MOTIONS.values())
    wording = Wording(tuple(tiny.MOTIONS), tuple((text, f"a person {text}") for text in texts))
    found = score_wording(model, videos, wording, cfg)
    with torch.inference_mode():
        single = [normalize(model.encode_text([row[n] for row in wording.sentences]), dim=-1) for n in (0, 1)]
        right = [(normalize(features, dim=-1) @ t.T).argmax(1).eq(torch.arange(8)).float() for t in single]
        mean = (normalize(features, dim=-1) @ normalize(single[0] + single[1], dim=-1).T).argmax(1)
    one, many = found["one of its sentences"], found["mean of its sentences"]
    assert one["top1"][0] == pytest.approx(50 * float(right[0].mean() + right[1].mean()))
    assert many["top1"][0] == pytest.approx(100 * float(mean.eq(torch.arange(8)).float().mean()))
    assert (one["sentences"], many["sentences"]) == (1, 2)


def test_texts_that_are_no_single_vectors_are_refused(cfg):
    class Words(type(tiny.classifier())):
        def encode_text(self, texts):
            return torch.zeros(len(texts), 3, 64)

    model = Words(tiny.clip_model(), tiny.PREPROCESS)
    videos = VideoFeatures(torch.zeros(8, 64), tiny.clips_in_memory(8).dataset, {}, 1.0)
    with pytest.raises(ValueError, match="no single vectors"):
        score_wording(model, videos, Wording(("a",), (("b",),)), cfg)


@pytest.fixture
def cfg() -> RunConfig:
    return RunConfig.load("miniature", bootstrap_resamples=50)


def test_the_miniature_says_each_motion_in_nine_ways(smoke):
    names = smoke.data.dataset("miniature-ucf", "all").class_names
    (wording,) = wordings_of(smoke.data, "miniature-ucf", names).values()
    assert {len(set(of_class)) for of_class in wording.sentences} == {9}
    assert len({text for of_class in wording.sentences for text in of_class}) == 9 * len(names)


# ------------------------------------------------------------------ the real files
def class_names(shared_dir, name: str) -> tuple[str, ...]:
    """Of the authors' descriptions."""
    with warnings.catch_warnings(action="ignore"):  # of equal texts
        return read_descriptions(shared_dir / "data" / "descriptions" / DATASETS[name].texts["object"]).class_names


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ucf101", "ucf_20_prompts.json"),
        ("hmdb51", "hmdb_20_prompts_0_51_api.json"),
        ("kinetics400", "k400_20_prompts_0_400_api.json"),
    ],
)
def test_gpt4vis_has_sentences_of_every_class(shared_dir, tmp_path, monkeypatch, name, file):
    path = shared_dir / "data" / "reference" / file
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    place = tmp_path / "descriptions" / "gpt4vis" / file
    place.parent.mkdir(parents=True)
    place.symlink_to(path)
    names = class_names(shared_dir, name)
    found = wordings_of(data_of(RunConfig.load("paper")), name, names)
    assert found["OST, temporal"] is None
    assert found["GPT4Vis"].class_names == names
    assert found["GPT4Vis"].fewest >= 1
    counts = np.array([len(of_class) for of_class in found["GPT4Vis"].sentences])
    assert np.median(counts) == 20


@pytest.mark.data
def test_kinetics_verb_has_97_classes(shared_dir, tmp_path, monkeypatch):
    path = shared_dir / "data" / "reference" / "kinetics-400-verb-classes.txt"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    data, names = data_of(RunConfig.load("paper")), class_names(shared_dir, "kinetics400")
    assert verb_classes(data, names) is None
    place = tmp_path / VERB_CLASSES
    place.parent.mkdir(parents=True)
    place.symlink_to(path)
    classes = verb_classes(data, names)
    assert len(classes) == 97
    assert "braiding hair" in {names[c] for c in classes}
