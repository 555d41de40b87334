"""Protocols, classes and the long file of all numbers."""

import numpy as np
import pandas as pd
import pytest

from motion_lib.config import RunConfig
from motion_lib.evaluation.protocols import ProtocolLists
from motion_lib.experiment.records import read_records
from motion_lib.methods import TABLE_METHODS
from motion_lib.probes.figures import class_bars, class_figure
from motion_lib.report.breakdowns import (
    NUMBER_COLUMNS,
    confusion_table,
    measured_classes,
    protocol_table,
    reported_classes,
    write_numbers,
)
from motion_lib.report.tables import NOT_RUN, Percent
from tests import made_records
from tests.layout import layout_faults
from tests.made_records import CLASSES, CLIPS, HMDB, NAMES, UCF, put, put_everything


def test_protocols_stand_side_by_side(cfg):
    """Clips 0 to 2 of every class are right: split 1 all, split 2 half, split 3 none."""
    put(cfg, sixths=3)
    table = protocol_table(read_records(cfg), (UCF, HMDB), ("motion", "xclip")).set_index("Protocol")
    column = table["Our method"]
    assert [column[f"split {k}"].value for k in (1, 2, 3)] == [1.0, 0.5, 0.0]
    assert (column["mean of 3 splits"].value, column["mean of 3 splits"].sd) == (
        0.5,
        pytest.approx(np.std([0, 0.5, 1])),
    )
    assert column["text seen in the source"] == column["text not seen in the source"] == Percent(0.5)
    assert column["nobody"] == "no such videos"
    assert table.loc["text seen in the source", "Classes with videos"] == 2
    assert set(table["X-CLIP"]) == {NOT_RUN}


def test_a_split_whose_list_is_absent_says_so(cfg, monkeypatch):
    monkeypatch.setattr(made_records, "LISTS", ProtocolLists({1: made_records.LISTS.splits[1], 2: None, 3: None}))
    put(cfg, sixths=3)
    column = protocol_table(read_records(cfg), (UCF,), ("motion",)).set_index("Protocol")["Our method"]
    assert column["split 1"] == Percent(1.0)
    assert column["split 2"] == "not run: its list is not at hand"
    assert column["mean of 3 splits"] == "not run: not all three splits were"


def test_classes_are_sorted_and_have_their_seeds_as_limits(cfg):
    put(cfg, sixths=[*range(6), *[6] * (CLASSES - 6)])
    put(cfg, sixths=[6, *range(1, 6), *[6] * (CLASSES - 6)], seed=1)
    frame = measured_classes(read_records(cfg), UCF).set_index("class_name")
    assert frame["percent"].is_monotonic_decreasing
    assert frame.loc["class 0"].tolist() == [50.0, 0.0, 100.0]
    assert frame.loc["class 3", "percent"] == pytest.approx(50)
    assert set(frame.index) == set(NAMES)


def test_the_published_chart_has_every_class_of_ucf101():
    frame = reported_classes()
    assert len(frame) == frame["class_name"].nunique() == 101
    assert frame["percent"].is_monotonic_decreasing
    assert frame["percent"].between(0, 100).all()
    # The chart is of the model whose top-1 the paper prints as 58.46: its mean over classes is near that.
    assert frame["percent"].mean() == pytest.approx(58.46, abs=1)


def test_class_bars_are_legible(cfg):
    put(cfg, sixths=[*range(6), *[6] * (CLASSES - 6)])
    figure = class_bars([("reported", reported_classes()), ("measured", measured_classes(read_records(cfg), UCF))])
    assert len(figure.axes) == 3  # 101 classes take two rows
    assert layout_faults(figure) == []


def test_the_published_chart_stands_alone_where_nothing_was_measured(cfg):
    figure, numbers = class_figure([], UCF)
    assert len(figure.axes) == 2
    assert set(numbers["source"]) == {"reported"}


# --- the long file ---


def numbers(cfg: RunConfig) -> pd.DataFrame:
    return pd.read_csv(write_numbers(read_records(cfg), cfg))


def test_every_number_of_a_record_is_in_the_long_file(cfg):
    put(cfg, sixths=3)
    table = numbers(cfg)
    (record,) = read_records(cfg)
    assert list(table.columns) == list(NUMBER_COLUMNS)
    assert not table.duplicated(list(NUMBER_COLUMNS[:7])).any()
    metrics = table[table["protocol"] == "all videos"].set_index("metric")
    known = {name: value for name, value in record["metrics"].items() if not name.endswith(("_low", "_high"))}
    assert dict(metrics["value"]) == pytest.approx(known, abs=1e-5)
    limits = [record["metrics"]["acc1_low"], record["metrics"]["acc1_high"]]
    assert metrics.loc["acc1", ["low", "high"]].tolist() == pytest.approx(limits, abs=1e-5)
    assert metrics["low"].notna().sum() == 1  # the others have no interval
    assert metrics.loc["text_to_video_recall_at_1", ["value", "n"]].tolist() == [
        1.0,
        CLASSES,
    ]  # its best video is right
    assert metrics.loc["acc1", ["value", "n"]].tolist() == [0.5, CLASSES * CLIPS]
    protocols = table[table["protocol"] != "all videos"].set_index(["protocol", "metric"])
    assert protocols.loc[("split 2", "acc1"), ["value", "n"]].tolist() == [0.5, CLASSES * CLIPS // 3]
    assert protocols.loc[("mean of 3 splits", "acc1_sd"), "value"] == pytest.approx(np.std([0, 0.5, 1]), abs=1e-5)
    assert "nobody" not in set(table["protocol"])  # a protocol that was not run has no number


def test_every_method_kind_seed_and_epoch_is_in_the_long_file(cfg):
    records = put_everything(cfg, seeds=(0, 1))
    table = numbers(cfg)
    top1 = table[(table["protocol"] == "all videos") & (table["metric"] == "acc1")]
    assert len(top1) == len(records) == 2 * 2 * 2 * (len(TABLE_METHODS) + 1 + 3)
    assert set(top1["seed"]) == {0, 1}
    assert top1["epoch"].value_counts().to_dict() == {0: 8, 1: 8, 2: 8}


def test_confusions_name_the_classes(cfg):
    put(cfg, sixths=[6] * (CLASSES - 1) + [2])
    wrong = {"Videos of": NAMES[-1], "answered as": NAMES[0]}  # all others tie, and the first of them is the answer
    expected = [{"Target": "miniature UCF-like", **wrong, "Videos, all seeds": CLIPS - 2}]
    assert confusion_table(read_records(cfg), (UCF, HMDB)).to_dict("records") == expected
