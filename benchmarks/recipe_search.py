"""Which recipe the miniature trains with: judged on held-out source clips of a world that is not reported.

    python -m benchmarks.recipe_search

Targets play no part, and the world's classes and clips are others than the reported ones. Every
training is kept under `results/miniature/other`, so that a search that was cut off goes on where it was.
"""

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.experiment.experiment import Experiment
from motion_lib.methods import METHODS
from motion_lib.storage import write_json

RESULTS = REPOSITORY / "results" / "benchmarks"
DEVELOPMENT_WORLD = 100  # world_seed; the reported world is the profile's
RECIPES = tuple({"lr": lr} for lr in (3e-4, 1e-3, 2e-3))
SEARCHED = ("text4vis", "vificlip", "names", "motion")


def search(cfg: RunConfig, recipes: Sequence[dict[str, float]] = RECIPES, keys: Sequence[str] = SEARCHED) -> list[dict]:
    """Train each method with each recipe and score it on held-out source clips.

    Args:
        cfg: of the miniature, whose world must not be the reported one.
        recipes: overrides of its own.
        keys: methods.

    Returns:
        One row a training: method, the overrides, top-1 percent of training and held-out source clips.

    Raises:
        ValueError: for the reported world.
    """
    reported = RunConfig.load(cfg.profile).world_seed
    if cfg.world_seed == reported:
        raise ValueError(f"world_seed {reported} is the reported world; search on another one.")
    rows = []
    with tqdm(total=len(recipes) * len(keys), desc="recipes", unit="run") as bar:
        for recipe, key in itertools.product(recipes, keys):
            experiment = Experiment(replace(cfg, validate=(), **recipe))  # targets are not even looked at
            history = experiment.train(key)
            held_out = experiment.source_validation(key)
            rows.append(
                {
                    "method": key,
                    **recipe,
                    "train_acc1": round(100 * history.rows[-1]["train_acc1"], 1),
                    "held_out_acc1": round(100 * held_out.accuracy(), 1),
                    "held_out_clips": len(held_out.ranks),
                }
            )
            bar.update()
    return rows


def table(rows: list[dict]) -> pd.DataFrame:
    """Held-out top-1 percent: a row for each learning rate, a column for each method and one for their mean."""
    frame = pd.DataFrame(rows).pivot_table("held_out_acc1", "lr", "method", sort=False)
    frame["mean"] = frame.mean(axis=1).round(1)
    labels = {key: method.label for key, method in METHODS.items()}
    return frame.rename(columns=labels).reset_index().rename_axis(columns=None)


def main(arguments: list[str] | None = None) -> Path:
    """Try all recipes, print their table and write `recipe_search.json`; returns its path."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipe_search", description=__doc__.split("\n")[0])
    parser.add_argument("--world-seed", type=int, default=DEVELOPMENT_WORLD)
    cfg = RunConfig.load("miniature", world_seed=parser.parse_args(arguments).world_seed)
    rows = search(cfg)
    print(table(rows).to_string(index=False))
    names = ("world_seed", "seed", "epochs", "batch_size", "warmup_epochs", "logit_scale")
    fixed = {name: getattr(cfg, name) for name in names}
    return write_json(RESULTS / "recipe_search.json", {"fixed": fixed, "rows": rows})


if __name__ == "__main__":
    print(main())
