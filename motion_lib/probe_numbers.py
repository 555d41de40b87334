"""Every condition of every probe as one row: mean over seeds and draws with its interval. What figures plot."""

import pandas as pd

from motion_lib.probe_cells import cell_of, family, limits_together

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
