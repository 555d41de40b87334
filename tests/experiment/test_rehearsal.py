"""The rehearsal finds what would stop a run, and passes where nothing would."""

import resource
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch import nn

from motion_lib.__main__ import main
from motion_lib.config import RunConfig
from motion_lib.data.datasets import open_dataset
from motion_lib.data.packed import PackedFrames, Packing
from motion_lib.data.preprocessing import Preprocess
from motion_lib.experiment import rehearsal, stand_in
from motion_lib.experiment.inputs import missing_inputs
from motion_lib.experiment.rehearsal import FAILS, FINE, LOOK, Rehearsal, rehearse
from motion_lib.miniature.tiny_clip import TinyClip, build

LISTED = 600


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    return tmp_path


def small(cfg: RunConfig) -> pd.DataFrame:
    return rehearse(cfg, part_sec=0.2, listed=LISTED, say=lambda line: None).set_index("Check")


@pytest.mark.slow
def test_the_miniature_passes_on_this_machine(places, one_thread):
    table = small(RunConfig.load("miniature"))
    assert set(table["Verdict"]) <= {FINE, LOOK}
    assert table.loc["Interruption", "Found"] == "goes on after kill -9, the same weights as without"
    assert {"Loader", "Step, miniature", "Validation"} <= set(table.index)
    assert list((places / "results").rglob(".rehearsal*")) == []


@pytest.mark.slow
def test_a_bare_machine_is_told_what_is_missing_and_tries_the_rest_with_stand_ins(places, one_thread):
    # A tiny CLIP in place of ViT-B/16, whose step takes a CPU seconds.
    torch.save(build(TinyClip()).state_dict(), places / "clip.pt")
    own = {"backbone": str(places / "clip.pt"), "num_workers": 1, "num_frames": 2, "compiled": False}
    cfg = RunConfig.load("paper", **own)
    table = small(cfg)
    failed = table[table["Verdict"] == FAILS]
    assert list(failed["Found"]) == missing_inputs(cfg)
    assert f"Opening stand-in of {LISTED} videos" in table.index
    assert table.loc["05_overfitting", "Found"].startswith("about ")
    assert "GB on disk (estimate); trainings: 1" in table.loc["02_fine_tuning", "Found"]


def test_the_stand_in_for_kinetics_is_read_like_the_real_one(tmp_path):
    packing = Packing.of(Preprocess(2))
    stand_in.kinetics(tmp_path, packing, LISTED)
    dataset = open_dataset("kinetics400", tmp_path, 1, "train")
    assert (len(dataset), len(dataset.class_names), dataset.missing) == (LISTED, 400, ())
    packed = PackedFrames(dataset, Preprocess(2), tmp_path / "frames")
    first, last = (packed.read(i, lambda n: [0, n - 1], lambda h, w: (0, 0, h, w)) for i in (0, LISTED - 1))
    assert (first == last).all()
    assert first.shape == (2, 256, 341, 3)


def checks(part: str, **parameters: object) -> list[rehearsal.Check]:
    parts = Rehearsal(RunConfig.load("paper", **parameters), None, 0.1, LISTED)
    return list(rehearsal._tried(getattr(parts, part)))


def test_few_open_files_and_little_shared_memory_are_found(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (128, 4096))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64 * 2**20))
    files, shared = checks("limits", num_workers=16, device="cpu", at_once=2)
    assert (files.verdict, files.found) == (LOOK, "limit 128, 256 wanted; ulimit -n 4096")
    assert shared.verdict == FAILS
    assert shared.found.startswith("0.1 GB free, up to 0.2 GB wanted by 16 workers")


def test_a_clock_that_differs_is_found(places, monkeypatch):
    now = rehearsal.time.time
    monkeypatch.setattr(rehearsal.time, "time", lambda: now() + 3600)
    data, results = checks("disk")
    assert data.verdict == results.verdict == LOOK
    assert "its clock is -3600 s from this machine's" in data.found


def test_a_part_that_stops_is_a_line_that_fails(monkeypatch):
    monkeypatch.setattr(rehearsal, "missing_inputs", lambda cfg: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a slip of ours is not a machine's fault
        checks("inputs")
    monkeypatch.setattr(rehearsal, "open_dataset", lambda *about: (_ for _ in ()).throw(OSError(5, "I/O error")))
    assert [(check.what, check.verdict) for check in checks("start_up")] == [("start up", FAILS)]


@pytest.mark.slow
def test_a_training_that_does_not_resume_fails(places, monkeypatch, one_thread):
    trained = rehearsal._train_tiny

    def other_weights(films, run_dir, wait=False):
        weights = trained(films, run_dir, wait)
        return (
            {name: nn.init.zeros_(tensor.float()) for name, tensor in weights.items()}
            if "alone" in str(run_dir)
            else weights
        )

    monkeypatch.setattr(rehearsal, "_train_tiny", other_weights)
    monkeypatch.setattr(rehearsal, "get_context", lambda kind: SimpleNamespace(Process=_Killed))
    parts = Rehearsal(RunConfig.load("miniature"), places, 0.1, LISTED)
    (check,) = parts.interruption()
    assert (check.verdict, "OTHER" in check.found) == (FAILS, True)


class _Killed:
    """A process that is gone at once."""

    exitcode = -9

    def __init__(self, target, args):
        pass

    def start(self):
        pass

    kill = join = start

    def is_alive(self):
        return False


def test_the_command_fails_if_anything_would(places, monkeypatch, capsys):
    for verdict, code in ((FINE, 0), (LOOK, 0), (FAILS, 1)):
        table = pd.DataFrame([("Disk", "full", verdict)], columns=["Check", "Found", "Verdict"])
        monkeypatch.setattr(rehearsal, "rehearse", lambda cfg, table=table: table)
        assert main(["rehearse", "--profile", "paper"]) == code
    assert main(["rehearse", "-p", "epoch", "3"]) == 2
    assert "did you mean epochs" in capsys.readouterr().err
