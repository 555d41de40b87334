"""One notebook to run with one seed."""

from dataclasses import asdict, dataclass
from pathlib import Path

import papermill

from motion_lib.config import RunConfig

LAST_SHARED_STAGE = 1  # 00 and 01 do not depend on the seed: they run once
REPORT_STAGE = 7  # reads every seed's records: runs once, at the end


def stage_of(notebook: Path) -> int:
    """The number that a notebook's name starts with."""
    return int(notebook.name[:2])


@dataclass(frozen=True)
class Step:
    """One notebook to run with one seed."""

    source: Path
    config: RunConfig
    published: bool  # whether the executed copy and its page are written; a failed copy always is

    @property
    def stage(self) -> int:
        """The number of its notebook."""
        return stage_of(self.source)

    @property
    def name(self) -> str:
        """Notebook and seed, for the log."""
        return f"{self.source.stem}, seed {self.config.seed}"

    @property
    def parameters(self) -> dict[str, object]:
        """What papermill injects: the parameters that the notebook's own cell sets, and those unlike the profile's."""
        profile = asdict(RunConfig.load(self.config.profile))
        named = {"profile", "seed", *papermill.inspect_notebook(self.source)}
        values = {k: v for k, v in asdict(self.config).items() if k in named or v != profile[k]}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}  # papermill quotes tuples

    def output(self, ending: str) -> Path:
        """A file of this run: ".ipynb", ".html", or ".failed.ipynb"."""
        seed = "" if self.published else f"-seed{self.config.seed}"
        return self.config.results_dir / "notebooks" / f"{self.source.stem}{seed}{ending}"
