"""Every number of the records at length: by protocol, by class, and all of them in one long file."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.metrics import confusion_pairs
from motion_lib.experiment.records import answers_of
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.report.tables import KIND_LABEL, NOT_RUN, Percent, Spread, select
from motion_lib.storage import write_text

NUMBER_COLUMNS = (
    "method", "data_set", "descriptions", "protocol", "metric", "epoch", "seed", "value", "low", "high", "n",
)  # fmt: skip


def write_numbers(records: Sequence[dict], cfg: RunConfig) -> Path:
    """Write `results/<profile>/numbers.csv`: every metric and protocol of every record, one number a row.

    Shares are fractions; `epoch` is empty for the last; `low` and `high` are 95 % over groups of clips, empty where
    there are none; `n` counts the videos, or for `text_to_video_` the descriptions that have videos.
    """
    table = pd.DataFrame([row for record in records for row in _numbers_of(record)], columns=list(NUMBER_COLUMNS))
    table["epoch"] = table["epoch"].astype("Int64")
    return write_text(cfg.results_dir / "numbers.csv", table.to_csv(index=False, float_format="%.6g"))


def _numbers_of(record: dict) -> Iterator[tuple]:
    where = (record["method"], record["dataset"], record["descriptions"])
    when, about = (record["epoch"], record["seed"]), record["protocol"]
    videos = "all videos" if about["subset"] == "all" else f"{about['subset']} videos, split {about['split']}"
    with_videos = len(set(record["labels"].split()))
    for metric, value in _values(record["metrics"]):
        n = with_videos if metric.startswith("text_to_video_") else record["n_decoded"]
        yield *where, videos, metric, *when, *value, n
    for protocol, found in record["protocols"].items():
        for metric, value in _values({name: found[name] for name in found if name.startswith(("acc1", "sd"))}):
            yield *where, protocol, "acc1_sd" if metric == "sd" else metric, *when, *value, found["videos"]


def _values(metrics: dict[str, float]) -> Iterator[tuple[str, tuple]]:
    """Each metric with its value, low and high."""
    for name, value in metrics.items():
        if not name.endswith(("_low", "_high")):
            yield name, (value, metrics.get(f"{name}_low"), metrics.get(f"{name}_high"))


def protocol_table(records: Sequence[dict], datasets: Sequence[str], methods: Sequence[str]) -> pd.DataFrame:
    """Top-1 by every protocol, mean over seeds: one row a target, description kind and protocol, one column a method.

    ± is the deviation over splits or draws.
    """
    rows = []
    for dataset, kind in product(datasets, DESCRIPTION_KINDS):
        final = select(records, dataset=dataset, descriptions=kind, epoch=None)
        for name in dict.fromkeys(name for record in final for name in record["protocols"]):
            cells = {key: [r["protocols"][name] for r in select(final, method=key)] for key in methods}
            first = next(cell for of_method in cells.values() for cell in of_method)
            row = {"Target": DATASETS[dataset].label, "Descriptions": KIND_LABEL[kind], "Protocol": name}
            row |= {"Videos": first["videos"], "Candidates": first["classes"]}
            row["Classes with videos"] = first["classes_with_videos"]
            rows.append(row | {METHODS[key].label: _protocol_cell(cell) for key, cell in cells.items()})
    return pd.DataFrame(rows)


def _protocol_cell(cells: list[dict]) -> Percent | Spread | str:
    lacking = [cell["why"] for cell in cells if "acc1" not in cell]
    if lacking or not cells:
        return ", ".join(dict.fromkeys(lacking)) or NOT_RUN
    mean = float(np.mean([cell["acc1"] for cell in cells]))
    return Spread(mean, float(np.mean([cell["sd"] for cell in cells]))) if "sd" in cells[0] else Percent(mean)


@cache
def reported_classes() -> pd.DataFrame:
    """The authors' published chart of UCF-101, read off it: class_name and percent, best class first."""
    table = pd.read_csv(Path(__file__).with_name("ucf101_per_class_reported.csv"))[["class_name", "percent"]]
    return table.sort_values("percent", ascending=False, kind="stable", ignore_index=True)


def measured_classes(records: list[dict], dataset: str, method: str = "motion", kind: str = "object") -> pd.DataFrame:
    """Top-1 percent of every class, mean over seeds with the lowest and highest seed, best class first.

    Without records an empty frame of these columns.
    """
    columns = ["class_name", "percent", "low", "high"]
    chosen = select(records, dataset=dataset, method=method, descriptions=kind, epoch=None)
    if not chosen:
        return pd.DataFrame(columns=columns)
    answers = answers_of(chosen)
    frame = pd.DataFrame({"class": answers.classes, "seed": answers.seeds, "percent": 100 * answers.right})
    of_seeds = frame.groupby(["class", "seed"])["percent"].mean().groupby("class").agg(["mean", "min", "max"])
    table = of_seeds.reset_index().set_axis(columns, axis=1)
    table["class_name"] = [chosen[0]["class_names"][c] for c in of_seeds.index]
    return table.sort_values("percent", ascending=False, kind="stable", ignore_index=True)


def confusion_table(records: Sequence[dict], datasets: Sequence[str], most: int = 5) -> pd.DataFrame:
    """The most frequent wrong first answers of our method, all seeds together, objects named."""
    rows = []
    for dataset in datasets:
        chosen = select(records, dataset=dataset, method="motion", descriptions="object", epoch=None)
        for right, answer, count in _confusions(chosen, most):
            row = {"Target": DATASETS[dataset].label, "Videos of": right, "answered as": answer}
            rows.append(row | {"Videos, all seeds": count})
    return pd.DataFrame(rows)


def _confusions(records: Sequence[dict], most: int) -> list[tuple[str, str, int]]:
    if not records:
        return []
    names = records[0]["class_names"]
    labels, answers = (
        np.concatenate([np.array(record[column].split(), dtype=np.int64) for record in records])
        for column in ("labels", "answers")
    )
    pairs = confusion_pairs(labels, answers, len(names), most)
    return [(names[right], names[answer], count) for right, answer, count in pairs]
