"""What a second run leaves out, and what makes it run again."""

from pathlib import Path

import pytest

from motion_lib.__main__ import main
from motion_lib.batch import finished, reproduce
from tests.batch.test_reproduce import write_notebook


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """Runs of notebooks that write nothing: numbers of those that ran; `wrong` makes one fail."""
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    folder, ran, wrong = tmp_path / "notebooks", [], []
    for number in (0, 2, 3, 7):
        write_notebook(folder, f"{number:02}_part", "print(seed)")

    def run_step(step, scrubber):
        ran.append(f"{step.stage}/{step.config.seed}")
        if step.stage in wrong:
            raise KeyboardInterrupt
        kept = step.config.results_dir / "records" / step.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text("a record")

    monkeypatch.setattr(reproduce, "run_step", run_step)
    monkeypatch.setattr(reproduce, "make_way", lambda: None)

    def run(*arguments: str) -> list[str]:
        ran.clear()
        main(["reproduce", "--notebooks", str(folder), *arguments])
        return list(ran)

    run.folder, run.wrong, run.results = folder, wrong, tmp_path / "results" / "miniature"
    return run


ALL = ["0/0", "2/0", "3/0", "7/0"]


def test_nothing_runs_twice_unless_it_is_asked_for(batch, capsys):
    assert batch() == ALL
    assert batch() == []
    assert "03_part, seed 0: nothing has changed since it ran" in capsys.readouterr().out
    assert batch("--again") == ALL
    assert batch("--only", "03") == ["3/0"]
    assert batch() == ["7/0"]  # the report reads what 03 has just written
    assert batch("--from", "03") == ["3/0", "7/0"]


@pytest.mark.parametrize("number", [0, 2, 7])
def test_a_changed_notebook_runs_and_all_after_it(batch, number):
    batch()
    write_notebook(batch.folder, f"{number:02}_part", "print(seed, 'anew')")
    assert batch() == [name for name in ALL if int(name[0]) >= number]
    assert batch() == []


def test_changed_code_packages_or_files_run_all(batch, monkeypatch, tmp_path):
    batch()
    for name in ("_package_files", "_packages", "_surroundings"):
        with monkeypatch.context() as patched:
            patched.setattr(finished, name, lambda: ["other"])
            assert batch() == ALL
        assert batch() == ALL
    for path in (batch.results / "ratings" / "a.jsonl", tmp_path / "data" / "ucf101" / "v.avi"):
        path.parent.mkdir(parents=True, exist_ok=True)
        for text in ("new", "changed"):
            path.write_text(text)
            assert batch() == ALL
        path.unlink()
        assert batch() == ALL
    (batch.results / "other" / "x").mkdir(parents=True)
    (batch.results / "other" / "x" / "record.json").write_text("of other parameters")
    assert batch() == []


def test_an_interrupted_batch_goes_on_where_it_was(batch):
    batch.wrong.append(3)
    assert batch() == ["0/0", "2/0", "3/0"]
    batch.wrong.clear()
    assert batch() == ["3/0", "7/0"]


def test_a_killed_batch_and_a_spoilt_memory_run_all(batch):
    batch()
    (batch.results / "records" / "half").write_text("of a killed run")
    assert batch() == ALL
    (batch.results / "cache" / "stages.json").write_text("{")
    assert batch() == ALL


def test_another_seed_leaves_the_first_ones_records_alone(batch):
    seeds = ("--seeds", "0", "1")
    assert batch(*seeds) == ["0/0", "2/1", "3/1", "2/0", "3/0", "7/0"]
    assert batch(*seeds) == []
    assert batch("--seeds", "0", "1", "2") == ["2/2", "3/2", "2/0", "3/0", "7/0"]  # copies show the records of all
    assert batch(*seeds) == []


def test_a_file_that_vanishes_meanwhile_is_none(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).write_text("there")
    whole = Path.lstat

    def lstat(path):
        if path.name == "a":
            path.unlink()
        return whole(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert [Path(name).name for name, *_ in finished._stamps(tmp_path, tmp_path / "none")] == ["b"]


def test_the_code_of_the_package_counts_file_by_file():
    paths = {Path(path) for path, _ in finished._package_files()}
    assert {
        Path("config.py"),
        Path("profiles/paper.yaml"),
        Path("miniature/tiny_clip.pt"),
        Path("batch/page.css"),
    } <= paths
    assert not any("__pycache__" in path.parts for path in paths)
