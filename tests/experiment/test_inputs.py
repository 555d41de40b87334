"""Estimates of disk and GPU memory, and the sentences that name a shortage."""

import shutil
from types import SimpleNamespace

import pytest
import tiny
import torch

from motion_lib.config import RunConfig
from motion_lib.data.datasets import open_dataset
from motion_lib.data.pack import pack
from motion_lib.data.packed import Packing
from motion_lib.data.preprocessing import Preprocess
from motion_lib.experiment.inputs import cache_space, machine_table, shortages, training_memory


@pytest.fixture
def paper(tmp_path, monkeypatch):
    """The profile `paper` with one training video of Kinetics on disk and another one missing."""
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    root = tmp_path / "kinetics400"
    (root / "annotations").mkdir(parents=True)
    rows = ["label,youtube_id,time_start,time_end,split", "wave,aaaaaaaaaaa,0,10,train", "wave,bbbbbbbbbbb,0,10,train"]
    (root / "annotations" / "train.csv").write_text("\n".join(rows), encoding="utf-8")
    (root / "train").mkdir()
    tiny.write_numbered(root / "train" / "aaaaaaaaaaa_000000_000010.mp4", 40)
    return RunConfig.load("paper")


def test_packing_is_estimated_for_what_is_there_and_not_packed(paper):
    packing = Packing.of(Preprocess(8))
    assert cache_space(paper) == packing.bytes_per_video()
    dataset = open_dataset("kinetics400", paper.data_root, subset="train")
    pack(dataset, packing, paper.data_root / "frames")
    assert cache_space(paper) == 0


def test_paper_scale_is_some_hundred_gigabytes():
    assert 150e9 < 240_000 * Packing().bytes_per_video() < 300e9


def test_nothing_is_estimated_without_videos_or_without_packing(paper):
    assert cache_space(RunConfig.load("paper", frame_cache="none")) is None
    shutil.rmtree(paper.data_root / "kinetics400")
    assert cache_space(paper) is None


def test_memory_grows_with_the_batch_and_the_tower():
    base, more, large = (
        training_memory(RunConfig.load("paper", **change))
        for change in ({}, {"batch_size": 40}, {"backbone": "ViT-L/14"})
    )
    assert 10e9 < base < 40e9
    assert base < more < 2 * base
    assert large > 2 * base
    assert training_memory(RunConfig.load("miniature")) is None


@pytest.mark.parametrize(("total", "named"), [(16e9, True), (80e9, False)])
def test_too_small_a_gpu_is_named(paper, monkeypatch, total, named):
    gpu = SimpleNamespace(name="Some GPU", total_memory=total)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    cfg = RunConfig.load("paper", device="cuda")
    assert any("GPU memory: about" in line and "lower batch_size" in line for line in shortages(cfg)) is named
    assert "Some GPU" in machine_table(cfg).to_string()


@pytest.mark.parametrize("profile", ["paper", "miniature"])
def test_table_has_no_empty_cell(paper, profile):
    table = machine_table(RunConfig.load(profile, device="cpu"))
    assert list(table["Resource"]) == ["Processor cores", "GPU memory", "Disk for frames"]
    assert table.map(bool).to_numpy().all()
