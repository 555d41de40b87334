"""Content hashes and atomic files."""

import errno
import fcntl
import importlib.util
import json
import os

import pytest

from motion_lib import storage
from motion_lib.data import video
from motion_lib.storage import (
    append_line,
    atomic_path,
    built_once,
    content_hash,
    file_sha256,
    locked,
    make_folder,
    write_json,
    write_text,
)


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "results" / "table.csv"
    return write_text(path, "old")


def names(path):
    """Everything beside `path`, hidden files too."""
    return sorted(entry.name for entry in path.parent.iterdir())


# --- content_hash ---


def test_hash_is_stable_and_short():
    assert content_hash({"a": 1, "b": [2, "x"]}, 3) == content_hash({"b": [2, "x"], "a": 1}, 3)
    assert len(content_hash()) == 16


@pytest.mark.parametrize(
    ("parts", "others"),
    [
        ((1,), ("1",)),
        (({"a": 1},), ({"a": 2},)),
        (("ab", "c"), ("a", "bc")),  # boundaries between parts count
        (([1, 2],), ([2, 1],)),
        ((), (None,)),
        ((storage,), (video,)),
        ((storage,), (storage.__name__,)),
    ],
)
def test_hash_differs(parts, others):
    assert content_hash(*parts) != content_hash(*others)


def module(tmp_path, name: str, source: str):
    path = tmp_path / f"{name}.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(name, path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_code_counts_without_comments_layout_and_docstrings(tmp_path):
    plain = module(tmp_path, "plain", "def f(x):\n    return x + 1\n")
    told = module(tmp_path, "told", '"""Of f."""\n\ndef f(x):  # adds\n    """One more."""\n\n    return x+1\n')
    other = module(tmp_path, "other", "def f(x):\n    return x + 2\n")
    assert content_hash(plain) == content_hash(told)
    assert content_hash(plain) != content_hash(other)
    assert content_hash(plain.f) == content_hash(told.f) != content_hash(other.f)


def test_path_counts_by_its_bytes_not_by_its_name(tmp_path):
    first, twin, other = (tmp_path / name for name in ("first", "twin", "other"))
    first.write_bytes(b"weights")
    twin.write_bytes(b"weights")
    other.write_bytes(b"Weights")
    assert content_hash(first) == content_hash(twin)
    assert content_hash(first) != content_hash(other)
    assert content_hash(first) != content_hash(str(first))


def test_absent_file_has_no_hash(tmp_path):
    with pytest.raises(FileNotFoundError):
        content_hash(tmp_path / "absent")


def test_file_sha256_of_a_known_text(tmp_path):
    path = write_text(tmp_path / "abc", "abc")  # FIPS 180-4, example B.1
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# --- atomic_path ---


def test_new_content_replaces_the_old(old):
    with atomic_path(old) as temporary:
        temporary.write_text("new")
        assert old.read_text() == "old"
    assert old.read_text() == "new"
    assert names(old) == ["table.csv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_file_and_no_litter(old, error):
    def fail():
        with atomic_path(old) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert old.read_text() == "old"
    assert names(old) == ["table.csv"]


def test_temporary_file_lies_beside_with_the_same_suffix(old):
    with atomic_path(old) as temporary:  # a rename across file systems would not be atomic
        assert temporary.parent == old.parent
        assert temporary.suffix == old.suffix


def test_others_may_read_what_is_written(old):
    assert old.stat().st_mode & 0o777 == 0o644


@pytest.fixture(params=["shared", "own"])
def folder(tmp_path, request):
    """A folder that its group may write to, as groups share a cache, or one of the user's own."""
    path = tmp_path / "cache"
    path.mkdir()
    path.chmod({"shared": 0o2775, "own": 0o755}[request.param])
    return path


@pytest.mark.parametrize(
    ("umask", "own", "shared"), [(0o022, 0o644, 0o664), (0o002, 0o664, 0o664), (0o077, 0o600, 0o660)]
)
def test_permissions_follow_the_umask_and_the_folder(folder, umask, own, shared):
    before = os.umask(umask)
    try:
        write_text(folder / "deep" / "table.csv", "text")
        append_line(folder / "deep" / "answers.jsonl", {})
        with locked(folder / "deep" / "lock") as lock:
            assert lock == "locked"
    finally:
        os.umask(before)
    expected = shared if folder.stat().st_mode & 0o020 else own
    assert {path.stat().st_mode & 0o777 for path in (folder / "deep").iterdir()} == {expected}
    assert bool((folder / "deep").stat().st_mode & 0o020) == bool(expected & 0o020)


def test_folders_are_made_where_permissions_mean_nothing(tmp_path, monkeypatch):
    tmp_path.chmod(0o775)
    monkeypatch.setattr(os, "chown", lambda *arguments: (_ for _ in ()).throw(PermissionError("not here")))
    assert make_folder(tmp_path / "a" / "b").is_dir()


# --- locks ---


def test_a_lock_is_held_by_one_and_ends_with_the_block(tmp_path):
    path = tmp_path / "lock"
    with locked(path) as first, locked(path) as second:
        assert (first, second) == ("locked", "taken")
    with locked(path) as third:
        assert third == "locked"


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_without_locks_lets_go_on(tmp_path, monkeypatch, code):
    def flock(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path / "lock") as lock:
        assert lock == "free"


@pytest.mark.parametrize(("readable", "expected"), [(True, "locked"), (False, "free")])
def test_another_users_lock_file_locks_nobody_out(tmp_path, monkeypatch, readable, expected):
    path, opened = tmp_path / "lock", os.open
    path.touch()

    def refused(file, flags, *mode):
        if not readable or flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied", str(file))
        return opened(file, flags, *mode)

    monkeypatch.setattr(os, "open", refused)  # root may open every file
    with locked(path) as lock:
        assert lock == expected


def test_json_keeps_order_and_letters(tmp_path):
    path = write_json(tmp_path / "deep" / "record.json", {"z": "naïve", "a": [1]})
    assert "naïve" in path.read_text(encoding="utf-8")
    assert list(json.loads(path.read_text(encoding="utf-8"))) == ["z", "a"]


def test_json_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "record.json", {"tensor": object()})
    assert list(tmp_path.iterdir()) == []


# --- built_once ---


def test_built_once_builds_once(tmp_path):
    calls = []

    def build(path):
        calls.append(path)
        path.write_text("built")

    assert built_once(tmp_path / "weights.pt", build) == (tmp_path / "weights.pt", True)
    assert built_once(tmp_path / "weights.pt", build) == (tmp_path / "weights.pt", False)
    assert len(calls) == 1
    assert (tmp_path / "weights.pt").read_text() == "built"


def test_failed_build_is_built_again(tmp_path):
    def fail(path):
        path.write_text("half")
        raise RuntimeError("disk full")

    path = tmp_path / "weights.pt"
    with pytest.raises(RuntimeError, match="disk full"):
        built_once(path, fail)
    assert not path.exists()
    assert built_once(path, lambda temporary: temporary.write_text("whole"))[1]
    assert path.read_text() == "whole"
