"""Files that are whole or absent, and hashes of content and of code: every cache may be interrupted and trusted.

Also what machines differ in: permissions of shared folders, locks, links that go round, spellings of file names.
"""

import ast
import fcntl
import hashlib
import inspect
import json
import os
import re
import sys
import tempfile
import unicodedata
import uuid
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType


def home() -> Path:
    """The user's home, or the folder for temporary files where the user has none, as in some containers."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir())


# --- whole files ---


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends, and vanishes if it fails."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{path.suffix}")
    temporary.touch(exist_ok=False)
    _share(temporary)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path) -> Path:
    """Make a folder and those above it, with the permissions of `_share`."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _share(path)
    return path


def _share(path: Path) -> None:
    """Let a group that may write to a folder use what is new in it, whatever group and umask its maker has."""
    folder = path.parent.stat()
    if folder.st_mode & 0o020:
        with suppress(OSError):  # a group that the maker is not in, or a file system without permissions
            os.chown(path, -1, folder.st_gid)
            path.chmod(path.stat().st_mode | folder.st_mode & (0o070 if path.is_dir() else 0o060))


@contextmanager
def locked(path: Path) -> Iterator[str]:
    """Hold a lock file: "taken" by another process, "locked" by this one, or "free" where no lock can be had.

    The lock ends with the process, however it ends. Some file systems know no locks, and the file may be another
    user's: one that is open for reading alone can be locked almost everywhere.
    """
    handle, state = _opened(path), "free"
    try:
        if handle is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            state = "locked"
    except BlockingIOError:
        state = "taken"
    except OSError:  # no locks here
        pass
    try:
        yield state
    finally:
        if handle is not None:
            os.close(handle)


def _opened(path: Path) -> int | None:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        with suppress(OSError):
            return os.open(path, os.O_RDONLY)
        return None
    _share(path)
    return handle


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: object, indent: int = 2) -> Path:
    """Write JSON atomically, keys in the order given; `indent` 0 for what is written by the hundred."""
    return write_text(path, json.dumps(value, indent=indent, ensure_ascii=False) + "\n")


def built_once(path: Path, build: Callable[[Path], None]) -> tuple[Path, bool]:
    """Return `path`, building it first if absent; the second value tells whether it was built now."""
    if path.exists():
        return path, False
    with atomic_path(path) as temporary:
        build(temporary)
    return path, True


# --- files of others ---

# What systems put beside a user's own files, besides names that begin with a dot.
_OF_SYSTEMS = frozenset({
    "__macosx", "__pycache__", "@eadir", "@recently-snapshot", "@recycle", "@tmp", "#recycle", "#snapshot",
    "$recycle.bin", "lost+found", "system volume information",
})  # fmt: skip


def walk(root: Path, unreadable: dict[str, str]) -> Iterator[tuple[tuple[str, ...], list[str], list[str]]]:
    """Each folder from `root` down, in one order on every disk.

    A folder that several links lead to is looked into once, where it really lies if that is below `root`.

    Args:
        unreadable: gets {path below root: reason} of each folder that cannot be listed.

    Yields:
        The names from root down to a folder, those of its files, and what is hidden in it, which is not entered.
    """
    folders, links, seen = deque([(str(root), ())]), deque(), set()
    while folders or links:
        folder, parts = (folders or links).popleft()
        found, files, hidden = [], [], []
        try:
            status = os.stat(f"{folder}/.")  # noqa: PTH116  the dot asks whether it may be entered
            if (place := (status.st_dev, status.st_ino)) not in seen:
                seen.add(place)
                with os.scandir(folder) as entries:  # one call a folder: asking for each file is slow on a network
                    found = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:  # no such root, or removed meanwhile
            continue
        except OSError as error:
            unreadable[shown_path(*parts, "") or "./"] = f"{error.strerror}."
        for entry in found:
            is_folder = _is_folder(entry)
            if entry.name.startswith(".") or entry.name.lower() in _OF_SYSTEMS:
                hidden.append(entry.name + "/" * is_folder)
            elif is_folder:
                (links if entry.is_symlink() else folders).append((entry.path, (*parts, entry.name)))
            else:
                files.append(entry.name)
        yield parts, files, hidden


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or to where one may not look
        return False


def file_stamp(path: Path) -> tuple[int, int]:
    """(bytes, time of change in ns) of a file; zeros if there is none to ask, as behind a link to nothing."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def shown_path(*names: str) -> str:
    """Names of a path in one Unicode form, which macOS takes apart; bytes that are not UTF-8 as escapes."""
    text = os.fsencode("/".join(names)).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", text)


def read_list(path: Path) -> list[str]:
    """Lines of a text file without byte order mark and line ends of any system.

    Raises:
        ValueError: if it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not UTF-8; save the file as UTF-8.") from error


# --- files of weights ---

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # torch's newer and older form
_NO_WEIGHTS = {
    b"version https://git-lfs": "is a Git LFS pointer, in place of the file that `git lfs pull` fetches",
    b"<": "is a web page",
    bytes(8): "is half a file, it begins with zeros",
    b"\x1f\x8b": "is a gzip archive, to be unpacked",
}


def fault_of(path: Path) -> str:
    """What keeps a file from being weights of torch or safetensors: "is missing", "is a web page", "is half a file".

    "" if its first bytes are those of weights, and it is as long as it says; the tensors themselves are not looked at.
    """
    if not path.is_file():
        return "is missing"
    with path.open("rb") as file:
        if not (start := file.read(512)):
            return "is empty"
        told = (fault for first, fault in _NO_WEIGHTS.items() if start.lstrip(b"\xef\xbb\xbf\r\n\t ").startswith(first))
        if fault := next(told, ""):
            return fault
        if start.startswith(_PICKLE):
            return ""
        whole, header = start.startswith(_ZIP) and zipfile.is_zipfile(path), int.from_bytes(start[:8], "little")
        if start[8:9] == b"{" and header < 1e9:  # safetensors: the length of a header of JSON, it, the tensors
            file.seek(8)
            ends = re.findall(rb'"data_offsets":\s*\[\d+,\s*(\d+)\]', file.read(header))
            whole = path.stat().st_size >= 8 + header + max(map(int, ends), default=0)
        elif not start.startswith(_ZIP):
            return "is no file of weights"
    return "" if whole else "is half a file"


# --- files of JSON lines ---


def append_line(path: Path, entry: dict) -> None:
    """Add one line; on disk when this returns. A line that a kill cut off before it is closed first."""
    make_folder(path.parent)
    line = (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8")
    with path.open("a+b") as file:
        _share(path)
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
_NO_NUMBERS = ("storage", "data.download", "training.progress")


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


@cache
def _code(source: str) -> str:
    """Source text without what changes no result: comments, layout, docstrings and where names are imported from."""
    tree, documented = ast.parse(source), (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            node.body = [line for line in body if not isinstance(line, ast.Import | ast.ImportFrom)] or [ast.Pass()]
    return ast.unparse(tree)
