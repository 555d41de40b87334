"""The figures of the notebooks 02 to 05 with the numbers that they plot, from results or records."""

from collections.abc import Mapping
from itertools import product

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import mean_interval
from motion_lib.evaluation.retrieval import RetrievalResult
from motion_lib.methods import DESCRIPTION_KINDS, METHODS, TABLE_METHODS, TEMPORAL_METHODS
from motion_lib.paper import REPORTED_RETRIEVAL
from motion_lib.report.plots import bar_figure, epoch_figure, retrieval_figure
from motion_lib.report.tables import KIND_LABEL, Percent, candidates, mean_acc, select


def first_results(
    results: Mapping[str, Mapping[tuple[str, str], RetrievalResult]], resamples: int = 10_000
) -> pd.DataFrame:
    """Top-1 percent with its interval: one row a method, one column a target and description kind."""
    rows = []
    for key, cells in results.items():
        found = {at: Percent(*result.interval(resamples)) for at, result in cells.items()}
        rows.append({"Method": METHODS[key].label} | _by_condition(found))
    chance = _by_condition({at: Percent(1 / result.scores.shape[1]) for at, result in cells.items()})
    return pd.DataFrame([*rows, {"Method": "chance"} | chance])


def _by_condition(cells: Mapping[tuple[str, str], Percent]) -> dict[str, Percent]:
    return {f"{DATASETS[target].label}, {KIND_LABEL[kind]}": cell for (target, kind), cell in cells.items()}


def main_figure(records: list[dict], cfg: RunConfig) -> tuple[Figure, pd.DataFrame]:
    """The drop from named to masked of every method, measured and reported, and its numbers."""
    panels, rows = {"measured": {}, "reported": {}}, []
    for target in cfg.targets:
        paper, final = DATASETS[target].paper, select(records, dataset=target, epoch=None)
        means = {k: [mean_acc(final, method=k, descriptions=kind) for kind in DESCRIPTION_KINDS] for k in TABLE_METHODS}
        printed = {k: REPORTED_RETRIEVAL[paper].get(METHODS[k].paper_row, {}) for k in TABLE_METHODS}
        known = {k: pair for k, pair in means.items() if not np.isnan(pair).any()}
        reported = {k: [row[kind] for kind in DESCRIPTION_KINDS] for k, row in printed.items() if row}
        for source, name, panel in (("measured", target, known), ("reported", paper, reported)):
            panels[source][DATASETS[name].label] = panel
            rows += [(source, DATASETS[name].label, key, *pair) for key, pair in panel.items()]
    numbers = pd.DataFrame(rows, columns=["source", "data_set", "method", "named_percent", "masked_percent"])
    return retrieval_figure(**panels, chance=_chance(records, cfg)), numbers


def _chance(records: list[dict], cfg: RunConfig) -> dict[str, float]:
    """{title of a target: percent that guessing gives}, of those that have records."""
    found = {DATASETS[target].label: candidates(records, target) for target in cfg.targets}
    return {label: 100 / classes for label, classes in found.items() if classes}


def temporal_figure(records: list[dict], cfg: RunConfig) -> tuple[Figure, pd.DataFrame]:
    """Mean pooling against the temporal transformer, mean over seeds with its interval or range."""
    rows = []
    for target, key, kind in product(cfg.targets, TEMPORAL_METHODS, DESCRIPTION_KINDS):
        cell = select(records, dataset=target, epoch=None, method=key, descriptions=kind)
        values = [100 * record["metrics"]["acc1"] for record in cell]
        low, high = min(values), max(values)
        if len(cell) == 1:
            low, high = (100 * cell[0]["metrics"][bound] for bound in ("acc1_low", "acc1_high"))
        rows.append((key, DATASETS[target].label, KIND_LABEL[kind], np.mean(values), low, high, len(cell)))
    numbers = pd.DataFrame(rows, columns=["method", "target", "kind", "percent", "low", "high", "seeds"])
    seeds = int(numbers["seeds"].max())
    bars = f"lowest and highest of {seeds} seeds" if seeds > 1 else "95 % interval over groups of clips, one seed"
    return bar_figure(numbers, TEMPORAL_METHODS, bars), numbers


def epochs_figure(records: list[dict], cfg: RunConfig) -> tuple[Figure, pd.DataFrame]:
    """Accuracy after each epoch on a target, named and masked, and on held-out source clips; all seeds."""
    parts = []
    for target in cfg.targets:
        lines = {KIND_LABEL[kind]: {"dataset": target, "descriptions": kind} for kind in DESCRIPTION_KINDS}
        lines["held-out source"] = {"dataset": cfg.source, "descriptions": "object"}
        for line, wanted in lines.items():
            cells = [r for r in select(records, method="motion", **wanted) if r["epoch"] is not None]
            for epoch in sorted({record["epoch"] for record in cells}):
                values = [100 * record["metrics"]["acc1"] for record in select(cells, epoch=epoch)]
                parts.append((DATASETS[target].label, line, epoch, *mean_interval(values), len(values)))
    numbers = pd.DataFrame(parts, columns=["target", "line", "epoch", "mean", "low", "high", "seeds"])
    return epoch_figure(dict(list(numbers.groupby("target", sort=False))), _chance(records, cfg)), numbers
