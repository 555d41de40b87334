"""The cards of a folder on one board: a table, a figure and paired gaps for each data set.

A board holds one data set: the same videos and the same descriptions. Cards that others made are added as files; the
paper's reported numbers are drawn hollow, on boards of its own data sets alone.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import Interval, bootstrap_mean
from motion_lib.experiment.records import read_records
from motion_lib.methods import DESCRIPTION_KINDS, METHODS, TABLE_METHODS
from motion_lib.paper import REPORTED_RETRIEVAL
from motion_lib.report.plots import CHANCE_LINE, FULL_INCHES, paper_style
from motion_lib.report.tables import KIND_LABEL, Percent, markdown, mean_acc, select
from motion_lib.scores.card import SCHEMA
from motion_lib.storage import atomic_path, write_text


@dataclass(frozen=True)
class Entry:
    """One model on one data set.

    Attributes:
        name: of the model.
        percent: {kind: top-1}.
        correct: {kind: (N,) 0 or 1}; empty for numbers that come without answers.
        reported: whether the paper says so, and nobody measured it.
    """

    name: str
    percent: Mapping[str, float]
    correct: Mapping[str, Sequence[int]]
    reported: bool = False


@dataclass(frozen=True)
class Board:
    """Entries over the same videos and descriptions, and what a class is of each video."""

    name: str
    label: str
    chance: float
    labels: Sequence[int]
    entries: tuple[Entry, ...]


def read_cards(folder: Path) -> list[dict]:
    """The cards below a folder.

    Raises:
        FileNotFoundError: for none.
        ValueError: for a card of another schema, with its path.
    """
    paths = sorted({*folder.glob("**/card.json"), *folder.glob("*.json")})
    if not paths:
        raise FileNotFoundError(f"no card.json in {folder}: make one by motion score NAME.")
    cards = []
    for path in paths:
        card = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(card, dict) or card.get("schema") != SCHEMA or "targets" not in card:
            raise ValueError(f"{path}: no card of schema {SCHEMA}; make it anew by motion score.")
        cards.append(card)
    return cards


def boards_of(cards: Sequence[dict], cfg: RunConfig) -> list[Board]:
    """One board for each data set, videos and descriptions that cards are of, with this project's own records."""
    grouped: dict[tuple, list[tuple[str, dict]]] = {}
    for card in cards:
        for target in card["targets"]:
            texts = tuple(cell["descriptions"] for cell in target["results"].values())
            same = (card["profile"], target["name"], target["videos"], texts)
            grouped.setdefault(same, []).append((card["model"], target))
    records, boards = read_records(cfg), []
    for (profile, name, videos, _), found in grouped.items():
        first = found[0][1]
        entries = [
            Entry(
                model,
                {kind: cell["top1"][0] for kind, cell in target["results"].items()},
                {kind: cell["correct"] for kind, cell in target["results"].items()},
            )
            for model, target in found
        ]
        if profile == cfg.profile:
            entries += _recorded(records, name, videos)
        chance = next(iter(first["results"].values()))["chance"]
        boards.append(Board(f"{profile}-{name}", first["label"], chance, first["labels"], (*entries, *_reported(name))))
    return boards


def _recorded(records: Sequence[dict], dataset: str, videos: str) -> list[Entry]:
    """This project's methods over the same videos: means over training seeds."""
    if dataset not in DATASETS:
        return []
    same = [r for r in select(records, dataset=dataset, epoch=None) if r["video_list_hash"] == videos]
    entries = []
    for key in TABLE_METHODS:
        of_kind = {kind: select(same, method=key, descriptions=kind) for kind in DESCRIPTION_KINDS}
        if all(of_kind.values()):
            percent = {kind: mean_acc(found) for kind, found in of_kind.items()}
            entries.append(Entry(f"{METHODS[key].label} (this project)", percent, {}))
    return entries


def _reported(dataset: str) -> list[Entry]:
    """The paper's rows, of its own data sets."""
    rows = REPORTED_RETRIEVAL.get(dataset, {}).items()
    return [Entry(f"{name} (reported)", percent, {}, reported=True) for name, percent in rows]


def board_table(board: Board) -> pd.DataFrame:
    """A row a model, the best first; gaps to the first that has answers are paired, with 95 % over classes."""
    kinds = [kind for kind in DESCRIPTION_KINDS if any(kind in entry.percent for entry in board.entries)]
    ordered = sorted(board.entries, key=lambda entry: -entry.percent.get(kinds[0], -1))
    best = next((entry for entry in ordered if entry.correct), None)
    rows = []
    for entry in ordered:
        row: dict[str, object] = {"Model": entry.name}
        for kind in kinds:
            row[f"{KIND_LABEL[kind]}, %"] = Percent(entry.percent[kind] / 100) if kind in entry.percent else "not run"
        for kind in kinds:
            paired = best is not None and entry is not best and kind in entry.correct and kind in best.correct
            gap = _gap(entry.correct[kind], best.correct[kind], board.labels).in_points() if paired else ""
            row[f"less the first, {KIND_LABEL[kind]}"] = gap
        rows.append(row)
    return pd.DataFrame(rows)


def _gap(one: Sequence[int], other: Sequence[int], labels: Sequence[int]) -> Interval:
    return bootstrap_mean(np.array(one) - np.array(other), np.array(labels))


def board_figure(board: Board) -> Figure:
    """Named against masked: filled what was measured, hollow what the paper reports; on the line nothing is lost."""
    shown = [entry for entry in board.entries if set(DESCRIPTION_KINDS) <= set(entry.percent)]
    with paper_style():
        figure, ax = plt.subplots(figsize=(FULL_INCHES, FULL_INCHES * 0.7))
        for number, entry in enumerate(shown):
            colour = f"C{number % 10}"
            look = {"mfc": "none"} if entry.reported else {}
            ax.plot(*(entry.percent[k] for k in DESCRIPTION_KINDS), "o", color=colour, label=entry.name, **look)
        highest = max((max(entry.percent.values()) for entry in shown), default=100.0) * 1.1
        ax.plot([0, highest], [0, highest], color="0.8", lw=1, zorder=0)
        ax.axvline(board.chance, **CHANCE_LINE)
        ax.axhline(board.chance, **CHANCE_LINE)
        ax.set(xlim=(0, highest), ylim=(0, highest), title=board.label)
        ax.set(xlabel="Top-1, objects named (%)", ylabel="Top-1, objects masked (%)")
        figure.legend(loc="outside right center", frameon=False, fontsize=7)
        return figure


def write_boards(cards: Sequence[dict], cfg: RunConfig, folder: Path) -> list[Path]:
    """Write `board-<data set>.{csv,md,png}` for each board; returns the tables."""
    written = []
    for board in boards_of(cards, cfg):
        table = board_table(board)
        write_text(folder / f"board-{board.name}.csv", table.to_csv(index=False, lineterminator="\n"))
        written.append(write_text(folder / f"board-{board.name}.md", markdown(table)))
        with paper_style(), atomic_path(folder / f"board-{board.name}.png") as temporary:
            figure = board_figure(board)
            figure.savefig(temporary, format="png", metadata={"Software": None})
            plt.close(figure)
    return written
