"""Fetching files from a server on loopback that breaks transfers and sends wrong bytes, and the check of the data."""

import hashlib
import re
import threading
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from motion_lib.config import RunConfig
from motion_lib.data import download
from motion_lib.data.download import DownloadError, PublicFile, fetch, public_files
from motion_lib.experiment.inputs import data_status
from motion_lib.storage import file_sha256
from motion_lib.texts.descriptions import read_descriptions

CONTENT = bytes(range(256)) * 2000  # 512,000 bytes


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Server:
    """Serves `files` {path: bytes}. The first `breaks` answers end after a third of what was asked for.

    Attributes: asked: (path, first byte) of each request.
    """

    def __init__(self, files, breaks=0, ranges=True):
        self.files, self.breaks, self.ranges, self.asked = files, breaks, ranges, []


@contextmanager
def serving(files, **options):
    server = Server(files, **options)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            first = int(asked[1]) if asked and server.ranges else 0
            server.asked.append((self.path, first))
            content = server.files.get(self.path)
            if content is None:
                self.send_error(404)
            elif first >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            else:
                self.send_response(206 if first else 200)
                self.send_header("Content-Length", str(len(content) - first))
                self.end_headers()
                rest = content[first:]
                if server.breaks:
                    server.breaks -= 1
                    rest = rest[: len(rest) // 3]  # and the connection closes
                self.wfile.write(rest)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        server.base = f"http://127.0.0.1:{http.server_port}"
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """pooch waits a second and more between attempts."""
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)


def litter(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# --- one file ---


def test_a_file_is_fetched_once(tmp_path):
    target = tmp_path / "deep" / "file.bin"
    with serving({"/file.bin": CONTENT}) as server:
        for _ in range(2):
            assert fetch(f"{server.base}/file.bin", target, sha256(CONTENT)) == target
    assert target.read_bytes() == CONTENT
    assert server.asked == [("/file.bin", 0)]
    assert litter(tmp_path) == ["file.bin"]


def test_a_broken_transfer_goes_on_where_it_broke(tmp_path):
    with serving({"/file.bin": CONTENT}, breaks=2) as server:
        target = fetch(f"{server.base}/file.bin", tmp_path / "file.bin", sha256(CONTENT))
    assert target.read_bytes() == CONTENT
    first, second, third = (start for _, start in server.asked)
    assert 0 == first < second < third < len(CONTENT)
    assert litter(tmp_path) == ["file.bin"]


def test_what_has_arrived_survives_a_run_that_gives_up(tmp_path):
    target = tmp_path / "file.bin"
    with serving({"/file.bin": CONTENT}, breaks=download.ATTEMPTS) as server:
        with pytest.raises(DownloadError, match=r"no transfer after 3 attempts .* kept; start it again to go on"):
            fetch(f"{server.base}/file.bin", target, sha256(CONTENT))
        assert not target.exists()
        (part,) = tmp_path.iterdir()
        have = part.stat().st_size
        assert part.read_bytes() == CONTENT[:have]
        fetch(f"{server.base}/file.bin", target, sha256(CONTENT))
    assert server.asked[-1] == ("/file.bin", have)
    assert have > len(CONTENT) // 3  # more than one attempt alone brings
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(tmp_path):
    with serving({"/file.bin": CONTENT}, breaks=1, ranges=False) as server:
        target = fetch(f"{server.base}/file.bin", tmp_path / "file.bin", sha256(CONTENT))
    assert target.read_bytes() == CONTENT


def test_a_part_of_another_file_is_thrown_away(tmp_path):
    (tmp_path / ".file.bin.part").write_bytes(CONTENT * 2)
    with serving({"/file.bin": CONTENT}) as server:
        target = fetch(f"{server.base}/file.bin", tmp_path / "file.bin", sha256(CONTENT))
    assert target.read_bytes() == CONTENT
    assert litter(tmp_path) == ["file.bin"]


def test_a_part_that_is_whole_is_taken(tmp_path):
    """Killed after the last byte, before it was put in place."""
    (tmp_path / ".file.bin.part").write_bytes(CONTENT)
    with serving({"/file.bin": CONTENT}) as server:
        target = fetch(f"{server.base}/file.bin", tmp_path / "file.bin", sha256(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.asked == [("/file.bin", len(CONTENT))]


def test_a_wrong_checksum_leaves_nothing(tmp_path):
    with (
        serving({"/file.bin": b"<html>please log in</html>"}) as server,
        pytest.raises(DownloadError, match=r"another SHA-256 than .*; nothing was kept"),
    ):
        fetch(f"{server.base}/file.bin", tmp_path / "file.bin", sha256(CONTENT))
    assert len(server.asked) == download.ATTEMPTS
    assert litter(tmp_path) == []


def test_a_wrong_address_is_named(tmp_path):
    with (
        serving({}) as server,
        pytest.raises(DownloadError, match=r"/file\.bin: the server answers 404; is the address right\?"),
    ):
        fetch(f"{server.base}/file.bin", tmp_path / "file.bin")


def test_no_network_is_one_sentence(tmp_path):
    with serving({}) as server:
        pass  # nobody listens there any more
    with pytest.raises(DownloadError, match="no transfer after 3 attempts") as caught:
        fetch(f"{server.base}/file.bin", tmp_path / "file.bin")
    assert "Is there a network?" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_a_known_hash_is_taken(tmp_path):
    with serving({"/file.bin": CONTENT}) as server:
        assert fetch(f"{server.base}/file.bin", tmp_path / "file.bin").read_bytes() == CONTENT


# --- all files ---


@pytest.fixture
def two_files(monkeypatch):
    """Two public files in place of 172, and what a server must hold."""
    files = {"a/one.csv": b"one\n", "b/two.txt": b"two\n"}
    listed = [PublicFile(name, "some/where", "c0ffee", name, sha256(text)) for name, text in files.items()]
    monkeypatch.setattr(download, "public_files", lambda: listed)
    return {f"/some/where/c0ffee/{name}": text for name, text in files.items()}


def test_all_files_are_put_where_the_data_sets_look(tmp_path, two_files):
    with serving(two_files) as server:
        assert download.download(tmp_path, server.base) == []
        assert download.download(tmp_path, server.base) == []
    assert (tmp_path / "a" / "one.csv").read_text() == "one\n"
    assert len(server.asked) == 2


def test_a_file_that_differs_is_left_and_reported(tmp_path, two_files):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.csv").write_text("my own\n")
    with serving(two_files) as server:
        (problem,) = download.download(tmp_path, server.base)
    assert "one.csv: not the pinned file; left as it is" in problem
    assert (tmp_path / "a" / "one.csv").read_text() == "my own\n"
    assert (tmp_path / "b" / "two.txt").is_file()


def test_one_bad_file_does_not_keep_the_others_away(tmp_path, two_files):
    two_files["/some/where/c0ffee/b/two.txt"] = b"three\n"
    with serving(two_files) as server:
        (problem,) = download.download(tmp_path, server.base)
    assert "another SHA-256" in problem
    assert litter(tmp_path) == ["one.csv"]


def test_a_first_file_that_is_not_there_does_not_stop_the_others(tmp_path, two_files):
    del two_files["/some/where/c0ffee/a/one.csv"]
    with serving(two_files) as server:
        (problem,) = download.download(tmp_path, server.base)
    assert "404" in problem
    assert litter(tmp_path) == ["two.txt"]


def test_without_a_network_it_stops_at_the_first_file(tmp_path, two_files):
    with serving({}) as server:
        pass
    assert len(download.download(tmp_path, server.base)) == 1


def test_public_files_are_pinned():
    files = public_files()
    assert len({file.file for file in files}) == len(files) == 182
    unknown = [f"descriptions/{who}/*.json" for who in ("froster", "ost")] + ["kinetics400/annotations/train.csv"]
    without = [file.file for file in files if not file.sha256]
    assert all(any(fnmatch(name, pattern) for pattern in unknown) for name in without)
    assert len(without) == 7
    for file in files:
        assert re.fullmatch(r"[0-9a-f]{40}", file.commit)
        assert re.fullmatch(r"[0-9a-f]{64}|", file.sha256)
    authors = {file.commit for file in files if file.repository == "chinmayad/motiondescriptions"}
    assert authors == {"d83b74e678515650b363d1d76960d6732907a117"}


@pytest.mark.data
def test_the_pinned_hashes_are_those_of_the_files(shared_dir):
    data = shared_dir / "data"
    if not (data / "lists").is_dir():
        pytest.skip(f"{data / 'lists'} is absent")
    for file in public_files():
        place = file.file.replace("kinetics400/annotations/val.csv", "kinetics400/kinetics-400_val.csv")
        path = data / place if place.startswith("descriptions/") else data / "lists" / place
        path = path if path.exists() else data / "lists" / place.split("/", 1)[1]
        path = path if path.exists() else data / "reference" / Path(place).name
        if file.sha256:
            assert file_sha256(path) == file.sha256, file.file
        if fnmatch(place, "descriptions/*.csv"):
            assert len(read_descriptions(path).class_names) in (51, 101, 400)


# --- the check ---


def test_status_counts_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    lists = tmp_path / "ucf101" / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 Archery\n")
    (lists / "trainlist01.txt").write_text("Archery/v_Archery_g08_c01.avi 1\n")
    (lists / "testlist01.txt").write_text("Archery/v_Archery_g01_c01.avi\n")
    video = tmp_path / "ucf101" / "UCF-101" / "Archery" / "v_Archery_g01_c01.avi"
    video.parent.mkdir(parents=True)
    video.touch()
    text = "\n".join(data_status(RunConfig.load("paper")))
    assert "ucf101 (all, split 1): 1 videos of 1 classes; 1 listed videos are not on disk, e.g. v_Archery_g08" in text
    assert "hmdb51_org.rar" in text
    assert "UCF101.rar" not in text


def test_a_broken_list_is_one_line_of_the_status(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    lists = tmp_path / "kinetics400" / "annotations"
    lists.mkdir(parents=True)
    (lists / "train.csv").write_text("label,youtube_id,time_start,time_end,split\nwave,aaaaaaaaaaa,,10,train\n")
    (line,) = (line for line in data_status(RunConfig.load("paper")) if line.startswith("  kinetics400 (train)"))
    assert "train.csv, line 2, column time_start: expected whole seconds, found ''" in line
