"""Tables that say what may be concluded: all metrics, all protocols, seeds, classes, people, every item of the paper.

Made from records alone.
"""

import csv
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.intervals import grim_consistent, joint_means, mean_and_sd, wilson_interval
from motion_lib.evaluation.metrics import confusion_pairs, mean_per_class
from motion_lib.experiment.records import ranks_of
from motion_lib.methods import METHODS
from motion_lib.paper import HUMAN_STUDY, REPORTED_RETRIEVAL
from motion_lib.report.tables import KIND_LABEL, NOT_RUN, same_weights, select

_REPORTED_CLASSES = Path(__file__).with_name("ucf101_per_class_reported.csv")
# Column -> metric of a record, and whether it is a share. V: video, D: description.
_METRICS = {
    "V→D top-1": ("acc1", True),
    "V→D top-5": ("acc5", True),
    "V→D mean per class": ("mean_per_class_acc", True),
    "V→D R@10": ("recall_at_10", True),
    "V→D median rank": ("median_rank", False),
    "V→D mean rank": ("mean_rank", False),
    "D→V R@1": ("text_to_video_recall_at_1", True),
    "D→V R@5": ("text_to_video_recall_at_5", True),
    "D→V R@10": ("text_to_video_recall_at_10", True),
    "D→V median rank": ("text_to_video_median_rank", False),
    "D→V mean rank": ("text_to_video_mean_rank", False),
}


def _labels_of(record: dict) -> np.ndarray:
    return np.array(record["labels"].split(), dtype=np.int64)


def _mean_metric(cell: list[dict], name: str, share: bool) -> str:
    values = [record["metrics"][name] for record in cell]
    return f"{100 * np.mean(values):.1f}" if share else f"{np.mean(values):.1f}"


def metrics_table(
    records: list[dict], datasets: Sequence[str], methods: Sequence[str], kinds: Sequence[str]
) -> pd.DataFrame:
    """Every metric of every method, mean over seeds: video to description (V→D), then description to video (D→V).

    Shares in percent; V→D R@1 and R@5 are top-1 and top-5. For a description every video of its class is right, and
    the best of them counts.
    """
    rows = []
    for dataset in datasets:
        for key in methods:
            for kind in kinds:
                cell = select(records, dataset=dataset, method=key, descriptions=kind, epoch=None)
                row = {"Target": DATASETS[dataset].label, "Method": METHODS[key].label}
                row["Descriptions"] = KIND_LABEL[kind]
                rows.append(
                    row
                    | {
                        column: _mean_metric(cell, name, share) if cell else NOT_RUN
                        for column, (name, share) in _METRICS.items()
                    }
                )
    return pd.DataFrame(rows)


def protocol_table(records: list[dict], dataset: str, methods: Sequence[str], kind: str) -> pd.DataFrame:
    """Top-1 percent by every protocol, mean over seeds: one row a protocol, one column a method."""
    final = select(records, dataset=dataset, descriptions=kind, epoch=None)
    names = dict.fromkeys(name for record in final for name in record["protocols"])
    rows = []
    for name in names:
        cells = {key: [r["protocols"][name] for r in select(final, method=key)] for key in methods}
        any_cell = next(cell for of_method in cells.values() for cell in of_method)
        row = {"Protocol": name, "Videos": any_cell["videos"], "Candidates": any_cell["classes"]}
        row["Classes with videos"] = any_cell["classes_with_videos"]
        rows.append(row | {METHODS[key].label: _protocol_cell(cell) for key, cell in cells.items()})
    return pd.DataFrame(rows)


def _protocol_cell(cells: list[dict]) -> str:
    ran = [cell for cell in cells if "acc1" in cell]
    if len(ran) < len(cells) or not cells:
        return ", ".join(dict.fromkeys(cell["why"] for cell in cells if "acc1" not in cell)) or NOT_RUN
    percent = 100 * np.mean([cell["acc1"] for cell in ran])
    spread = f" ± {100 * np.mean([cell['sd'] for cell in ran]):.1f}" if "sd" in ran[0] else ""
    return f"{percent:.1f}{spread}"


def seeds_table(
    records: list[dict], datasets: Sequence[str], methods: Sequence[str], kinds: Sequence[str]
) -> pd.DataFrame:
    """Mean and standard deviation over training seeds beside the best of them, which is what the paper reports.

    Intervals of single seeds hold clips fixed groups; the spread over seeds is what training alone contributes.
    """
    rows = []
    for dataset in datasets:
        for key in methods:
            row = {"Target": DATASETS[dataset].label, "Method": METHODS[key].label}
            for kind in kinds:
                cell = select(records, dataset=dataset, method=key, descriptions=kind, epoch=None)
                row |= _seed_cells(KIND_LABEL[kind], cell)
            rows.append(row)
    return pd.DataFrame(rows)


def _seed_cells(label: str, cell: list[dict]) -> dict[str, str]:
    columns = [f"{label}: {what}" for what in ("mean ± sd", "best", "best less mean")]
    if not cell:
        return dict.fromkeys(columns, NOT_RUN)
    values = [100 * record["metrics"]["acc1"] for record in cell]
    mean, sd, n = mean_and_sd(values)
    if n == 1:
        found = (f"{mean:.1f} (n=1)", f"{mean:.1f}", "one seed")
    elif same_weights(cell):
        found = (f"{mean:.1f}, the same weights for every seed", "", "")
    else:
        found = (f"{mean:.1f} ± {sd:.1f} (n={n})", f"{max(values):.1f}", f"{max(values) - mean:+.1f}")
    return dict(zip(columns, found, strict=True))


# ------------------------------------------------------------------ classes
@cache
def reported_classes() -> pd.DataFrame:
    """The authors' published chart of UCF-101, read off it: class_name and percent, best class first."""
    with _REPORTED_CLASSES.open(encoding="utf-8", newline="") as file:
        rows = [(row["class_name"], float(row["percent"])) for row in csv.DictReader(file)]
    return pd.DataFrame(sorted(rows, key=lambda row: -row[1]), columns=["class_name", "percent"])


def measured_classes(records: list[dict], dataset: str, method: str = "motion", kind: str = "object") -> pd.DataFrame:
    """Top-1 percent of every class, mean over seeds with the lowest and highest seed, best class first.

    Without records an empty frame of these columns.
    """
    cell = select(records, dataset=dataset, method=method, descriptions=kind, epoch=None)
    if not cell:
        return pd.DataFrame(columns=["class_name", "percent", "low", "high"])
    class_names = cell[0]["class_names"]
    per_seed = [[100 * (ranks_of(r) == 0)[_labels_of(r) == c].mean() for c in range(len(class_names))] for r in cell]
    values = np.array(per_seed)  # (seeds, K)
    frame = pd.DataFrame(
        {
            "class_name": class_names,
            "percent": values.mean(axis=0),
            "low": values.min(axis=0),
            "high": values.max(axis=0),
        }
    )
    return frame.sort_values("percent", ascending=False, kind="stable", ignore_index=True)


def confusion_table(
    records: list[dict], datasets: Sequence[str], method: str = "motion", most: int = 5
) -> pd.DataFrame:
    """The most frequent wrong first answers of a method, all seeds together, objects named."""
    rows = []
    for dataset in datasets:
        cell = select(records, dataset=dataset, method=method, descriptions="object", epoch=None)
        if not cell:
            continue
        names = cell[0]["class_names"]
        labels = np.concatenate([_labels_of(record) for record in cell])
        answers = np.concatenate([np.array(record["answers"].split(), dtype=np.int64) for record in cell])
        rows += [
            {
                "Target": DATASETS[dataset].label,
                "Videos of": names[right],
                "answered as": names[answer],
                "Videos": f"{count} of {(labels == right).sum()}",
            }
            for right, answer, count in confusion_pairs(labels, answers, len(names), most)
        ]
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ people
def human_table() -> pd.DataFrame:
    """The reported human rows with Wilson's intervals, as if one person had judged five videos a class."""
    rows = []
    for dataset, methods in REPORTED_RETRIEVAL.items():
        shown = HUMAN_STUDY.videos_per_class * DATASETS[dataset].classes
        for kind, percent in methods["Human"].items():
            right = round(percent * shown / 100)
            _, low, high = wilson_interval(right, shown)
            decimals = 0 if percent == int(percent) else 1
            rows.append(
                {
                    "Data set": DATASETS[dataset].label,
                    "Descriptions": KIND_LABEL[kind],
                    "Reported, %": f"{percent:g}",
                    "Videos, five a class": shown,
                    "95 % Wilson interval, %": f"[{100 * low:.1f}, {100 * high:.1f}]",
                    "A share of so many videos": "yes" if grim_consistent(percent, shown, decimals) else "no",
                }
            )
    return pd.DataFrame(rows)


# ------------------------------------------------------------------ groups
def pooled(cell: Sequence[dict], clusters: str) -> tuple[np.ndarray, np.ndarray]:
    """(N,) who was right and (N,) clusters, "groups" or "labels", of all seeds of a cell, one after the other."""
    right = np.concatenate([ranks_of(record) == 0 for record in cell])
    return right, np.concatenate([np.array(record[clusters].split(), dtype=np.int64) for record in cell])


def limits(right: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """95 % limits of the accuracy when whole clusters are drawn, each with the answers of all its seeds."""
    low, high = np.quantile(joint_means(right[:, None], clusters)[:, 0], (0.025, 0.975))
    return float(low), float(high)


def group_intervals(records: list[dict], dataset: str, methods: Sequence[str], kind: str) -> pd.DataFrame:
    """Top-1 percent with 95 % intervals over groups of clips (UCF group, HMDB source video) and over classes.

    Of all seeds together: a group or class is drawn with the answers of every seed. Macro is the mean over classes.
    """
    rows = []
    for key in methods:
        cell = sorted(
            select(records, dataset=dataset, method=key, descriptions=kind, epoch=None), key=lambda r: r["seed"]
        )
        row = {"Method": METHODS[key].label}
        if not cell:
            rows.append(row | {"Top-1": NOT_RUN})
            continue
        right, labels = pooled(cell, "labels")
        row |= {"Top-1": f"{100 * right.mean():.1f}", "Macro": f"{100 * mean_per_class(right, labels):.1f}"}
        for unit, name in (("groups", "groups"), ("classes", "labels")):
            clusters = pooled(cell, name)[1]
            low, high = limits(right, clusters)
            row[f"Top-1, 95 % CI over {len(set(clusters))} {unit}"] = f"[{100 * low:.1f}, {100 * high:.1f}]"
        rows.append(row)
    return pd.DataFrame(rows)
