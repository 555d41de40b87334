"""Every condition of every probe as one row: mean over seeds and draws with its interval. What figures plot."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from motion_lib.bootstrap import joint_means
from motion_lib.probe_tables import cell_of, family

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
    limits = _limits(cells)
    return [
        (
            name, dataset, method, *key, 100 * cell["right"].mean(), 100 * low, 100 * high, 100 * cell["chance"],
            len(cell["seeds"]),
        )
        for key, cell, (low, high) in zip(keys, cells, limits, strict=True)
    ]  # fmt: skip


def _wanted(condition: str, kind: str, frames: int, of: str) -> dict[str, object]:
    return {"name": condition, "kind": kind, "frames": frames} | ({"of": of} if of else {})


def _limits(cells: Sequence[dict]) -> list[tuple[float, float]]:
    """Limits of all cells; those over the same clips are resampled together."""
    together: dict[bytes, list[int]] = {}
    for index, cell in enumerate(cells):
        together.setdefault(cell["clusters"].tobytes(), []).append(index)
    limits: list[tuple[float, float]] = [(np.nan, np.nan)] * len(cells)
    for members in together.values():
        values = np.stack([cells[i]["right"] for i in members], axis=1)
        low, high = np.quantile(joint_means(values, cells[members[0]]["clusters"]), (0.025, 0.975), axis=0)
        for place, index in enumerate(members):
            limits[index] = (float(low[place]), float(high[place]))
    return limits
