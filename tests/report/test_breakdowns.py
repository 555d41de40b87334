"""What may be concluded, from hand-made records: metrics, protocols, seeds, classes, people, verdicts."""

import re

import numpy as np
import pandas as pd
import pytest

from motion_lib.config import RunConfig
from motion_lib.evaluation.intervals import mcnemar_exact, wilson_interval
from motion_lib.evaluation.protocols import ProtocolLists
from motion_lib.experiment.records import read_records
from motion_lib.methods import DESCRIPTION_KINDS, METHODS, TABLE_METHODS
from motion_lib.paper import REPORTED_RETRIEVAL
from motion_lib.people.ratings import Session, StudyResult, likert_tasks, ratings_dir, write_key
from motion_lib.probes.figures import class_bars, class_figure
from motion_lib.report import items as verdicts
from motion_lib.report.breakdowns import (
    confusion_table,
    group_intervals,
    human_table,
    measured_classes,
    metrics_table,
    protocol_table,
    reported_classes,
    seeds_table,
)
from motion_lib.report.claims import (
    AGREES,
    CANNOT_TELL,
    DIFFERS,
    NOT_CLAIMED,
    NOT_RUN,
    claims_table,
    gap_table,
    verdict_counts,
)
from motion_lib.report.collect import people_asked, write_all_tables
from motion_lib.report.items import item_verdicts, number_verdicts
from motion_lib.texts.descriptions import DescriptionSet
from tests import made_records
from tests.layout import layout_faults
from tests.made_records import CLASSES, CLIPS, HMDB, NAMES, UCF, put, put_everything


@pytest.fixture
def cfg(tmp_path, monkeypatch) -> RunConfig:
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    return RunConfig.load("miniature", bootstrap_resamples=200)


# --- tables ---


def test_metrics_of_a_record_are_the_mean_over_seeds(cfg):
    put(cfg, sixths=3)
    put(cfg, sixths=6, seed=1)
    table = metrics_table(read_records(cfg), (UCF,), ("motion", "clip"), ("object",)).set_index("Method")
    assert table.loc["Our method", "V→D top-1"] == "75.0"
    assert table.loc["Our method", "D→V R@1"] == "100.0"  # the best of its videos is right
    assert set(table.loc["Vanilla CLIP"].iloc[2:]) == {NOT_RUN}


def test_protocols_stand_side_by_side(cfg):
    """Clips 0 to 2 of every class are right: split 1 all, split 2 half, split 3 none."""
    put(cfg, sixths=3)
    table = protocol_table(read_records(cfg), UCF, ("motion", "xclip"), "object").set_index("Protocol")
    column = table["Our method"]
    assert [column[f"split {k}"] for k in (1, 2, 3)] == ["100.0", "50.0", "0.0"]
    assert column["mean of 3 splits"] == "50.0 ± 40.8"
    assert column["text seen in the source"] == column["text not seen in the source"] == "50.0"
    assert column["nobody"] == "no such videos"
    assert table.loc["text seen in the source", "Classes with videos"] == 2
    assert set(table["X-CLIP"]) == {NOT_RUN}


def test_the_best_seed_stands_beside_the_mean(cfg):
    for seed, sixths in enumerate((1, 2, 3)):
        put(cfg, sixths=sixths, seed=seed)
    row = seeds_table(read_records(cfg), (UCF,), ("motion",), ("object", "masked")).iloc[0]
    assert row["object named: mean ± sd"] == "33.3 ± 16.7 (n=3)"
    assert (row["object named: best"], row["object named: best less mean"]) == ("50.0", "+16.7")
    assert row["object masked: best"] == NOT_RUN


def test_weights_that_no_seed_is_in_have_no_spread(cfg):
    """Vanilla CLIP is the same for every seed; trained models of equal accuracy are not."""
    for seed in range(2):
        put(cfg, "clip", sixths=2, seed=seed)
        put(cfg, "motion", sixths=2, seed=seed)
    table = seeds_table(read_records(cfg), (UCF,), ("clip", "motion"), ("object",)).set_index("Method")
    assert table.loc["Vanilla CLIP", "object named: mean ± sd"] == "33.3, the same weights for every seed"
    assert table.loc["Our method", "object named: mean ± sd"] == "33.3 ± 0.0 (n=2)"


def test_a_split_whose_list_is_absent_says_so(cfg, monkeypatch):
    monkeypatch.setattr(made_records, "LISTS", ProtocolLists({1: made_records.LISTS.splits[1], 2: None, 3: None}))
    put(cfg, sixths=3)
    column = protocol_table(read_records(cfg), UCF, ("motion",), "object").set_index("Protocol")["Our method"]
    assert column["split 1"] == "100.0"
    assert column["split 2"] == "not run: its list is not at hand"
    assert column["mean of 3 splits"] == "not run: not all three splits were"


def test_intervals_over_groups_are_narrower_where_classes_differ(cfg):
    """Half of the classes are always right, the others never: other classes could be anything."""
    put(cfg, sixths=[6, 0] * (CLASSES // 2))
    row = group_intervals(read_records(cfg), UCF, ("motion",), "object").iloc[0]
    assert (row["Top-1"], row["Macro"]) == ("50.0", "50.0")
    groups, classes = (
        [float(v) for v in re.findall(r"[\d.]+", row[next(c for c in row.index if c.endswith(unit))])]
        for unit in ("groups", "classes")
    )
    assert classes[1] - classes[0] > groups[1] - groups[0] > 0


def test_classes_are_sorted_and_have_their_seeds_as_limits(cfg):
    put(cfg, sixths=[*range(6), *[6] * (CLASSES - 6)])
    put(cfg, sixths=[6, *range(1, 6), *[6] * (CLASSES - 6)], seed=1)
    frame = measured_classes(read_records(cfg), UCF).set_index("class_name")
    assert frame["percent"].is_monotonic_decreasing
    assert frame.loc["class 0"].tolist() == [50.0, 0.0, 100.0]
    assert frame.loc["class 3", "percent"] == pytest.approx(50)
    assert set(frame.index) == set(NAMES)


def test_confusions_name_the_classes(cfg):
    put(cfg, sixths=[6] * (CLASSES - 1) + [2])
    table = confusion_table(read_records(cfg), (UCF, HMDB))
    assert table.to_dict("records") == [
        {
            "Target": "miniature UCF-like",
            "Videos of": NAMES[-1],
            "answered as": NAMES[0],  # all others tie, and the first of them is the answer
            "Videos": f"{CLIPS - 2} of {CLIPS}",
        }
    ]


def test_people_have_wilson_intervals():
    table = human_table()
    assert list(table["Videos, five a class"]) == [505, 505, 255, 255]
    assert table.loc[0, "95 % Wilson interval, %"] == "[96.4, 98.9]"
    assert list(table["A share of so many videos"]) == ["yes", "yes", "no", "yes"]


def test_the_published_chart_has_every_class_of_ucf101():
    frame = reported_classes()
    assert len(frame) == frame["class_name"].nunique() == 101
    assert frame["percent"].is_monotonic_decreasing
    assert frame["percent"].between(0, 100).all()
    # The chart is of the model whose top-1 the paper prints as 58.46: its mean over classes is near that.
    assert frame["percent"].mean() == pytest.approx(58.46, abs=1)


# --- McNemar in the claims ---


def test_claims_correct_mcnemar_over_their_rows(cfg):
    put(cfg, "motion", sixths=5)
    put(cfg, "clip", sixths=1)
    put(cfg, "names", sixths=4)
    table = claims_table(read_records(cfg), (UCF,), ("above_vanilla_clip", "above_class_name_control"))
    shown = dict(zip(table["Comparison"], table["McNemar p, Holm"], strict=True))
    assert shown["Our method above Vanilla CLIP (object named)"] == "< 0.001"
    alone = mcnemar_exact(np.repeat([True, False], [5, 1]).repeat(CLASSES), np.repeat([True, False], [4, 2]).repeat(12))
    assert float(alone) < 0.001  # 12 clips of 72 differ, all one way
    assert list(table["McNemar p, Holm"]).count(NOT_RUN) == 2  # the masked rows were not run
    assert "McNemar p" not in table


@pytest.mark.parametrize(("ours", "shown"), [((6, 3), "1.000"), ((6, 0), "1.000"), ((6, 6), "< 0.001")])
def test_a_gap_counts_if_every_seed_has_it_in_one_direction(cfg, ours, shown):
    """Nothing in one of the seeds, or the opposite: no gap, however small each seed's own p-value."""
    for seed, sixths in enumerate(ours):
        put(cfg, "motion", sixths=sixths, seed=seed)
        put(cfg, "clip", sixths=3, seed=seed)
    table = claims_table(read_records(cfg), (UCF,), ("above_vanilla_clip",))
    assert table.loc[0, "McNemar p, Holm"] == shown


def test_a_claim_of_no_gap_is_no_test_for_one(cfg):
    """It has no p-value, and Holm does not count it."""
    for method, sixths in (("motion", 5), ("motion_temporal", 5), ("names", 4)):
        put(cfg, method, sixths=sixths)
    tests = ("temporal_transformer_no_better", "above_class_name_control")
    both, one = (claims_table(read_records(cfg), (UCF,), chosen) for chosen in (tests, tests[1:]))
    named = both["Comparison"].str.endswith("(object named)")
    assert both[named]["McNemar p, Holm"].tolist() == [one.loc[0, "McNemar p, Holm"], "claims no gap"]


# --- the paper, item by item ---


def test_every_item_has_a_verdict_and_a_reason(cfg):
    tables = write_all_tables(put_everything(cfg, seeds=(0, 1)), cfg)
    items = tables["items"].set_index("Item of the paper")
    assert {f"Table {n}" for n in range(1, 8)} | {"Figure 1", "Figure 2", "Figure 3", "Appendix D.2"} <= set(
        items.index
    )
    assert not (items == "").any(axis=None)
    assert items.loc["Table 1", "Verdict"] == NOT_RUN
    assert items.loc["Tables 2 and 3, numbers", "Verdict"] == NOT_RUN
    assert set(items["Verdict"]) <= {AGREES, DIFFERS, CANNOT_TELL, NOT_RUN, "no verdict"}


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([AGREES, AGREES], AGREES),
        ([AGREES, CANNOT_TELL], CANNOT_TELL),
        ([AGREES, DIFFERS], DIFFERS),
        ([AGREES, NOT_RUN], CANNOT_TELL),
        ([DIFFERS, NOT_RUN], DIFFERS),
        ([NOT_RUN], NOT_RUN),
        ([], NOT_RUN),
    ],
)
def test_an_item_agrees_if_all_of_its_comparisons_do(found, verdict):
    assert verdicts._counted(pd.Series(found, dtype=str), "somewhere")[1] == verdict


def test_the_miniatures_numbers_are_never_held_against_the_papers(cfg):
    table = number_verdicts(put_everything(cfg), cfg)
    assert len(table) == 20
    assert set(table["Verdict"]) == {NOT_RUN}
    assert "Human" not in set(table["Method"])


@pytest.mark.parametrize(("sixths", "verdict"), [([4, 3] * (CLASSES // 2), AGREES), (0, DIFFERS)])
def test_the_papers_profile_holds_its_numbers_against_the_papers(cfg, monkeypatch, sixths, verdict):
    """58.46 % is reported of UCF-101; 7 of 12 clips are 58.3 %."""
    put(cfg, sixths=sixths, dataset="ucf101")
    paper = RunConfig.load("paper")
    table = number_verdicts(read_records(cfg), paper).set_index(["Data set", "Method", "Descriptions"])
    row = table.loc[("UCF-101", "Our method", "object named")]
    assert row["Verdict"] == verdict
    assert row["Reason"] == "split 1, test: 72 videos, 0 missing or unreadable; mean of 1 seeds"
    assert table.loc[("HMDB-51", "Our method", "object named"), "Reason"].startswith("no record")


def test_a_perfect_reproduction_agrees(cfg):
    """Every number of the paper as near as 72 clips come to it: the item says so, and differs once one number does."""
    spread = np.arange(CLASSES) / CLASSES
    for dataset, methods in REPORTED_RETRIEVAL.items():
        for key in (key for key in TABLE_METHODS if METHODS[key].paper_row):
            for kind, percent in methods[METHODS[key].paper_row].items():
                sixths = np.floor(percent / 100 * CLIPS + spread).astype(int).tolist()
                put(cfg, key, kind, sixths, dataset)
    paper, nothing = RunConfig.load("paper"), pd.DataFrame(columns=["Claim", "Target", "Verdict"])
    records = read_records(cfg)

    def item(found: list[dict]) -> pd.Series:
        tables = {"claims": nothing, "overfitting": pd.DataFrame(), "numbers": number_verdicts(found, paper)}
        return item_verdicts(tables, paper).set_index("Item of the paper").loc["Tables 2 and 3, numbers"]

    assert item(records)[["What it says", "Found here", "Verdict"]].tolist() == [
        "20 percentages", "agrees: 20", AGREES,
    ]  # fmt: skip
    put(cfg, "motion", "object", 0, "ucf101")
    assert item(read_records(cfg))["Verdict"] == DIFFERS
    assert item(records[1:])["Verdict"] == CANNOT_TELL


def test_what_the_paper_has_the_other_way_round_is_not_claimed(cfg):
    """Table 3, objects masked: 28.41 for ours, 28.9 for ViFi-CLIP. Everything else that is compared, it claims."""
    table = claims_table(put_everything(cfg), (UCF, HMDB))
    unclaimed = table[table["Verdict"] == NOT_CLAIMED]
    assert unclaimed["Comparison"].tolist() == ["Our method above ViFi-CLIP (object masked)"]
    assert unclaimed[["Target", "Reported gap, points", "McNemar p, Holm"]].to_numpy().tolist() == [
        ["miniature HMDB-like", "-0.5", "claims no gap"]
    ]
    assert verdict_counts(table)[NOT_CLAIMED].sum() == 1
    first = table.iloc[0]  # 58.46 - 25.92
    assert (first["Target"], first["Reported gap, points"]) == ("miniature UCF-like", "+32.5")
    found, verdict, reason = verdicts._counted(pd.Series([AGREES, NOT_CLAIMED]), "somewhere")
    assert (found, verdict) == ("agrees: 1", AGREES)
    assert reason.endswith("left out: 1 that the paper's own numbers contradict")


def test_the_gaps_are_those_of_the_claims(cfg):
    claims = claims_table(put_everything(cfg), (UCF, HMDB))
    gaps = gap_table(claims, (UCF, HMDB)).set_index("Our method less")
    assert list(gaps.index) == ["Vanilla CLIP", "Class names (control)", "X-CLIP", "Text4Vis", "ViFi-CLIP"]
    row = claims.set_index(["Target", "Comparison"]).loc[
        "miniature HMDB-like", "Our method above X-CLIP (object named)"
    ]
    assert gaps.loc["X-CLIP", "miniature HMDB-like, object named"].startswith(
        f"{row['Gap, points']} {row['95 % CI']}, p "
    )
    assert ", p " not in gaps.loc["ViFi-CLIP", "miniature HMDB-like, object masked"]  # claims no gap
    assert set(gap_table(claims_table([], (UCF,)), (UCF,)).iloc[:, 1]) == {NOT_RUN}


def people(right: int, of: int, *cells: tuple[str, str]) -> verdicts.People:
    return verdicts.People(0, dict.fromkeys(cells, StudyResult(wilson_interval(right, of), of, 1, of)))


@pytest.mark.parametrize(
    ("asked", "verdict"),
    [
        (verdicts.People(), NOT_RUN),
        (people(9, 10, (UCF, "object")), "no verdict"),
        (people(495, 505, ("ucf101", "object")), CANNOT_TELL),  # one of four numbers
        (people(490, 505, *((name, kind) for name in ("ucf101", "hmdb51") for kind in ("object", "masked"))), AGREES),
        (people(250, 505, ("ucf101", "object")), DIFFERS),
        (people(1, 1, *((name, kind) for name in ("ucf101", "hmdb51") for kind in ("object", "masked"))), CANNOT_TELL),
    ],
)
def test_what_people_answered_is_held_against_the_human_row(asked, verdict):
    assert verdicts._studied(asked)[1] == verdict


def test_the_report_finds_what_people_answered(cfg):
    texts = DescriptionSet("texts", ("a", "b"), ("Raising one arm.", "Bowing deeply."))
    tasks = likert_tasks(texts)
    folder = ratings_dir(cfg, f"likert-{UCF}")
    write_key(tasks, folder)
    assert people_asked(cfg) == verdicts.People()
    Session(tasks, folder, "ann").answer(2)
    items = write_all_tables(put_everything(cfg), cfg)["items"].set_index("Item of the paper")
    assert items.loc["Table 1", ["Found here", "Verdict"]].tolist() == ["1 of 5 attributes rated", "no verdict"]


def test_items_need_only_their_tables(cfg):
    empty = pd.DataFrame(columns=["Claim", "Target", "Verdict"])
    numbers = number_verdicts([], cfg)
    items = item_verdicts({"claims": empty, "overfitting": pd.DataFrame(), "numbers": numbers}, cfg)
    assert set(items["Verdict"]) == {NOT_RUN, "no verdict"}


# --- the figure of classes ---


def test_class_bars_are_legible(cfg):
    put(cfg, sixths=[*range(6), *[6] * (CLASSES - 6)])
    figure = class_bars([("reported", reported_classes()), ("measured", measured_classes(read_records(cfg), UCF))])
    assert len(figure.axes) == 3  # 101 classes take two rows
    assert layout_faults(figure) == []


def test_the_published_chart_stands_alone_where_nothing_was_measured(cfg):
    figure, numbers = class_figure([], UCF)
    assert len(figure.axes) == 2
    assert set(numbers["source"]) == {"reported"}


def test_every_method_and_kind_is_in_the_metrics(cfg):
    put_everything(cfg)
    table = metrics_table(read_records(cfg), (UCF, HMDB), TABLE_METHODS, DESCRIPTION_KINDS)
    assert len(table) == 2 * len(TABLE_METHODS) * 2
