"""Fetches the public texts and lists: the authors' descriptions, the official lists of the three data sets.

Every file comes from a pinned commit and is held against its SHA-256. What is there is not fetched again, and a
transfer that breaks goes on where it was. Videos need hundreds of gigabytes and their publishers' consent: for those
`motion data` prints where to get them and where to put them.
"""

import csv
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pooch
import requests
from tqdm import tqdm

from motion_lib.storage import file_sha256

GITHUB = "https://raw.githubusercontent.com"
ATTEMPTS = 3
_TIMEOUT_SEC = 30
_FILES = Path(__file__).with_name("public_files.csv")


# ------------------------------------------------------------------ one file
class DownloadError(RuntimeError):
    """A file that could not be fetched; the message says why and what to do."""


class NoTransfer(DownloadError):
    """No bytes, or not all: there may be no network."""


def fetch(url: str, target: Path, sha256: str = "", progress: bool = False) -> Path:
    """Fetch one file, unless it is there.

    Args:
        sha256: hex; "" takes what comes.
        progress: whether to show a bar.

    Raises:
        DownloadError: with one sentence.
    """
    if target.is_file():
        return target
    pooch.get_logger().setLevel("ERROR")  # its lines would break the bar; what fails is said below
    downloads = pooch.create(
        path=target.parent,
        base_url="",
        registry={target.name: f"sha256:{sha256}" if sha256 else None},
        urls={target.name: url},
        retry_if_failed=ATTEMPTS - 1,
    )
    try:
        downloads.fetch(target.name, downloader=_ResumingDownloader(target, progress))
    except requests.HTTPError as error:
        raise DownloadError(f"{url}: the server answers {error.response.status_code}; is the address right?") from error
    except requests.RequestException as error:
        reason = type(error).__name__ if isinstance(error, requests.ConnectionError) and not str(error) else error
        raise NoTransfer(
            f"{url}: no transfer after {ATTEMPTS} attempts ({str(reason).partition(chr(10))[0][:200]}). "
            "Is there a network? What has arrived is kept; start it again to go on."
        ) from error
    except ValueError as error:  # pooch's word for a wrong checksum
        raise DownloadError(
            f"{url}: what arrives has another SHA-256 than {sha256[:12]}...; nothing was kept. A proxy or a mirror "
            "may have answered in place of the server."
        ) from error
    return target


class _ResumingDownloader:
    """For pooch: keeps what has arrived beside the target, and asks the server only for the rest."""

    def __init__(self, target: Path, progress: bool):
        self._part, self._progress = target.with_name(f".{target.name}.part"), progress

    def __call__(self, url: str, output_file: str | BinaryIO, pooch: object) -> None:
        self._part.parent.mkdir(parents=True, exist_ok=True)
        have = self._part.stat().st_size if self._part.is_file() else 0
        headers = {"Accept-Encoding": "identity"}  # lengths and ranges then mean bytes of the file
        if have:
            headers["Range"] = f"bytes={have}-"
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SEC) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                if response.headers.get("Content-Range") == f"bytes */{have}":  # it was whole, and not yet in place
                    shutil.move(self._part, output_file)
                    return
                self._part.unlink()  # longer than the file is now: another file
                raise requests.ConnectionError("the part that was there did not fit the file; it is fetched anew")
            response.raise_for_status()
            resumed = response.status_code == requests.codes.partial_content
            have = have if resumed else 0
            total = have + int(response.headers.get("Content-Length", 0))
            bar = tqdm(total=total or None, initial=have, unit="B", unit_scale=True, disable=not self._progress)
            with self._part.open("ab" if resumed else "wb") as file, bar:
                for chunk in response.iter_content(1 << 16):
                    bar.update(file.write(chunk))
        if self._part.stat().st_size < total:
            raise requests.ConnectionError(f"ended after {self._part.stat().st_size} of {total} bytes")
        shutil.move(self._part, output_file)


# ------------------------------------------------------------------ all files
@dataclass(frozen=True)
class PublicFile:
    """A file of a public repository.

    Attributes:
        file: its place below MOTION_DATA.
        path: its place in the repository.
        sha256: hex; "" for the one whose hash is not known to us.
    """

    file: str
    repository: str
    commit: str
    path: str
    sha256: str

    def url(self, base: str = GITHUB) -> str:
        """Of the raw file."""
        return f"{base}/{self.repository}/{self.commit}/{self.path}"


def public_files() -> list[PublicFile]:
    """The descriptions of the authors and of others, and the official lists of the three data sets."""
    with _FILES.open(encoding="utf-8", newline="") as file:
        return [PublicFile(**row) for row in csv.DictReader(file)]


def download(root: Path, base: str = GITHUB) -> list[str]:
    """Fetch what is not there of `public_files`.

    A file that is there and differs is left as it is and reported: it may be the user's own.
    Stops at the first file if no transfer is possible at all.

    Args:
        root: MOTION_DATA.
        base: GitHub's server of raw files, or a mirror of it.

    Returns:
        A sentence for each file that could not be fetched.
    """
    problems, fetched = [], 0
    with tqdm(public_files(), desc="texts and lists", unit="file", mininterval=1) as bar:
        for public in bar:
            target = root / public.file
            bar.set_postfix_str(target.name, refresh=False)
            if target.is_file():
                if public.sha256 and file_sha256(target) != public.sha256:
                    problems.append(f"{target}: not the pinned file; left as it is. Move it away to fetch that one.")
                continue
            try:
                fetch(public.url(base), target, public.sha256)
            except DownloadError as error:
                problems.append(str(error))
                if isinstance(error, NoTransfer) and not fetched:
                    break
            else:
                fetched += 1
    return problems
