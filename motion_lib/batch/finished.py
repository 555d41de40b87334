"""Which notebooks a run may leave out, because nothing has changed since they ran.

`results/<profile>/cache/stages.json` keeps what every finished notebook was made from, and how the files of results,
figures and data stood when the last one ended. Any other file there, and all notebooks run again: none is asked what it
reads and writes.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path

from motion_lib.batch.step import LAST_SHARED_STAGE, Step
from motion_lib.config import RunConfig
from motion_lib.storage import content_hash, file_sha256, write_json


class Finished:
    """The notebooks that are finished and still hold, kept on disk after each change."""

    def __init__(self, config: RunConfig):
        self._path = config.results_dir / "cache" / "stages.json"
        self._roots = (config.results_dir, config.figures_dir, config.data_root)
        self._around = content_hash(sys.version, _packages(), _surroundings(), _package_files())
        try:
            kept = json.loads(self._path.read_bytes())
            self._made: dict[str, dict] = kept["made"] if kept["files"] == self._files() else {}
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or spoilt
            self._made = {}

    def holds(self, step: Step) -> bool:
        """Whether this notebook ran from the same source, code, packages and parameters, and none before it since."""
        return step.name in self._made and self._made[step.name]["from"] == self._identity(step)

    def begins(self, step: Step) -> None:
        """This notebook runs now: it and all that may read what it writes hold no longer."""
        self._made = {name: made for name, made in self._made.items() if name != step.name and not _reads(made, step)}

    def ends(self, step: Step, succeeded: bool) -> None:
        """It has run."""
        if succeeded:
            place = {"stage": step.stage, "seed": step.config.seed, "published": step.published}
            self._made[step.name] = {"from": self._identity(step)} | place
        write_json(self._path, {"files": self._files(), "made": self._made})

    def _identity(self, step: Step) -> str:
        return content_hash(step.source, asdict(step.config), step.parameters, step.published, self._around)

    def _files(self) -> str:
        """Hash of the names, sizes and times of all files, which takes a second for 240,000 videos."""
        return content_hash([sorted(_stamps(root, self._path)) for root in self._roots])


def _reads(made: dict, step: Step) -> bool:
    """Whether a finished notebook may have read what `step` writes: it comes later, and not for another seed."""
    turn, its_turn = _turn(step.stage, step.published), _turn(made["stage"], made["published"])
    other_seed = turn[0] == its_turn[0] == 1 and made["seed"] != step.config.seed
    return its_turn > turn and not other_seed


def _turn(stage: int, published: bool) -> tuple[int, int]:
    """When a notebook runs: shared ones, those of other seeds, then those whose copies show the records of all."""
    return 0 if stage <= LAST_SHARED_STAGE else 1 + published, stage


def _stamps(root: Path, left_out: Path) -> Iterator[tuple[str, int, int]]:
    """(path, bytes, time of change in ns) of every file below `root`, but for results of other parameters."""
    for folder, names, files in os.walk(root):
        if folder == str(root) and "other" in names:
            names.remove("other")
        for file in files:
            path = Path(folder, file)
            with suppress(FileNotFoundError):  # another process writes here, and has just put it in place
                if path != left_out:
                    state = path.lstat()
                    yield str(path), state.st_size, state.st_mtime_ns


def _package_files() -> list[tuple[str, str]]:
    """(path, SHA-256) of every file of motion_lib, whose code and tables all notebooks use."""
    root = Path(__file__).parents[1]
    paths = sorted(path for path in root.rglob("*") if path.is_file() and path.parent.name != "__pycache__")
    return [(str(path.relative_to(root)), file_sha256(path)) for path in paths]


def _packages() -> list[str]:
    return sorted(f"{found.name} {found.version}" for found in distributions())


def _surroundings() -> list[str]:
    """What of the environment changes what a notebook can do; of secrets only that they are there."""
    secrets = sorted(name for name in os.environ if "KEY" in name)
    return [f"CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}", *secrets]
