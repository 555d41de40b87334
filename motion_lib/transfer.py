"""Fetches one file: resumed after a break, held against its checksum, in place only when it is whole."""

import shutil
from pathlib import Path
from typing import BinaryIO

import pooch
import requests
from tqdm import tqdm

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
