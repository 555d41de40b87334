"""Estimates of disk and GPU memory, and the sentences that name a shortage."""

import contextlib
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import tiny
import torch

from motion_lib.config import RunConfig
from motion_lib.data.datasets import open_dataset
from motion_lib.data.pack import pack
from motion_lib.data.packed import Packing
from motion_lib.data.preprocessing import Preprocess
from motion_lib.experiment import experiment as experiment_module
from motion_lib.experiment import inputs
from motion_lib.experiment.cache import open_test_views
from motion_lib.experiment.experiment import Experiment
from motion_lib.experiment.inputs import cache_space, clips_at_once, shortages, training_memory
from motion_lib.models.clip import CLIP
from motion_lib.models.image_tower import encode_images


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


def test_the_views_of_what_is_validated_are_part_of_the_space(paper):
    root, before = paper.data_root / "kinetics400", cache_space(paper)
    lines = (root / "annotations" / "train.csv").read_text(encoding="utf-8").replace(",train", ",val")
    (root / "annotations" / "val.csv").write_text(lines, encoding="utf-8")
    shutil.copytree(root / "train", root / "val")
    assert cache_space(paper) == before + 8 * 224 * 224 * 3  # one of two listed videos is there
    dataset = open_dataset("kinetics400", paper.data_root, subset="val")
    assert len(open_test_views(dataset, Preprocess(8), paper.data_root / "frames")[0]) == 8
    assert cache_space(paper) == before


def test_paper_scale_is_some_hundred_gigabytes():
    assert 150e9 < 240_000 * Packing().bytes_per_video() < 300e9


def test_nothing_is_estimated_without_videos_or_without_packing(paper):
    assert cache_space(RunConfig.load("paper", frame_cache="none")) is None
    shutil.rmtree(paper.data_root / "kinetics400")
    assert cache_space(paper) is None


def test_memory_grows_with_the_batch_and_the_tower():
    base, more, large = (
        training_memory(RunConfig.load("paper", **change)) for change in ({}, {"at_once": 40}, {"backbone": "ViT-L/14"})
    )
    assert 10e9 < base < 40e9
    assert base < more < 2 * base
    assert large > 2 * base
    assert training_memory(RunConfig.load("miniature")) is None


def gpu_of(monkeypatch, gigabytes):
    gpu = SimpleNamespace(name="Some GPU", total_memory=gigabytes * 1e9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: gpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 64)


def kept_of_a_frame(visual, size, precision, recompute):
    """Bytes that autograd keeps of one frame more, weights aside."""
    weights = {parameter.untyped_storage().data_ptr() for parameter in visual.parameters()}

    def kept(frames):
        storages = {}

        def keep(tensor):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                storages[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used twice
            return tensor

        half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), half:
            encode_images(visual, torch.zeros(frames, 3, size, size), recompute)
        return sum(size for size, _ in storages.values())

    return kept(2) - kept(1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_estimate_is_what_autograd_keeps(monkeypatch, precision, one_thread):
    size, patch, width, layers = 96, 16, 256, 6
    tower = (0, width, layers, (size // patch) ** 2 + 1)
    monkeypatch.setitem(inputs._TOWERS, "ViT-B/16", tower)
    cfg = RunConfig.load("paper", precision=precision)
    visual = CLIP(64, size, layers, width, patch, 77, 100, 64, 1, 1).float().visual
    kept = kept_of_a_frame(visual, size, precision, recompute=False)
    assert training_memory(cfg, 1) / cfg.num_frames == pytest.approx(kept, rel=0.15)
    less = training_memory(replace(cfg, recompute=True), 1) / cfg.num_frames
    assert kept_of_a_frame(visual, size, precision, recompute=True) < less < kept / 2


@pytest.mark.parametrize(
    ("change", "devices", "clips"),
    [
        ({}, None, 20),
        ({"at_once": 5}, None, 5),
        ({"at_once": 0}, None, 80),
        ({"at_once": 0, "devices": 3}, None, 27),
        ({"devices": 4, "at_once": 3}, None, 3),
        ({"devices": 64}, None, 2),
        ({"devices": 1}, 8, 10),  # torchrun's own number
    ],
)
def test_memory_is_that_of_the_clips_which_one_device_takes_at_once(monkeypatch, change, devices, clips):
    gpu_of(monkeypatch, 17.1)
    assert clips_at_once(RunConfig.load("paper", **change), devices) == clips


RECOMPUTE = "or recompute to true"


@pytest.mark.parametrize(
    ("gigabytes", "change", "ways"),
    [
        (17.1, {}, None),  # 77 MB a frame in bf16
        (17.1, {"precision": "fp32"}, f"set at_once to 14 {RECOMPUTE}"),
        (17.1, {"precision": "fp32", "recompute": True}, None),
        (17.1, {"batch_size": 80, "devices": 4}, None),
        (17.1, {"batch_size": 256, "at_once": 32}, f"set at_once to 25 {RECOMPUTE}"),
        (25.4, {"batch_size": 256, "at_once": 32}, None),
        (85.0, {"batch_size": 256, "at_once": 128}, None),
        (85.0, {"batch_size": 256, "at_once": 0}, f"set at_once to 133 {RECOMPUTE}"),
        (85.0, {"batch_size": 1024, "at_once": 0, "recompute": True}, r"set at_once to \d+$"),
        (1.0, {}, f"set num_frames lower {RECOMPUTE}"),
        (1.0, {"backbone": "RN50"}, None),
    ],
)
def test_too_small_a_gpu_is_named(paper, monkeypatch, gigabytes, change, ways):
    gpu_of(monkeypatch, gigabytes)
    cfg = RunConfig.load("paper", device="cuda", **change)
    said = shortages(cfg)
    assert len(said) == (ways is not None)
    if ways:
        form = rf"GPU memory: about \d+ GB for \d+ clips at once \(estimate, {cfg.precision}\), {gigabytes:.0f} GB on"
        assert re.match(form, said[0])
        assert re.search(ways, said[0])


def test_only_training_pays_for_the_estimate_of_its_memory(paper, monkeypatch, capsys):
    gpu_of(monkeypatch, 1)
    cfg = RunConfig.load("paper", device="cuda", batch_size=40)
    assert not any("memory" in item for item in inputs.missing_inputs(cfg))
    trained = []
    monkeypatch.setattr(experiment_module, "missing_inputs", lambda cfg: [])
    monkeypatch.setattr(experiment_module, "fine_tune", lambda *arguments: trained.append(arguments))
    runs = SimpleNamespace(
        folder=lambda method: None, trains=lambda key: True, history=lambda key: None,
        load=lambda method: torch.nn.Linear(1, 1, device="meta"), training_texts=lambda method: None,
        recipe=lambda: None, execution=lambda: None, of_other_identity=lambda method: (),
        note_identity=lambda method: None,
    )  # fmt: skip
    monkeypatch.setattr(torch.nn.Linear, "preprocess", None, raising=False)
    experiment = SimpleNamespace(cfg=cfg, runs=runs, data=SimpleNamespace(clips=lambda *_: None), _validate=print)
    for rank, clips in ((0, 10), (1, None)):
        fabric = SimpleNamespace(
            device="meta", world_size=4, is_global_zero=rank == 0, rank_zero_first=contextlib.nullcontext
        )
        Experiment.train(experiment, "motion", fabric)
        said = capsys.readouterr().out
        assert (f"Warning. GPU memory: about 8 GB for {clips} clips at once" in said) is (rank == 0)
    assert len(trained) == 2  # warned, not refused


@pytest.mark.parametrize(("found", "compiled", "named"), [("", True, True), ("gcc", True, False), ("", False, False)])
def test_a_missing_compiler_is_named(monkeypatch, found, compiled, named):
    monkeypatch.setattr(shutil, "which", lambda name: name if name == found else None)
    said = shortages(RunConfig.load("paper", device="cpu", compiled=compiled))
    assert [line for line in said if line.startswith("C compiler: ")] == said
    assert bool(said) is named
