"""Files that are whole or absent, and hashes of content and of code: every cache may be interrupted and trusted."""

import ast
import hashlib
import inspect
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType

# --- whole files ---


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends, and vanishes if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes files private; results are to be read by others
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: object) -> Path:
    """Write JSON atomically, indented, keys in the order given."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def built_once(path: Path, build: Callable[[Path], None]) -> tuple[Path, bool]:
    """Return `path`, building it first if absent; the second value tells whether it was built now."""
    if path.exists():
        return path, False
    with atomic_path(path) as temporary:
        build(temporary)
    return path, True


# --- files of JSON lines ---


def append_line(path: Path, entry: dict) -> None:
    """Add one line; on disk when this returns. A line that a kill cut off before it is closed first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8")
    with path.open("a+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict]:
    """All whole lines; none if there is no file."""
    if not path.is_file():
        return []
    entries = []
    for line in path.read_bytes().split(b"\n"):  # text would also be split at Unicode's line separators
        try:
            entries.append(json.loads(line))
        except ValueError:  # empty, or cut off by a kill
            continue
    return entries


# --- hashes of content and of code ---


def content_hash(*parts: object) -> str:
    """16 hex digits that change when any part changes.

    A module or function counts by its code (code that makes a cached thing is part of its identity,
    comments and docstrings are not), a path by the bytes of its file, everything else by its JSON form.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, ModuleType | FunctionType):
            blob = _code(inspect.getsource(part)).encode()
        elif isinstance(part, Path):
            blob = file_sha256(part).encode()
        else:
            blob = json.dumps(part, sort_keys=True, default=str).encode()
        digest.update(len(blob).to_bytes(8, "big") + blob)
    return digest.hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_of(*roots: ModuleType) -> str:
    """Hash of the code of modules of this package and of all that they import from it, directly or not.

    What decides no number is left out: a word in a progress bar must not train a model anew.
    """
    return content_hash(*(sys.modules[name] for name in imported_by(*roots)))


# Files, downloads and what is shown while a run goes: no number depends on them.
_NO_NUMBERS = ("storage", "data.download", "training.progress", "training.memory")


def imported_by(*roots: ModuleType) -> list[str]:
    """Names of the modules that `code_of` hashes, in order."""
    names, waiting = set(), [root.__name__ for root in roots]
    while waiting:
        name = waiting.pop()
        if name in names or name.removeprefix("motion_lib.") in _NO_NUMBERS:
            continue
        names.add(name)
        for node in ast.walk(ast.parse(inspect.getsource(sys.modules[name]))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("motion_lib"):
                imported = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                waiting += [inner for inner in imported if inner in sys.modules and inner != "motion_lib"]
    return sorted(names)


def _code(source: str) -> str:
    """Source text without what changes no result: comments, layout, docstrings and where names are imported from."""
    tree, documented = ast.parse(source), (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            node.body = [line for line in body if not isinstance(line, ast.Import | ast.ImportFrom)] or [ast.Pass()]
    return ast.unparse(tree)
