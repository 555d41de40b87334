"""Cells of tables and figures from the records of probes: all seeds of one condition, and what may be said of them."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from motion_lib.evaluation.intervals import Interval, joint_means
from motion_lib.probes.records import clusters_of, correct_of


def cell_of(records: Iterable[dict], **wanted: object) -> dict | None:
    """All seeds and draws of one condition: right (N,) as shares over draws, clusters (N,), chance, seeds.

    None without such a condition.
    """
    right, clusters, chance, seeds = [], [], set(), []
    for record in sorted(records, key=lambda record: record["seed"]):
        found = [c for c in record["conditions"] if all(c.get(name) == value for name, value in wanted.items())]
        if found:
            right.append(np.mean([correct_of(c) for c in found], axis=0))
            clusters.append(clusters_of(record, found[0]))
            chance |= {c["chance"] for c in found}
            seeds.append(record["seed"])
    if not right:
        return None
    return {
        "right": np.concatenate(right),
        "clusters": np.concatenate(clusters),
        "chance": chance.pop(),
        "seeds": tuple(seeds),
    }


def interval_of(cell: dict, against: dict | None = None) -> Interval:
    """Mean of a cell, or its paired difference to another, resampling clusters with all their seeds together.

    Raises: ValueError for a difference of cells that are not of the same clips and seeds.
    """
    values = paired_right(cell, against) if against else cell["right"]
    ((low, high),) = limits_together([cell | {"right": values}])
    return Interval(float(values.mean()), low, high)


def paired_right(cell: dict, against: dict) -> np.ndarray:
    """(N,) right of one cell less that of another. Raises: ValueError unless they are of the same clips and seeds."""
    if cell["seeds"] != against["seeds"] or not np.array_equal(cell["clusters"], against["clusters"]):
        raise ValueError(f"seeds {cell['seeds']} and {against['seeds']}: not the same clips and seeds, so not paired.")
    return cell["right"] - against["right"]


def limits_together(cells: Sequence[dict], resamples: int = 10_000) -> list[tuple[float, float]]:
    """95 % limits of the means of all cells; those over the same clips are resampled together."""
    together: dict[bytes, list[int]] = {}
    for index, cell in enumerate(cells):
        together.setdefault(cell["clusters"].tobytes(), []).append(index)
    limits: list[tuple[float, float]] = [(np.nan, np.nan)] * len(cells)
    for members in together.values():
        values = np.stack([cells[i]["right"] for i in members], axis=1)
        means = joint_means(values, cells[members[0]]["clusters"], resamples=resamples)
        low, high = np.quantile(means, (0.025, 0.975), axis=0)
        for place, index in enumerate(members):
            limits[index] = (float(low[place]), float(high[place]))
    return limits


def family(probes: list[dict], name: str, method: str | None = None, dataset: str | None = None) -> list[dict]:
    """The records of one family, of one method and data set where these are given."""
    return [
        p for p in probes if p["family"] == name and method in (None, p["method"]) and dataset in (None, p["dataset"])
    ]


COLUMNS = (
    "family", "dataset", "method", "condition", "kind", "frames", "of", "percent", "low", "high", "chance", "seeds",
)  # fmt: skip


def probe_numbers(probes: list[dict]) -> pd.DataFrame:
    """Columns as COLUMNS; percent, low, high and chance in percent.

    Intervals are 95 % over classes, or over what the clips of a pair differ in, all seeds of one together.
    """
    groups = dict.fromkeys((p["family"], p["dataset"], p["method"]) for p in probes)
    rows = [row for name, dataset, method in groups for row in _rows(probes, name, dataset, method)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(probes: list[dict], name: str, dataset: str, method: str) -> list[tuple]:
    records = family(probes, name, method, dataset)
    keys = dict.fromkeys(
        (c["name"], c["kind"], c["frames"], c.get("of", "")) for record in records for c in record["conditions"]
    )
    cells = [cell_of(records, **_wanted(*key)) for key in keys]
    limits = limits_together(cells)
    return [
        (
            name, dataset, method, *key, 100 * cell["right"].mean(), 100 * low, 100 * high, 100 * cell["chance"],
            len(cell["seeds"]),
        )
        for key, cell, (low, high) in zip(keys, cells, limits, strict=True)
    ]  # fmt: skip


def _wanted(condition: str, kind: str, frames: int, of: str) -> dict[str, object]:
    return {"name": condition, "kind": kind, "frames": frames} | ({"of": of} if of else {})
