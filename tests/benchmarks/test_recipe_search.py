"""The search for the miniature's recipe: on another world, on held-out source clips only."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from benchmarks import recipe_search
from motion_lib.config import RunConfig
from motion_lib.experiment.data import Data
from motion_lib.experiment.experiment import Experiment
from motion_lib.methods import METHODS
from tests.conftest import SMOKE

RECIPES = ({"lr": 1e-3}, {"lr": 1e-4})


@pytest.fixture
def elsewhere(smoke_env) -> RunConfig:
    """Another world than the reported one, as small as worlds get."""
    sizes = {"source_clips": 3, "target_clips": 2, "epochs": 1}
    return RunConfig.load("miniature", **SMOKE | sizes, world_seed=recipe_search.DEVELOPMENT_WORLD)


@pytest.mark.slow
def test_every_recipe_is_scored_on_held_out_source_clips(elsewhere, monkeypatch):
    asked = []
    dataset = Data.dataset
    monkeypatch.setattr(Data, "dataset", lambda self, *which: asked.append(which) or dataset(self, *which))
    rows = recipe_search.search(elsewhere, RECIPES, ("motion", "names"))
    assert set(asked) == {("miniature-source", "train"), ("miniature-source", "val")}  # never a target
    assert [(row["method"], row["lr"]) for row in rows] == [(k, r["lr"]) for r in RECIPES for k in ("motion", "names")]
    expected = Experiment(replace(elsewhere, **RECIPES[1])).source_validation("names")
    assert rows[-1]["held_out_acc1"] == round(100 * expected.accuracy(), 1)
    assert rows[-1]["held_out_clips"] == len(expected.ranks) == len(expected.labels)


def test_the_reported_world_is_refused():
    with pytest.raises(ValueError, match="world_seed 0 is the reported world"):
        recipe_search.search(RunConfig.load("miniature"))


def test_the_table_has_a_row_for_each_recipe_and_their_mean():
    rows = [
        {"method": key, **recipe, "held_out_acc1": 10.0 * n + 4 * m}
        for n, recipe in enumerate(RECIPES)
        for m, key in enumerate(("motion", "names"))
    ]
    found = recipe_search.table(rows)
    expected = pd.DataFrame(RECIPES).assign(
        **{METHODS["motion"].label: [0.0, 10.0], METHODS["names"].label: [4.0, 14.0], "mean": [2.0, 12.0]}
    )
    pd.testing.assert_frame_equal(found, expected)


def test_the_search_is_printed_and_kept(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(recipe_search, "RESULTS", tmp_path)
    rows = [{"method": "motion", **recipe, "held_out_acc1": 1.0} for recipe in RECIPES]
    monkeypatch.setattr(recipe_search, "search", lambda cfg: rows)
    path = recipe_search.main(["--world-seed", "101"])
    written = json.loads(path.read_text())
    assert written["rows"] == rows
    assert written["fixed"]["world_seed"] == 101
    assert METHODS["motion"].label in capsys.readouterr().out


def test_the_profile_has_the_recipe_with_the_best_mean():
    """The committed search decides the committed profile."""
    cfg = RunConfig.load("miniature")
    rows = json.loads((recipe_search.RESULTS / "recipe_search.json").read_text())["rows"]
    found = recipe_search.table(rows)
    best = found.loc[found["mean"].idxmax()]
    assert cfg.lr == best["lr"]
