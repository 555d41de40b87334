"""Tables and figures of the probes, made from their records, and the sheet that shows minimal pairs."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from motion_lib.config import RunConfig
from motion_lib.diagrams import contact_sheet
from motion_lib.evidence import measured_classes, reported_classes
from motion_lib.experiment import Experiment
from motion_lib.frames import open_clips
from motion_lib.miniature.minimal_pairs import KINDS
from motion_lib.probe_numbers import probe_numbers
from motion_lib.probe_plots import class_bars, probe_panel
from motion_lib.probe_tables import (
    ORDERS,
    PAIR_LABEL,
    TEXT_CONTROLS,
    frame_count_table,
    order_control_table,
    pair_table,
    rival_table,
    taught_table,
    text_control_table,
    text_gap_table,
)
from motion_lib.probes import ORDER, REVERSED_PAIRS
from motion_lib.tables import DATASET_LABEL, write_table

_SHORT = {
    "motion description in a template": "the same in a template",
    "class name in a template": "name in a template",
}
_TAUGHT_LABEL = {"motion_temporal_taught": "transformer", "motion_mean_taught": "mean"}
_TWO_LINES = {
    "object": "another object,\nsame motion",
    "arms": "another motion\nof the arms",
    "body": "another motion\nof the body",
    REVERSED_PAIRS: "the same frames\nbackwards",
}


def write_probe_tables(probes: list[dict], cfg: RunConfig) -> dict[str, pd.DataFrame]:
    """Every table of the probes over all seeds, written and returned by name."""
    tables = {
        "rivals": rival_table(probes, cfg.targets),
        "minimal_pairs": pair_table(probes),
        "order_taught": taught_table(probes),
    }
    for target in cfg.targets:
        short = target.rpartition("-")[2]
        tables[f"text_controls_{short}"] = text_control_table(probes, target)
        tables[f"text_gaps_{short}"] = text_gap_table(probes, target)
        tables[f"frame_counts_{short}"] = frame_count_table(probes, target)
        tables[f"frame_order_{short}"] = order_control_table(probes, target)
    for name, table in tables.items():
        write_table(table, cfg, name)
    return tables


def probe_figure(probes: list[dict], cfg: RunConfig) -> tuple[Figure, pd.DataFrame]:
    """The probe panel and everything it plots."""
    numbers = probe_numbers(probes)
    taught = numbers[numbers["family"] == ORDER].assign(label=lambda rows: rows["method"].map(_TAUGHT_LABEL))
    texts = {name: _SHORT.get(name, name) for name in TEXT_CONTROLS}
    orders = {name: name for name in ORDERS}
    targets = {target: DATASET_LABEL[target] for target in cfg.targets}
    return probe_panel(numbers, targets, texts, orders, _TWO_LINES, taught), numbers


def class_figure(records: list[dict], target: str) -> tuple[Figure, pd.DataFrame]:
    """Top-1 of every class of a target for our method, below the authors' published chart of UCF-101.

    Where nothing was measured the chart stands alone.
    """
    measured, reported = measured_classes(records, target), reported_classes()
    seeds = len({record["seed"] for record in records})
    spread = f"mean of {seeds} seeds, lines from the lowest to the highest" if seeds > 1 else "one seed"
    panels = [("UCF-101, reported: read off the authors' published chart", reported)]
    if len(measured):
        panels.append((f"{DATASET_LABEL[target]}, measured: {spread}", measured))
    labelled = (("reported", "UCF-101", reported), ("measured", target, measured))
    parts = [frame.assign(source=source, data_set=name) for source, name, frame in labelled]
    return class_bars(panels), pd.concat(parts, ignore_index=True)


def pairs_figure(experiment: Experiment) -> tuple[Figure, pd.DataFrame]:
    """The first minimal pair of each kind and an action played both ways, and their sentences.

    Raises: ValueError where there are no rendered clips.
    """
    if not experiment.minimal_pairs:
        raise ValueError(
            f"profile {experiment.cfg.profile!r} has no minimal pairs: its clips were filmed, not rendered."
        )
    paths, preprocess = experiment.minimal_pairs, experiment.vanilla.preprocess
    dataset, sentences = paths.pair_clips()
    clips = open_clips(dataset, preprocess, experiment.data_root / "frames", "cropped")
    shown, captions = [], []
    for kind in KINDS:
        number = next(i for i, pair in enumerate(paths.pairs) if pair.kind == kind)
        for side in (0, 1):
            shown.append(_picture(clips[2 * number + side]))
            captions.append(f"{PAIR_LABEL[kind]} ({'ab'[side]}): {sentences.texts[2 * number + side]}")
    actions, both_ways = paths.actions("test")
    played = _picture(open_clips(actions, preprocess, experiment.data_root / "frames", "cropped")[0])
    shown += [played, played[::-1]]
    ways = ("an action as it was filmed", PAIR_LABEL[REVERSED_PAIRS])
    captions += [f"{way}: {text}" for way, text in zip(ways, both_ways.texts[:2], strict=True)]
    return contact_sheet(shown, captions), pd.DataFrame({"clip and sentence": captions})


def _picture(frames: np.ndarray) -> np.ndarray:
    return frames.transpose(0, 2, 3, 1)
