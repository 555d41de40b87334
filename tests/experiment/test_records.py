"""Run records: what they hold, what they leave out, which are averaged."""

import json
import re
from pathlib import Path

import pytest

from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.data.preprocessing import Preprocess
from motion_lib.data.video import VideoReadError, read_frames
from motion_lib.experiment.records import answers_of, integers, read_records
from tests.made_records import CLASSES, CLIPS, HMDB, UCF, put, result


@pytest.fixture
def cfg(tmp_path, monkeypatch) -> RunConfig:
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    return RunConfig.load("miniature", bootstrap_resamples=200)


_REQUIRED = (  # guide, section 5
    "schema run_id paper_item profile method label weights backbone backbone_sha256 checkpoint_sha256 data "
    "training_texts prompt_template dataset descriptions epoch seed protocol metrics interval n_groups n_expected "
    "n_decoded failed missing ranks labels groups preprocess descriptions_sha256 class_list_hash video_list_hash "
    "parameters environment wall_time_sec clips_per_sec experiment answers class_names protocols"
)
ENVIRONMENT = ["python", "packages", "device", "dtype", "threads", "commit", "dirty", "peak_mem_gib", "date"]


def test_a_record_comes_back_as_it_was_measured(cfg):
    path = put(cfg, sixths=[6, 0, *[3] * (CLASSES - 2)])
    (record,) = read_records(cfg)
    assert record == json.loads(path.read_text())
    measured = result([6, 0, *[3] * (CLASSES - 2)])
    assert integers(record, "ranks").tolist() == measured.ranks.tolist()
    assert integers(record, "labels").tolist() == measured.labels.tolist()
    assert len(set(record["groups"].split())) == record["n_groups"] == len(set(measured.groups))
    metrics = record["metrics"]
    assert (metrics["acc1"], metrics["mean_per_class_acc"]) == (0.5, 0.5)
    assert metrics["acc1_low"] < 0.5 < metrics["acc1_high"]


def test_a_record_holds_what_makes_a_number_trustworthy(cfg):
    put(cfg)
    (record,) = read_records(cfg)
    assert set(record) == set(_REQUIRED.split())
    assert set(record["environment"]) == set(ENVIRONMENT)
    assert record["parameters"]["seed"] == record["seed"] == 0
    assert record["preprocess"] == json.loads(json.dumps(Preprocess().as_dict()))
    assert (record["n_expected"], record["n_decoded"]) == (CLASSES * CLIPS, CLASSES * CLIPS)


@pytest.mark.parametrize(
    ("method", "dataset", "epoch", "item"),
    [
        ("motion", UCF, None, "Table 2"),
        ("clip", HMDB, None, "Table 3"),
        ("motion_temporal", UCF, None, "Table 4"),
        ("motion_temporal", "hmdb51", None, "Table 5"),
        ("motion", "ucf101", 3, "Table 6"),
        ("motion", HMDB, 0, "Table 7"),
        ("motion", "folder", None, "none"),
    ],
)
def test_a_record_names_the_papers_table(cfg, method, dataset, epoch, item):
    record = json.loads(put(cfg, method, dataset=dataset, epoch=epoch).read_text())
    assert record["paper_item"] == item


def machine_traces(text: str, *folders: Path) -> list[str]:
    """What a text says of the machine: absolute paths, the home folder, or one of `folders`."""
    found = re.findall(r"(?<![\w.])(?:/[\w.-]+){2,}|~/\w+", text)
    return found + [str(f) for f in (Path.home(), REPOSITORY, *folders) if str(f) + "/" in text]


def test_a_record_says_nothing_of_the_machine(cfg, tmp_path):
    broken = tmp_path / "folder" / "broken.mp4"
    broken.parent.mkdir()
    broken.write_bytes(b"not a video")
    with pytest.raises(VideoReadError) as caught:
        read_frames(broken, [0])
    own = RunConfig.load("miniature", backbone=str(tmp_path / "clip.pt"), descriptions_dir="~/texts")
    path = put(own, failed={"broken": caught.value.reason})
    record = json.loads(path.read_text())
    assert machine_traces(path.read_text(), tmp_path) == []
    assert record["parameters"]["backbone"] == "clip.pt"
    assert record["n_expected"] == record["n_decoded"] + 1
    assert "Invalid data" in record["failed"]["broken"]


def test_the_machine_check_finds_traces(tmp_path):
    assert machine_traces('"reason": "cannot open /mnt/disk/x.mp4"') == ["/mnt/disk/x.mp4"]
    assert machine_traces(f"{tmp_path}/x and ~/videos", tmp_path)[-1] == str(tmp_path)
    assert machine_traces("fine-tuned at 3/4 and a/b, text4vis/x, ViT-B/16, clips/s") == []


def test_what_a_killed_run_left_half_written_is_no_record(cfg):
    path = put(cfg)
    half = path.with_name(f".{path.name}.0123456789ab.json")  # as atomic_path calls it
    half.write_text(path.read_text()[:100])
    assert len(read_records(cfg)) == 1


def test_records_of_other_parameters_are_left_out_and_counted(cfg, capsys):
    put(cfg)
    put(cfg, seed=1)
    assert len(read_records(cfg)) == 2
    assert capsys.readouterr().out == ""
    other = RunConfig.load("miniature", bootstrap_resamples=200, epochs=1)
    assert read_records(other) == []
    assert capsys.readouterr().out == "2 records of other parameters in records/ are left out.\n"


@pytest.mark.parametrize("what", ["data", "backbone_sha256"])
def test_records_of_another_world_or_backbone_are_never_averaged_in(cfg, capsys, what):
    put(cfg)
    old = put(cfg, seed=1)
    record = json.loads(old.read_text())
    record |= {what: "another", "environment": record["environment"] | {"date": "2020-01-01T00:00:00+00:00"}}
    old.write_text(json.dumps(record))
    assert [r["seed"] for r in read_records(cfg)] == [0]
    assert capsys.readouterr().out == "1 records of other data or backbones in records/ are left out.\n"


def test_the_identity_of_an_experiment_is_all_but_seed_and_speed():
    base = RunConfig.load("miniature")
    for same in ({"seed": 7}, {"num_workers": 3}, {"device": "cpu"}):
        assert RunConfig.load("miniature", **same).experiment_id == base.experiment_id
    for other in ({"lr": 0.5}, {"world_seed": 9}, {"target_clips": 3}, {"split": 2}):
        assert RunConfig.load("miniature", **other).experiment_id != base.experiment_id


def test_answers_of_records_are_those_that_were_measured(cfg):
    for seed, sixths in enumerate((1, 4)):
        put(cfg, sixths=sixths, seed=seed)
    answers = answers_of(read_records(cfg)[::-1])  # in any order
    assert answers.right.tolist() == [*result(1).correct, *result(4).correct]
    assert (answers.known_seeds, answers.chance) == ((0, 1), 1 / CLASSES)
    assert answers.classes.tolist() == 2 * result(1).labels.tolist()
    with pytest.raises(ValueError, match=r"2 records of seeds \[0, 0\]: expected one a seed"):
        answers_of(2 * read_records(cfg)[:1])
