"""Fetches the public texts and lists: the authors' descriptions, the official lists of the three data sets.

Every file comes from a pinned commit and is held against its SHA-256; what is there and right is not fetched again, and
a transfer that breaks goes on where it was. Videos need hundreds of gigabytes and their publishers' consent: for those
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
_FILES = Path(__file__).with_name("public_files.csv")


@dataclass(frozen=True)
class PublicFile:
    """A file of a public repository.

    Attributes: file: its place below MOTION_DATA.   sha256: hex; "" for the one whose hash is not known to us.
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
    """The ten description files of the authors, and the official lists of the three data sets."""
    with _FILES.open(encoding="utf-8", newline="") as file:
        return [PublicFile(**row) for row in csv.DictReader(file)]


# ------------------------------------------------------------------ all files
def download(root: Path, base: str = GITHUB) -> list[str]:
    """Fetch what is not there of `public_files`; returns a sentence for each file that could not be fetched.

    A file that is there and differs is left as it is and reported: it may be the user's own.
    Stops at the first file if no transfer is possible at all.
    """
    problems, fetched = [], 0
    with tqdm(public_files(), desc="texts and lists", unit="file", mininterval=1) as bar:
        for wanted in bar:
            target = root / wanted.file
            bar.set_postfix_str(target.name, refresh=False)
            if target.is_file():
                if wanted.sha256 and file_sha256(target) != wanted.sha256:
                    problems.append(f"{target}: not the pinned file; left as it is. Move it away to fetch that one.")
                continue
            try:
                fetch(wanted.url(base), target, wanted.sha256)
            except DownloadError as error:
                problems.append(str(error))
                if isinstance(error, NoTransfer) and not fetched:
                    break
            else:
                fetched += 1
    return problems


# ------------------------------------------------------------------ one file
ATTEMPTS = 3
_TIMEOUT_SEC = 30


class DownloadError(RuntimeError):
    """A file that could not be fetched; the message says why and what to do."""


class NoTransfer(DownloadError):
    """No bytes, or not all: there may be no network."""


class ResumingDownloader:
    """For pooch: keeps what has arrived beside the target, and asks the server only for the rest.

    Args: target: the final place of the file.   progress: whether to show a bar.
    """

    def __init__(self, target: Path, progress: bool = False):
        self._part, self._progress = target.with_name(f".{target.name}.part"), progress

    def __call__(self, url: str, output_file: str | BinaryIO, pooch: object) -> None:
        """Fetch `url` into `output_file`. Raises: requests.RequestException; what has arrived is kept."""
        self._part.parent.mkdir(parents=True, exist_ok=True)
        have = self._part.stat().st_size if self._part.is_file() else 0
        headers = {"Accept-Encoding": "identity"}  # lengths and ranges then mean bytes of the file
        if have:
            headers["Range"] = f"bytes={have}-"
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SEC) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if answer.headers.get("Content-Range") == f"bytes */{have}":  # it was whole, and not yet in place
                    shutil.move(self._part, output_file)
                    return
                self._part.unlink()  # longer than the file is now: another file
                raise requests.ConnectionError("the part that was there did not fit the file; it is fetched anew")
            answer.raise_for_status()
            resumed = answer.status_code == requests.codes.partial_content
            have = have if resumed else 0
            total = have + int(answer.headers.get("Content-Length", 0))
            bar = tqdm(total=total or None, initial=have, unit="B", unit_scale=True, disable=not self._progress)
            with self._part.open("ab" if resumed else "wb") as file, bar:
                for chunk in answer.iter_content(1 << 16):
                    bar.update(file.write(chunk))
        if self._part.stat().st_size < total:
            raise requests.ConnectionError(f"ended after {self._part.stat().st_size} of {total} bytes")
        shutil.move(self._part, output_file)


def fetch(url: str, target: Path, sha256: str = "", progress: bool = False) -> Path:
    """One file, unless it is there.

    Args: sha256: hex; "" takes what comes.
    Raises: DownloadError with one sentence.
    """
    if target.is_file():
        return target
    known = f"sha256:{sha256}" if sha256 else None
    pooch.get_logger().setLevel("ERROR")  # its lines would break the bar; what fails is said below
    files = pooch.create(
        path=target.parent,
        base_url="",
        registry={target.name: known},
        urls={target.name: url},
        retry_if_failed=ATTEMPTS - 1,
    )
    try:
        files.fetch(target.name, downloader=ResumingDownloader(target, progress))
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
