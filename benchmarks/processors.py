"""The miniature's results in the working tree beside those that another commit holds.

    python -m benchmarks.processors 1afa089 "AMD EPYC"

Processors round differently, and pretraining amplifies it: the same code and seeds give another backbone, whose
training seeds then differ as well. What changes with it is what three training seeds on one backbone cannot show.
Writes results/processors.md.
"""

import argparse
import json
import subprocess
import sys
from operator import itemgetter
from pathlib import Path

import pandas as pd

from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.experiment.records import read_records
from motion_lib.methods import DESCRIPTION_KINDS, METHODS, TABLE_METHODS
from motion_lib.miniature import pretrain
from motion_lib.models import loading
from motion_lib.report.claims import findings
from motion_lib.report.tables import KIND_LABEL, Points, markdown, measured_cell, select
from motion_lib.storage import imported_by, write_text
from motion_lib.training import loop

_RECORDS = "results/miniature/records"
_INTRODUCTION = """# The same code and seeds on two processors

Top-1 percent in the miniature, mean ± sd over three training seeds, and the paper's claims. What trains did not change
between the two commits, and both backbones are {backbone}, named by a hash of recipe and code. Their weights
differ: processors round differently, and pretraining amplifies it. All seeds of a processor share its backbone.
"""


def records_of(commit: str, cfg: RunConfig) -> list[dict]:
    """The records of this experiment that a commit holds."""

    paths = [path for path in _git("ls-tree", "-r", "--name-only", commit, _RECORDS).split() if path.endswith(".json")]
    found = [json.loads(_git("show", f"{commit}:{path}")) for path in paths]
    return [record for record in found if record["experiment"] == cfg.experiment_id]


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout


def same_recipe(one: list[dict], other: list[dict]) -> str:
    """Name of the backbone of both sides.

    Raises: ValueError unless it is one name and the code that trains is the same where the records were made.
    """
    names, commits = ({key(r) for r in (*one, *other)} for key in (itemgetter("backbone"), _commit))
    if len(names) != 1:
        raise ValueError(f"backbones {', '.join(sorted(names))}: another recipe, not another processor.")
    modules = [sys.modules[name] for name in imported_by(loop, loading, pretrain)]
    trains = [str(Path(module.__file__).relative_to(REPOSITORY)) for module in modules]
    if changed := _git("diff", "--name-only", *sorted(commits), "--", *trains).split():
        raise ValueError(f"{', '.join(changed)} changed between the two commits: more than the processor differs.")
    return names.pop()


def _commit(record: dict) -> str:
    return record["environment"]["commit"]


def cells(records: list[dict], targets: tuple[str, ...]) -> dict[tuple[str, str, str], str]:
    """{(target, method, kind): top-1 percent as tables print it}."""
    final = select(records, epoch=None)
    return {
        (DATASETS[target].label, METHODS[key].label, KIND_LABEL[kind]): measured_cell(
            select(final, dataset=target, method=key, descriptions=kind)
        )
        for target in targets
        for key in TABLE_METHODS
        for kind in DESCRIPTION_KINDS
    }


def _made_on(records: list[dict]) -> str:
    """Device and commit of the records. Raises: ValueError unless all were made at one commit on one device."""
    made = {(record["environment"]["device"], _commit(record)) for record in records}
    if len(made) != 1:
        raise ValueError(f"records of {len(made)} devices or commits, expected 1: run motion_lib.reproduce again.")
    device, commit = made.pop()
    return f"{device}, code of commit {commit[:7]}"


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("commit", help="whose results/miniature/records are the other side")
    parser.add_argument("processor", help="what they were made on")
    args, cfg = parser.parse_args(), RunConfig.load("miniature")
    there, here = records_of(args.commit, cfg), read_records(cfg)
    sides = {f"{args.processor}, records of commit {args.commit}": there, _made_on(here): here}
    accuracies = {name: cells(records, cfg.targets) for name, records in sides.items()}
    rows = [
        {"Target": target, "Method": method, "Descriptions": kind}
        | {name: found[target, method, kind] for name, found in accuracies.items()}
        for target, method, kind in next(iter(accuracies.values()))
    ]
    of_sides = [findings(records, cfg.targets) for records in sides.values()]
    gaps = pd.DataFrame(
        {"Target": DATASETS[finding.dataset].label, "Comparison": str(finding.comparison)}
        | {name: f"{Points(*f.gap)}: {f.verdict}" for name, f in zip(sides, (finding, *others), strict=True)}
        for finding, *others in zip(*of_sides, strict=True)
    )
    text = (
        f"{_INTRODUCTION.format(backbone=same_recipe(there, here))}\n{markdown(pd.DataFrame(rows))}\n{markdown(gaps)}"
    )
    print(write_text(REPOSITORY / "results" / "processors.md", text).name)


if __name__ == "__main__":
    main()
