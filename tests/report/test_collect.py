"""Overview figures and the report over all seeds."""


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
    assert table.iloc[2, 1] == f"{100 / CLASSES:.1f}"
    assert re.fullmatch(ONE_SEED, table.iloc[0, 1])


def test_ratings_are_reported_and_never_invented():
    table = studies.likert_table(RunConfig.load("miniature"))
    assert set(table.filter(like="measured").to_numpy().ravel()) == {"not collected"}
    assert not (table == "").any(axis=None)


def test_the_report_writes_every_table_over_all_seeds(cfg):
    records = put_everything(cfg, seeds=(0, 1))
    tables = report.write_all_tables(records, cfg)
    expected = {f"table{number}" for number in range(2, 8)}
    expected |= {
        "claims",
        "gaps",
        "verdicts",
        "overfitting",
        "metrics",
        "seeds",
        "confusions",
        "human",
        "numbers",
        "items",
    }
    for kind in ("ucf_object", "ucf_masked", "hmdb_object", "hmdb_masked"):
        expected |= {f"protocols_{kind}", f"intervals_{kind}"}
    assert set(tables) == {path.stem for path in (cfg.results_dir / "tables").glob("*.csv")} == expected
    assert re.fullmatch(SEVERAL, tables["table2"].iloc[-3]["Measured, object named"])
    counts = report.inventory(records)
    assert (counts == 4).all(axis=None)
    assert list(counts.columns) == [0, 1]


def test_an_absent_table_names_the_notebooks(cfg):
    with pytest.raises(FileNotFoundError, match="run the notebooks before 07_report"):
        report.read_table(cfg, "table2")


def test_an_absent_figure_is_said_to_be_absent(cfg, monkeypatch):
    plots.save_figure(FIGURES["bars"](), cfg, "there")
    shown = []
    monkeypatch.setattr(report, "display", shown.append)
    report.show_figures(cfg, ["there", "missing"])
    assert [item.data for item in shown if hasattr(item, "_repr_markdown_")] == ["**there**", "**missing**: not run"]
    assert [item.format for item in shown if hasattr(item, "format")] == ["png"]
