"""The paper's tables from hand-made records, and how cells are printed."""

import re

import pandas as pd
import pytest

from motion_lib.data.catalogue import DATASETS
from motion_lib.experiment.records import read_records
from motion_lib.methods import TABLE_METHODS
from motion_lib.paper import REPORTED_RETRIEVAL
from motion_lib.report import collect as report
from motion_lib.report.tables import (
    Chance,
    Percent,
    Points,
    PValue,
    Reported,
    Spread,
    epoch_table,
    markdown,
    mean_acc,
    retrieval_table,
    shown,
    temporal_table,
    write_table,
)
from tests.made_records import HMDB, UCF, put, put_everything

ONE_SEED, SEVERAL = r"\d+\.\d \[\d+\.\d, \d+\.\d\]", r"\d+\.\d ± \d+\.\d \(n=\d\)"


def columns(table: pd.DataFrame, word: str) -> pd.DataFrame:
    return table[[name for name in table.columns if name.startswith(word)]]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Percent(0.123), "12.3"),
        (Percent(0.096, 0.057, 0.141), "9.6 [5.7, 14.1]"),
        (Points(0.012, -0.034, 0.058), "+1.2 [-3.4, +5.8]"),
        (Spread(0.175, 0.004, 3), "17.5 ± 0.4 (n=3)"),
        (Spread(0.5, 0.408), "50.0 ± 40.8"),
        (Reported(33.8), "33.80"),
        (Reported(28.9), "28.9"),
        (Reported(98.0, 96.4, 98.9), "98 [96.4, 98.9]"),
        (Chance(32), "3.1 (1 of 32)"),
        (PValue(0.0004), "< 0.001"),
        (PValue(0.0126), "0.013"),
    ],
)
def test_a_cell_is_printed_as_the_field_prints_it(cell, text):
    assert str(cell) == text


def test_reported_numbers_are_printed_as_in_the_paper():
    shown = [str(Reported(p)) for rows in REPORTED_RETRIEVAL.values() for row in rows.values() for p in row.values()]
    printed = "25.92 23.33 51.23 33.80 52.37 32.01 52.70 34.76 58.46 47.80 98 98"
    printed += " 25.26 16.67 29.35 19.35 34.12 24.93 36.20 28.9 39.24 28.41 97.5 96"
    assert " ".join(shown) == printed


def test_reported_and_measured_never_share_a_column(cfg):
    records = put_everything(cfg)
    for dataset, paper in ((UCF, "ucf101"), (HMDB, "hmdb51")):
        table = retrieval_table(records, dataset, TABLE_METHODS)
        reported, measured = columns(table, "Reported"), columns(table, "Measured").map(str)
        assert [*reported.columns, *measured.columns] == list(table.columns[1:])
        percents = {Reported(value) for row in REPORTED_RETRIEVAL[paper].values() for value in row.values()}
        assert set(reported.to_numpy().ravel()) == percents | {"not in the paper", Chance(DATASETS[paper].classes)}
        for cell in measured.to_numpy().ravel():
            assert re.fullmatch(rf"{ONE_SEED}|not run|not collected|-?\d+\.\d|\d+\.\d \(1 of \d+\)", cell), cell


def test_reported_numbers_stand_in_the_row_of_their_method(cfg):
    table = retrieval_table(put_everything(cfg), UCF, TABLE_METHODS).set_index("Method")
    assert list(table.loc["Our method"][["Reported, object named", "Reported, object masked"]].map(str)) == [
        "58.46",
        "47.80",
    ]
    assert list(table.loc["Human estimate"][["Reported, object named", "Reported, object masked"]].map(str)) == [
        "98",
        "98",
    ]


def test_a_row_of_released_weights_says_so(cfg):
    records = [r | {"weights": "released by its authors: k400.pth"} for r in put_everything(cfg) if r["epoch"] is None]
    shown = list(retrieval_table(records, UCF, ("text4vis",))["Method"])
    assert shown == ["Text4Vis (released by its authors: k400.pth)", "Chance", "Human estimate"]


def test_what_was_not_run_or_asked_says_so(cfg):
    put(cfg, "clip")
    put(cfg, "clip", "masked", sixths=1)
    table = retrieval_table(read_records(cfg), UCF, TABLE_METHODS).set_index("Method")
    measured = columns(table, "Measured")
    assert set(measured.loc["X-CLIP"]) == set(measured.loc["Our method"]) == {"not run"}
    assert set(measured.loc["Human estimate"]) == {"not collected"}
    assert table.loc["Vanilla CLIP", "Measured drop"].value == pytest.approx(1 / 3)
    assert not table.isin(["", "nan"]).any(axis=None)


def test_one_seed_gives_an_interval_and_several_a_deviation(cfg):
    put(cfg)
    (cell,) = temporal_table(read_records(cfg), UCF)["Measured, object named"][:1]
    assert (cell.value, re.fullmatch(ONE_SEED, str(cell)) is not None) == (0.5, True)
    put(cfg, seed=1, sixths=4)
    put(cfg, seed=2, sixths=5)
    assert mean_acc(read_records(cfg)) == pytest.approx(200 / 3)
    table = temporal_table(read_records(cfg), UCF)
    mean, absent = table["Measured, object named"]
    assert (mean.value, mean.sd, mean.n) == (pytest.approx(2 / 3), pytest.approx(1 / 6), 3)
    assert (str(mean), absent) == ("66.7 ± 16.7 (n=3)", "not run")
    assert set(table["Reported"]) == {"numbers not in the text at hand"}


def test_the_epoch_table_has_every_epoch_and_no_final_record(cfg):
    records = put_everything(cfg, seeds=(0, 1))
    table = epoch_table(records, "motion", HMDB)
    assert list(table["Epoch"]) == [0, 1, 2]
    assert [cell.value for cell in table["Measured, object named"]] == pytest.approx([1 / 6, 2 / 6, 3 / 6])


def test_tables_are_written_as_csv_and_markdown(cfg):
    table = retrieval_table(put_everything(cfg), UCF, TABLE_METHODS)
    path = write_table(table, cfg, "table2")
    pd.testing.assert_frame_equal(report.read_table(cfg, "table2"), table.map(str), check_dtype=False)
    lines = path.with_suffix(".md").read_text().splitlines()
    assert lines == markdown(table).splitlines()
    assert len(lines) == len(table) + 2
    assert {line.count("|") for line in lines} == {len(table.columns) + 1}
    assert lines[1] == "| --- |" + 5 * " ---: |"  # numbers flush right, words left
    assert shown(table).data == markdown(table)
    assert path == cfg.results_dir / "tables" / "table2.csv"
    assert "no | pipe" not in markdown(pd.DataFrame({"a": ["no | pipe"]}))
