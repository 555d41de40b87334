"""The runner: what it runs, in which order, what it leaves behind, and what it never writes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from motion_lib.__main__ import main
from motion_lib.batch import reproduce
from motion_lib.batch.publishing import LineLog, ProgressLog, Scrubber
from motion_lib.config import PROFILES_DIR, REPOSITORY, RunConfig

SECRET = "sk-very'secret<value>"
PARAMETERS = "profile = 'miniature'\nseed = None\nlr = None"


def write_notebook(folder: Path, name: str, *code: str) -> Path:
    """A source notebook: a title, the parameters cell, then a heading and each piece of code."""
    cells = [
        new_markdown_cell(f"# Title of {name}"),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
    ]
    for index, source in enumerate(code):
        cells += [new_markdown_cell(f"## Part {index}"), new_code_cell(source)]
    folder.mkdir(exist_ok=True)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def printed(path: Path) -> str:
    """All that the cells of an executed copy printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty notebooks folder; results go beside it."""
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    return tmp_path / "notebooks"


@pytest.fixture
def eight(folder) -> Path:
    """Notebooks 00 to 07 that print nothing."""
    for number in range(8):
        write_notebook(folder, f"{number:02}_part")
    return folder


def labels(folder: Path, *, start=None, only=None, seeds=None, **overrides) -> list[str]:
    notebooks = reproduce.select(reproduce.find_notebooks(folder), start, only)
    steps = reproduce.plan(notebooks, "miniature", overrides, seeds)
    return [f"{step.source.name[:2]}/{step.config.seed}/{step.folder.name}" for step in steps]


def test_one_seed_runs_everything_once_in_order(eight):
    assert labels(eight) == [f"{number:02}/0/notebooks" for number in range(8)]


def test_several_seeds_share_the_first_stages_and_the_report(eight):
    expected = ["00/5/notebooks", "01/5/notebooks"]
    expected += [f"{number:02}/{seed}/seed{seed}" for seed in (5, 6) for number in range(2, 7)]
    assert labels(eight, seeds=[5, 6]) == [*expected, "07/5/notebooks"]


def test_selection(eight):
    assert [label[:2] for label in labels(eight, start="05")] == ["05", "06", "07"]
    assert [label[:2] for label in labels(eight, only=["4", "02_part"])] == ["02", "04"]
    for wrong in ("9", "x", "002"):
        with pytest.raises(ValueError, match=f"no notebook '{wrong}': expected one of 00, 01"):
            labels(eight, only=[wrong])


def test_parameters_are_the_whole_profile(eight):
    step = reproduce.plan(reproduce.find_notebooks(eight), "miniature", {"lr": 1}, [3])[0]
    assert list(step.parameters) == [*RunConfig.__dataclass_fields__]
    assert (step.parameters["seed"], step.parameters["lr"]) == (3, 1.0)
    assert step.parameters["targets"] == [
        "miniature-ucf",
        "miniature-hmdb",
    ]  # a list: papermill quotes tuples


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "epoch", "3"], "unknown parameter 'epoch' (did you mean epochs"),
        (["-p", "epochs", "many"], "parameter epochs = 'many': expected a whole number"),
        (["-p", "epochs", "3", "-p", "epochs", "4"], "once"),
        (["-p", "profile", "paper"], "--profile"),
        (["-p", "logit_scale", "null"], "would stay"),
        (["-p", "seed", "1", "--seeds", "2"], "each seed once"),
        (["--seeds", "2", "2"], "each seed once"),
        (["--profile", "papr"], "expected one of miniature, paper"),
        (["--from", "12"], "no notebook '12'"),
        (["--notebooks", "nowhere"], "no notebook named"),
    ],
)
def test_wrong_arguments_stop_before_anything_runs(eight, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(reproduce, "run", lambda steps: pytest.fail("ran"))
    assert main(["reproduce", "--notebooks", str(eight), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_executed_copy_is_refused(eight, capsys):
    path = eight / "03_part.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].outputs = [new_output("stream", text="hello")]
    nbformat.write(notebook, path)
    assert main(["reproduce", "--notebooks", str(eight)]) == 2
    assert "03_part.ipynb holds outputs" in capsys.readouterr().err
    assert main(["reproduce", "--notebooks", str(eight), "--only", "04", "--list"]) == 0


def test_list_shows_titles(eight, capsys):
    assert main(["reproduce", "--notebooks", str(eight), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    assert re.fullmatch(r"02_part +Title of 02_part", lines[2])


def test_scrubber_hides_every_form_of_a_secret():
    scrub = Scrubber(
        {"a_password": SECRET, "MY_TOKEN": "first line of it\nsecond line", "KEY": "short", "X": "visible!"}
    )
    forms = f"{SECRET!r} {json.dumps(SECRET)} sk-very&#x27;secret&lt;value&gt; second line"
    assert scrub.text(forms) == '"***" "***" *** ***'
    assert scrub.text("short visible!") == "short visible!"


def test_scrubber_shortens_whole_paths_only(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    scrub = Scrubber({"MOTION_DATA": "/disk/videos"}).text
    assert scrub(f'File "{REPOSITORY}/motion_lib/x.py"') == 'File "./motion_lib/x.py"'
    assert scrub("/home/somebody/a /home/somebody2 /disk/videos/b") == "~/a /home/somebody2 $MOTION_DATA/b"
    assert scrub("/tmp/ipykernel_12/345.py:1: UserWarning") == "<cell>:1: UserWarning"
    assert scrub(f"{sys.prefix}/lib") != f"{sys.prefix}/lib"


def test_scrubber_joins_pieces_and_leaves_pictures():
    key = "abcdefgh12345678"
    outputs = [new_output("stream", text=key[:5]), new_output("stream", text=key[5:])]
    outputs.append(new_output("display_data", {"image/png": key, "image/svg+xml": key, "text/plain": [key]}))
    notebook = new_notebook(cells=[new_code_cell("1", outputs=outputs, metadata={"execution": {"t": "now"}})])
    notebook.metadata["papermill"] = {"input_path": "/a/b", "duration": 1.5, "start_time": "now"}
    clean = Scrubber({"KEY": key}).notebook(notebook)
    stream, picture = clean.cells[0].outputs
    assert stream.text == "***"
    assert (picture.data["image/png"], picture.data["image/svg+xml"]) == (key, "***")
    assert clean.metadata.papermill == {"duration": 1.5}
    assert "execution" not in clean.cells[0].metadata
    assert notebook.cells[0].outputs[0].text == key[:5]  # the original is as it was


def test_line_log_passes_whole_lines_and_limits_floods(monkeypatch):
    lines, now = [], [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    log = LineLog(str.upper, lines.append, burst=2, window_sec=10)
    for piece in ("a", "b\n10 %\r20 %\nhidden\nhidden\n"):
        log.write(piece)
    now[0] = 11
    log.write("late\nunfinished")
    log.close()
    assert lines == ["AB", "20 %", "... 2 more lines, all of them in the executed copy", "LATE", "UNFINISHED"]


def test_progress_log_shows_the_newest_state_now_and_then(monkeypatch):
    lines, now = [], [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    log = ProgressLog(str.upper, lines.append, every_sec=10)
    log.write("\rstep 1")
    now[0] = 11
    log.write("\rstep 2\rstep 3\n")
    log.write("\rstep 4")
    assert lines == ["STEP 3"]


def test_copies_keep_only_the_last_state_of_a_progress_bar():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", name="stderr", text="\r 0 %\r50 %\r100 %\nkept\r\n")]
    assert Scrubber({}).notebook(notebook).cells[0].outputs[0].text == "100 %\nkept\r\n"


@pytest.mark.slow
def test_a_batch_end_to_end(folder, capsys, monkeypatch, tmp_path):
    """Other kernels and backends of the machine do not matter; copies and pages hold no secret, no path."""
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(json.dumps({"argv": ["/nowhere"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    write_notebook(
        folder,
        "01_first",
        "import os, sys\nprint(sys.executable, os.environ['SOME_API_KEY'], end='')\nprint(os.getcwd())",
        "import matplotlib.pyplot as plt\nplt.plot([1, 2]);",
    )
    write_notebook(folder, "02_each", "print('seed', seed, 'lr', lr)")
    source = (folder / "02_each.ipynb").read_bytes()
    assert main(["reproduce", "--notebooks", str(folder), "--seeds", "3", "4", "-p", "lr", "1e-4"]) == 0

    copies = tmp_path / "results" / "miniature" / "notebooks"
    found = sorted(str(path.relative_to(copies)) for path in copies.rglob("*") if path.is_file())
    each = [f"seed{seed}/02_each.{ending}" for seed in (3, 4) for ending in ("html", "ipynb")]
    assert found == ["01_first.html", "01_first.ipynb", *each]
    assert "seed 3 lr 0.0001" in printed(copies / "seed3" / "02_each.ipynb")
    assert "seed 4 lr 0.0001" in printed(copies / "seed4" / "02_each.ipynb")
    assert (folder / "02_each.ipynb").read_bytes() == source

    short = Scrubber({}).text(sys.executable)
    assert printed(copies / "01_first.ipynb").startswith(f"{short} ***")
    assert "data:image/png;base64" in (copies / "01_first.html").read_text()
    log = capsys.readouterr().out
    for text in [log, *(path.read_text() for path in copies.rglob("*.*"))]:
        assert SECRET not in text
        assert json.dumps(SECRET)[1:-1] not in text
        assert str(REPOSITORY) + "/" not in text
        assert "output_path" not in text
    assert re.search(r"\[reproduce\] 02_each, seed 4: done in", log)
    assert re.search(r"^total +\d+\.\d$", log, re.MULTILINE)


@pytest.mark.slow
def test_a_failure_stops_the_batch_and_keeps_what_ran(folder, capsys, tmp_path):
    write_notebook(folder, "02_fails", "print('before')", "# why\nimport os\nraise OSError(os.environ['SOME_API_KEY'])")
    write_notebook(folder, "03_later")
    assert main(["reproduce", "--notebooks", str(folder)]) == 1
    copies = tmp_path / "results" / "miniature" / "notebooks"
    assert [path.name for path in copies.iterdir()] == ["02_fails.failed.ipynb"]
    text = (copies / "02_fails.failed.ipynb").read_text()
    assert "before" in text
    assert "secret" not in text
    log = capsys.readouterr().out
    assert "FAILED: 02_fails, seed 0" in log
    assert "cell:    Part 1 > # why" in log
    assert "message: OSError: ***" in log
    assert "0 of 2 runs finished" in log


@pytest.mark.slow
def test_a_dead_kernel_is_a_failure_and_a_later_success_clears_it(folder, capsys, tmp_path):
    failed = tmp_path / "results" / "miniature" / "notebooks" / "02_dies.failed.ipynb"
    write_notebook(folder, "02_dies", "import os\nos._exit(3)", "1")
    assert main(["reproduce", "--notebooks", str(folder)]) == 1
    assert "cell:    Part 0 > import os" in capsys.readouterr().out
    assert failed.is_file()
    write_notebook(folder, "02_dies", "1")
    assert main(["reproduce", "--notebooks", str(folder)]) == 0
    assert not failed.exists()


@pytest.mark.slow
def test_interrupt_keeps_finished_notebooks_and_ends_the_kernel(folder, tmp_path):
    write_notebook(folder, "02_done", "1")
    write_notebook(folder, "03_waits", "import os, time\nprint('pid', os.getpid(), flush=True)\ntime.sleep(120)")
    command = [sys.executable, "-m", "motion_lib.reproduce", "--notebooks", str(folder)]
    # Tests that are run in the background ignore SIGINT, and so would what they start.
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **heed) as process:
        pid = next(int(match[1]) for line in process.stdout if (match := re.search(r"\| pid (\d+)", line)))
        process.send_signal(signal.SIGINT)
        log, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in log
    assert "1 of 2 runs finished" in log
    copies = tmp_path / "results" / "miniature" / "notebooks"
    assert sorted(path.name for path in copies.iterdir()) == ["02_done.html", "02_done.ipynb"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.slow
def test_plain_papermill_from_any_directory(folder, tmp_path):
    source = write_notebook(
        folder,
        "02_plain",
        "from motion_lib.config import RunConfig\ncfg = RunConfig.from_namespace(globals())",
        "print(cfg.seed, cfg.lr)",
    )
    profile = PROFILES_DIR / "miniature.yaml"
    command = [sys.executable, "-m", "papermill", source, "out.ipynb", "-f", profile, "-p", "seed", "7"]
    done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert printed(tmp_path / "out.ipynb").startswith("7 0.")
