"""Tables from records: reported and measured beside each other, never in one column.

Cells are numbers until a table is written or shown; `str` of a cell is its printed form.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from IPython.display import Markdown

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import mean_and_sd
from motion_lib.methods import METHODS
from motion_lib.paper import REPORTED_RETRIEVAL, decimals
from motion_lib.people.ratings import NOT_COLLECTED
from motion_lib.storage import write_text

NOT_RUN = "not run"
UNAVAILABLE = "numbers not in the text at hand"  # Tables 4 to 7
KIND_LABEL = {"object": "object named", "masked": "object masked"}


# ------------------------------------------------------------------ cells
class _Limited:
    """Equal where value and limits are, absent ones too: from Python 3.13 on a dataclass finds that nan is not nan."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and astuple(other) == astuple(self)

    def __hash__(self) -> int:
        return hash(astuple(self))


@dataclass(frozen=True, eq=False)
class Percent(_Limited):
    """A share: "12.3", or with its limits "12.3 [4.5, 20.1]". `Percent(*interval)` takes an `Interval`."""

    value: float
    low: float = math.nan
    high: float = math.nan
    _form: ClassVar[str] = ".1f"

    def __str__(self) -> str:
        value, low, high = (format(100 * part, self._form) for part in (self.value, self.low, self.high))
        return value if math.isnan(self.low) else f"{value} [{low}, {high}]"


class Points(Percent):
    """A difference of two shares, with its sign: "+1.2 [-3.4, +5.8]"."""

    _form = "+.1f"


@dataclass(frozen=True)
class Spread:
    """Mean of a share and its standard deviation: "17.5 ± 0.4 (n=3)" over n seeds, without n over splits or draws."""

    value: float
    sd: float
    n: int = 0

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} ± {100 * self.sd:.1f}" + (f" (n={self.n})" if self.n else "")


@dataclass(frozen=True, eq=False)
class Reported(_Limited):
    """Percent as the paper prints it, with limits in percent where the number has some."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        printed = f"{self.value:.{decimals(self.value)}f}"
        return printed if math.isnan(self.low) else f"{printed} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True)
class Chance:
    """What guessing among so many descriptions gets: "3.1 (1 of 32)"."""

    classes: int

    def __str__(self) -> str:
        return f"{100 / self.classes:.1f} (1 of {self.classes})"


@dataclass(frozen=True)
class PValue:
    """A p-value: "0.013", "< 0.001"."""

    value: float

    def __str__(self) -> str:
        return "< 0.001" if self.value < 0.001 else f"{self.value:.3f}"


# ------------------------------------------------------------------ files and notebooks
_NUMBER = re.compile(r"(< )?[-+]?\d[\d.]*( [±\[(].*)?")


def markdown(table: pd.DataFrame) -> str:
    """A pipe table: columns that hold numbers are set flush right, those of words left."""
    texts = table.map(str)
    right = [texts[name].map(lambda text: bool(_NUMBER.fullmatch(text))).any() for name in texts]
    lines = [list(texts), ["---:" if flush else "---" for flush in right], *texts.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines) + "\n"


def shown(table: pd.DataFrame) -> Markdown:
    """A table as a notebook shows it: the same text as in its file."""
    return Markdown(markdown(table))


def write_table(table: pd.DataFrame, cfg: RunConfig, name: str) -> Path:
    """Write `results/<profile>/tables/<name>.csv` and `.md`; returns the CSV's path."""
    folder = cfg.results_dir / "tables"
    write_text(folder / f"{name}.md", markdown(table))
    return write_text(folder / f"{name}.csv", table.map(str).to_csv(index=False, lineterminator="\n"))


# ------------------------------------------------------------------ records
def select(records: Sequence[dict], **wanted: object) -> list[dict]:
    """Records whose fields have these values."""
    return [r for r in records if all(r[name] == value for name, value in wanted.items())]


def measured_cell(records: Sequence[dict]) -> Percent | Spread | str:
    """Top-1 of one method under one condition: one set of weights with its bootstrap interval, several with sd."""
    if not records:
        return NOT_RUN
    metrics = records[0]["metrics"]
    if len({record["checkpoint_sha256"] for record in records}) == 1:  # one seed, not trained, or as released
        return Percent(metrics["acc1"], metrics["acc1_low"], metrics["acc1_high"])
    return Spread(*mean_and_sd([record["metrics"]["acc1"] for record in records]))


def mean_acc(records: Sequence[dict], **wanted: object) -> float:
    """Mean top-1 percent over the seeds of the records with these fields; nan without records."""
    values = [100 * r["metrics"]["acc1"] for r in select(records, **wanted)]
    return float(np.mean(values)) if values else math.nan


def candidates(records: Sequence[dict], dataset: str) -> int:
    """Among how many descriptions a data set's are retrieved; 0 without records."""
    classes = {record["protocol"]["classes"] for record in select(records, dataset=dataset)}
    return classes.pop() if len(classes) == 1 else 0


# ------------------------------------------------------------------ the paper's tables
def _measured(records: Sequence[dict]) -> dict[str, object]:
    return _columns("Measured", {kind: measured_cell(select(records, descriptions=kind)) for kind in KIND_LABEL})


def _columns(what: str, cells: Mapping[str, object] | object) -> dict[str, object]:
    """Two cells of a row, objects named and masked."""
    cells = cells if isinstance(cells, Mapping) else dict.fromkeys(KIND_LABEL, cells)
    return {f"{what}, {label}": cells[kind] for kind, label in KIND_LABEL.items()}


def retrieval_table(
    records: list[dict], dataset: str, methods: tuple[str, ...], human: Mapping[str, object] | None = None
) -> pd.DataFrame:
    """Table 2 or 3: one row a method; reported percent of the paper, measured percent of this profile.

    Rows were retrained here, except CLIP's, which is not trained; one with released weights says so in its name.

    Args:
        methods: keys, in the order of the rows.
        human: {kind: outcome of the retrieval study}; without one the human row is reported only.
    """
    final, paper, rows = select(records, dataset=dataset, epoch=None), DATASETS[dataset].paper, []
    for method in map(METHODS.get, methods):
        of_method, percents = select(final, method=method.key), REPORTED_RETRIEVAL[paper].get(method.paper_row)
        named = select(of_method, descriptions="object")
        weights = named[0]["weights"] if named else method.weights
        row = {"Method": method.label if weights == method.weights else f"{method.label} ({weights})"}
        row |= _columns("Reported", {k: Reported(percents[k]) for k in KIND_LABEL} if percents else "not in the paper")
        drop = (mean_acc(named) - mean_acc(of_method, descriptions="masked")) / 100
        rows.append(row | _measured(of_method) | {"Measured drop": NOT_RUN if math.isnan(drop) else Percent(drop)})
    here, there = candidates(final, dataset), DATASETS[paper].classes
    people = {kind: Reported(percent) for kind, percent in REPORTED_RETRIEVAL[paper]["Human"].items()}
    for label, reported, measured, drop in (
        ("Chance", Chance(there), Chance(here) if here else NOT_RUN, Percent(0.0)),
        ("Human estimate", people, human or NOT_COLLECTED, NOT_COLLECTED),
    ):
        cells = _columns("Reported", reported) | _columns("Measured", measured)
        rows.append({"Method": label} | cells | {"Measured drop": drop})
    return pd.DataFrame(rows)


def temporal_table(records: list[dict], dataset: str) -> pd.DataFrame:
    """Table 4 or 5: mean pooling against the temporal transformer; the paper's numbers are not in the text at hand."""
    final, rows = select(records, dataset=dataset, epoch=None), []
    for key, head in (("motion", "mean over frames"), ("motion_temporal", "6-layer temporal transformer")):
        rows.append({"Video head": head, "Reported": UNAVAILABLE} | _measured(select(final, method=key)))
    return pd.DataFrame(rows)


def epoch_table(records: list[dict], method: str, dataset: str) -> pd.DataFrame:
    """Table 6 or 7: top-1 percent after each epoch, with sd over seeds; epoch 0 is before training."""
    chosen = select(records, method=method, dataset=dataset)
    epochs = sorted({record["epoch"] for record in chosen} - {None})
    rows = [{"Epoch": e, "Reported": UNAVAILABLE, **_measured(select(chosen, epoch=e))} for e in epochs]
    return pd.DataFrame(rows)
