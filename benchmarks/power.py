"""What the miniature's comparisons can show: told on a development world, before the reported one is run.

    python -m benchmarks.recipe_search && python -m benchmarks.power

For each comparison of the report, the smallest gap that would be seen with 80 % power: 2.8 standard errors of the
paired difference, once over other classes and once over other recordings of the same classes. The development world
has other classes and clips in the same numbers, and as many training seeds.
"""

from pathlib import Path

import pandas as pd

from benchmarks.recipe_search import DEVELOPMENT_WORLD, RESULTS, SEARCHED
from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.experiment.experiment import Experiment
from motion_lib.experiment.records import read_records
from motion_lib.report.claims import findings
from motion_lib.storage import write_json

SEEDS = range(5)


def power(cfg: RunConfig) -> list[dict]:
    """The smallest visible gaps of each comparison between methods that were measured, in points.

    Returns:
        One row a comparison and target: `target`, `comparison`, `gap` (measured there), `over_classes`,
        `over_recordings`.
    """
    return [
        {
            "target": DATASETS[found.dataset].label,
            "comparison": str(found.comparison),
            "gap": round(100 * found.gap.estimate, 1),
            "over_classes": round(100 * found.visible, 1),
            "over_recordings": round(100 * found.visible_in_recordings, 1),
        }
        for found in findings(read_records(cfg), cfg.targets)
        if found.gap
    ]


def main() -> Path:
    """Measure on the development world and write `power.json`, whose path it returns; prints medians and maxima."""
    for seed in SEEDS:
        cfg = RunConfig.load("miniature", world_seed=DEVELOPMENT_WORLD, seed=seed)
        experiment = Experiment(cfg)
        for key in ("clip", *SEARCHED):
            experiment.measure(key)
    rows = power(cfg)
    of_targets = pd.DataFrame(rows).groupby("target", sort=False)[["over_classes", "over_recordings"]]
    print(of_targets.agg(["count", "median", "max"]).to_string())
    sizes = {name: getattr(cfg, name) for name in ("world_seed", "ucf_classes", "hmdb_classes", "target_clips")}
    sizes["seeds"] = len(SEEDS)
    return write_json(RESULTS / "power.json", {"fixed": sizes, "rows": rows})


if __name__ == "__main__":
    print(main())
