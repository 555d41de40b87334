"""Answers that others published, through our metrics, classes, splits and groups: their numbers have to come out."""

import json
import shutil

import numpy as np
import pytest

from motion_lib import open_dataset
from motion_lib.evaluation.metrics import retrieval_metrics
from motion_lib.evaluation.protocols import ProtocolLists, protocol_results
from motion_lib.evaluation.retrieval import RetrievalResult

pytestmark = pytest.mark.data


def published(shared_dir, name):
    """A file of the shared data."""
    path = shared_dir / "data" / "reference" / name
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    return path


def test_metrics_of_the_similarities_that_cap4video_published(shared_dir):
    """MSR-VTT's 1,000 captions and videos. Nine videos share a caption with another: a tie, right there, wrong here."""
    scores = np.load(published(shared_dir, "msrvtt_video_matrix.npy")).astype(np.float64)
    in_favour = scores + np.diag(np.spacing(scores.diagonal()))
    for matrix, percents in ((in_favour, (48.0, 73.0, 82.9)), (in_favour.T, (46.0, 74.1, 82.8))):
        metrics, turned = (retrieval_metrics(m, np.arange(1000)) for m in (matrix, matrix.T))
        assert recalls(metrics) == recalls(turned, "text_to_video_") == pytest.approx(percents)
        assert metrics["median_rank"] == 2
    assert recalls(retrieval_metrics(scores, np.arange(1000))) == pytest.approx((48.0, 73.0, 82.9))
    assert recalls(retrieval_metrics(scores.T, np.arange(1000))) == pytest.approx((45.6, 74.1, 82.7))


def recalls(metrics: dict[str, float], direction: str = "") -> list[float]:
    """Recall at 1, 5 and 10 in percent."""
    return [100 * metrics[f"{direction}recall_at_{k}"] for k in (1, 5, 10)]


def as_scores(answers: list[list[int]], classes: int) -> np.ndarray:
    """(N, K): a class scores the higher the earlier it is named, one that is not named 0."""
    scores = np.zeros((len(answers), classes))
    for row, named in zip(scores, answers, strict=True):
        for place, label in reversed(list(enumerate(named))):
            row[label] = 5 - place
    return scores


def bare(class_name: str) -> str:
    """A class name without what the two sides write differently."""
    return "".join(filter(str.isalpha, class_name)).lower()


@pytest.mark.parametrize(
    ("name", "file", "lists", "videos", "count", "top1", "top5"),
    [
        ("ucf101", "GPT4V_ZS_ucf_8frame.json", "ucfTrainTestlist", "UCF-101/{}.avi", 3779, 83.06, 94.07),
        ("hmdb51", "GPT4V_ZS_hmdb_8frame.json", "testTrainMulti_7030_splits", "videos/{}.avi", 1525, 63.21, 86.89),
    ],
)
def test_the_answers_of_gpt4v(shared_dir, tmp_path, name, file, lists, videos, count, top1, top5):
    """Five classes a clip, for nearly all clips of the first split's test list (GPT4Vis, commit a401556)."""
    answers = json.loads(published(shared_dir, file).read_text(encoding="utf-8"))
    shutil.copytree(shared_dir / "data" / "lists" / lists, tmp_path / name / lists)
    for clip in answers:
        path = tmp_path / name / videos.format(clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    dataset = open_dataset(name, tmp_path, split=1, subset="test")
    assert len(dataset) == count == len(answers)
    listed = count + len(dataset.missing)

    label_of = {bare(class_name): label for label, class_name in enumerate(dataset.class_names)}
    named = {clip.split("/")[1]: [label_of[bare(answer)] for answer in five] for clip, five in answers.items()}
    scores = as_scores([named[item.path.stem] for item in dataset.items], len(dataset.class_names))
    ids = tuple(item.video_id for item in dataset.items)
    about = (np.array(dataset.labels), np.array(dataset.groups), ids, {}, dataset.missing)
    result = RetrievalResult(name, "class names", scores, *about)
    assert 100 * result.accuracy() == pytest.approx(top1, abs=0.005)
    assert 100 * result.accuracy(5) == pytest.approx(top5, abs=0.005)

    protocols = protocol_results(result, ProtocolLists({1: frozenset(ids)}))
    assert protocols["split 1"]["videos"] == count
    assert 100 * protocols["split 1"]["acc1"] == pytest.approx(top1, abs=0.005)
    assert protocols["split 1"]["acc1_low"] < protocols["split 1"]["acc1"] < protocols["split 1"]["acc1_high"]
    assert listed == {"ucf101": 3783, "hmdb51": 1530}[name]
    assert len(set(dataset.groups)) < count
