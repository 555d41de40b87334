import copy

import pytest

from benchmarks.processors import compared
from motion_lib.config import RunConfig
from motion_lib.experiment.records import read_records


@pytest.fixture(scope="module")
def records() -> list[dict]:
    return read_records(RunConfig.load("miniature"))


def test_a_cell_that_moved_is_counted(records):
    other = copy.deepcopy([record for record in records if record["seed"] == 0])
    moved = next(r for r in other if r["method"] == "motion" and r["epoch"] is None and r["descriptions"] == "object")
    moved["metrics"]["acc1"] += 0.03
    for record in other:
        record["environment"]["threads"] += 1
    text = compared(records, other, RunConfig.load("miniature").targets)
    assert "of seed 0 in the miniature: the largest of 24 differences is 3.0 points" in text
    assert "comparisons 0 change" in text  # verdicts go by the answers, which are the same


@pytest.mark.parametrize(("name", "said"), [("backbone_sha256", "another backbone"), ("seed", "no seed")])
def test_what_differs_in_more_than_rounding_is_refused(records, name, said):
    other = [record | {name: 99} for record in records]
    with pytest.raises(ValueError, match=said):
        compared(records, other, RunConfig.load("miniature").targets)
