"""The training benchmarks at the size of a CPU: both steps do the same, both are fed, and a GPU is asked for."""

import argparse

import pytest
import tiny
import torch
from torch.utils.data import DataLoader

from benchmarks import gpu_checks, train_step
from motion_lib.data.preprocessing import Preprocess

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def built():
    return tiny.clip_model(), Preprocess(train_step.FRAMES, short_side=32, crop_size=32)


@pytest.mark.parametrize(("precision", "difference"), [("fp32", 1e-5), ("bf16", 2e-2)])
def test_the_plain_step_has_the_losses_of_ours(built, precision, difference):
    row = train_step.compare(built, 4, precision, "cpu", repeats=2)
    assert row["largest_relative_difference_of_losses"] < difference
    assert len(set(row["losses"]["ours"])) == train_step.COMPARED  # weights move
    assert {name: len(times) for name, times in row["seconds"].items()} == {"plain": 2, "ours": 2}
    assert row["ratio"] > 0


@pytest.fixture
def few(monkeypatch):
    """Videos of a moment in place of ten seconds."""
    monkeypatch.setattr(train_step, "textures", lambda folder: [tiny.write_numbered(folder / "a.mp4", 12)])
    return argparse.Namespace(videos=13, clips=2, workers=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_both_steps_are_fed_from_the_same_packed_frames(built, few, workers):
    few.workers = workers
    found = train_step.compare_fed(built, few, "fp32", "cpu")
    # Six whole batches; what the loader keeps ready is not timed.
    assert found["plain"]["batches"] == found["ours"]["batches"] == (4 if workers else 5)
    assert all(
        found[name]["frames_per_sec"] > 0 and 0 <= found[name]["waiting_for_data"] <= 1 for name in ("plain", "ours")
    )
    assert found["shards"] == 1


@pytest.fixture
def compiled_at_once(monkeypatch):
    """Inductor takes a minute, the tracing before it does not."""
    compile_model = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, **how: compile_model(model, **how | {"backend": "eager"}))


def test_what_is_measured_on_a_gpu_can_be_measured_on_a_cpu(built, few, compiled_at_once):
    few.repeats = 1
    found = train_step.in_full(built, few, "cpu")
    assert {name: row["compiled"] for name, row in found["rows"].items()} == {"eager": False, "compiled": True}
    assert found["fed"]["ratio"] > 0


def test_too_few_batches_to_time_are_refused():
    loader = DataLoader([0], batch_sampler=[[0]])
    with pytest.raises(SystemExit, match=r"1 batches: expected 2 or more\. Raise --videos or lower --workers"):
        train_step.fed(lambda batch: pytest.fail("trained"), loader, lambda: None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for the refusal of a CPU")
def test_without_a_gpu_nothing_is_checked_or_written(monkeypatch, capsys):
    monkeypatch.setattr(gpu_checks, "write_result", lambda *_: pytest.fail("written"))
    monkeypatch.setattr("sys.argv", ["gpu_checks"])
    assert gpu_checks.main() == 1
    assert capsys.readouterr().out.startswith("No CUDA device is here")
    monkeypatch.setattr("sys.argv", ["train_step", "--device", "cuda"])
    with pytest.raises(SystemExit, match="no CUDA device is here"):
        train_step.main()


@pytest.mark.parametrize("compiled", [False, True])
def test_what_a_gpu_is_asked_can_be_asked_of_a_cpu(built, monkeypatch, compiled_at_once, compiled):
    for name in ("WARM", "REPEATS", "IN_A_ROW"):
        monkeypatch.setattr(gpu_checks, name, 1)
    assert gpu_checks.training(built, 3, "cpu", compiled).keys() == {"frames_per_sec", "after_a_smaller_batch"}
    assert gpu_checks.encoding(built, 2, "cpu").keys() == {"fp32", "tf32", "bf16"}
    assert torch.get_float32_matmul_precision() == "highest"
