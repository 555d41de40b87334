"""What a profile lacks on a machine is said in one list."""

import re
from pathlib import Path

import pytest
import torch

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.experiment.experiment import Experiment
from motion_lib.experiment.inputs import MissingInputs, missing_inputs
from motion_lib.experiment.notebook import begin
from motion_lib.experiment.records import records_dir
from motion_lib.models import clip
from motion_lib.report import collect as report
from tests.made_records import put


@pytest.fixture
def cfg(tmp_path, monkeypatch) -> RunConfig:
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    return RunConfig.load("miniature", bootstrap_resamples=200)


@pytest.fixture
def paper(cfg, tmp_path, monkeypatch) -> RunConfig:
    """The profile `paper` on a machine that has nothing."""
    monkeypatch.setattr(clip, "CLIP_CACHE", tmp_path / "clip")
    return RunConfig.load("paper")


def test_an_empty_machine_is_told_everything_in_one_list(paper):
    lacking = missing_inputs(paper)
    for name in ("kinetics400", "ucf101", "hmdb51"):
        assert {f"{name}: official lists", f"{name}: videos"} <= {item.split(",")[0] for item in lacking}
    for name in (
        facts.texts[kind] for facts in DATASETS.values() for kind in {"object", "masked"} & facts.texts.keys()
    ):
        assert sum(name in item for item in lacking) == 1
    assert "CLIP ViT-B/16 weights" in lacking[-1]
    for stop in (lambda: Experiment(paper), lambda: report.collect_records(paper)):
        with pytest.raises(MissingInputs) as caught:
            stop()
        for item in lacking:
            assert f"\n  - {item}" in str(caught.value)


def whole_file(path: Path) -> None:
    torch.save({}, path)


def test_what_is_there_is_not_asked_for(paper, capsys):
    for item in missing_inputs(paper):
        path = Path(re.search(r"expected (?:in|at) (\S+?)[:;]?(?: |$)", item)[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        whole_file(path) if path.suffix else path.mkdir()
    assert missing_inputs(paper) == []
    Experiment(paper)
    assert "all inputs are there" in capsys.readouterr().out


def test_a_backbone_of_ones_own_is_looked_for(paper, tmp_path):
    own = RunConfig.load("paper", backbone=str(tmp_path / "mine.pt"))
    assert f"expected at {tmp_path / 'mine.pt'}" in missing_inputs(own)[-1]
    (tmp_path / "mine.pt").write_bytes(b"PK\x03\x04 the rest has not arrived")
    assert f"expected at {tmp_path / 'mine.pt'}, which is half a file" in missing_inputs(own)[-1]
    whole_file(tmp_path / "mine.pt")
    assert not any(item.startswith("CLIP ") for item in missing_inputs(own))


def test_released_checkpoints_are_asked_for_unless_the_baselines_are_retrained(paper):
    lacking = [item for item in missing_inputs(paper) if " checkpoint, " in item]
    assert [item.split(" checkpoint")[0] for item in lacking] == ["X-CLIP", "Text4Vis", "ViFi-CLIP"]
    assert all("; download https://" in item or "; open https://" in item for item in lacking)
    retrained = missing_inputs(RunConfig.load("paper", baselines="retrained"))
    assert retrained == [item for item in missing_inputs(paper) if item not in lacking]


def test_a_model_of_ones_own_needs_the_targets_and_the_texts_alone(paper):
    everything, without = missing_inputs(paper), missing_inputs(paper, models=False)
    assert set(without) < set(everything)
    kinds = [re.sub(r", expected.*", "", item) for item in without]
    assert kinds == [
        "ucf101: official lists", "ucf101: videos", "hmdb51: official lists", "hmdb51: videos",
        "kinetics400: object motion descriptions",
        *(f"{name}: {kind} motion descriptions" for name in ("ucf101", "hmdb51") for kind in ("object", "masked")),
    ]  # fmt: skip
    with pytest.raises(MissingInputs, match=f"lacks {len(without)} inputs"):
        Experiment(paper, models=False)


@pytest.mark.parametrize(
    ("profile", "change", "message"),
    [
        ("paper", {"targets": ["ucf"]}, "targets, profile 'paper': no such data set 'ucf'; known are ucf101, hmdb51."),
        ("paper", {"targets": ["kinetics400"]}, "'kinetics400'; known are ucf101, hmdb51."),  # it has no masked texts
        (
            "paper",
            {"source": "k400"},
            "source, profile 'paper': no such data set 'k400'; known are kinetics400, ucf101",
        ),
        ("miniature", {"targets": ["ucf101"]}, "no such data set 'ucf101'; known are miniature-ucf, miniature-hmdb."),
        ("miniature", {"source": ""}, "no such data set ''; known are miniature-source, miniature-ucf"),
    ],
)
def test_an_unknown_data_set_is_named_before_anything_is_made(paper, tmp_path, profile, change, message):
    cfg = RunConfig.load(profile, **change)
    for stop in (missing_inputs, Experiment, lambda cfg: begin({"profile": profile, **change})):
        with pytest.raises(ValueError, match=re.escape(message)):
            stop(cfg)
    assert not (tmp_path / "data").exists()


def test_the_miniature_lacks_nothing_but_a_report_needs_records(cfg):
    assert missing_inputs(cfg) == []
    with pytest.raises(MissingInputs, match="lacks 1 inputs") as caught:
        report.collect_records(cfg)
    assert str(records_dir(cfg)) in str(caught.value)
    put(cfg)
    assert len(report.collect_records(cfg)) == 1
