"""The same trainings on another processor, or with another number of threads: how far rounding moves the results.

    OMP_NUM_THREADS=1 MOTION_RESULTS=/elsewhere motion reproduce --only 02 03
    python -m benchmarks.processors /elsewhere/miniature/records

Puts the records of a folder beside those of `results/miniature`, for the seeds that both have, and writes
`results/processors.md`.
"""

import argparse
import json
from pathlib import Path

import pandas as pd

from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.experiment.records import read_records
from motion_lib.methods import DESCRIPTION_KINDS, METHODS, TABLE_METHODS
from motion_lib.report.claims import findings
from motion_lib.report.tables import KIND_LABEL, Points, markdown, mean_acc, select
from motion_lib.storage import write_text

_TEXT = """# The same code and seeds, rounded differently

Both sides start from the same shipped backbone and train with the same draws; what differs is how sums are rounded.
Top-1 percent of seed {seeds} in the miniature: the largest of {cells} differences is {largest} points, their mean
{mean}. Of {comparisons} comparisons {changed} change their verdict.

{table}{gaps}"""


def side(records: list[dict]) -> str:
    """What the records were made on.

    Raises: ValueError unless all were made on one device with one number of threads.
    """
    made = {(record["environment"]["device"], record["environment"]["threads"]) for record in records}
    if len(made) != 1:
        raise ValueError(f"records of {len(made)} devices or numbers of threads, expected 1: {sorted(made)}")
    ((device, threads),) = made
    return f"{device}, threads: {threads}"


def compared(one: list[dict], other: list[dict], targets: tuple[str, ...]) -> str:
    """The text of `processors.md`: records of the same experiment, made in two ways.

    Raises: ValueError for records of two experiments or backbones, or without a seed in common.
    """
    if len({(r["experiment"], r["backbone_sha256"], r["data"]) for r in (*one, *other)}) != 1:
        raise ValueError("records of other parameters, another world or another backbone: more than rounding differs.")
    seeds = {record["seed"] for record in one} & {record["seed"] for record in other}
    sides = [[record for record in records if record["seed"] in seeds] for records in (one, other)]
    if not seeds:
        raise ValueError("no seed is in both folders: nothing to compare.")
    names = [side(records) for records in sides]
    rows, gaps = [], []
    for target in targets:
        for key in TABLE_METHODS:
            for kind in DESCRIPTION_KINDS:
                about = {"dataset": target, "method": key, "descriptions": kind, "epoch": None}
                if all(select(records, **about) for records in sides):
                    tops = [round(mean_acc(records, **about), 1) for records in sides]
                    labels = (DATASETS[target].label, METHODS[key].label, KIND_LABEL[kind])
                    rows.append(dict(zip(("Target", "Method", "Descriptions", *names), (*labels, *tops), strict=True)))
    pairs = zip(*(findings(records, targets) for records in sides), strict=True)
    found = [pair for pair in pairs if all(finding.gap for finding in pair)]
    for pair in found:
        if len({finding.verdict for finding in pair}) > 1:
            said = {name: f"{Points(*f.gap)}: {f.verdict}" for name, f in zip(names, pair, strict=True)}
            about = {"Target": DATASETS[pair[0].dataset].label, "Comparison": str(pair[0].comparison)}
            gaps.append(about | said)
    table = pd.DataFrame(rows)
    apart = (table[names[0]] - table[names[1]]).abs()
    return _TEXT.format(
        seeds=", ".join(map(str, sorted(seeds))),
        cells=len(rows),
        largest=f"{apart.max():.1f}",
        mean=f"{apart.mean():.1f}",
        comparisons=len(found),
        changed=len(gaps),
        table=markdown(table),
        gaps=f"\n{markdown(pd.DataFrame(gaps))}" if gaps else "",
    )


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processors", description=__doc__.partition("\n")[0])
    parser.add_argument("records", type=Path, help="folder of the records made elsewhere")
    args, cfg = parser.parse_args(), RunConfig.load("miniature")
    elsewhere = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(args.records.glob("*.json"))]
    text = compared(read_records(cfg), elsewhere, cfg.targets)
    print(write_text(REPOSITORY / "results" / "processors.md", text).name)


if __name__ == "__main__":
    main()
