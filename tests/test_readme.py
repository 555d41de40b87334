"""README.md says what is there: its tables are those of results/, its commands and files exist."""

import re
import subprocess
from pathlib import Path

import pytest

from motion_lib import config
from motion_lib.__main__ import make_parser

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(name: str) -> str:
    return re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.DOTALL)[1]


@pytest.mark.parametrize("name", ["table2", "table3", "verdicts", "gaps", "items", "backbone"])
def test_tables_are_those_of_the_committed_results(name):
    """Of the commit, not of the working tree: `make reproduce` on another processor may give other numbers."""
    at = ["git", "show", f"HEAD:results/miniature/tables/{name}.md"]
    shown = subprocess.run(at, cwd=ROOT, capture_output=True, text=True)
    if shown.returncode:
        pytest.skip(f"no commit to compare with: {shown.stderr.strip()}")
    assert block(name).strip() == shown.stdout.strip()


INTERVALS = sorted(set(re.findall(r"[-+]?\d+\.\d \[[-+]?\d+\.\d, [-+]?\d+\.\d\]", README)))


def test_intervals_in_sentences_are_those_of_the_committed_tables():
    """A number with its interval is copied as the table prints it, sign included."""
    asked = ["git", "grep", "-h", "", "HEAD", "--", "results/miniature/tables/*.csv"]
    shown = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
    if shown.returncode:
        pytest.skip(f"no commit to compare with: {shown.stderr.strip()}")
    known = shown.stdout.replace(',"[', " [")  # where estimate and interval are columns of their own
    assert len(INTERVALS) > 20
    assert [text for text in INTERVALS if not re.search(rf"(?<![\d.+-]){re.escape(text)}", known)] == []


def test_first_screen_shows_the_two_commands():
    head = "\n".join(README.splitlines()[:25])
    assert "make reproduce" in head
    assert "make test" in head


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_notebooks_are_all_listed():
    sources = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert sources == set(re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE))


@pytest.mark.parametrize("line", re.findall(r"^python -m motion_lib\.reproduce (.*?) +#", README, re.MULTILINE))
def test_commands_are_understood(line):
    args = make_parser().parse_args(["reproduce", *line.split()])
    config.check_names(name for name, _ in args.parameters)


def test_profiles_mentioned_exist():
    for name in re.findall(r"notebooks/profiles/(\w+)\.yaml", README):
        assert (ROOT / "notebooks" / "profiles" / f"{name}.yaml").is_file()
