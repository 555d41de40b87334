"""Real clips of the three data sets with the authors' descriptions, through what the notebooks call."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from motion_lib import evaluate, load_model, open_dataset, read_descriptions
from motion_lib.data.datasets import VideoDataset
from motion_lib.evaluation.features import encode_videos
from motion_lib.evaluation.retrieval import score
from motion_lib.texts.descriptions import DescriptionSet, squeeze_key
from tests import tiny

pytestmark = pytest.mark.data

SETS = {
    "ucf101": ("uc101_motion", "ucf101_without_objectname"),
    "ucf101_reencoded": ("uc101_motion", "ucf101_without_objectname"),
    "hmdb51": ("hmdb51_motion_with_objectname", "HMDB51_without_objectname"),
    "kinetics400": ("kinetics400_motion_descriptions",),
}
PAIRS = [(folder, name) for folder, names in SETS.items() for name in names]


@pytest.fixture(scope="module")
def videos(shared_dir) -> Path:
    folder = shared_dir / "data" / "videos"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A random CLIP, small enough for a CPU, saved and loaded as a user's own weights are."""
    path = tmp_path_factory.mktemp("clip") / "small.pt"
    torch.save(tiny.clip_model().state_dict(), path)
    return load_model("clip", backbone=path, num_frames=4)


def authors(shared_dir: Path, name: str) -> DescriptionSet:
    return read_descriptions(shared_dir / "data" / "descriptions" / f"{name}.csv")


def without_description(dataset: VideoDataset, descriptions: DescriptionSet) -> list[str]:
    """Classes that are to be skipped, by name."""
    known = {squeeze_key(name) for name in descriptions.class_names}
    return [name for name in dataset.class_names if squeeze_key(name) not in known]


@pytest.mark.parametrize(("folder", "name"), PAIRS)
def test_real_clips_are_scored_against_the_authors_descriptions(shared_dir, videos, model, folder, name):
    dataset, descriptions = open_dataset("folder", videos / folder), authors(shared_dir, name)
    assert without_description(dataset, descriptions) == []
    found = evaluate(model, dataset, descriptions)
    assert found.failed == {}
    assert found.scores.shape == (len(dataset), len(dataset.class_names))
    assert np.isfinite(found.scores).all()
    assert np.ptp(found.scores) > 0
    assert found.video_ids == tuple(item.video_id for item in dataset.items)
    assert found.labels.tolist() == dataset.labels
    for video, label in zip(found.video_ids, found.labels, strict=True):
        assert squeeze_key(video.split("/")[0]) == squeeze_key(dataset.class_names[label])
    assert 0 <= found.accuracy() <= found.accuracy(5) <= 1


@pytest.mark.parametrize("folder", SETS)
def test_results_do_not_depend_on_the_batch_size(shared_dir, videos, model, folder):
    dataset, descriptions = open_dataset("folder", videos / folder), authors(shared_dir, SETS[folder][0])
    dataset = replace(dataset, items=dataset.items[::4])
    whole, singly = (score(model, encode_videos(model, dataset, size), descriptions) for size in (32, 1))
    np.testing.assert_allclose(singly.scores, whole.scores, rtol=1e-4, atol=1e-4)
    assert singly.ranks.tolist() == whole.ranks.tolist()


def test_masking_changes_the_scores_of_changed_classes_alone(shared_dir, videos, model):
    dataset = open_dataset("folder", videos / "ucf101")
    encoded = encode_videos(model, dataset)
    sets = [authors(shared_dir, name).select(dataset.class_names) for name in SETS["ucf101"]]
    named, masked = (score(model, encoded, descriptions).scores for descriptions in sets)
    changed = [one != other for one, other in zip(*(descriptions.texts for descriptions in sets), strict=True)]
    assert any(changed)
    assert not all(changed)
    moved = np.abs(named - masked).max(axis=0) > 1e-4
    assert moved.tolist() == changed


def test_a_class_that_the_authors_do_not_describe_is_named(shared_dir, videos, model, tmp_path):
    (tmp_path / "juggling_chainsaws").mkdir()
    clip = next(videos.glob("ucf101/*/*.avi"))
    (tmp_path / "juggling_chainsaws" / clip.name).symlink_to(clip)
    dataset, descriptions = open_dataset("folder", tmp_path), authors(shared_dir, "uc101_motion")
    assert without_description(dataset, descriptions) == ["juggling chainsaws"]
    with pytest.raises(ValueError, match="'juggling chainsaws'"):
        evaluate(model, dataset, descriptions)
