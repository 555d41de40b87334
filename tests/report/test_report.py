"""From records to tables, verdicts, figures and the report, on hand-made results."""

import json
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.data.preprocessing import Preprocess
from motion_lib.data.video import VideoReadError, read_frames
from motion_lib.evaluation.intervals import Interval
from motion_lib.experiment import inputs
from motion_lib.experiment.data import open_data
from motion_lib.experiment.experiment import Experiment
from motion_lib.experiment.inputs import MissingInputs, missing_inputs
from motion_lib.experiment.records import frame_of, ranks_of, read_records, records_dir
from motion_lib.methods import METHODS, TABLE_METHODS, TEMPORAL_METHODS, get_method
from motion_lib.models.loading import ARCHITECTURES
from motion_lib.paper import REPORTED_RETRIEVAL
from motion_lib.people import studies
from motion_lib.report import collect as report
from motion_lib.report import diagrams, plots
from motion_lib.report import figures as overview
from motion_lib.report.claims import (
    AGREES,
    CANNOT_TELL,
    COMPARISONS,
    DIFFERS,
    MARGIN,
    NO_GAIN,
    NOT_RUN,
    Cell,
    Comparison,
    claims_table,
    compare,
    overfitting_table,
    overfitting_verdict,
    verdict,
    verdict_counts,
)
from motion_lib.report.tables import (
    epoch_table,
    markdown,
    mean_acc,
    retrieval_table,
    temporal_table,
    write_table,
)
from tests.layout import layout_faults
from tests.made_records import CLASSES, CLIPS, HMDB, UCF, put, put_everything, result


@pytest.fixture
def cfg(tmp_path, monkeypatch) -> RunConfig:
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    return RunConfig.load("miniature", bootstrap_resamples=200)


# --- records --------------------------------------------------------------------------------------

_REQUIRED = (  # guide, section 5
    "schema run_id paper_item profile method label weights backbone backbone_sha256 checkpoint_sha256 data "
    "training_texts prompt_template dataset descriptions epoch seed protocol metrics interval n_groups n_expected "
    "n_decoded failed missing ranks labels groups preprocess descriptions_sha256 class_list_hash video_list_hash "
    "parameters environment wall_time_sec clips_per_sec experiment answers class_names protocols"
)
ENVIRONMENT = ["python", "packages", "device", "dtype", "threads", "commit", "dirty", "peak_mem_gib", "date"]


def test_a_record_comes_back_as_it_was_measured(cfg):
    path = put(cfg, sixths=[6, 0, *[3] * (CLASSES - 2)])
    (record,) = read_records(cfg)
    assert record == json.loads(path.read_text())
    measured = result([6, 0, *[3] * (CLASSES - 2)])
    assert ranks_of(record).tolist() == measured.ranks.tolist()
    assert [int(label) for label in record["labels"].split()] == measured.labels.tolist()
    assert len(set(record["groups"].split())) == record["n_groups"] == len(set(measured.groups))
    metrics = record["metrics"]
    assert (metrics["acc1"], metrics["mean_per_class_acc"]) == (0.5, 0.5)
    assert metrics["acc1_low"] < 0.5 < metrics["acc1_high"]


def test_a_record_holds_what_makes_a_number_trustworthy(cfg):
    put(cfg)
    (record,) = read_records(cfg)
    assert set(record) == set(_REQUIRED.split())
    assert set(record["environment"]) == set(ENVIRONMENT)
    assert record["parameters"]["seed"] == record["seed"] == 0
    assert record["preprocess"] == json.loads(json.dumps(Preprocess().as_dict()))
    assert (record["n_expected"], record["n_decoded"]) == (CLASSES * CLIPS, CLASSES * CLIPS)


@pytest.mark.parametrize(
    ("method", "dataset", "epoch", "item"),
    [
        ("motion", UCF, None, "Table 2"),
        ("clip", HMDB, None, "Table 3"),
        ("motion_temporal", UCF, None, "Table 4"),
        ("motion_temporal", "hmdb51", None, "Table 5"),
        ("motion", "ucf101", 3, "Table 6"),
        ("motion", HMDB, 0, "Table 7"),
        ("motion", "folder", None, "none"),
    ],
)
def test_a_record_names_the_papers_table(cfg, method, dataset, epoch, item):
    record = json.loads(put(cfg, method, dataset=dataset, epoch=epoch).read_text())
    assert record["paper_item"] == item


def machine_traces(text: str, *folders: Path) -> list[str]:
    """What a text says of the machine: absolute paths, the home folder, or one of `folders`."""
    found = re.findall(r"(?<![\w.])(?:/[\w.-]+){2,}|~/\w+", text)
    return found + [str(f) for f in (Path.home(), REPOSITORY, *folders) if str(f) + "/" in text]


def test_a_record_says_nothing_of_the_machine(cfg, tmp_path):
    broken = tmp_path / "folder" / "broken.mp4"
    broken.parent.mkdir()
    broken.write_bytes(b"not a video")
    with pytest.raises(VideoReadError) as caught:
        read_frames(broken, [0])
    own = RunConfig.load("miniature", backbone=str(tmp_path / "clip.pt"), descriptions_dir="~/texts")
    path = put(own, failed={"broken": caught.value.reason})
    record = json.loads(path.read_text())
    assert machine_traces(path.read_text(), tmp_path) == []
    assert record["parameters"]["backbone"] == "clip.pt"
    assert record["n_expected"] == record["n_decoded"] + 1
    assert "Invalid data" in record["failed"]["broken"]


def test_the_machine_check_finds_traces(tmp_path):
    assert machine_traces('"reason": "cannot open /mnt/disk/x.mp4"') == ["/mnt/disk/x.mp4"]
    assert machine_traces(f"{tmp_path}/x and ~/videos", tmp_path)[-1] == str(tmp_path)
    assert machine_traces("fine-tuned at 3/4 and a/b, text4vis/x, ViT-B/16, clips/s") == []


def test_records_of_other_parameters_are_left_out_and_counted(cfg, capsys):
    put(cfg)
    put(cfg, seed=1)
    assert len(read_records(cfg)) == 2
    assert capsys.readouterr().out == ""
    other = RunConfig.load("miniature", bootstrap_resamples=200, epochs=1)
    assert read_records(other) == []
    assert capsys.readouterr().out == "2 records of other parameters in records/ are left out.\n"


@pytest.mark.parametrize("what", ["data", "backbone_sha256"])
def test_records_of_another_world_or_backbone_are_never_averaged_in(cfg, capsys, what):
    put(cfg)
    old = put(cfg, seed=1)
    record = json.loads(old.read_text())
    record |= {what: "another", "environment": record["environment"] | {"date": "2020-01-01T00:00:00+00:00"}}
    old.write_text(json.dumps(record))
    assert [r["seed"] for r in read_records(cfg)] == [0]
    assert capsys.readouterr().out == "1 records of other data or backbones in records/ are left out.\n"


def test_the_identity_of_an_experiment_is_all_but_seed_and_speed():
    base = RunConfig.load("miniature")
    for same in ({"seed": 7}, {"num_workers": 3}, {"device": "cpu"}):
        assert RunConfig.load("miniature", **same).experiment_id == base.experiment_id
    for other in ({"lr": 0.5}, {"world_seed": 9}, {"target_clips": 3}, {"split": 2}):
        assert RunConfig.load("miniature", **other).experiment_id != base.experiment_id


def test_frame_of_records(cfg):
    frame = frame_of(put_everything(cfg))
    assert {"method", "dataset", "kind", "epoch", "seed", "acc1"} <= set(frame.columns)
    assert frame["acc1"].between(0, 1).all()


# --- methods --------------------------------------------------------------------------------------


def test_methods_are_what_the_models_and_the_paper_know():
    assert set(TABLE_METHODS) | set(TEMPORAL_METHODS) == set(METHODS)
    for key, method in METHODS.items():
        assert key == method.key
        assert method.architecture in ARCHITECTURES
        assert method.template.count("{}") == 1
        assert method.paper_row is None or all(method.paper_row in rows for rows in REPORTED_RETRIEVAL.values())
    rows = {METHODS[key].paper_row for key in TABLE_METHODS} - {None}
    assert rows | {"Human"} == set(REPORTED_RETRIEVAL["ucf101"])
    with pytest.raises(ValueError, match="method 'ours': expected one of clip, xclip"):
        get_method("ours")


def test_the_control_differs_from_ours_in_its_texts_alone():
    ours, control = METHODS["motion"], METHODS["names"]
    assert (ours.architecture, ours.head) == (control.architecture, control.head)
    assert (ours.training_texts, control.training_texts) == ("descriptions", "names")
    assert METHODS["motion_temporal"].training_texts == "descriptions"
    assert [key for key, method in METHODS.items() if not method.trained] == ["clip"]


def test_every_method_has_its_own_colour_and_marker():
    assert plots.METHOD_STYLE.keys() == METHODS.keys()
    for part in zip(*plots.METHOD_STYLE.values(), strict=True):
        assert len(set(part)) == len(METHODS)


# --- tables ---------------------------------------------------------------------------------------

ONE_SEED, SEVERAL = r"\d+\.\d \[\d+\.\d, \d+\.\d\]", r"\d+\.\d ± \d+\.\d \(n=\d\)"


def columns(table: pd.DataFrame, word: str) -> pd.DataFrame:
    return table[[name for name in table.columns if name.startswith(word)]]


def test_reported_and_measured_never_share_a_column(cfg):
    records = put_everything(cfg)
    for dataset, paper in ((UCF, "ucf101"), (HMDB, "hmdb51")):
        table = retrieval_table(records, dataset, TABLE_METHODS)
        reported, measured = columns(table, "Reported"), columns(table, "Measured")
        assert [*reported.columns, *measured.columns] == list(table.columns[2:])
        percents = {f"{value:g}" for row in REPORTED_RETRIEVAL[paper].values() for value in row.values()}
        assert set(reported.to_numpy().ravel()) <= percents | {"not in the paper", "1.0 (1 of 101)", "2.0 (1 of 51)"}
        for cell in measured.to_numpy().ravel():
            assert re.fullmatch(rf"{ONE_SEED}|not run|not collected|-?\d+\.\d|\d+\.\d \(1 of \d+\)", cell), cell


def test_reported_numbers_stand_in_the_row_of_their_method(cfg):
    table = retrieval_table(put_everything(cfg), UCF, TABLE_METHODS).set_index("Method")
    assert list(table.loc["Our method"][["Reported, object named", "Reported, object masked"]]) == ["58.46", "47.8"]
    assert list(table.loc["Human estimate"][["Reported, object named", "Reported, object masked"]]) == ["98", "98"]


def test_what_was_not_run_or_asked_says_so(cfg):
    put(cfg, "clip")
    put(cfg, "clip", "masked", sixths=1)
    table = retrieval_table(read_records(cfg), UCF, TABLE_METHODS).set_index("Method")
    measured = columns(table, "Measured")
    assert set(measured.loc["X-CLIP"]) == set(measured.loc["Our method"]) == {"not run"}
    assert set(measured.loc["Human estimate"]) == {"not collected"}
    assert table.loc["Vanilla CLIP", "Measured drop"] == "33.3"
    assert table.loc["Our method", "Weights run"] == "not run"
    assert table.loc["Vanilla CLIP", "Weights run"] == "the backbone as pretrained"
    assert not table.isin(["", "nan"]).any(axis=None)


def test_one_seed_gives_an_interval_and_several_a_deviation(cfg):
    put(cfg)
    (cell,) = temporal_table(read_records(cfg), UCF)["Measured, object named"][:1]
    assert re.fullmatch(ONE_SEED, cell)
    put(cfg, seed=1, sixths=4)
    put(cfg, seed=2, sixths=5)
    assert mean_acc(read_records(cfg)) == pytest.approx(200 / 3)
    table = temporal_table(read_records(cfg), UCF)
    assert list(table["Measured, object named"]) == ["66.7 ± 16.7 (n=3)", "not run"]
    assert set(table["Reported"]) == {"numbers not in the text at hand"}


def test_the_epoch_table_has_every_epoch_and_no_final_record(cfg):
    records = put_everything(cfg, seeds=(0, 1))
    table = epoch_table(records, "motion", HMDB)
    assert list(table["Epoch"]) == [0, 1, 2]
    assert [cell[:4] for cell in table["Measured, object named"]] == ["16.7", "33.3", "50.0"]


def test_tables_are_written_as_csv_and_markdown(cfg):
    table = retrieval_table(put_everything(cfg), UCF, TABLE_METHODS)
    path = write_table(table, cfg, "table2")
    pd.testing.assert_frame_equal(report.read_table(cfg, "table2"), table, check_dtype=False)
    lines = path.with_suffix(".md").read_text().splitlines()
    assert lines == markdown(table).splitlines()
    assert len(lines) == len(table) + 2
    assert {line.count("|") for line in lines} == {len(table.columns) + 1}
    assert path == cfg.results_dir / "tables" / "table2.csv"


# --- claims ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "no_better", "expected"),
    [
        (0.01, 0.2, False, AGREES),
        (-0.2, -0.01, False, DIFFERS),
        (-0.01, 0.2, False, CANNOT_TELL),
        (0.0, 0.0, False, CANNOT_TELL),
        (0.01, 0.02, True, DIFFERS),
        (-0.3, MARGIN / 2, True, AGREES),
        (-0.3, -0.1, True, AGREES),
        (-0.01, MARGIN * 2, True, CANNOT_TELL),
    ],
)
def test_a_verdict_reads_the_whole_interval(low, high, no_better, expected):
    assert verdict(Interval((low + high) / 2, low, high), no_better) == expected


OURS_ABOVE = Comparison("above_vanilla_clip", Cell("motion", "object"), Cell("clip", "object"))
NO_BETTER = Comparison("x", Cell("motion_temporal", "object"), Cell("motion", "object"), no_better=True)


def test_a_planted_difference_is_found_whichever_way_it_goes(cfg):
    put(cfg, "motion", sixths=5)
    put(cfg, "clip", sixths=2)
    row = compare(read_records(cfg), UCF, OURS_ABOVE)
    assert (row["Gap, points"], row["Verdict"], row["Seeds"]) == ("+50.0", AGREES, 1)
    put(cfg, "motion", sixths=1)
    row = compare(read_records(cfg), UCF, OURS_ABOVE)
    assert (row["Gap, points"], row["Verdict"]) == ("-16.7", DIFFERS)


def test_identical_methods_cannot_be_told_apart(cfg):
    put(cfg, "motion")
    put(cfg, "clip")
    put(cfg, "motion_temporal")
    row = compare(read_records(cfg), UCF, OURS_ABOVE)
    assert (row["Gap, points"], row["95 % CI"]) == ("+0.0", "[+0.0, +0.0]")
    assert (row["Smallest visible gap"], row["Verdict"]) == ("not known", CANNOT_TELL)
    assert compare(read_records(cfg), UCF, NO_BETTER)["Verdict"] == AGREES


def test_a_gain_in_half_of_the_classes_cannot_be_told(cfg):
    """Classes are what is resampled: many clips of few classes do not make a gap certain."""
    put(cfg, "motion", sixths=[6, 0] * (CLASSES // 2))
    put(cfg, "clip", sixths=[0, 5] * (CLASSES // 2))
    row = compare(read_records(cfg), UCF, OURS_ABOVE)
    assert (row["Gap, points"], row["Verdict"]) == ("+8.3", CANNOT_TELL)
    assert float(row["Smallest visible gap"]) > 20


def test_a_seed_that_only_one_side_has_is_not_compared(cfg):
    put(cfg, "motion", sixths=5)
    put(cfg, "clip", sixths=2, seed=1)
    row = compare(read_records(cfg), UCF, OURS_ABOVE)
    assert (row["Verdict"], row["Gap, points"], row["Seeds"]) == (NOT_RUN, NOT_RUN, 0)
    put(cfg, "clip", sixths=3)
    assert compare(read_records(cfg), UCF, OURS_ABOVE)["Seeds"] == 1


def test_methods_that_saw_other_videos_are_not_paired(cfg):
    put(cfg, "motion")
    put(cfg, "clip", video_ids=tuple(f"other {n}" for n in range(CLASSES * CLIPS)))
    with pytest.raises(ValueError, match=r"miniature-ucf, seed 0: .*other videos"):
        compare(read_records(cfg), UCF, OURS_ABOVE)


def test_every_claim_of_the_paper_is_asked_on_both_targets(cfg):
    table = claims_table(put_everything(cfg), (UCF, HMDB))
    assert len(table) == 2 * len(COMPARISONS)
    assert not (table["Verdict"] == NOT_RUN).any()
    assert set(table["Claim"]) == set(report.DIRECTIONS)
    counts = verdict_counts(table)
    assert counts.drop(columns="Claim").to_numpy().sum() == len(table)
    assert len(report.claims_with_sentences(counts)) == len(counts)
    chosen = claims_table(read_records(cfg), (UCF,), ("noun_bias",))
    assert set(chosen["Claim"]) == {"noun_bias"}


def test_claims_without_records_are_not_run():
    table = claims_table([], (UCF,))
    assert set(table["Verdict"]) == {NOT_RUN}
    assert set(verdict_counts(table)[NOT_RUN]) == {
        sum(c.claim == claim for c in COMPARISONS) for claim in table["Claim"]
    }


@pytest.mark.parametrize(
    ("curve", "best", "gain", "loss", "expected"),
    [
        ((1, 4, 5, 5), 2, "+66.7", "+0.0", AGREES),
        ((1, 6, 5, 3), 1, "+33.3", "+50.0", DIFFERS),
        ((3, 2, 2, 1), 0, "-33.3", "+33.3", NO_GAIN),
    ],
)
def test_overfitting_is_weighed_against_the_gain(cfg, curve, best, gain, loss, expected):
    for epoch, sixths in enumerate(curve):
        put(cfg, sixths=sixths, epoch=epoch)
    put(cfg, sixths=6)  # the final record is no point of the curve
    (row,) = overfitting_table(read_records(cfg), (UCF, HMDB)).to_dict("records")
    assert (row["Best epoch"], row["Verdict"]) == (best, expected)
    assert row["Gain over epoch 0, points"].startswith(f"{gain} [")
    assert row["Loss from best to last, points"].startswith(f"{loss} [")


@pytest.mark.parametrize(
    ("gain", "loss", "expected"),
    [
        (Interval(0.10, 0.05, 0.15), Interval(0.00, 0.00, 0.01), AGREES),
        (Interval(0.10, 0.05, 0.15), Interval(0.01, 0.00, 0.04), CANNOT_TELL),
        (Interval(0.10, 0.05, 0.15), Interval(0.06, 0.03, 0.09), DIFFERS),
        (Interval(0.02, -0.01, 0.05), Interval(0.00, 0.00, 0.00), NO_GAIN),
    ],
)
def test_overfitting_verdict_reads_the_intervals(gain, loss, expected):
    assert overfitting_verdict(gain, loss) == expected


def test_one_epoch_is_no_curve(cfg):
    put(cfg, epoch=0)
    assert overfitting_table(read_records(cfg), (UCF,)).empty


# --- figures --------------------------------------------------------------------------------------

PAIRS = {"clip": (27.1, 26.0), "names": (44, 26.2), "vificlip": (43, 26.4), "text4vis": (41, 26.6), "motion": (46, 36)}
LONG = (
    "jumping off the ground with the legs tucked and sweeping the ball across the front of the body, "
    "leaning over each hip in turn, folding forward at the waist and bowing the head toward the knees, at rapid speed."
)
CLIP = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)


def history_rows(shift: float) -> list[dict]:
    return [{"epoch": e, "train_loss": 3 / e + shift, "train_acc1": e / 10} for e in (1, 2, 3)]


def epoch_frame(half: float) -> pd.DataFrame:
    lines = ("object named", "object masked", "held-out source")
    rows = [(line, e, 20 + e, 20 + e - half, 20 + e + half) for line in lines for e in range(4)]
    return pd.DataFrame(rows, columns=["line", "epoch", "mean", "low", "high"])


def bar_frame() -> pd.DataFrame:
    cells = [(m, t, k) for m in TEMPORAL_METHODS for t in ("UCF-like", "HMDB-like") for k in ("named", "masked")]
    rows = [(*cell, 30 + n, 28, 40) for n, cell in enumerate(cells)]
    return pd.DataFrame(rows, columns=["method", "target", "kind", "percent", "low", "high"])


FIGURES = {
    "retrieval": lambda: plots.retrieval_figure({"a": PAIRS, "b": {}}, {"c": PAIRS, "d": PAIRS}),
    "history": lambda: plots.history_figure({key: history_rows(n) for n, key in enumerate(PAIRS)}),
    "one history": lambda: plots.history_figure({"motion": history_rows(0)}),
    "epochs": lambda: plots.epoch_figure({"a": epoch_frame(1.0), "b": epoch_frame(1.0)}),
    "epochs of one seed": lambda: plots.epoch_figure({"a": epoch_frame(np.nan)}),
    "bars": lambda: plots.bar_figure(bar_frame(), TEMPORAL_METHODS, "lowest and highest of 3 seeds"),
    "method": diagrams.method_diagram,
    "sheet": lambda: diagrams.contact_sheet([CLIP, CLIP[:, :32]], [f"name: {LONG}", f"a\n→ {LONG}\n→ {LONG}"]),
    "captions": lambda: diagrams.caption_table(("Class", "Said", "Motion"), [("waving a ball", LONG, LONG)], (1, 2, 3)),
}


@pytest.fixture(params=FIGURES)
def figure(request) -> Figure:
    return FIGURES[request.param]()


def test_figures_leave_the_global_style_alone():
    before = dict(mpl.rcParams)
    for name, draw in FIGURES.items():
        assert isinstance(draw(), Figure), name
        assert dict(mpl.rcParams) == before, name


def test_a_notebooks_backend_stays_interactive():
    """The inline backend turns interaction on as it draws its first figure; it must not be turned off again."""
    with mpl.rc_context():
        with plots.paper_style():
            mpl.interactive(True)
        assert mpl.is_interactive()


def test_texts_are_legible_and_apart(figure):
    assert layout_faults(figure) == []


def test_the_layout_check_finds_faults():
    figure = Figure(figsize=(2, 1))
    for x, size, text in ((0.1, 8, "one one one"), (0.2, 8, "over"), (0.95, 8, "outside"), (0.5, 5, "tiny")):
        figure.text(x, 0.1 if text == "tiny" else 0.5, text, fontsize=size)
    kinds = ["small: 'tiny'", "off the page: 'outside'", "'one one one' runs into 'over'"]
    assert layout_faults(figure) == kinds


def test_figures_have_the_papers_width(figure):
    assert figure.get_figwidth() in (plots.FULL_INCHES, plots.COLUMN_INCHES)


def test_markers_tell_reported_from_measured():
    figure = FIGURES["retrieval"]()
    filled = [{line.get_markerfacecolor() == line.get_color() for line in ax.lines} for ax in figure.axes]
    assert filled == [{True}, set(), {False}, {False}]
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [
        "a, measured here",
        "b, measured here",
        "c, reported by the paper",
        "d, reported by the paper",
    ]


@pytest.mark.parametrize("values", [[30, 30, 30, 30], [1, 2, 50, 51], [0, 0, 99, 99], [5], [], [40, 10, 20]])
def test_labels_keep_their_distance_and_order(values):
    placed = plots.spread(values, 6, 2, 98)
    assert len(placed) == len(values)
    assert all(2 <= y <= 98 for y in placed)
    assert (np.diff(np.sort(placed)) >= 6 - 1e-9).all()
    assert np.argsort(values, kind="stable").tolist() == np.argsort(placed, kind="stable").tolist()


def test_labels_that_are_apart_stay_where_they_are():
    assert plots.spread([40, 10, 20], 6, 0, 100) == [40, 10, 20]


def test_label_inks_are_dark_enough():
    for colour, _ in plots.METHOD_STYLE.values():
        linear = [(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) for v in to_rgb(plots._ink(colour))]
        luminance = np.dot(linear, (0.2126, 0.7152, 0.0722))
        assert 1.05 / (luminance + 0.05) > 3  # contrast with white


@pytest.mark.parametrize("name", FIGURES)
def test_a_saved_figure_never_changes_on_its_own(cfg, name):
    numbers = pd.DataFrame({"method": ["motion"], "percent": [1 / 3]})
    written = []
    for _ in range(2):
        path = plots.save_figure(FIGURES[name](), cfg, "figure", numbers)
        files = sorted(path.parent.glob("figure.*"))
        assert [file.suffix for file in files] == [".csv", ".pdf", ".png", ".svg"]
        written.append([file.read_bytes() for file in files])
    assert written[0] == written[1]
    csv, pdf, _, svg = written[0]
    assert b"Date" not in pdf
    assert b"<text" in svg  # texts stay texts
    assert b"\r" not in csv
    with Image.open(path) as picture:
        assert picture.width == round(300 * plots.FULL_INCHES)


# --- overview and report --------------------------------------------------------------------------


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


# --- inputs ---------------------------------------------------------------------------------------


@pytest.fixture
def paper(cfg, tmp_path, monkeypatch) -> RunConfig:
    """The profile `paper` on a machine that has nothing."""
    monkeypatch.setattr(inputs, "CLIP_CACHE", tmp_path / "clip")
    return RunConfig.load("paper")


def test_an_empty_machine_is_told_everything_in_one_list(paper):
    lacking = missing_inputs(paper)
    for name in ("kinetics400", "ucf101", "hmdb51"):
        assert {f"{name}: official lists", f"{name}: videos"} <= {item.split(",")[0] for item in lacking}
    for name in (
        facts.texts[kind] for facts in DATASETS.values() for kind in {"object", "masked"} & facts.texts.keys()
    ):
        assert sum(name in item for item in lacking) == 1
    assert "CLIP ViT-B/16 weights" in lacking[-1]
    for stop in (lambda: Experiment(paper), lambda: report.collect_records(paper)):
        with pytest.raises(MissingInputs) as caught:
            stop()
        for item in lacking:
            assert f"\n  - {item}" in str(caught.value)


def test_what_is_there_is_not_asked_for(paper, capsys):
    for item in missing_inputs(paper):
        path = Path(re.search(r"expected (?:in|at) (\S+?)[:;]?(?: |$)", item)[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir()
    assert missing_inputs(paper) == []
    open_data(paper)
    assert "all inputs are there" in capsys.readouterr().out


def test_a_backbone_of_ones_own_is_looked_for(paper, tmp_path):
    own = RunConfig.load("paper", backbone=str(tmp_path / "mine.pt"))
    assert f"expected at {tmp_path / 'mine.pt'}" in missing_inputs(own)[-1]
    (tmp_path / "mine.pt").touch()
    assert not any(item.startswith("CLIP ") for item in missing_inputs(own))


def test_released_checkpoints_are_asked_for_unless_the_baselines_are_retrained(paper):
    lacking = [item for item in missing_inputs(paper) if " checkpoint, " in item]
    assert [item.split(" checkpoint")[0] for item in lacking] == ["X-CLIP", "Text4Vis", "ViFi-CLIP"]
    assert all("; download https://" in item or "; open https://" in item for item in lacking)
    retrained = missing_inputs(RunConfig.load("paper", baselines="retrained"))
    assert retrained == [item for item in missing_inputs(paper) if item not in lacking]


def test_a_model_of_ones_own_needs_the_targets_and_the_texts_alone(paper):
    everything, without = missing_inputs(paper), missing_inputs(paper, models=False)
    assert set(without) < set(everything)
    kinds = [re.sub(r", expected.*", "", item) for item in without]
    assert kinds == [
        "ucf101: official lists", "ucf101: videos", "hmdb51: official lists", "hmdb51: videos",
        "kinetics400: object motion descriptions",
        *(f"{name}: {kind} motion descriptions" for name in ("ucf101", "hmdb51") for kind in ("object", "masked")),
    ]  # fmt: skip
    with pytest.raises(MissingInputs, match=f"lacks {len(without)} inputs"):
        Experiment(paper, models=False)


def test_an_unknown_data_set_is_named(paper):
    with pytest.raises(ValueError, match="no such data set 'ucf'; known are kinetics400, ucf101, hmdb51"):
        missing_inputs(RunConfig.load("paper", targets=["ucf"]))


def test_the_miniature_lacks_nothing_but_a_report_needs_records(cfg):
    assert missing_inputs(cfg) == []
    with pytest.raises(MissingInputs, match="lacks 1 inputs") as caught:
        report.collect_records(cfg)
    assert str(records_dir(cfg)) in str(caught.value)
    put(cfg)
    assert len(report.collect_records(cfg)) == 1
