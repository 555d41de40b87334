"""The cards of a folder on one board: a table, a figure and paired gaps for each data set.

A board holds one data set: the same videos and the same descriptions. Cards that others made are added as files; the
paper's reported numbers are drawn hollow, on boards of its own data sets alone.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import Interval, bootstrap_mean
from motion_lib.experiment.records import answers_of, integers, read_records
from motion_lib.methods import DESCRIPTION_KINDS, METHODS, TABLE_METHODS
from motion_lib.paper import REPORTED_RETRIEVAL
from motion_lib.report.plots import CHANCE_LINE, FULL_INCHES, METHOD_STYLE, few_colours, paper_style
from motion_lib.report.tables import KIND_LABEL, Percent, markdown, mean_acc, select
from motion_lib.scores.card import SCHEMA
from motion_lib.scores.targets import slug
from motion_lib.storage import atomic_path, write_text


@dataclass(frozen=True)
class Entry:
    """One model on one data set.

    Attributes:
        name: of the model.
        percent: {kind: top-1}.
        correct: {kind: (N,) 0 or 1, or a mean over seeds}; empty for numbers that come without answers.
        method: key of a system of the paper, which has its colour and marker in every figure; "" for another model.
        reported: whether the paper says so, and nobody measured it.
    """

    name: str
    percent: Mapping[str, float]
    correct: Mapping[str, Sequence[float]]
    method: str = ""
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
    """The cards below a folder, which may be none.

    Raises:
        ValueError: for a card of another schema, with its path.
    """
    paths, cards = sorted({*folder.glob("**/card.json"), *folder.glob("[!.]*.json")}), []
    for path in paths:
        card = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(card, dict) or card.get("schema") != SCHEMA or "targets" not in card:
            raise ValueError(f"{path}: no card of schema {SCHEMA}; make it anew by motion score.")
        cards.append(card)
    return cards


def boards_of(cards: Sequence[dict], cfg: RunConfig) -> list[Board]:
    """One board for each data set, videos and descriptions that cards or this project's own records are of.

    Own records come first, so that a profile has its boards without any card.
    """
    grouped: dict[tuple, list[tuple[Entry, _Shown]]] = {}
    for key, entry, shown in (*_recorded(read_records(cfg), cfg), *(part for card in cards for part in _parts(card))):
        grouped.setdefault(key, []).append((entry, shown))
    boards, seen = [], Counter()
    for (profile, name, *_), found in grouped.items():
        entries = (*(entry for entry, _ in found), *_reported(name))
        seen[called := f"{profile}-{name}"] += 1  # other videos or texts of one data set are another board
        boards.append(Board(called if seen[called] == 1 else f"{called}-{seen[called]}", *found[0][1], entries))
    return boards


class _Shown(NamedTuple):
    """What entries of one board have in common."""

    label: str
    chance: float
    labels: Sequence[int]


def _parts(card: dict) -> Iterator[tuple[tuple, Entry, _Shown]]:
    for target in card["targets"]:
        cells = target["results"]
        percent = {kind: cell["top1"][0] for kind, cell in cells.items()}
        correct = {kind: cell["correct"] for kind, cell in cells.items()}
        texts = tuple((kind, cell["descriptions"]) for kind, cell in cells.items())
        key = (card["profile"], target["name"], target["videos"], texts)
        shown = _Shown(target["label"], next(iter(cells.values()))["chance"], target["labels"])
        yield key, Entry(card["model"], percent, correct), shown


def _recorded(records: Sequence[dict], cfg: RunConfig) -> Iterator[tuple[tuple, Entry, _Shown]]:
    """This project's methods on each target after the last epoch, as means over training seeds."""
    for target in cfg.targets:
        of_target = select(records, dataset=target, epoch=None)
        for method in TABLE_METHODS:
            of_kind = {kind: select(of_target, method=method, descriptions=kind) for kind in DESCRIPTION_KINDS}
            seen = {(kind, r["video_list_hash"], r["descriptions_sha256"]) for kind, rs in of_kind.items() for r in rs}
            if len(seen) != len(of_kind) or len({videos for _, videos, _ in seen}) > 1:
                continue  # not run, or of other videos with each seed
            first = of_kind["object"][0]
            texts = tuple((kind, found[0]["descriptions_sha256"]) for kind, found in of_kind.items())
            percent = {kind: mean_acc(found) for kind, found in of_kind.items()}
            seeds = len(of_kind["object"])
            correct = {k: answers_of(found).right.reshape(seeds, -1).mean(axis=0) for k, found in of_kind.items()}
            name = METHODS[method].label + (f", {seeds} seeds" if seeds > 1 and METHODS[method].trained else "")
            labels = integers(first, "labels").tolist()
            shown = _Shown(DATASETS[target].label, 100 / first["protocol"]["classes"], labels)
            yield (cfg.profile, target, first["video_list_hash"], texts), Entry(name, percent, correct, method), shown


def _reported(dataset: str) -> list[Entry]:
    """The paper's rows, of its own data sets; people are one of them."""
    key_of = {method.paper_row: key for key, method in METHODS.items()}
    rows = REPORTED_RETRIEVAL.get(dataset, {}).items()
    return [Entry(f"{row} (reported)", percent, {}, key_of.get(row, ""), reported=True) for row, percent in rows]


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


def _gap(one: Sequence[float], other: Sequence[float], labels: Sequence[int]) -> Interval:
    return bootstrap_mean(np.array(one) - np.array(other), np.array(labels))


def board_figure(boards: Sequence[Board]) -> tuple[Figure, pd.DataFrame]:
    """Named against masked: filled what was measured, hollow what the paper reports; on the grey line nothing is lost.

    Returns:
        The figure, and a row for each mark.

    Raises:
        ValueError: without a board.
    """
    if not boards:
        raise ValueError("no board: there are neither cards nor records to draw.")
    rows = []
    with paper_style():
        figure, axes = plt.subplots(1, len(boards), figsize=(FULL_INCHES, 3.6), squeeze=False)
        for ax, board in zip(axes[0], boards, strict=True):
            shown = [entry for entry in board.entries if set(DESCRIPTION_KINDS) <= set(entry.percent)]
            others = iter(f"C{number % 10}" for number in range(len(shown)))
            for entry in shown:
                colour, marker = METHOD_STYLE.get(entry.method) or (
                    ("0.1", "*") if _human(entry) else (next(others), "X")
                )
                look = {"mfc": "none"} if entry.reported else {}
                at = [entry.percent[kind] for kind in DESCRIPTION_KINDS]
                ax.plot(*at, marker, color=colour, label=entry.name, ls="none", **look)
                rows.append((board.name, entry.name, *(round(value, 2) for value in at), entry.reported))
            highest = max((max(entry.percent.values()) for entry in shown), default=100.0) * 1.1
            ax.plot([0, highest], [0, highest], color="0.8", lw=1, zorder=0)
            ax.axvline(board.chance, **CHANCE_LINE)
            ax.axhline(board.chance, **CHANCE_LINE)
            ax.set(xlim=(0, highest), ylim=(0, highest), title=board.label, aspect="equal")
            ax.set(xlabel="Top-1, objects named (%)", ylabel="Top-1, objects masked (%)")
            ax.grid(axis="both")
        names = {label: handle for ax in axes[0] for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
        figure.legend(names.values(), names.keys(), loc="outside lower center", frameon=False, fontsize=7, ncols=3)
        return figure, pd.DataFrame(rows, columns=["board", "model", *DESCRIPTION_KINDS, "reported"])


def _human(entry: Entry) -> bool:
    return entry.reported and entry.name.startswith("Human")


def wording_table(cards: Sequence[dict]) -> pd.DataFrame:
    """Which wording each model of a card retrieves best: a row a text, the best on average first."""
    columns = {
        f"{card['model']}, {target['label']}": {
            name: cell["top1"][0] for name, cell in target["texts"].items() if isinstance(cell, dict)
        }
        for card in cards
        for target in card["targets"]
        if "texts" in target
    }
    table = pd.DataFrame(columns)
    if table.empty:
        return table
    ordered = table.loc[table.mean(axis=1).sort_values(ascending=False, kind="stable").index]
    shown = ordered.map(lambda value: "not run" if np.isnan(value) else Percent(value / 100))
    return shown.rename_axis("Text").reset_index()


def write_boards(boards: Sequence[Board], folder: Path) -> list[Path]:
    """Write `board-<data set>.{csv,md,png}` for each board; returns the tables."""
    written = []
    for board in boards:
        table, name = board_table(board), f"board-{slug(board.name)}"
        write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
        written.append(write_text(folder / f"{name}.md", markdown(table)))
        with paper_style(), atomic_path(folder / f"{name}.png") as temporary:
            figure, _ = board_figure([board])
            figure.savefig(temporary, format="png", metadata={"Software": None})
            few_colours(temporary)
            plt.close(figure)
    return written
