"""Notebooks: their anatomy, all of them run in order at a smoke size, and how they stop."""

import ast
import contextlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pandas as pd
import pytest
import yaml
from IPython.display import display
from matplotlib import pyplot as plt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from stub_server import serving

from motion_lib.__main__ import main
from motion_lib.batch import reproduce
from motion_lib.config import PROFILES_DIR, REPOSITORY, RunConfig
from motion_lib.experiment.inputs import MissingInputs
from motion_lib.models import clip
from motion_lib.report import plots
from tests.conftest import SMOKE

NOTEBOOKS = reproduce.find_notebooks(REPOSITORY / "notebooks")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# --- anatomy (guide, section 4) -------------------------------------------------------------------


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_of(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def anatomy_faults(notebook: nbformat.NotebookNode) -> list[str]:
    """Where a notebook leaves the order and the limits that all of them share."""
    code = code_of(notebook)
    faults = _head_faults(notebook.cells[0], code)
    for source in code:
        faults += [f"{fault}: {source.splitlines()[0]}" for fault in _cell_faults(source)]
    if not code or not re.fullmatch(r"print\(.+\)", code[-1]):
        faults.append("the last cell does not print one line")
    return faults


def _head_faults(first: nbformat.NotebookNode, code: list[str]) -> list[str]:
    wanted = [r"\A# \d\d .+", r"^\*\*Claim\.\*\* .+", r"^\*\*Differs from the paper\.\*\* .+"]
    wanted += [rf"^\| {row} \| .+ \|$" for row in ("Paper", "Cost", "Reads", "Writes")]
    faults = [f"no {line}" for line in wanted if not re.search(line, first.source, re.MULTILINE)]
    if len(code) < 2 or "cfg = begin(globals())" not in code[1]:
        faults.append("the parameters are not read at once")
    return faults


def _cell_faults(source: str) -> list[str]:
    faults = ["long"] if len(source.splitlines()) > 20 else []
    if re.search(r"^\s*[!%]", source, re.MULTILINE):
        return [*faults, "shell or magic"]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.end_lineno - node.lineno >= 12:
            faults.append("long definition")
        if isinstance(node, ast.Try):
            faults.append("try")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"[/~]|[A-Z]:\\", node.value):
            faults.append("absolute path")
    return faults


@each_notebook
def test_a_notebook_obeys_the_guide(path):
    notebook = read(path)
    assert anatomy_faults(notebook) == []
    assert notebook.cells[0].source.startswith(f"# {path.name[:2]} ")


@each_notebook
def test_a_notebook_says_what_remains_open(path):
    words = " ".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    assert re.search(r"What remains unexplained|Reading it|What was not run, and why", words)


GOOD_HEAD = """# 02 Title

**Claim.** One sentence.

| | |
|---|---|
| Paper | Table 2 |
| Cost | seconds |
| Reads | nothing |
| Writes | nothing |

**Differs from the paper.** In nothing."""
LONG = "def long():\n" + "    x = 1\n" * 11 + "    return x"
GOOD = ["seed = 0", "cfg = begin(globals())", LONG.replace("    x = 1\n", "", 1), "print('record')"]


def notebook_of(head: str, *code: str) -> nbformat.NotebookNode:
    return new_notebook(cells=[new_markdown_cell(head), *map(new_code_cell, code)])


def test_the_anatomy_check_passes_a_good_notebook():
    assert anatomy_faults(notebook_of(GOOD_HEAD, *GOOD)) == []


@pytest.mark.parametrize(
    ("head", "code", "fault"),
    [
        (GOOD_HEAD.replace("| Cost | seconds |\n", ""), GOOD, "no ^\\| Cost \\| .+ \\|$"),
        (GOOD_HEAD.replace("Differs", "Deviates"), GOOD, "no ^\\*\\*Differs from the paper\\.\\*\\* .+"),
        (GOOD_HEAD.replace("# 02", "#"), GOOD, "no \\A# \\d\\d .+"),
        (GOOD_HEAD, [GOOD[0], "x = 1", *GOOD[1:]], "the parameters are not read at once"),
        (GOOD_HEAD, [*GOOD[:2], LONG, GOOD[-1]], "long definition: def long():"),
        (GOOD_HEAD, [*GOOD[:2], "try:\n    x\nexcept NameError:\n    pass", GOOD[-1]], "try: try:"),
        (GOOD_HEAD, [*GOOD[:2], "!pip install x", GOOD[-1]], "shell or magic: !pip install x"),
        (GOOD_HEAD, [*GOOD[:2], "open('/data/x')", GOOD[-1]], "absolute path: open('/data/x')"),
        (GOOD_HEAD, [*GOOD[:2], "x\n" * 21, GOOD[-1]], "long: x"),
        (GOOD_HEAD, [*GOOD, "cfg"], "the last cell does not print one line"),
        (GOOD_HEAD, [*GOOD, "print(1)\nprint(2)"], "the last cell does not print one line"),
    ],
)
def test_the_anatomy_check_finds_faults(head, code, fault):
    assert anatomy_faults(notebook_of(head, *code)) == [fault]


def parameter_faults(source: str) -> list[str]:
    """Values of a parameters cell, set or offered in a comment, that a profile would not have chosen itself."""
    ours, paper = RunConfig.load("miniature"), RunConfig.load("paper")
    literals = {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(source).body}
    literals.pop("profile", None)
    said = [(name, value, cfg) for name, value in literals.items() for cfg in (ours, paper)]
    said += [(name, yaml.safe_load(v), ours) for name, v in re.findall(r"^# (\w+) = (.+?)  #", source, re.MULTILINE)]
    of_paper = re.findall(r"^# (\w+) = .+paper: ([^\s,;]+)", source, re.MULTILINE)
    said += [(name, yaml.safe_load(value), paper) for name, value in of_paper]
    return [f"{name} {value!r}, profile {cfg.profile}" for name, value, cfg in said if getattr(cfg, name) != value]


@pytest.mark.parametrize("path", [*NOTEBOOKS, REPOSITORY / "notebooks" / "your_own_model.ipynb"], ids=lambda p: p.stem)
def test_parameters_have_the_profiles_values(path):
    assert parameter_faults(code_of(read(path))[0]) == []


def test_the_parameter_check_finds_faults():
    assert parameter_faults("seed = 0  # any\n# epochs = 3  # paper: 10") == []
    wrong = "seed = 1\n# epochs = 5  # of training, paper: 9; more"
    assert parameter_faults(wrong) == [
        *(f"seed 1, profile {name}" for name in ("miniature", "paper")),
        "epochs 5, profile miniature",
        "epochs 9, profile paper",
    ]


# --- the whole road, once -------------------------------------------------------------------------


def as_arguments(parameters: dict[str, object]) -> list[str]:
    return [text for name, value in parameters.items() for text in ("-p", name, str(value))]


@pytest.fixture(scope="module")
def executed(smoke_world, smoke_dir) -> SimpleNamespace:
    """All notebooks through motion_lib.reproduce at the smoke size: exit code, logs of two runs and folders."""
    log, second, command = io.StringIO(), io.StringIO(), ["reproduce", "--seeds", "0", *as_arguments(SMOKE)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MOTION_DATA", str(smoke_world))
        patched.setenv("MOTION_RESULTS", str(smoke_dir / "results"))
        with contextlib.redirect_stdout(log):
            code = main(command)
        if not code:
            with contextlib.redirect_stdout(second):
                main(command)
    miniature, figures = smoke_dir / "results" / "miniature", smoke_dir / "results" / "figures" / "miniature"
    return SimpleNamespace(
        code=code, log=log.getvalue(), second=second.getvalue(), miniature=miniature, figures=figures
    )


@pytest.mark.slow
def test_all_notebooks_run_in_order(executed):
    assert executed.code == 0, executed.log
    finished = re.findall(r"^\[reproduce\] (\w+), seed 0: done", executed.log, re.MULTILINE)
    assert finished == [path.stem for path in NOTEBOOKS]
    assert re.search(r"^total +\d+\.\d$", executed.log, re.MULTILINE)


@pytest.mark.slow
def test_a_second_run_leaves_all_notebooks_out(executed):
    unchanged = re.findall(r"^\[reproduce\] (\w+), seed 0: nothing has changed", executed.second, re.MULTILINE)
    assert unchanged == [path.stem for path in NOTEBOOKS], executed.second


@pytest.mark.slow
@each_notebook
def test_copy_and_page_are_there_and_fit_to_publish(executed, smoke_world, smoke_dir, path):
    for suffix in (".ipynb", ".html"):
        text = (executed.miniature / "notebooks" / f"{path.stem}{suffix}").read_text()
        assert len(text) < 3 * 2**20
        assert suffix == ".ipynb" or fetched(text) == []
        assert not [
            place for place in (smoke_world, smoke_dir, REPOSITORY, Path.home(), sys.prefix) if f"{place}/" in text
        ]
    copy = json.loads((executed.miniature / "notebooks" / f"{path.stem}.ipynb").read_text())
    assert len(json.dumps(copy)) < 2 * 2**20
    assert {cell["execution_count"] is None for cell in copy["cells"] if cell["cell_type"] == "code"} == {False}


def fetched(page: str) -> list[str]:
    """What a page would ask the network for."""
    return re.findall(
        r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"'](?!data:)[^\"']*[\"']|cdnjs|unpkg|jsdelivr", page
    )


def test_the_network_check_finds_faults():
    assert fetched('<script src="https://cdnjs.cloudflare.com/x.js"></script>') != []
    assert fetched('<link rel="stylesheet" href="style.css">') != []
    assert fetched('<img src="data:image/png;base64,AAAA"><a href="https://example.org">paper</a>') == []


def shown(copy: nbformat.NotebookNode, kind: str) -> int:
    outputs = [output for cell in copy.cells for output in cell.get("outputs", [])]
    return sum(kind in output.get("data", {}) for output in outputs)


@pytest.mark.slow
@each_notebook
def test_every_figure_and_table_is_shown(executed, path):
    copy, source = read(executed.miniature / "notebooks" / f"{path.stem}.ipynb"), read(path)
    drawn = {text: len(re.findall(r"(?:save_figure|contact_sheet)\(", text)) for text in code_of(source)}
    figures = sum(count * (1 + ("in cfg.targets:" in text)) for text, count in drawn.items())
    names = re.findall(r'names \+?= "(.+)"', "\n".join(code_of(source)))
    assert shown(copy, "image/png") + shown(copy, "image/jpeg") == figures + sum(len(text.split()) for text in names)
    last = [text.splitlines()[-1] for text in code_of(source)]
    kinds = r"tables\[|read_table|pd\.DataFrame|\w+_table\(|first_results|(curve|counts|verdicts)\.|(\w+)$"
    tables = [line for line in last if re.match(kinds, line)]
    assert shown(copy, "text/html") >= len(tables)


@pytest.mark.slow
def test_what_the_headers_promise_is_written(executed):
    tables = {path.stem for path in (executed.miniature / "tables").glob("*.csv")}
    figures = {path.stem for path in executed.figures.glob("*.png")}
    for path in NOTEBOOKS:
        written = re.search(r"^\| Writes \| (.+) \|$", read(path).cells[0].source, re.MULTILINE)[1]
        for group in re.findall(r"tables/\{([\w,]+)\}", written):
            assert set(group.split(",")) <= tables, path.stem
        for name in re.findall(r"(fig\d+_\w+|training|world)(?=[,.}])", written):
            assert name in figures, path.stem
    assert {f"table{number}" for number in range(1, 8)} <= tables


@pytest.mark.slow
def test_no_file_of_the_results_names_a_local_folder(executed, smoke_world, smoke_dir):
    written = [p for p in (*executed.miniature.rglob("*"), *executed.figures.rglob("*")) if p.is_file()]
    texts = [p for p in written if p.suffix in (".json", ".csv", ".md", ".svg", ".html", ".ipynb")]
    assert len(texts) > 50
    places = (str(smoke_world), str(smoke_dir), f"{Path.home()}/")
    found = [p.name for p in texts if any(place in p.read_text() for place in places)]
    assert found == []


# --- how they stop --------------------------------------------------------------------------------


def cells_until_it_stops(path: Path, show: Callable[[object], None] = display, **parameters: object) -> None:
    """Run a notebook's cells in this process, with parameters put in as papermill does."""
    namespace: dict[str, object] = {"__name__": "__main__", "display": show}
    for number, source in enumerate(code_of(read(path))):
        exec(compile(source, f"{path.stem}, cell {number}", "exec"), namespace)
        if number == 0:
            namespace.update(parameters)
    plt.close("all")  # as a notebook's own backend does


@each_notebook
def test_the_papers_profile_says_in_one_list_what_it_lacks(tmp_path, monkeypatch, path):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(clip, "CLIP_CACHE", tmp_path)
    with pytest.raises(MissingInputs) as caught, pd.option_context("display.max_colwidth", None):
        cells_until_it_stops(path, profile="paper")
    items = re.findall(r"^  - (.+)$", str(caught.value), re.MULTILINE)
    assert len(items) >= 12
    for word in ("kinetics400: official lists", "ucf101: videos", "HMDB51_without_objectname.csv", "CLIP ViT-B/16"):
        assert any(word in item for item in items)


@each_notebook
def test_a_mistyped_parameter_is_refused_by_every_notebook(path):
    with pytest.raises(ValueError, match=r"unknown parameter 'epoch' \(did you mean epochs"):
        cells_until_it_stops(path, epoch=3)


@pytest.mark.slow
def test_reproduce_shows_the_list_and_stops(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    assert main(["reproduce", "--profile", "paper", "--only", "02", "03"]) == 1
    log = capsys.readouterr().out
    assert "message: MissingInputs: profile 'paper' lacks" in log
    assert "  - ucf101: videos, expected in $MOTION_DATA/ucf101/UCF-101" in log
    assert "0 of 2 runs finished" in log


@pytest.mark.slow
def test_every_notebook_runs_with_the_papers_profile_on_the_official_layouts(smoke, paper_data, tmp_path, monkeypatch):
    """mp4 and AVI in the layouts of the three data sets, and a small CLIP where ViT-B/16 belongs."""

    def save_small(figure, cfg, name, numbers=None):  # the smoke run above writes every format
        cfg.figures_dir.mkdir(parents=True, exist_ok=True)
        figure.savefig(cfg.figures_dir / f"{name}.png", dpi=20)
        return cfg.figures_dir / f"{name}.png"

    monkeypatch.setattr(plots, "save_figure", save_small)
    for path in (*paper_data.glob("*/*/*/*_c02.avi"), *paper_data.glob("hmdb51/videos/*/*_1.avi")):
        path.unlink()  # half of the targets: missing videos are normal, and must be counted
    values = {
        "backbone": smoke.data.backbone,
        "baselines": "retrained",
        "max_missing": 0.6,
        "epochs": 1,
        "warmup_epochs": 0.5,
        "num_frames": 2,
        "num_workers": 0,
        "compiled": False,
        "lr": 0.001,
        "bootstrap_resamples": 200,
    }
    for path in NOTEBOOKS:
        cells_until_it_stops(path, profile="paper", **values)
    results = next((tmp_path / "results").rglob("records")).parent
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (results / "records").glob("*.json")]
    assert {record["dataset"] for record in records} == {"kinetics400", "ucf101", "hmdb51"}
    assert {record["method"] for record in records} >= {"clip", "xclip", "text4vis", "vificlip", "names", "motion"}
    assert all(record["n_decoded"] + len(record["missing"]) == record["n_expected"] for record in records)
    assert all(record["n_decoded"] > 0 and not record["failed"] for record in records)
    assert all(record["missing"] for record in records if record["dataset"] == "ucf101")
    for number in range(2, 8):
        assert (results / "tables" / f"table{number}.md").is_file()


@pytest.mark.slow
def test_01_generates_and_opens_a_page_when_asked(smoke, tmp_path, monkeypatch):
    """With a key, a server and a rater: what a user gets by setting three parameters."""
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    (path,) = (notebook for notebook in NOTEBOOKS if notebook.stem.startswith("01"))
    shown = []
    with serving(lambda body, number: f"swinging both arms, way {body['seed']}.") as stub:
        asked = {"regenerate": True, "llm": "stub-model", "llm_base_url": stub.url, "rate": "likert", "rater": "ann"}
        cells_until_it_stops(path, shown.append, **SMOKE, **asked)
    assert "model stub-model" in shown[0]["Decided by"].tolist()
    page = shown[-1]
    assert page.task["question"].startswith("The description is as short")
    (written,) = tmp_path.rglob("object.csv")
    assert len(written.read_text(encoding="utf-8").splitlines()) == page.task["total"] / 5


def papermill(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Plain papermill, as a user calls it, from another directory."""
    notebook, profile = REPOSITORY / "notebooks" / "02_fine_tuning.ipynb", PROFILES_DIR / "miniature.yaml"
    command = [sys.executable, "-m", "papermill", str(notebook), "out.ipynb", "-f", str(profile), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_plain_papermill_runs_a_notebook_from_another_directory(executed, smoke_env, tmp_path):
    done = papermill(tmp_path, *as_arguments(SMOKE))
    assert done.returncode == 0, done.stderr[-2000:]
    copy = read(tmp_path / "out.ipynb")
    printed = "".join(output.get("text", "") for cell in copy.cells for output in cell.get("outputs", []))
    assert "2 epochs, unreadable videos: 0" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["out.ipynb"]


@pytest.mark.slow
def test_plain_papermill_stops_at_a_mistyped_parameter(smoke_env, tmp_path):
    done = papermill(tmp_path, "-p", "epoch", "3")
    assert done.returncode != 0
    assert "unknown parameter 'epoch' (did you mean epochs" in done.stderr
