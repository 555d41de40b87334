"""The runner: what it runs, in which order, what it leaves behind, and what it never writes."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from motion_lib.__main__ import main
from motion_lib.batch import reproduce
from motion_lib.batch.execution import make_way
from motion_lib.batch.page import write_page
from motion_lib.batch.publishing import LineLog, ProgressLog, Scrubber, shrink_pictures
from motion_lib.config import PROFILES_DIR, REPOSITORY, RunConfig
from tests.batch.test_notebooks import fetched

SECRET = "sk-very'secret<value>"
PARAMETERS = "profile = 'miniature'\nseed = 0\nlr = 0.001"


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


@pytest.mark.parametrize(
    ("set_before", "load", "said", "policy"),
    [({}, 50.0, 50.0, "PASSIVE"), ({}, 3.0, None, None), ({"OMP_WAIT_POLICY": "ACTIVE"}, 90.0, None, "ACTIVE")],
)
def test_beside_other_jobs_threads_sleep_while_they_wait(monkeypatch, set_before, load, said, policy):
    monkeypatch.setattr(os, "environ", dict(set_before))
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: load)
    assert make_way() == said
    assert os.environ.get("OMP_WAIT_POLICY") == policy


@pytest.fixture
def eight(folder) -> Path:
    """Notebooks 00 to 07 that print nothing."""
    for number in range(8):
        write_notebook(folder, f"{number:02}_part")
    return folder


def labels(folder: Path, *, start=None, only=None, seeds=None, **overrides) -> list[str]:
    notebooks = reproduce.select(reproduce.find_notebooks(folder), start, only)
    steps = reproduce.plan(notebooks, "miniature", overrides, seeds)
    return [f"{step.source.name[:2]}/{step.config.seed}{'' if step.published else ' unpublished'}" for step in steps]


def test_one_seed_runs_everything_once_in_order(eight):
    assert labels(eight) == [f"{number:02}/0" for number in range(8)]


def test_several_seeds_share_the_first_stages_and_the_report(eight):
    expected = ["00/6", "01/6"]
    expected += [f"{number:02}/{seed} unpublished" for seed in (5, 6) for number in range(2, 7)]
    assert labels(eight, seeds=[5, 6]) == [*expected, "07/6"]


def test_copies_of_the_profiles_seed_alone_are_published_and_come_last(eight):
    assert labels(eight, only=["00", "03"], seeds=[0, 2]) == ["00/0", "03/2 unpublished", "03/0"]
    steps = reproduce.plan(reproduce.find_notebooks(eight)[3:4], "miniature", {}, [0, 2])
    assert [step.output(".failed.ipynb").name for step in steps] == [
        "03_part-seed2.failed.ipynb",
        "03_part.failed.ipynb",
    ]


def test_selection(eight):
    assert [label[:2] for label in labels(eight, start="05")] == ["05", "06", "07"]
    assert [label[:2] for label in labels(eight, only=["4", "02_part"])] == ["02", "04"]
    for wrong in ("9", "x", "002"):
        with pytest.raises(ValueError, match=f"no notebook '{wrong}': expected one of 00, 01"):
            labels(eight, only=[wrong])


def test_only_parameters_that_the_notebook_names_or_the_user_overrides_are_injected(eight):
    notebooks, targets = reproduce.find_notebooks(eight), ["miniature-ucf"]
    own = RunConfig.load("miniature").epochs
    (step, *_) = reproduce.plan(notebooks, "miniature", {"targets": targets, "epochs": own}, [3])
    # lr stands in the notebook's own cell, epochs is the profile's own; targets is a list, as papermill quotes tuples.
    assert step.parameters == {"profile": "miniature", "seed": 3, "targets": targets, "lr": 0.001}


@pytest.mark.parametrize("overrides", [{}, {"lr": 1e-4, "targets": ["miniature-ucf"], "clip_ratio": 0.1}])
@pytest.mark.parametrize("profile", ["miniature", "paper"])
def test_what_is_injected_gives_the_notebooks_the_whole_configuration(profile, overrides):
    for step in reproduce.plan(reproduce.find_notebooks(reproduce.NOTEBOOKS_DIR), profile, overrides, [1, 2]):
        namespace: dict[str, object] = {}
        exec(nbformat.read(step.source, as_version=4).cells[1].source, namespace)
        assert RunConfig.from_namespace(namespace | step.parameters) == step.config
        assert set(step.parameters) <= {"profile", "seed", *namespace, *overrides}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "epoch", "3"], "unknown parameter 'epoch' (did you mean epochs"),
        (["-p", "epochs", "many"], "parameter epochs = 'many': expected a whole number"),
        (["-p", "epochs", "3", "-p", "epochs", "4"], "once"),
        (["-p", "profile", "paper"], "--profile"),
        (["-p", "lr", "null"], "parameter lr = None: expected a number."),
        (["-p", "lr", "None"], "parameter lr = None: expected a number."),
        (["-p", "seed", ""], "parameter seed = '': expected a whole number."),
        (["-p", "device", "gpu"], "parameter device = 'gpu': expected 'auto', 'cpu', 'cuda' or"),
        (["-p", "targets", "[]"], "parameter targets = []: expected one data set or more"),
        (["--seeds", "-1"], "parameter seed = -1: expected 0 to 4294967295."),
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


def test_a_section_to_fold_needs_a_heading(folder):
    path = write_notebook(folder, "02_folds", "1")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].metadata["tags"] = ["fold"]
    nbformat.write(notebook, path)
    reproduce.check_sources([path])
    notebook.cells[2].source = "no heading"
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match=r"02_folds\.ipynb: 'no heading' is tagged fold"):
        reproduce.check_sources([path])


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


@pytest.mark.parametrize("value", ["miniature", "not-needed", "Placeholder", "EMPTY EMPTY", "motion_temporal", "none"])
def test_scrubber_leaves_ordinary_words_that_stand_for_a_secret(value):
    scrub = Scrubber({"OPENAI_API_KEY": value, "KEYBOARD_LAYOUT": value})
    text = f"{value}: 3 of 4 {value}s; tokens, keys, data, model"
    assert scrub.text(text) == text


@pytest.mark.parametrize(
    "value", ["hunter2hunter2", "correct-horse-battery-staple", "a1b2-c3d4", "abcdefghijklmnopqrst"]
)
def test_scrubber_hides_what_is_no_ordinary_word(value):
    assert Scrubber({"SOME_TOKEN": value}).text(f"it is {value}.") == "it is ***."


@pytest.mark.parametrize(
    ("home", "user"), [("/", "root"), ("/root", "root"), ("/home/data", "data"), ("/model", "model")]
)
def test_scrubber_leaves_words_that_are_a_users_name_or_a_folders(monkeypatch, home, user):
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("USER", user)
    text = "the root of data/model and model/data, and/root, <video></video>, 3 / 4, https://a.org/root/data /models"
    assert Scrubber({"MOTION_DATA": "/video", "USER": user, "HOME": home}).text(text) == text


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


def encoded(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def test_pictures_shrink_and_look_the_same():
    plot = Image.new("RGBA", (300, 200), "white")
    plot.paste((30, 90, 160, 255), (50, 50, 90, 90))
    noise = Image.effect_noise((300, 200), 80).convert("RGBA")
    outputs = [new_output("display_data", {"image/png": encoded(picture)}) for picture in (plot, noise)]
    shrink_pictures(notebook := new_notebook(cells=[new_code_cell("1", outputs=[*outputs, new_output("stream")])]))
    assert [[*output.data] for output in notebook.cells[0].outputs[:2]] == [["image/png"], ["image/jpeg"]]
    small = Image.open(io.BytesIO(base64.b64decode(notebook.cells[0].outputs[0].data["image/png"])))
    assert (small.mode, small.convert("RGBA").tobytes()) == ("P", plot.tobytes())
    assert len(notebook.cells[0].outputs[1].data["image/jpeg"]) < len(encoded(noise)) / 2


# --- the page -------------------------------------------------------------------------------------

TABLE = """<style scoped>.dataframe {}</style><table border="1" class="dataframe">
<thead><tr><th></th><th>Method</th><th>Top-1</th><th>Gap</th><th>Head</th></tr></thead><tbody>
<tr><th>0</th><td>CLIP</td><td>9.6 [5.7, 14.1]</td><td>-0.5</td><td>8 places learned</td></tr>
<tr><th>1</th><td>ours</td><td>17.2 ± 3.6 (n=3)</td><td>+5.2</td><td>a head of more than thirty characters</td></tr>
<tr><th>2</th><td>X-CLIP</td><td>not run</td><td></td><td></td></tr></tbody></table>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> BeautifulSoup:
    """A page of sections, two of them folded, with a print, a picture and a table."""
    outputs = [
        new_output("stream", text="printed <once>"),
        new_output("stream", name="stderr", text="encoding: 100%|████| 24/24 [00:04<00:00, 5.47batch/s]\n"),
        new_output("stream", name="stderr", text="videos: 100%|████| 2/2\nclip.mp4: not readable\n"),
        new_output("display_data", {"image/png": encoded(Image.new("RGB", (4, 4)))}),
        new_output("execute_result", {"text/html": TABLE, "text/plain": "table"}),
    ]
    cells = [new_markdown_cell("# 02 A & B"), new_code_cell("secret = 1", outputs=outputs)]
    for source, fold in (
        ("## First\n\n| Item | Gap |\n|---|---:|\n| Table 2 | +7.9 |", False),
        ("## Details\ntext", True),
        ("### Inner", False),
        ("### Inner\nmore", True),
        ("## Last", False),
    ):
        cells += [new_markdown_cell(source, metadata={"tags": ["fold"]} if fold else {}), new_code_cell("x")]
    folder = tmp_path_factory.mktemp("page")
    text = write_page(new_notebook(cells=cells), folder / "02.html", folder).read_text(encoding="utf-8")
    assert fetched(text) == []
    assert text.count("data:image/png;base64") == 1
    assert len(text) < 20_000
    return BeautifulSoup(text, "html.parser")


def test_a_page_hides_code_behind_one_button_and_shows_the_rest(page):
    assert [button.text for button in page("button")] == ["show code"]
    style, script = page.find("style").text, page.find("script").text
    assert ".input { display: none;" in style
    assert ".code .input { display: block; }" in style
    assert 'classList.toggle("code")' in script
    assert "Storage" not in script
    assert page.title.text == "02 A & B"
    assert not page.find(string=re.compile("printed <once>")).find_parent(class_="input")
    assert page.find(string="secret").find_parent(class_="input")


def test_a_page_leaves_out_finished_bars_and_no_warning(page):
    assert page.find(string=re.compile("encoding: 100%")) is None
    assert page.find(string=re.compile("not readable"))


def test_a_page_lists_its_headings(page):
    links = [(link.parent["class"], link.text, link["href"]) for link in page.select("nav a")]
    assert links == [
        (["h2"], "First", "#first"),
        (["h2"], "Details", "#details"),
        (["h3"], "Inner", "#inner"),
        (["h3"], "Inner", "#inner-2"),
        (["h2"], "Last", "#last"),
    ]
    assert [page.select_one(href).text for *_, href in links] == [text for _, text, _ in links]


def test_sections_fold_until_the_next_heading_of_their_level(page):
    outer, inner = page("details")
    assert outer.summary.h2.text == "Details"
    assert inner.summary.h3["id"] == "inner-2"
    assert outer in inner.parents
    assert [heading["id"] for heading in outer(["h2", "h3"])] == ["details", "inner", "inner-2"]
    assert len(outer.select(".code_cell")) == 3
    assert "open" not in outer.attrs
    assert page.find(id="last").find_parent("details") is None


def test_a_table_without_row_numbers_keeps_all_its_heads(page):
    table = page.find("td", string="Table 2").find_parent("table")
    assert [(head.text, head.get("class")) for head in table.thead("th")] == [("Item", None), ("Gap", ["number"])]


def test_tables_align_numbers_right_and_lose_row_numbers(page):
    table = page.find("td", string="CLIP").find_parent("table")
    assert [(head.text, head.get("class")) for head in table.thead("th")] == [
        ("Method", None),
        ("Top-1", ["number"]),
        ("Gap", ["number"]),
        ("Head", None),
    ]
    assert all([*cell["class"]] == ["number", "short"] for row in table.tbody("tr") for cell in row("td")[1:3])
    assert [row("td")[3].get("class") for row in table.tbody("tr")] == [["short"], None, ["short"]]
    assert not table.tbody("th")
    assert not page.find_all("style", scoped=True)
    assert "overflow-x: auto" in page.find("style").text.partition(".output_area")[2].partition("}")[0]


# --- whole batches --------------------------------------------------------------------------------


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
    assert main(["reproduce", "--notebooks", str(folder), "--seeds", "0", "4", "-p", "lr", "1e-4"]) == 0

    copies = tmp_path / "results" / "miniature" / "notebooks"
    found = sorted(str(path.relative_to(copies)) for path in copies.rglob("*") if path.is_file())
    assert found == [f"{name}.{ending}" for name in ("01_first", "02_each") for ending in ("html", "ipynb")]
    copy = nbformat.read(copies / "02_each.ipynb", as_version=4)
    assert printed(copies / "02_each.ipynb") == "seed 0 lr 0.0001\n"
    assert copy.metadata.papermill.parameters == {"profile": "miniature", "seed": 0, "lr": 0.0001}
    assert len(copy.cells[2].source.splitlines()) == 4  # a comment, then these three
    assert (folder / "02_each.ipynb").read_bytes() == source

    short = Scrubber({}).text(sys.executable)
    assert printed(copies / "01_first.ipynb").startswith(f"{short} ***")
    assert "data:image/png;base64" in (copies / "01_first.html").read_text()
    log = capsys.readouterr().out
    assert "    | seed 4 lr 0.0001" in log
    assert "seed(s) 4, not the profile's own: records are kept, copies are not" in log
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
