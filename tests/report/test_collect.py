"""Overview figures and the report over all seeds."""

import pytest

from motion_lib.config import RunConfig
from motion_lib.experiment.records import read_records
from motion_lib.methods import TABLE_METHODS
from motion_lib.people import studies
from motion_lib.report import collect, diagrams, plots
from motion_lib.report import figures as overview
from motion_lib.report.collect import Report
from motion_lib.report.tables import Percent
from tests.made_records import CLASSES, UCF, put_everything, result


def test_the_main_figure_keeps_measured_and_reported_apart(cfg):
    figure, numbers = overview.main_figure(put_everything(cfg), cfg)
    assert len(figure.axes) == 4
    measured = numbers[numbers["source"] == "measured"]
    assert set(measured["data_set"]) == {"miniature UCF-like", "miniature HMDB-like"}
    assert set(measured["method"]) == set(TABLE_METHODS)
    assert set(numbers[numbers["source"] == "reported"]["data_set"]) == {"UCF-101", "HMDB-51"}


def test_the_main_figure_of_nothing_says_not_run(cfg):
    figure, numbers = overview.main_figure([], cfg)
    assert set(numbers["source"]) == {"reported"}
    assert [ax.texts[-1].get_text() for ax in figure.axes[:2]] == ["not run", "not run"]


def test_error_bars_say_what_they_are(cfg):
    put_everything(cfg)
    figure, numbers = overview.temporal_figure(read_records(cfg), cfg)
    assert "95 % interval over groups of clips, one seed" in figure.get_supxlabel()
    assert (numbers["low"] < numbers["percent"]).all()
    figure, numbers = overview.temporal_figure(put_everything(cfg, seeds=(1, 2)), cfg)
    assert "lowest and highest of 3 seeds" in figure.get_supxlabel()


def test_epoch_curves_come_from_the_records_of_all_seeds(cfg):
    records = put_everything(cfg, seeds=(0, 1))
    figure, numbers = overview.epochs_figure(records, cfg)
    named = numbers[(numbers["target"] == "miniature UCF-like") & (numbers["line"] == "object named")]
    assert named["mean"].tolist() == pytest.approx([100 / 6, 200 / 6, 300 / 6])
    assert set(named["seeds"]) == {2}
    assert "Bands: 95 %" in figure.get_supxlabel()


def test_first_results_show_chance_beside_the_methods():
    cells = {(UCF, "object"): result(3), (UCF, "masked"): result(1)}
    table = overview.first_results({"clip": cells, "motion": cells}, resamples=200)
    assert list(table["Method"]) == ["Vanilla CLIP", "Our method", "chance"]
    assert table.iloc[2, 1] == Percent(1 / CLASSES)
    assert table.iloc[0, 1] == Percent(*result(3).interval(200))


def test_ratings_are_reported_and_never_invented():
    table = studies.likert_table(RunConfig.load("miniature"))
    assert set(table.filter(like="measured").to_numpy().ravel()) == {"not collected"}
    assert not (table == "").any(axis=None)


def test_the_report_writes_every_table_over_all_seeds(cfg):
    tables = Report(put_everything(cfg, seeds=(0, 1)), cfg).write_tables()
    expected = {f"table{number}" for number in range(2, 8)}
    expected |= {"items", "claims", "overfitting", "protocols", "reported"}
    assert set(tables) == {path.stem for path in (cfg.results_dir / "tables").glob("*.csv")} == expected
    assert (cfg.results_dir / "numbers.csv").is_file()
    assert tables["table2"].iloc[-3]["Measured, object named"].n == 2


def test_sentences_read_what_is_there(cfg):
    report = Report(put_everything(cfg), cfg)
    assert report.read_retrieval(UCF) == (
        "miniature UCF-like: object named, Class names (control) has the highest mean (83.3 %); object masked, "
        "Class names (control) has the highest mean (83.3 %); masking costs from +0.0 to +0.0 points."
    )
    assert report.read_claims("noun_bias").startswith("The gaps of 10 comparisons lie from +0.0 to +0.0 points")
    assert report.read_curves() == "Of 4 curves the best epochs are 2, 2, 2, 2; at most 0.0 points are lost after them."
    assert report.read_numbers().startswith("0 of 24 reported percentages were measured on the paper's data")


def test_sentences_say_what_is_not_there(cfg):
    report = Report([], cfg)
    assert report.read_retrieval(UCF) == "miniature UCF-like: not run."
    assert report.read_claims("noun_bias") == "None of 10 comparisons was run."
    assert report.read_curves() == "No epochs were run."


def test_a_table_of_which_no_row_was_run_is_one_sentence(cfg, monkeypatch):
    shown = []
    monkeypatch.setattr(collect, "display", lambda *items: shown.append([item.data for item in items]))
    tables = Report(put_everything(cfg), cfg).write_tables()
    collect.show_tables(tables, "reported", "overfitting")
    (said,), (name, table) = shown
    assert said.startswith("**reported**: not run: needs Kinetics-400 and the target's videos")
    assert "\n" not in said
    assert name == "**overfitting**"
    assert table.count("\n") == 2 + len(tables["overfitting"])


def test_an_absent_table_names_the_notebooks(cfg):
    with pytest.raises(FileNotFoundError, match="run the notebooks before 07_report"):
        collect.read_table(cfg, "table2")


def test_an_absent_figure_is_said_to_be_absent(cfg, monkeypatch):
    plots.save_figure(diagrams.method_diagram(), cfg, "there")
    shown = []
    monkeypatch.setattr(collect, "display", shown.append)
    collect.show_figures(cfg, ["there", "missing"])
    assert [item.data for item in shown if hasattr(item, "_repr_markdown_")] == ["**there**", "**missing**: not run"]
    assert [item.format for item in shown if hasattr(item, "format")] == ["png"]
