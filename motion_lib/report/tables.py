"""Tables from records: reported and measured beside each other, never in one column."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import mean_and_sd
from motion_lib.methods import DESCRIPTION_KINDS, METHODS, Method
from motion_lib.paper import REPORTED_RETRIEVAL
from motion_lib.people.ratings import NOT_COLLECTED
from motion_lib.storage import write_text

NOT_RUN = "not run"
UNAVAILABLE = "numbers not in the text at hand"  # Tables 4 to 7
KIND_LABEL = {"object": "object named", "masked": "object masked"}


def measured_cell(records: list[dict]) -> str:
    """Top-1 percent of the records of one cell: one set of weights with its bootstrap interval, several seeds with
    mean and sd."""
    if not records:
        return NOT_RUN
    values = [100 * record["metrics"]["acc1"] for record in records]
    if len(records) > 1 and not same_weights(records):
        mean, sd, n = mean_and_sd(values)
        return f"{mean:.1f} ± {sd:.1f} (n={n})"
    metrics = records[0]["metrics"]
    return f"{values[0]:.1f} [{100 * metrics['acc1_low']:.1f}, {100 * metrics['acc1_high']:.1f}]"


def same_weights(records: list[dict]) -> bool:
    """Whether all records are of one model: nothing was trained, or the weights are as released."""
    return len({record["checkpoint_sha256"] for record in records}) == 1


def select(records: list[dict], **wanted: object) -> list[dict]:
    """Records whose fields have these values."""
    return [r for r in records if all(r[name] == value for name, value in wanted.items())]


def mean_acc(records: list[dict]) -> float:
    """Mean top-1 percent over the records' seeds; nan without records."""
    return float(np.mean([100 * r["metrics"]["acc1"] for r in records])) if records else float("nan")


def chance_percent(records: list[dict], dataset: str) -> float:
    """Top-1 percent of guessing among the data set's descriptions; nan without records."""
    classes = {record["protocol"]["classes"] for record in select(records, dataset=dataset)}
    return 100 / classes.pop() if len(classes) == 1 else float("nan")


def _reported(dataset: str, method: Method, kind: str) -> str:
    if method.paper_row is None:
        return "not in the paper"
    return f"{REPORTED_RETRIEVAL[DATASETS[dataset].paper][method.paper_row][kind]:g}"


def retrieval_table(
    records: list[dict], dataset: str, methods: tuple[str, ...], human: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Table 2 or 3: one row a method; reported percent of the paper, measured percent of this profile.

    `human` is {kind: outcome of the retrieval study}; without one the human row is reported only. The chance
    row follows from the number of classes on either side.
    """
    final, rows = select(records, dataset=dataset, epoch=None), []
    for key in methods:
        method = METHODS[key]
        cells = {kind: select(final, method=key, descriptions=kind) for kind in DESCRIPTION_KINDS}
        drop = mean_acc(cells["object"]) - mean_acc(cells["masked"])
        row = {
            "Method": method.label,
            "Weights run": cells["object"][0]["weights"] if cells["object"] else NOT_RUN,
        }
        row |= {f"Reported, {KIND_LABEL[kind]}": _reported(dataset, method, kind) for kind in DESCRIPTION_KINDS}
        row |= {f"Measured, {KIND_LABEL[kind]}": measured_cell(cells[kind]) for kind in DESCRIPTION_KINDS}
        rows.append({**row, "Measured drop": NOT_RUN if np.isnan(drop) else f"{drop:.1f}"})
    row = {"Method": "Chance", "Weights run": "none"}
    for side, chance in (
        ("Reported", 100 / DATASETS[DATASETS[dataset].paper].classes),
        ("Measured", chance_percent(final, dataset)),
    ):
        cell = NOT_RUN if np.isnan(chance) else f"{chance:.1f} (1 of {round(100 / chance)})"
        row |= {f"{side}, {KIND_LABEL[kind]}": cell for kind in DESCRIPTION_KINDS}
    rows.append({**row, "Measured drop": "0.0"})
    reported = REPORTED_RETRIEVAL[DATASETS[dataset].paper]["Human"]
    row = {"Method": "Human estimate", "Weights run": "people"}
    row |= {f"Reported, {KIND_LABEL[kind]}": f"{reported[kind]:g}" for kind in DESCRIPTION_KINDS}
    human_here = human or dict.fromkeys(DESCRIPTION_KINDS, NOT_COLLECTED)
    row |= {f"Measured, {KIND_LABEL[kind]}": human_here[kind] for kind in DESCRIPTION_KINDS}
    return pd.DataFrame([*rows, {**row, "Measured drop": NOT_COLLECTED}])


def temporal_table(records: list[dict], dataset: str) -> pd.DataFrame:
    """Table 4 or 5: mean pooling against the temporal transformer; the paper's numbers are not in the text at hand."""
    final, rows = select(records, dataset=dataset, epoch=None), []
    for key, head in (("motion", "mean over frames"), ("motion_temporal", "6-layer temporal transformer")):
        row = {"Video head": head, "Reported": UNAVAILABLE}
        cells = {kind: select(final, method=key, descriptions=kind) for kind in DESCRIPTION_KINDS}
        rows.append(row | {f"Measured, {KIND_LABEL[kind]}": measured_cell(cell) for kind, cell in cells.items()})
    return pd.DataFrame(rows)


def epoch_table(records: list[dict], method: str, dataset: str) -> pd.DataFrame:
    """Table 6 or 7: top-1 percent after each epoch, with sd over seeds; epoch 0 is before training."""
    chosen = [r for r in select(records, method=method, dataset=dataset) if r["epoch"] is not None]
    rows = []
    for epoch in sorted({record["epoch"] for record in chosen}):
        cells = {kind: select(chosen, epoch=epoch, descriptions=kind) for kind in DESCRIPTION_KINDS}
        measured = {f"Measured, {KIND_LABEL[kind]}": measured_cell(cell) for kind, cell in cells.items()}
        rows.append({"Epoch": epoch, "Reported": UNAVAILABLE, **measured})
    return pd.DataFrame(rows)


def write_table(table: pd.DataFrame, cfg: RunConfig, name: str) -> Path:
    """Write `results/<profile>/tables/<name>.csv` and `.md`; returns the CSV's path."""
    folder = cfg.results_dir / "tables"
    write_text(folder / f"{name}.md", markdown(table))
    return write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))


def markdown(table: pd.DataFrame) -> str:
    """A pipe table with one header line."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"
