"""A whole experiment at a smoke size: what it trains, measures, keeps and shows.

Its numbers mean nothing (a few steps on a few clips); that everything fits together does.
"""

import gc
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import weakref
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from motion_lib.config import RunConfig
from motion_lib.data.datasets import TooManyMissing
from motion_lib.experiment import data as data_module
from motion_lib.experiment import experiment as experiment_module
from motion_lib.experiment import runs as runs_module
from motion_lib.experiment.experiment import Experiment
from motion_lib.experiment.inputs import MissingInputs
from motion_lib.experiment.records import read_records, records_dir
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.models import loading
from motion_lib.report import texts_and_videos as overview
from motion_lib.storage import atomic_path, file_sha256, imported_by
from motion_lib.texts.descriptions import squeeze_key
from motion_lib.training import History, loop
from tests.conftest import SMOKE

pytestmark = pytest.mark.slow

TRAINED = [key for key, method in METHODS.items() if method.trained]


def changed(smoke: Experiment, **overrides: object) -> Experiment:
    return Experiment(RunConfig.load("miniature", **SMOKE | overrides))


def test_training_is_recorded_epoch_by_epoch(smoke):
    history = smoke.train("motion")
    assert [row["epoch"] for row in history.rows] == [1, 2]
    assert history.failed == {}
    clips = len(smoke.data.dataset("miniature-source", "train"))
    assert {row["clips"] for row in history.rows} == {clips}
    assert history.run_dir.is_relative_to(smoke.cfg.results_dir / "runs")
    assert [smoke.checkpoint("motion", epoch) for epoch in (0, 1, 2)] == [None, *map(history.checkpoint, (1, 2))]


def test_a_finished_run_is_looked_up(smoke, monkeypatch):
    history = smoke.train("motion")
    before = history.last_checkpoint.stat().st_mtime_ns
    fail = pytest.fail
    for module, name in ((runs_module, "load_model"), (experiment_module, "fine_tune"), (loop, "training_batches")):
        monkeypatch.setattr(module, name, lambda *_, name=name, **__: fail(f"{name} was called, not the run looked up"))
    monkeypatch.setattr(data_module, "open_dataset", lambda *_, **__: pytest.fail("the source was opened"))
    again = Experiment(smoke.cfg).train("motion")
    assert Experiment(smoke.cfg).checkpoint("motion") == history.last_checkpoint
    assert again.rows == history.rows
    assert again.last_checkpoint.stat().st_mtime_ns == before


def test_another_identity_is_named_with_what_changed(smoke, tmp_path, monkeypatch, capsys):
    """Before a run is trained; what is finished is looked up without a word, and other methods are not its kin."""
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path))
    monkeypatch.setattr(experiment_module, "fine_tune", lambda *given, **_: History(given[4]))
    first = changed(smoke, validate=[])
    first.train("motion")
    first.train("names")
    without = first.cfg.results_dir / "runs" / "motion-seed0-0123456789abcdef"  # of a version that wrote no identity
    without.mkdir()
    assert "older identity" not in capsys.readouterr().out
    changed(smoke, validate=[], lr=0.5, num_frames=3).train("motion")
    said = capsys.readouterr().out.splitlines()
    known = first.runs.folder(METHODS["motion"]).name
    assert said == [
        f"runs/{without.name} of an older identity lies beside and is not read: code or parameters changed since.",
        f"runs/{known} of an older identity lies beside and is not read: lr, num_frames changed since.",
    ]
    for number in range(5):
        (without.parent / f"motion-seed0-{number}").mkdir()
    first.train("motion")
    assert capsys.readouterr().out.splitlines()[3:] == ["(4 more)"]


def test_a_folder_is_named_without_reading_a_backbone(smoke, monkeypatch):
    monkeypatch.setattr(loading, "load_clip", lambda *_: pytest.fail("the backbone was loaded"))
    monkeypatch.setattr(runs_module, "file_sha256", lambda *_: pytest.fail("OpenAI's file was read"))
    official = changed(smoke, backbone="ViT-B/16")
    assert official.runs.identity(METHODS["motion"])["backbone"].startswith("5806e77cd80f8b59")
    assert official.runs.history("motion") is None


def test_what_a_notebook_holds_is_freed_before_a_group_starts(smoke, tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path))
    several, held = changed(smoke, devices=2, device="cpu"), []
    alive = weakref.ref(several.vanilla.model)

    def launch(cfg, key, run_dir):
        gc.collect()
        held.append(alive())

    monkeypatch.setattr(experiment_module, "launch", launch)
    with pytest.raises(RuntimeError, match="the group of 2 devices ended"):
        several.train("motion")
    assert held == [None]


def test_a_run_is_named_by_what_decides_it(smoke):
    ours = METHODS["motion"]
    base = smoke.runs.folder(ours)
    same = [changed(smoke, num_workers=1), changed(smoke, bootstrap_resamples=9), changed(smoke, target_subset="test")]
    other = [changed(smoke, lr=0.5), changed(smoke, seed=1), changed(smoke, num_frames=3)]
    assert {experiment.runs.folder(ours) for experiment in same} == {base}
    assert len({base, *(experiment.runs.folder(ours) for experiment in other)}) == 4
    assert len({smoke.runs.folder(METHODS[key]) for key in TRAINED}) == len(TRAINED)


def test_a_run_is_named_by_the_code_that_trains(smoke, monkeypatch):
    """Whatever module of it changes; where names are imported from does not count, nor what shows progress."""
    behind = imported_by(loop, loading)
    assert {f"motion_lib.{name}" for name in DECIDING} <= set(behind)
    assert not {name for name in behind if name.split(".")[1] in ("experiment", "report", "miniature", "batch")}
    base, source = runs_module.trained_by(), inspect.getsource
    for name in (*behind, "motion_lib.training.progress"):
        with monkeypatch.context() as patched:
            changed_module = sys.modules[name]

            def altered(part, changed_module=changed_module):
                return source(part) + ("\nALTERED = 1\n" if part is changed_module else "\nimport math  # moved\n")

            patched.setattr(inspect, "getsource", altered)
            runs_module.trained_by.cache_clear()
            assert (runs_module.trained_by() != base) is (name in behind), name
    runs_module.trained_by.cache_clear()


# Modules that decide which frames are seen, how, and what is learned from them.
DECIDING = (
    "data.video", "data.datasets", "data.clips", "data.packed", "data.pack", "data.batches", "data.augmentation",
    "data.preprocessing", "models.prototype", "models.clip", "models.image_tower", "models.xclip", "models.loading",
    "texts.descriptions", "training.recipe", "training.loop", "training.state",
)  # fmt: skip


def test_measuring_writes_one_record_for_each_cell(smoke):
    results = smoke.measure("motion")
    cells = {(target, kind) for target in smoke.cfg.targets for kind in DESCRIPTION_KINDS}
    assert set(results) == cells
    for (target, _), found in results.items():
        dataset = smoke.data.dataset(target, "all")
        assert found.scores.shape == (len(dataset), len(dataset.class_names))
        assert found.failed == {}
    measured = [r for r in read_records(smoke.cfg) if r["dataset"] in smoke.cfg.targets]
    records = [r for r in measured if r["method"] == "motion" and r["epoch"] is None]
    assert {(r["dataset"], r["descriptions"]) for r in records} == cells
    for record in records:
        assert record["metrics"]["acc1"] == results[record["dataset"], record["descriptions"]].accuracy()
        assert record["data"].startswith("world-")
        assert record["backbone"] == smoke.data.backbone_label
        assert len(record["checkpoint_sha256"]) == len(record["backbone_sha256"]) == 64


def test_epoch_0_is_the_backbone_and_the_last_epoch_the_model(smoke):
    key = ("miniature-hmdb", "masked")
    before, vanilla = smoke.measure("motion", 0)[key], smoke.measure("clip")[key]
    np.testing.assert_array_equal(before.scores, vanilla.scores)
    last, final = smoke.measure("motion", 2)[key], smoke.measure("motion")[key]
    np.testing.assert_array_equal(last.scores, final.scores)
    assert np.abs(before.scores - final.scores).max() > 1e-3
    names = {path.name for path in records_dir(smoke.cfg).glob("motion-*hmdb-masked*")}
    assert {f"motion-miniature-hmdb-masked{e}-seed0.json" for e in ("", "-epoch00", "-epoch02")} <= names


def moved_parameters(smoke: Experiment, key: str) -> set[str]:
    """Parameters of CLIP that training has changed."""
    before = dict(smoke.vanilla.model.clip.named_parameters())
    after = dict(smoke.trained(key).model.clip.named_parameters())
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("key", ["motion", "names", "text4vis"])
def test_the_text_tower_stays_as_it_was(smoke, key):
    moved = moved_parameters(smoke, key)
    assert "visual.conv1.weight" in moved
    assert {name for name in moved if not name.startswith("visual.")} <= {"logit_scale"}


def test_vificlip_trains_both_towers(smoke):
    moved = moved_parameters(smoke, "vificlip")
    assert {"visual.conv1.weight", "text_projection", "transformer.resblocks.0.attn.in_proj_weight"} <= moved


def test_methods_are_trained_with_the_texts_they_say(smoke):
    texts = {key: smoke.runs.training_texts(METHODS[key]) for key in TRAINED}
    described = smoke.data.descriptions("miniature-source", "object")
    assert texts["motion"] == texts["motion_temporal"] == described
    for key in ("names", "text4vis", "vificlip"):
        assert texts[key].class_names == described.class_names
        assert texts[key].texts == tuple(METHODS[key].template.format(name) for name in described.class_names)


def test_measuring_again_encodes_nothing(smoke, monkeypatch):
    first, held_out = smoke.measure("motion", 2), smoke.source_validation("motion")
    monkeypatch.setattr("motion_lib.experiment.experiment.encode_videos", lambda *_, **__: pytest.fail("encoded again"))
    for key, found in Experiment(smoke.cfg).measure("motion").items():  # the last epoch is the second
        np.testing.assert_array_equal(found.scores, first[key].scores)
        assert found.video_ids == first[key].video_ids
    assert Experiment(smoke.cfg).source_validation("motion", 2).accuracy() == held_out.accuracy()


def test_another_precision_is_recorded_with_its_agreement(smoke, monkeypatch, tmp_path):
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path))
    monkeypatch.setattr(experiment_module, "AGREEMENT_CLIPS", 10)
    coarse = changed(smoke, eval_precision="bf16")
    assert coarse.cfg.experiment_id != smoke.cfg.experiment_id
    coarse.measure("clip")
    for record in read_records(coarse.cfg):
        found, clips = record["agreement_with_float32"], len(coarse.data.dataset(record["dataset"], "all"))
        assert 10 <= found["videos"] == -(-clips // (clips // 10)) < clips
        assert found["largest_logit_difference"] > 0
        assert 0 <= found["answers_changed"] <= found["videos"]
        assert record["environment"]["dtype"] == "bfloat16"


def test_features_are_not_shared_between_weights(smoke):
    before, after = (smoke.source_validation("motion", epoch).scores for epoch in (0, 1))
    assert not np.array_equal(before, after)


def test_a_released_checkpoint_stands_for_its_method(smoke, monkeypatch, capsys, tmp_path):
    """A file in Text4Vis's format, made from our own run, is loaded, measured and named in the record."""
    trained = smoke.trained("text4vis").model
    names = {name: name.replace("clip.", "", 1).replace("head.", "fusion_model.") for name in trained.trained_state()}
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path))
    official = changed(smoke, baselines="official")
    path = official.runs.release(METHODS["text4vis"]).path(official.cfg.data_root)
    state = {f"module.{names[name]}": tensor for name, tensor in trained.trained_state().items()}
    with atomic_path(path) as temporary:
        torch.save({"epoch": 29, "model_state_dict": state}, temporary)
    monkeypatch.setattr(experiment_module, "fine_tune", lambda *_: pytest.fail("trained"))
    assert official.train("text4vis").rows == []
    assert [official.runs.trains(key) for key in ("text4vis", "motion", "clip")] == [False, True, False]
    loaded = official.trained("text4vis").model
    for name, tensor in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    official.measure("text4vis")
    assert "epoch ignored (beside the weights" in capsys.readouterr().out
    records = read_records(official.cfg)
    assert {r["weights"] for r in records} == {f"released by its authors: {path.name}"}
    assert {r["checkpoint_sha256"] for r in records} == {file_sha256(path)}
    assert records[0]["preprocess"]["short_side"] > records[0]["preprocess"]["crop_size"]


def test_held_out_source_clips_are_scored_with_the_training_texts(smoke):
    found = smoke.source_validation("names")
    held_out = smoke.data.dataset("miniature-source", "val")
    assert found.scores.shape == (len(held_out), len(held_out.class_names))
    assert found.descriptions == "class names"
    assert smoke.source_validation("clip").descriptions == "source_object"


TABLES = {
    "data sets": (overview.dataset_table, 4),
    "knowledge": (overview.backbone_table, 4),
    "statistics": (overview.statistics_table, 3),
    "masking": (overview.masking_table, 2),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_the_data(smoke, name):
    make, rows = TABLES[name]
    table = make(smoke)
    assert isinstance(table, pd.DataFrame)
    assert len(table) == rows
    assert not table.isna().any(axis=None)


def test_masking_changes_every_class_of_the_miniature(smoke):
    counts = [re.fullmatch(r"(\d+) of (\d+)", cell).groups() for cell in overview.masking_table(smoke)["Changed"]]
    assert all(one == other for one, other in counts)


FIGURES = [
    lambda smoke: overview.world_figure(smoke, clips=2),
    lambda smoke: overview.caption_figure(smoke, classes=2)[0],
    lambda smoke: overview.generation_figure(smoke, classes=2)[0],
]


@pytest.mark.parametrize("draw", FIGURES, ids=["world", "captions", "generation"])
def test_figures_of_the_data(smoke, draw):
    assert isinstance(draw(smoke), Figure)


def test_the_papers_profile_runs_where_its_inputs_are(paper):
    assert len(paper.train("motion").rows) == 1
    results = paper.measure("motion")
    assert set(results) == {(target, kind) for target in ("ucf101", "hmdb51") for kind in DESCRIPTION_KINDS}
    for (target, _), found in results.items():
        assert list(found.video_ids) == [item.video_id for item in paper.data.dataset(target, "test").items]
    assert len(paper.data.dataset("hmdb51", "test")) < len(paper.data.dataset("hmdb51", "all"))
    # Validated after the last epoch and measured from one encoding pass over all videos, whose speed is recorded.
    encoded = {path.name.rpartition("-")[0] for path in (paper.cfg.results_dir / "runs" / "features").iterdir()}
    assert encoded == {"ucf101-all", "hmdb51-all", "kinetics400-val"}
    for record in read_records(paper.cfg):
        everything = len(paper.data.dataset(record["dataset"], "all"))
        assert record["clips_per_sec"] * record["wall_time_sec"] == pytest.approx(everything, rel=0.1)
    assert {record["paper_item"] for record in read_records(paper.cfg)} == {"Table 2", "Table 3"}
    for path in records_dir(paper.cfg).glob("*.json"):
        assert str(paper.cfg.data_root.parent) not in path.read_text()
        assert json.loads(path.read_text())["backbone"] == paper.data.backbone_label
    assert len(paper.source_validation("motion").labels) == len(paper.data.dataset("kinetics400", "val"))
    assert squeeze_key(paper.data.caption(0)).startswith("avideoofaperson")
    assert list(overview.backbone_table(paper)["Aspect"]) == ["not measured: the content of real clips is not known"]
    # Training frames are packed; what is tested on after every epoch is kept as it was decoded.
    caches = {path.name.rpartition("-")[0]: path for path in (paper.cfg.data_root / "frames").iterdir()}
    assert set(caches) == {"kinetics400-train-packed", "kinetics400-views", "ucf101-views", "hmdb51-views"}
    assert len(list(caches["ucf101-views"].iterdir())) == len(paper.data.dataset("ucf101", "all"))


def test_a_finished_run_is_read_without_its_source(paper, capsys):
    """No list, no video, no packed frame of it; to train another method they are asked for in one list."""
    rows, before = paper.train("motion").rows, paper.measure("motion")
    shutil.rmtree(paper.cfg.data_root / "kinetics400")
    shutil.rmtree(paper.cfg.data_root / "frames")
    again = Experiment(paper.cfg)
    assert (
        "finished runs are read; to train, it lacks kinetics400: official lists, expected in" in capsys.readouterr().out
    )
    assert again.train("motion").rows == rows
    for cell, found in again.measure("motion").items():
        np.testing.assert_array_equal(found.scores, before[cell].scores)
    with pytest.raises(
        MissingInputs, match=r"lacks 2 inputs .*\n  - kinetics400: official lists.*\n  - kinetics400: vid"
    ):
        again.train("names")
    with pytest.raises(MissingInputs, match="lacks 2 inputs"):
        Experiment(replace(paper.cfg, lr=0.5))  # of which nothing is finished


def test_features_are_made_again_of_other_videos_or_weights(paper):
    """A file that changed under its name, or another checkpoint; what is as it was is read."""
    folder = paper.cfg.results_dir / "runs" / "features"
    clip = paper.vanilla

    def files(trained) -> int:
        paper.encode(trained, "ucf101", "test")
        return len(list(folder.iterdir()))

    assert [files(clip), files(clip)] == [1, 1]
    video = paper.data.dataset("ucf101", "test").items[0].path
    os.utime(video, ns=(0, video.stat().st_mtime_ns + 1))
    assert [files(clip), files(clip)] == [2, 2]
    assert files(replace(clip, weights=replace(clip.weights, checkpoint_sha256="another"))) == 3


def test_too_many_missing_videos_stop_the_run(paper):
    videos = sorted((paper.cfg.data_root / "ucf101" / "UCF-101").glob("*/*.avi"))
    for path in videos[: len(videos) // 5]:
        path.unlink()
    with pytest.raises(TooManyMissing, match=r"ucf101 \(test\): \d+ of \d+ listed videos are not on disk"):
        paper.data.dataset("ucf101", "test")
    allowed = Experiment(replace(paper.cfg, max_missing=0.9))
    assert allowed.data.dataset("ucf101", "test").missing
    assert allowed.cfg.experiment_id == paper.cfg.experiment_id


def test_too_many_unreadable_videos_stop_the_run(paper):
    for path in sorted((paper.cfg.data_root / "ucf101" / "UCF-101").glob("*/*.avi"))[:40]:
        path.write_bytes(b"not a video")
    with pytest.raises(TooManyMissing, match=r"\d+ cannot be read, e\.g\. v_"):
        paper.encode(paper.vanilla, "ucf101", "all")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks for glibc's memory")
def test_a_freed_block_is_used_again_without_new_pages():
    code = (
        "import resource, torch\n"
        "from motion_lib.experiment.experiment import keep_freed_memory\n"
        "def new_pages():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(4): torch.ones(2**24).sum()\n"  # 64 MB
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "before = new_pages()\n"
        "keep_freed_memory()\n"
        "new_pages()\n"  # until there is room for all that lives
        "print(before, new_pages())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 3
