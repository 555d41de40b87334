"""Probes: their records, tables and panel from hand-made answers, and all of them once at the smoke size."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from motion_lib.config import RunConfig
from motion_lib.data.preprocessing import Preprocess
from motion_lib.experiment.experiment import Experiment, Trained
from motion_lib.experiment.records import Weights, read_records
from motion_lib.methods import get_method
from motion_lib.probes import pairs as pair_probing
from motion_lib.probes import records as probe_records
from motion_lib.probes import run as probing
from motion_lib.probes.cells import cell_of, family, interval_of, probe_numbers
from motion_lib.probes.figures import pairs_figure, probe_figure, write_probe_tables
from motion_lib.probes.pairs import probe_order
from motion_lib.probes.records import (
    NEAREST,
    ORDER,
    PAIRS,
    PROBED_METHODS,
    RANDOM,
    REVERSED_PAIRS,
    TEXT,
    VIDEO,
    Condition,
    Outcome,
    Probe,
    clusters_of,
    keep,
    read_probes,
    write_probe,
)
from motion_lib.probes.run import run_probes
from motion_lib.probes.tables import (
    ORDERS,
    PAIR_LABEL,
    TEXT_CONTROLS,
    frame_count_table,
    order_control_table,
    pair_table,
    rival_table,
    taught_table,
    text_control_table,
    text_gap_table,
)
from motion_lib.probes.text_controls import MOTION
from motion_lib.probes.video_controls import FILMED, REVERSED, SPREAD
from motion_lib.report.tables import NOT_RUN
from tests.layout import layout_faults

UCF, HMDB = "miniature-ucf", "miniature-hmdb"
CLASSES, CLIPS = 8, 6
LABELS = np.repeat(np.arange(CLASSES), CLIPS)


@pytest.fixture
def cfg(tmp_path, monkeypatch) -> RunConfig:
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    return RunConfig.load("miniature")


def right(sixths: int) -> np.ndarray:
    return np.tile(np.arange(CLIPS) < sixths, CLASSES)


def put(cfg, name, method, dataset, conditions, seed=0, not_run=None, identity="same"):
    clusters = LABELS if name in (TEXT, VIDEO) else np.arange(len(LABELS)) // 2
    known = get_method(method) if "taught" not in method else replace(get_method("motion"), key=method)
    about = Probe(name, known, dataset, Weights("w", "clip.pt", "b" * 64, "c" * 64), "world-0", identity)
    outcome = Outcome([f"v{n}" for n in range(len(clusters))], clusters, conditions, not_run or {})
    return write_probe(RunConfig.load("miniature", seed=seed), about, outcome, 1.0)


def read(cfg) -> list[dict]:
    """All probes, given records of the same weights."""
    same = {"data": "world-0", "backbone_sha256": "b" * 64, "checkpoint_sha256": "c" * 64}
    return read_probes(cfg, [{"seed": seed, **same} for seed in range(3)])


def texts(sixths: int) -> list[Condition]:
    more = {"own_texts": CLASSES - 1}
    controls = [Condition(name, right(sixths - n % 2), 1 / CLASSES, more=more) for n, name in enumerate(TEXT_CONTROLS)]
    rivals = [Condition(NEAREST, right(4), 1 / 6), *(Condition(RANDOM, right(5), 1 / 6, draw=d) for d in (0, 1))]
    return controls + rivals


def videos(sixths: int, counts=(1, 8, 16)) -> list[Condition]:
    kinds = {"object": 0.25, "masked": 0.125}
    more = {kind: {"other_first_answer": s, "largest_change_of_a_logit": s * 2} for kind, s in kinds.items()}
    orders = [Condition(n, right(sixths), 1 / CLASSES, kind, 0, 8, more[kind]) for n in ORDERS for kind in kinds]
    numbers = [Condition(SPREAD, right(1 + (c == 8)), 1 / CLASSES, k, 0, c, more) for c in counts for k in kinds]
    return orders + numbers


def pairs(sixths: int) -> list[Condition]:
    return [
        Condition(kind, right(sixths), 0.5, more={"of": of, "pairs_right": 0.2})
        for kind in PAIR_LABEL
        for of in ("sentence for a clip", "clip for a sentence")
    ]


def put_everything(cfg, seeds=(0,)) -> list[dict]:
    for seed in seeds:
        for n, method in enumerate(PROBED_METHODS):
            for dataset in (UCF, HMDB):
                put(cfg, TEXT, method, dataset, texts(2 + n % 4), seed)
                built_in = {"1 frame": "built in", "16 frames": "built in"} if method == "xclip" else {}
                put(cfg, VIDEO, method, dataset, videos(2 + n % 4, (8,) if built_in else (1, 8, 16)), seed, built_in)
            put(cfg, PAIRS, method, "miniature-pairs", pairs(3 + n % 3), seed)
        for name, sixths, steps in (("mean", 3, 0), ("temporal", 5, 400)):
            found = [Condition(REVERSED_PAIRS, right(sixths), 0.5, more={"pairs_right": 0.5, "steps": steps})]
            put(cfg, ORDER, f"motion_{name}_taught", "miniature-actions", found, seed)
    return read(cfg)


def put_videos_of_ours(cfg) -> list[dict]:
    put(cfg, VIDEO, "motion", UCF, videos(3))
    return read(cfg)


# --- records and cells ---


def test_a_probe_comes_back_as_it_was_measured(cfg):
    put(cfg, TEXT, "motion", UCF, texts(4))
    cell = cell_of(read(cfg), name=MOTION)
    np.testing.assert_array_equal(cell["right"], right(4))
    np.testing.assert_array_equal(cell["clusters"], LABELS)
    assert (cell["chance"], cell["seeds"]) == (1 / CLASSES, (0,))


def test_draws_are_averaged_and_seeds_put_together(cfg):
    for seed, sixths in enumerate((2, 6)):
        draws = [Condition("words shuffled", right(sixths), 0.125, draw=d) for d in (0, 1)]
        draws.append(Condition("words shuffled", right(0), 0.125, draw=2))
        put(cfg, TEXT, "motion", UCF, draws, seed)
    cell = cell_of(read(cfg), name="words shuffled")
    assert len(cell["right"]) == 2 * len(LABELS)
    assert cell["right"].reshape(2, -1).mean(axis=1) == pytest.approx([2 / 6 * 2 / 3, 2 / 3])
    assert cell_of(read(cfg), name="nothing of the kind") is None


def test_a_condition_may_have_clips_and_clusters_of_its_own(cfg):
    more, actions = {"of": "sentence for a clip", "pairs_right": 0.0}, np.arange(10) // 5 * 2
    short = Condition(REVERSED_PAIRS, right(3)[:10], 0.5, more=more, clusters=actions)
    put(cfg, PAIRS, "motion", "miniature-pairs", [*pairs(3)[:2], short])
    (record,) = read(cfg)
    assert cell_of([record], name=REVERSED_PAIRS)["clusters"].tolist() == [0] * 5 + [1] * 5
    np.testing.assert_array_equal(clusters_of(record, record["conditions"][0]), np.arange(len(LABELS)) // 2)


def test_clips_that_were_not_shown_are_named(cfg):
    about = Probe(TEXT, get_method("motion"), UCF, Weights("w", "clip.pt", "b", "c"), "world-0", "same")
    outcome = Outcome(["v0", "v2"], np.arange(2), [Condition(MOTION, right(4)[:2], 0.5)], {}, {"v1": "broken"}, ["v3"])
    record = json.loads(write_probe(cfg, about, outcome, 1.0).read_text())
    assert (record["n_expected"], record["n_decoded"]) == (4, 2)
    assert (record["failed"], record["missing"]) == ({"v1": "broken"}, ["v3"])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"experiment": "another"}, "of other parameters or an older form"),
        ({"schema": 1}, "of other parameters or an older form"),
        ({"data": "world-1"}, "of weights or data that no record of their seed is of"),
        ({"weights": {"backbone_sha256": "x", "checkpoint_sha256": "c" * 64}}, "of weights or data that no record"),
        ({"weights": {"backbone_sha256": "b" * 64, "checkpoint_sha256": "x"}}, "of weights or data that no record"),
        ({"seed": 7}, "of weights or data that no record of their seed is of"),
    ],
)
def test_probes_of_anything_else_are_left_out_and_counted(cfg, capsys, change, why):
    put(cfg, TEXT, "motion", UCF, texts(4))
    path = put(cfg, TEXT, "clip", UCF, texts(2))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert [probe["method"] for probe in read(cfg)] == ["motion"]
    assert f"1 probes {why}" in capsys.readouterr().out


def test_intervals_are_paired_over_classes(cfg):
    """Every class loses one clip of six: the gap has no spread, though each accuracy has."""
    put(cfg, TEXT, "motion", UCF, texts(4))
    usual, other = (cell_of(read(cfg), name=TEXT_CONTROLS[n]) for n in (0, 1))
    assert interval_of(other, usual) == pytest.approx((-1 / 6, -1 / 6, -1 / 6))


def kept(cfg, made_from=("texts",), **changes) -> bool:
    """Whether a probe that is there is taken for one of these things."""
    weights = Weights("w", "clip.pt", "b", changes.get("checkpoint", "c"))
    model = SimpleNamespace(preprocess=Preprocess(num_frames=changes.get("frames", 8)))
    experiment = SimpleNamespace(cfg=cfg, data=SimpleNamespace(label=changes.get("data", "world-0")))
    called = []

    def probe() -> Outcome:
        called.append(1)
        return Outcome(["v0", "v1"], np.arange(2), [Condition(MOTION, right(4)[:2], 0.5)])

    keep(experiment, Trained(get_method("motion"), model, weights), TEXT, UCF, made_from, probe)
    return not called


@pytest.mark.parametrize(
    "changes",
    [{"checkpoint": "d"}, {"frames": 16}, {"data": "world-1"}, {"made_from": ("other texts",)}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_probe_of_other_things_is_made_again(cfg, changes):
    assert not kept(cfg)
    assert kept(cfg)
    assert not kept(cfg, **changes)


def test_a_probe_is_made_again_by_other_code(cfg, monkeypatch):
    assert not kept(cfg)
    monkeypatch.setattr(probe_records, "_probed_by", lambda: "other code")
    assert not kept(cfg)
    assert kept(cfg)


# --- tables ---


def test_tables_hold_every_method_and_condition(cfg):
    probes = put_everything(cfg, seeds=(0, 1))
    table = text_control_table(probes, UCF).set_index("Text")
    assert list(table.index) == list(TEXT_CONTROLS)
    assert table.loc[MOTION, "Vanilla CLIP"] == "33.3"
    assert table.loc[TEXT_CONTROLS[1], "Our method, against its motion descriptions"] == "-16.7 [-16.7, -16.7]"
    assert set(table["Classes with a text of their own"]) == {"7"}
    gaps = text_gap_table(probes, UCF).set_index("Text")
    assert gaps.loc[MOTION, "less Vanilla CLIP"] == "+16.7 [+16.7, +16.7]"  # 3 of 6 clips of each class against 2
    assert "less Our method" not in gaps
    rivals = rival_table(probes, (UCF, HMDB))
    assert set(rivals["Nearest less random, points"]) == {"-16.7 [-16.7, -16.7]"}
    counts = frame_count_table(probes, UCF).set_index("Method")
    assert counts.loc["Our method", ["1 frame", "8 frames"]].tolist() == ["16.7", "33.3"]
    assert counts.loc["X-CLIP", ["1 frame", "8 frames"]].tolist() == ["built in", "33.3"]
    one_frame = counts["1 frame less as tested, points"]
    assert one_frame["Our method"] == "-16.7 [-16.7, -16.7]"
    assert one_frame["X-CLIP"] == NOT_RUN
    changes = order_control_table(probes, UCF).iloc[0, -3:].tolist()
    assert changes == ["25.00", "12.50", "5.0e-01"]  # of named and of masked descriptions
    assert len(order_control_table(probes, UCF)) == len(PROBED_METHODS) * len(ORDERS)
    assert pair_table(probes).set_index("Method").loc["Our method", f"{PAIR_LABEL['object']}, whole pairs"] == "20.0"
    directions = taught_table(probes)
    assert [text.split()[0] for text in directions["Right direction, %"]] == ["50.0", "83.3"]
    assert directions["Steps of training"].tolist() == ["0", "400"]


def test_what_was_not_run_says_so(cfg):
    put(cfg, TEXT, "motion", UCF, texts(4)[:2])
    probes = read(cfg)
    table = text_control_table(probes, UCF).set_index("Text")
    assert table.loc["verbs only", "Our method"] == table.loc[MOTION, "Vanilla CLIP"] == NOT_RUN
    assert set(taught_table(probes)["Right direction, %"]) == {NOT_RUN}
    assert set(rival_table(probes, (UCF,))["Nearest less random, points"]) == {NOT_RUN}
    assert set(order_control_table(probes, UCF).iloc[:, -3:].to_numpy().ravel()) == {NOT_RUN}
    assert list(frame_count_table(probes, UCF).columns[:2]) == ["Method", "Head"]
    assert set(frame_count_table(probes, UCF).iloc[:, -1]) == {NOT_RUN}
    assert set(frame_count_table(put_videos_of_ours(cfg), UCF).set_index("Method").loc["Text4Vis", "1 frame":]) == {
        NOT_RUN
    }
    assert set(text_gap_table(probes, UCF).iloc[:, 1]) == {NOT_RUN}
    assert pair_table(probes).iloc[0, 1] == NOT_RUN


def test_numbers_have_a_row_for_every_condition(cfg):
    probes = put_everything(cfg, seeds=(0, 1, 2))
    numbers = probe_numbers(probes)
    row = numbers[(numbers["family"] == TEXT) & (numbers["method"] == "clip") & (numbers["condition"] == MOTION)].iloc[
        0
    ]
    assert (row["percent"], row["seeds"], row["chance"]) == (pytest.approx(100 / 3), 3, 12.5)
    assert (numbers["low"] <= numbers["percent"] + 1e-9).all()
    assert (numbers["percent"] <= numbers["high"] + 1e-9).all()
    assert not numbers.duplicated(["family", "dataset", "method", "condition", "kind", "frames", "of"]).any()


def test_gaps_are_over_the_seeds_that_both_were_run_with(cfg):
    for seed, ours in enumerate((4, 2)):
        put(cfg, TEXT, "motion", UCF, texts(ours), seed)
    put(cfg, TEXT, "clip", UCF, texts(1), 0)
    gap = text_gap_table(read(cfg), UCF).set_index("Text").loc[MOTION, "less Vanilla CLIP"]
    assert gap == "+50.0 [+50.0, +50.0]"
    cells = [cell_of(family(read(cfg), TEXT, key), name=MOTION) for key in ("motion", "clip")]
    with pytest.raises(ValueError, match=r"seeds \(0, 1\) and \(0,\): not the same clips and seeds"):
        interval_of(*cells)


def test_panels_without_probes_say_not_run(cfg):
    """In the profile paper there are no minimal pairs; before 06_motion_probes there is nothing."""
    figure, numbers = probe_figure([], cfg)
    assert len(numbers) == 0
    assert [[text.get_text() for text in ax.texts] for ax in figure.get_axes()] == [[NOT_RUN]] * 6
    assert layout_faults(figure) == []
    put_videos_of_ours(cfg)
    figure = probe_figure(read(cfg), cfg)[0]
    said = [[text.get_text() for text in ax.texts] for ax in figure.get_axes()]
    assert said == [[NOT_RUN], [NOT_RUN], [], [NOT_RUN], [], [NOT_RUN]]


def test_the_panel_is_legible(cfg):
    figure, numbers = probe_figure(put_everything(cfg), cfg)
    assert layout_faults(figure) == []
    assert len(numbers) > 200


def test_the_tables_are_written(cfg):
    tables = write_probe_tables(put_everything(cfg), cfg)
    assert set(tables) == {path.stem for path in (cfg.results_dir / "tables").glob("*.csv")}


# --- for real, at the smoke size ---


@pytest.mark.slow
def test_probes_are_made_once_and_read_again(smoke, monkeypatch):
    first = run_probes(smoke, "motion")
    assert len(first) == 5
    before = [path.stat().st_mtime_ns for path in first]
    for module, name in (
        (probing, "encode_controls"),
        (pair_probing, "encode_controls"),
        (pair_probing, "encode_videos"),
    ):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("encoded again"))
    again = run_probes(Experiment(smoke.cfg), "motion")
    assert [path.stat().st_mtime_ns for path in again] == before
    probes = [json.loads(path.read_text()) for path in first]
    assert [probe["family"] for probe in probes] == [TEXT, VIDEO, TEXT, VIDEO, PAIRS]


@pytest.mark.slow
def test_a_text_control_is_what_measure_finds(smoke):
    """Motion descriptions and masked ones as controls have the accuracies of the records."""
    measured = smoke.measure("motion")
    run_probes(smoke, "motion")
    for target in smoke.cfg.targets:
        probes = family(read_probes(smoke.cfg, read_records(smoke.cfg)), TEXT, "motion", target)
        for name, kind in ((MOTION, "object"), ("objects masked", "masked")):
            np.testing.assert_array_equal(cell_of(probes, name=name)["right"], measured[target, kind].correct)


@pytest.mark.slow
def test_a_clip_as_filmed_is_what_measure_finds(smoke):
    """Up to the rounding of stored features, in which a tie may fall the other way."""
    measured = smoke.measure("motion_temporal")
    run_probes(smoke, "motion_temporal")
    for target in smoke.cfg.targets:
        probes = family(read_probes(smoke.cfg, read_records(smoke.cfg)), VIDEO, "motion_temporal", target)
        filmed = cell_of(probes, name=FILMED, frames=smoke.cfg.num_frames, kind="object")
        assert (filmed["right"] == measured[target, "object"].correct).mean() > 0.95


@pytest.mark.slow
def test_the_mean_is_blind_and_a_planted_peek_is_noticed(smoke):
    conditions = [
        Condition(REVERSED, right(3), 0.125, more={"largest_change_of_a_logit": 0.0}),
        Condition(REVERSED, right(3), 0.125, more={"largest_change_of_a_logit": 1e-9}),
    ]
    probing._assert_blind_to_order(conditions[:1])
    with pytest.raises(AssertionError, match="reversed moved a mean-pooled score"):
        probing._assert_blind_to_order(conditions)
    run_probes(smoke, "clip")
    for target in smoke.cfg.targets:
        for record in family(read_probes(smoke.cfg, read_records(smoke.cfg)), VIDEO, "clip", target):
            for condition in record["conditions"]:
                if condition["name"] in (REVERSED, "shuffled"):
                    assert condition["largest_change_of_a_logit"] == 0.0


@pytest.mark.slow
def test_heads_are_taught_order(smoke):
    paths = probe_order(smoke)
    steps = [json.loads(path.read_text())["conditions"][0]["steps"] for path in paths]
    assert steps == [0, smoke.cfg.order_steps]
    mean = json.loads(paths[0].read_text())["conditions"][0]
    assert (mean["acc1"], mean["pairs_right"]) == (0.5, 0.0)


@pytest.mark.slow
def test_the_sheet_of_pairs_is_legible(smoke):
    assert layout_faults(pairs_figure(smoke)[0]) == []
