"""The project's own rules: pins, commands, notebooks as sources, and which module may import which."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from motion_lib.config import REPOSITORY, check_names

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((REPOSITORY / "motion_lib").rglob("*.py"))
}

# --- pins -----------------------------------------------------------------------------------------


def pins() -> dict[str, Requirement]:
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def version(pin: Requirement) -> str:
    (only,) = pin.specifier
    assert only.operator == "==", f"{pin}: not an exact pin"
    return only.version


def test_every_package_is_pinned_exactly_and_for_any_index():
    for name, pin in pins().items():
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version(pin)), f"{name}: {version(pin)} does not install anywhere"
        assert pin.url is None


def test_pins_satisfy_pyproject():
    extras = PROJECT["optional-dependencies"].values()
    asked = [*PROJECT["dependencies"], *(requirement for extra in extras for requirement in extra)]
    for requirement in map(Requirement, asked):
        pin = pins()[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version(pin)), f"{pin} does not satisfy {requirement}"
        assert str(pin.marker) == str(requirement.marker), f"{pin}: other platforms than {requirement}"


def test_conda_takes_the_same_pins():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert pip == {"pip": ["-r requirements.lock", "-e .[notebooks,dev]"]}


# --- commands and metadata ------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_lists_its_targets():
    # A make that runs these tests hands its flags down, which would change the output.
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "--no-print-directory", "-C", str(REPOSITORY)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines()[1:]}
    assert {"env", "reproduce", "test", "lint", "lock", "clean", "help"} <= listed


def test_ci_runs_make_test():
    script = REPOSITORY / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert script.read_text().rstrip().endswith("make test")


def test_citation_names_the_paper_and_this_version():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert (citation["cff-version"], citation["version"]) == ("1.2.0", PROJECT["version"])
    assert {"message", "title", "authors"} <= set(citation)
    authors = [author["family-names"] for author in citation["preferred-citation"]["authors"]]
    assert authors == ["Devaraj", "Fermüller", "Aloimonos"]
    assert f"## [{PROJECT['version']}]" in (REPOSITORY / "CHANGELOG.md").read_text()


# --- notebooks as sources -------------------------------------------------------------------------


def notebook_faults(notebook: nbformat.NotebookNode) -> list[str]:
    """What keeps a notebook from being a source: outputs, parameters that are no literals, long cells."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    faults = [f"long cell: {cell.source[:40]!r}" for cell in code if len(cell.source.splitlines()) > 20]
    faults += ["outputs" for cell in code if cell.outputs or cell.execution_count]
    parameters = [cell.source for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if len(parameters) != 1:
        return [*faults, f"{len(parameters)} cells tagged parameters"]
    kernel = notebook.metadata.get("kernelspec", {})
    if (kernel.get("name"), kernel.get("language")) != ("python3", "python"):
        faults.append("kernelspec is not python3, which papermill needs")  # plain papermill reads the language there
    return faults + _parameter_faults(parameters[0])


def _parameter_faults(source: str) -> list[str]:
    faults = []
    for statement in ast.parse(source).body:
        text = ast.unparse(statement)
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            faults.append(f"not name = literal: {text}")
            continue
        try:
            ast.literal_eval(statement.value)
            check_names([statement.targets[0].id])
        except ValueError as error:
            faults.append(f"{text}: {error}")
    return faults


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_a_clean_source(path):
    assert notebook_faults(nbformat.read(path, as_version=4)) == []


def test_the_notebook_check_finds_faults():
    good = "profile = 'miniature'\nseed = 0  # of fine-tuning\ntargets = ['a', 'b']"
    bad = "import os\nseeds = 3\nseed: int = 0\nlr = 1 / 1000\nepochs = round(3)"
    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}

    def notebook(source: str, tags=("parameters",), **more) -> nbformat.NotebookNode:
        cell = new_code_cell(source, metadata={"tags": list(tags)}, **more)
        return new_notebook(cells=[cell], metadata=metadata)

    assert notebook_faults(notebook(good)) == []
    assert len(notebook_faults(notebook(bad))) == 5
    assert notebook_faults(notebook(good, tags=())) == ["0 cells tagged parameters"]
    assert notebook_faults(notebook(good, execution_count=1)) == ["outputs"]
    assert notebook_faults(notebook(good + "\n" * 25 + "lr = 1")) == [
        "long cell: \"profile = 'miniature'\\nseed = 0  # of fin\""
    ]
    metadata.clear()
    assert notebook_faults(notebook(good)) == ["kernelspec is not python3, which papermill needs"]


# --- modules --------------------------------------------------------------------------------------

# What each room may import of motion_lib, besides itself and what stands below those rooms; ground floor first.
ROOMS = {
    "storage": (),
    "methods": (),
    "paper": (),
    "config": ("storage",),
    "data": ("storage",),
    "models": ("data",),
    "texts": ("models",),
    "training": ("texts",),
    "evaluation": ("texts",),
    "miniature": ("evaluation",),
    "experiment": ("miniature", "training", "methods", "config"),
    "people": ("experiment", "paper"),
    "report": ("people",),
    "probes": ("report",),
    "scores": ("probes",),
    "batch": ("config",),
    "__main__": ("scores", "batch"),
    "reproduce": ("__main__",),
    "__init__": (),
}
LIBRARY = ("data", "models", "texts", "training", "evaluation")  # the thin library; the others are its companion


def below(room: str) -> set[str]:
    """Rooms that a room may import, directly or by way of another."""
    return {room, *(lower for next_room in ROOMS[room] for lower in below(next_room))}


def room_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def imports_of(path: Path) -> Iterator[str]:
    """Names that a module imports, also inside functions; `from a import b` gives a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def import_graph() -> dict[str, set[str]]:
    """For each module of motion_lib, the modules of motion_lib that it imports."""
    graph = {}
    for name, path in MODULES.items():
        asked = {wanted for wanted in imports_of(path) if wanted.startswith("motion_lib")}
        graph[name] = {part if part in MODULES else part.rpartition(".")[0] for part in asked} - {name}
    return graph


def find_cycle(graph: dict[str, set[str]]) -> list[str]:
    """One cycle of the graph as a path, or an empty list."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        for wanted in sorted(graph.get(name, ())):
            if cycle := visit(wanted, [*trail, name]):
                return cycle
        done.add(name)
        return []

    return next((cycle for name in sorted(graph) if (cycle := visit(name, []))), [])


def test_find_cycle():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_imports_go_one_way():
    graph = {name: wanted - {"motion_lib"} for name, wanted in import_graph().items() if name != "motion_lib"}
    assert find_cycle(graph) == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_stands_below_it(room):
    for module, wanted in import_graph().items():
        if room_of(module) == room:
            above = {name for name in wanted if room_of(name) not in {*below(room), "__init__"}}
            assert not above, f"{module} imports {', '.join(sorted(above))}"


def test_every_module_has_a_room_and_the_root_is_small():
    assert {room_of(module) for module in MODULES} == set(ROOMS)
    assert len(list((REPOSITORY / "motion_lib").glob("*.py"))) <= 9


def test_the_library_is_thin():
    """The paper's method can be read without its companion."""
    files = [path for room in LIBRARY for path in (REPOSITORY / "motion_lib" / room).glob("*.py")]
    assert sum(len(path.read_text().splitlines()) for path in files) < 6_000


def test_no_module_is_named_for_nothing():
    names = {name.rpartition(".")[2] for name in MODULES}
    assert not names & {"utils", "util", "helpers", "helper", "misc", "common"}


def test_importing_the_package_is_light():
    code = "import motion_lib, sys; print(*({'torch', 'av', 'clip', 'papermill'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# --- what a reader meets --------------------------------------------------------------------------

# Functions that may be longer or take more, each with its reason.
EXCEPTIONS = {"fine_tune": "the public interface of training: model, data, texts, recipe, place, and how it runs"}
SECTION = re.compile(r"^\s*(Args|Attributes|Returns|Raises|Yields): +\S|\S {3,}\w[\w, ]*: ")


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                yield f"{module}.{node.name}", node


def test_functions_are_short_and_ask_for_little():
    for name, node in functions():
        asked = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
        parameters = [argument for argument in asked if argument not in ("self", "cls")]
        if node.name not in EXCEPTIONS:
            assert node.end_lineno - node.lineno < 60, name
            assert len(parameters) <= 7, name


def test_docstrings_have_one_entry_a_line():
    """As tools parse them: a section's name alone on its line, its entries indented below."""
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                lines = (ast.get_docstring(node) or "").splitlines()[1:]
                squeezed = [line for line in lines if SECTION.search(line)]
                assert not squeezed, f"{module}.{node.name}: {squeezed[0].strip()}"


def test_what_notebooks_import_is_there():
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            tree = ast.parse(cell.source) if cell.cell_type == "code" else ast.Module([], [])
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("motion_lib"):
                    for alias in node.names:
                        whole = f"{node.module}.{alias.name}"
                        there = whole in MODULES or hasattr(import_module(node.module), alias.name)
                        assert there, f"{path.name}: {whole}"
