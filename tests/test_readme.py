"""The pages say what is there: their tables are those of results/, their links, commands and imports work."""

import ast
import importlib
import re
import shlex
import subprocess
from itertools import pairwise

import pytest
import yaml

from motion_lib import config
from motion_lib.__main__ import make_parser
from motion_lib.config import REPOSITORY as ROOT

NAMES = (
    "README.md",
    "results/README.md",
    "notebooks/README.md",
    "motion_lib/miniature/README.md",
    "benchmarks/README.md",
)
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in NAMES}
README = PAGES["README.md"]
WORDS = 1_300  # of README, code counted, tables not

every_page = pytest.mark.parametrize("page", NAMES)


def committed(*pathspec: str) -> str:
    """The text of files as committed: `make reproduce` on another processor may give other numbers."""
    asked = ["git", "grep", "-h", "", "HEAD", "--", *pathspec]
    shown = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    if shown.returncode:
        pytest.skip(f"no commit to compare with: {shown.stderr.strip()}")
    return shown.stdout


def code_blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of every fenced block."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """A page without its tables."""
    return re.sub(r"^\|.*\n", "", text, flags=re.MULTILINE)


# --- tables and numbers ---------------------------------------------------------------------------

BLOCKS = [
    (page, *found)
    for page, text in PAGES.items()
    for found in re.findall(r"<!-- (\w+) -->\n(.*?)<!-- /\1 -->", text, re.DOTALL)
]


@pytest.mark.parametrize(("page", "name", "shown"), BLOCKS, ids=[f"{page}-{name}" for page, name, _ in BLOCKS])
def test_tables_are_those_of_the_committed_results(page, name, shown):
    assert shown.strip() == committed(f"results/miniature/tables/{name}.md").strip()


def test_every_page_has_its_tables():
    expected = {
        ("README.md", "table2"),
        ("README.md", "table3"),
        ("results/README.md", "items"),
        ("motion_lib/miniature/README.md", "backbone"),
    }
    assert {(page, name) for page, name, _ in BLOCKS} == expected
    assert sum(text.count("<!-- ") for text in PAGES.values()) == 2 * len(BLOCKS), "a marker without its other half"


def unknown_intervals(text: str, known: str) -> list[str]:
    """Numbers with an interval that no table prints so, sign included."""
    intervals = sorted(set(re.findall(r"[-+]?\d+\.\d \[[-+]?\d+\.\d, [-+]?\d+\.\d\]", text)))
    return [text for text in intervals if not re.search(rf"(?<![\d.+-]){re.escape(text)}", known)]


@every_page
def test_intervals_are_those_of_the_committed_tables(page):
    # In a CSV estimate and interval may be columns of their own.
    known = committed("results/miniature/tables/*.csv").replace(',"[', " [")
    assert unknown_intervals(PAGES[page], known) == []


def test_the_check_of_intervals_finds_faults():
    table = 'a,"+1.0 [-2.0, +3.0]"\nb,12.5 [1.0, 20.0]\n'
    assert unknown_intervals("it is +1.0 [-2.0, +3.0] and 12.5 [1.0, 20.0]", table) == []
    assert unknown_intervals("1.0 [-2.0, +3.0], 2.5 [1.0, 20.0]", table) == ["1.0 [-2.0, +3.0]", "2.5 [1.0, 20.0]"]


def test_parameters_are_those_of_the_profiles():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|", PAGES["notebooks/README.md"], re.MULTILINE)
    files = [ROOT / "notebooks" / "profiles" / f"{name}.yaml" for name in ("miniature", "paper")]
    profiles = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    assert len(rows) > 10
    for name, *shown in rows:
        values = [profile[name] for profile in profiles]
        assert shown == [", ".join(value) if isinstance(value, list) else str(value) for value in values], name


# --- words ----------------------------------------------------------------------------------------


def test_first_screen_shows_the_two_commands_and_every_case():
    head = "\n".join(README.splitlines()[:25])
    assert "\nmake reproduce " in head
    assert "\nmake test " in head
    assert all(case in head for case in ("no GPU", "a GPU and the data", "review", "of your own"))


def test_readme_is_short():
    assert len(prose(README).split()) <= WORDS


@every_page
def test_nothing_is_left_to_fill_in(page):
    assert "@@" not in PAGES[page]


def test_notebooks_are_all_listed():
    listed = re.findall(r"^\| \[`(\w+)`\]\(notebooks/\1\.ipynb\) \|", README, re.MULTILINE)
    assert listed == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def test_rooms_are_all_listed():
    rooms = {path.parent.name for path in (ROOT / "motion_lib").glob("*/__init__.py")}
    assert rooms == set(re.findall(r"^\| \[`(\w+)`\]\(motion_lib/\1\) \|", README, re.MULTILINE))


def test_benchmarks_are_all_told():
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__init__", "machine"}
    assert modules == set(re.findall(r"python -m benchmarks\.(\w+)", PAGES["benchmarks/README.md"]))
    files = {path.name for path in (ROOT / "results" / "benchmarks").glob("*.json")}
    assert files == set(re.findall(r"results/benchmarks/(\w+\.json)\)", PAGES["benchmarks/README.md"]))


# --- links, commands, code ------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Where GitHub lets a link jump to: headings in lower case, blanks as dashes, marks left out."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^):]+)\)", PAGES[page]):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def commands(text: str) -> list[list[str]]:
    """The words of every shell command in code blocks and in code within a line, without comments."""
    lines = [line for language, code in code_blocks(text) if not language for line in code.splitlines()]
    lines += re.findall(r"`((?:make|motion|python|torchrun) [^`\n]+)`", text)
    parts = (part for line in lines for part in re.split(r"(?:^| )#", line)[0].split("&&"))
    return [words for part in parts if (words := shlex.split(part))]


def arguments(words: list[str]) -> list[str] | None:
    """What this project's command line gets of a command; None for another program's."""
    if words[0] == "motion":
        return words[1:]
    at = [i for i, pair in enumerate(pairwise(words)) if pair == ("-m", "motion_lib")]
    return words[at[0] + 2 :] if at else None


OURS = [(page, asked) for page, text in PAGES.items() for words in commands(text) if (asked := arguments(words))]


@pytest.mark.parametrize(("page", "asked"), OURS, ids=[" ".join(asked) for _, asked in OURS])
def test_commands_are_understood(page, asked):
    if asked == ["--help"]:
        return
    args = make_parser().parse_args(asked)
    config.check_names(name for name, _ in getattr(args, "parameters", []))


def test_commands_are_found():
    shown = {asked[0] for page, asked in OURS if page == "README.md"}
    assert shown == {"--help", "reproduce", "rehearse", "pack", "data", "checkpoints", "score", "board"}
    assert arguments(shlex.split("torchrun --nproc-per-node 4 -m motion_lib train motion")) == ["train", "motion"]
    assert arguments(["make", "test"]) is None
    assert commands("```\na b && c  # d\n```\n") == [["a", "b"], ["c"]]


@every_page
def test_targets_of_make_exist(page):
    known = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[1] for words in commands(PAGES[page]) if words[0] == "make"} <= known


@every_page
def test_modules_that_are_run_exist(page):
    for name in re.findall(r"python -m (benchmarks\.\w+)", PAGES[page]):
        assert (ROOT / (name.replace(".", "/") + ".py")).is_file(), name


@every_page
def test_profiles_that_are_named_exist(page):
    for name in re.findall(r"profiles/(\w+\.yaml)", PAGES[page]):
        assert (ROOT / "notebooks" / "profiles" / name).is_file(), name


@every_page
def test_imports_work(page):
    sources = [code for language, code in code_blocks(PAGES[page]) if language == "python"]
    sources += re.findall(r'python -c "(.+?)"', PAGES[page])
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("motion_lib"):
            module = importlib.import_module(node.module)
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
