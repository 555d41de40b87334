"""Content hashes and atomic files: what makes every cache safe to interrupt and safe to trust."""

import ast
import hashlib
import inspect
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType, ModuleType


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


def _code(source: str) -> str:
    """Source text without what changes no result: comments, layout and docstrings."""
    tree, documented = ast.parse(source), (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.unparse(tree)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
