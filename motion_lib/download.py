"""Fetches the public texts and lists, and says what of the data is there, what is missing and what to do.

    python -m motion_lib.download            the authors' descriptions and the official lists, then the check
    python -m motion_lib.download --check    the check alone

Every file comes from a pinned commit and is held against its SHA-256; what is there and right is not
fetched again, and a transfer that breaks goes on where it was. Videos need hundreds of gigabytes and
their publishers' consent: for those the check prints where to get them and where to put them.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from motion_lib.config import RunConfig
from motion_lib.datasets import open_dataset
from motion_lib.inputs import missing_inputs
from motion_lib.storage import file_sha256
from motion_lib.transfer import DownloadError, NoTransfer, fetch

GITHUB = "https://raw.githubusercontent.com"
_FILES = Path(__file__).with_name("public_files.csv")

# Where videos come from: pages of the publishers, and the layout of motion_lib.datasets.
HOW_TO_GET = {
    "kinetics400": (
        "about 450 GB: https://github.com/cvdfoundation/kinetics-dataset (k400_downloader.sh, k400_extractor.sh); "
        "put the folders train and val into {root}/kinetics400"
    ),
    "ucf101": (
        "about 7 GB: https://www.crcv.ucf.edu/data/UCF101/UCF101.rar; `unrar x UCF101.rar` in {root}/ucf101 "
        "makes UCF-101/<Class>/*.avi"
    ),
    "hmdb51": (
        "about 2 GB: https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/ (hmdb51_org.rar, a "
        "rar of one rar a class); unpack those into {root}/hmdb51/videos/<class>/*.avi"
    ),
}
_SUBSETS = {"kinetics400": ("train", "val"), "ucf101": ("all",), "hmdb51": ("all",)}


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


# ------------------------------------------------------------------ the check
def data_status(cfg: RunConfig) -> Iterator[str]:
    """Lines that say what of a profile's data is there, what is missing and what to do."""
    root = cfg.data_root
    yield f"MOTION_DATA is {root}"
    for name in (cfg.source, *cfg.targets):
        for subset in _SUBSETS[name]:
            try:
                dataset = open_dataset(name, root, 1, subset)
            except FileNotFoundError as error:
                yield f"  {name} ({subset}): {error}"
            else:
                yield f"  {dataset.describe()}" + _examples(dataset.missing)
        if not any((root / name).glob("*/*/*")):
            yield f"    to get it: {HOW_TO_GET[name].format(root=root)}"
    lacking = missing_inputs(cfg)
    yield f"  {len(lacking)} inputs of profile {cfg.profile!r} are missing" + (":" if lacking else "; all is there")
    yield from (f"    - {line}" for line in lacking)


def _examples(missing: tuple[str, ...], count: int = 3) -> str:
    return f", e.g. {', '.join(missing[:count])}" if missing else ""


def main(arguments: list[str] | None = None) -> None:
    """Fetch and check; exits with an error if something could not be fetched."""
    parser = argparse.ArgumentParser(prog="python -m motion_lib.download", description=__doc__.split("\n")[0])
    parser.add_argument("--check", action="store_true", help="fetch nothing, only say what is there")
    parser.add_argument("--mirror", default=GITHUB, help=f"server in place of {GITHUB}")
    args = parser.parse_args(arguments)
    cfg = RunConfig.load("paper")
    problems = [] if args.check else download(cfg.data_root, args.mirror)
    print("\n".join(data_status(cfg)))
    if problems:
        raise SystemExit("\n".join(["Not fetched:", *problems]))


if __name__ == "__main__":
    main()
