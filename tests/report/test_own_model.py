"""A model of one's own on the benchmark: a perfect one, an empty one, and the notebook with transformers' CLIP."""

from dataclasses import replace

import pytest
import torch

from motion_lib import Experiment, evaluate_own_model
from motion_lib.batch.execution import execute
from motion_lib.batch.publishing import LineLog, ProgressLog
from motion_lib.config import REPOSITORY
from motion_lib.data.datasets import TooManyMissing
from motion_lib.data.preprocessing import Preprocess
from motion_lib.report.tables import NOT_RUN, Percent
from tests.conftest import SMOKE


class Constant:
    """Sees nothing: every video and text has the same feature."""

    preprocess = Preprocess(num_frames=2, short_side=64, crop_size=64)

    def encode_video(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(frames), 3)

    def encode_text(self, texts) -> torch.Tensor:
        return torch.ones(len(texts), 3)

    def similarity(self, video: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return video @ text.T


@pytest.mark.slow
def test_a_model_that_sees_nothing_is_never_right(smoke):
    table = evaluate_own_model(Constant(), smoke)
    assert len(table) == 4
    assert [cell.value for cell in table["Top-1"]] == [0.0] * 4
    assert set(table["Mean of 3 splits"]) <= {Percent(0.0), NOT_RUN}
    assert set(table["Unreadable"]) == set(table["Not on disk"]) == {0}


@pytest.mark.slow
def test_our_own_model_has_no_gap_to_its_records(smoke):
    """The same weights through the public protocol: float32 features against stored float16 ones."""
    smoke.measure("motion")
    table = evaluate_own_model(smoke.trained("motion").model, smoke)
    assert max(abs(gap.value) for gap in table["Less Our method, points"]) <= 0.01


@pytest.mark.slow
def test_the_videos_of_the_records_are_counted(paper):
    """Records of the test list: the same videos make Top-1 and are paired, all videos make the full set."""
    found = paper.measure("motion")
    table = evaluate_own_model(paper.trained("motion").model, paper)
    for (target, _), (_, row) in zip(found, table.iterrows(), strict=True):
        assert row["Videos"] == f"{len(paper.data.dataset(target, 'test'))} (test, split 1)"
    shown = [found[cell].accuracy() for cell in found]
    assert [cell.value for cell in table["Top-1"]] == pytest.approx(shown, abs=0.01)
    assert max(abs(gap.value) for gap in table["Less Our method, points"]) <= 0.01
    assert [cell.value for cell in table["Full set"]] != [cell.value for cell in table["Top-1"]]


@pytest.mark.slow
def test_unreadable_videos_are_counted_once_and_where_they_belong(paper):
    """One of HMDB-51's that is not in the test list: it lacks in the full set, and in that alone."""
    everything = paper.data.dataset("hmdb51", "all")
    tested = {item.video_id for item in paper.data.dataset("hmdb51", "test").items}
    next(item for item in everything.items if item.video_id not in tested).path.write_bytes(b"not a video")
    share = 1 / (len(everything) + 0.5)  # above one of all; below one of all but that one
    with pytest.raises(TooManyMissing, match="1 cannot be read"):
        evaluate_own_model(Constant(), Experiment(replace(paper.cfg, max_missing=share)))
    table = evaluate_own_model(Constant(), Experiment(replace(paper.cfg, max_missing=0.9), models=False))
    assert set(table["Unreadable"]) == {0}


@pytest.mark.slow
def test_records_of_other_videos_are_not_paired(paper):
    paper.measure("motion")
    for target in paper.cfg.targets:
        paper.data.dataset(target, "test").items[0].path.unlink()
    fewer = Experiment(replace(paper.cfg, max_missing=0.9))
    assert set(evaluate_own_model(Constant(), fewer)["Less Our method, points"]) == {"its records are of other videos"}


def test_what_a_model_lacks_is_named(smoke):
    class Half:
        preprocess = Constant.preprocess

    with pytest.raises(TypeError, match="Half has no encode_video, encode_text, similarity"):
        evaluate_own_model(Half(), smoke)


@pytest.mark.slow
def test_the_notebook_runs_transformers_clip_without_a_network(smoke, smoke_env, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    printed = []
    copy = execute(
        REPOSITORY / "notebooks" / "your_own_model.ipynb",
        dict(SMOKE),
        LineLog(str, printed.append),
        ProgressLog(str, printed.append),
    )
    outputs = [output for cell in copy.cells for output in cell.get("outputs", [])]
    tables = [output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert len(tables) == 1
    assert tables[0].count("miniature") == 4
    assert any("evaluated CLIPModel" in line for line in printed)
    assert any(line.startswith("top-1 ") for line in printed)


def test_the_adapter_takes_ten_lines():
    import nbformat

    notebook = nbformat.read(REPOSITORY / "notebooks" / "your_own_model.ipynb", as_version=4)
    (adapter,) = [cell.source for cell in notebook.cells if cell.source.startswith("class ")]
    assert len([line for line in adapter.splitlines() if line.strip()]) <= 10
