"""Probes: their records, tables and panel from hand-made answers, and all of them once at the smoke size."""

import json
from dataclasses import asdict
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
from motion_lib.probes import video_controls
from motion_lib.probes.figures import frame_figure, pair_figure, pairs_figure, text_figure
from motion_lib.probes.pairs import CLIP, PAIR_LABEL, REVERSED_PAIRS, SENTENCE, probe_order
from motion_lib.probes.records import (
    ORDER,
    PAIRS,
    PROBED_METHODS,
    TEXT,
    VIDEO,
    Condition,
    Outcome,
    keep,
    read_probes,
    write_probe,
)
from motion_lib.probes.run import run_probes
from motion_lib.probes.tables import (
    answers_of,
    difference,
    frame_table,
    intervals,
    pair_table,
    probe_numbers,
    text_table,
    write_probe_tables,
)
from motion_lib.probes.text_controls import MOTION, NEAREST, RANDOM, TEXT_CONTROLS
from motion_lib.probes.video_controls import FILMED, ORDERS, REVERSED, SPREAD
from motion_lib.report.tables import NOT_RUN, Percent, Points, select
from tests.layout import layout_faults

UCF, HMDB = "miniature-ucf", "miniature-hmdb"
CLASSES, CLIPS = 8, 6
LABELS = np.repeat(np.arange(CLASSES), CLIPS)
ABOUT = {
    "identity": "same",
    "family": TEXT,
    "method": "motion",
    "label": "",
    "dataset": UCF,
    "data": "world-0",
    "weights": asdict(Weights("w", "clip.pt", "b" * 64, "c" * 64)),
}


@pytest.fixture
def cfg(tmp_path, monkeypatch) -> RunConfig:
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    return RunConfig.load("miniature")


def right(sixths: int) -> np.ndarray:
    return np.tile(np.arange(CLIPS) < sixths, CLASSES)


def put(cfg, name, method, dataset, conditions, seed=0, not_run=None, clusters=None):
    if clusters is None:
        clusters = LABELS if name in (TEXT, VIDEO) else np.arange(len(LABELS)) // 2
    outcome = Outcome([f"v{n}" for n in range(len(clusters))], clusters, conditions, not_run or {})
    about = ABOUT | {"family": name, "method": method, "dataset": dataset}
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
        for of in (SENTENCE, CLIP)
    ]


def put_everything(cfg, seeds=(0,)) -> list[dict]:
    for seed in seeds:
        for n, method in enumerate(PROBED_METHODS):
            for dataset in (UCF, HMDB):
                put(cfg, TEXT, method, dataset, texts(2 + n % 4), seed)
                built_in = {"1 frame": "built in", "16 frames": "built in"} if method == "xclip" else {}
                put(cfg, VIDEO, method, dataset, videos(2 + n % 4, (8,) if built_in else (1, 8, 16)), seed, built_in)
            put(cfg, PAIRS, method, "miniature-pairs", pairs(3 + n % 3), seed)
        for name, sixths, steps in (("mean", 3, 0), ("mit", 4, 400), ("temporal", 5, 400)):
            more = {"of": SENTENCE, "pairs_right": 0.5, "steps": steps}
            found = [Condition(REVERSED_PAIRS, right(sixths), 0.5, more=more)]
            put(cfg, ORDER, f"motion_{name}_taught", "miniature-actions", found, seed)
    return read(cfg)


def put_videos_of_ours(cfg) -> list[dict]:
    put(cfg, VIDEO, "motion", UCF, videos(3))
    return read(cfg)


# --- records and answers ---


def test_a_probe_comes_back_as_it_was_measured(cfg):
    put(cfg, TEXT, "motion", UCF, texts(4))
    answers = answers_of(read(cfg), name=MOTION)
    np.testing.assert_array_equal(answers.right, right(4))
    np.testing.assert_array_equal(answers.classes, LABELS)
    assert (answers.chance, answers.known_seeds) == (1 / CLASSES, (0,))


def test_draws_are_averaged_and_seeds_put_together(cfg):
    for seed, sixths in enumerate((2, 6)):
        draws = [Condition("words shuffled", right(sixths), 0.125, draw=d) for d in (0, 1)]
        draws.append(Condition("words shuffled", right(0), 0.125, draw=2))
        put(cfg, TEXT, "motion", UCF, draws, seed)
    answers = answers_of(read(cfg), name="words shuffled")
    assert len(answers.right) == 2 * len(LABELS)
    assert answers.right.reshape(2, -1).mean(axis=1) == pytest.approx([2 / 6 * 2 / 3, 2 / 3])
    assert answers.of_seeds([1]).mean == pytest.approx(2 / 3)
    assert answers_of(read(cfg), name="nothing of the kind") is None


def test_a_condition_may_have_clips_and_clusters_of_its_own(cfg):
    more, actions = {"of": SENTENCE, "pairs_right": 0.0}, np.arange(10) // 5 * 2
    short = Condition(REVERSED_PAIRS, right(3)[:10], 0.5, more=more, clusters=actions)
    put(cfg, PAIRS, "motion", "miniature-pairs", [*pairs(3)[:2], short])
    probes = read(cfg)
    assert answers_of(probes, name=REVERSED_PAIRS).classes.tolist() == [0] * 5 + [1] * 5
    np.testing.assert_array_equal(answers_of(probes, name="object", of=SENTENCE).classes, np.arange(len(LABELS)) // 2)


def test_clips_that_were_not_shown_are_named(cfg):
    outcome = Outcome(["v0", "v2"], np.arange(2), [Condition(MOTION, right(4)[:2], 0.5)], {}, {"v1": "broken"}, ["v3"])
    record = json.loads(write_probe(cfg, ABOUT, outcome, 1.0).read_text())
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
    usual, other = (answers_of(read(cfg), name=TEXT_CONTROLS[n]) for n in (0, 1))
    assert other.less(usual).interval() == pytest.approx((-1 / 6, -1 / 6, -1 / 6))


def test_intervals_drawn_together_are_those_drawn_alone(cfg):
    rng = np.random.default_rng(0)
    put(cfg, TEXT, "motion", UCF, [Condition(str(n), rng.random(len(LABELS)) < n / 4, 0.125) for n in (1, 2, 3)])
    several = [answers_of(read(cfg), name=str(n)) for n in (1, 2, 3)]
    for one, interval in zip(several, intervals(several, 50_000), strict=True):
        assert interval == pytest.approx(one.interval(resamples=50_000), abs=0.01)


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


def points(value: float) -> str:
    return str(Points(value, value, value))


def test_texts_hold_every_method_and_control(cfg):
    probes = put_everything(cfg, seeds=(0, 1))
    table = text_table(probes, probe_numbers(probes), (UCF, HMDB))
    assert len(table) == 2 * (len(TEXT_CONTROLS) + 2)
    table = table[table["Target"] == table["Target"][0]].set_index("Text")
    assert list(table.index[:-2]) == list(TEXT_CONTROLS)
    assert table.loc[MOTION, "Vanilla CLIP"].value == pytest.approx(2 / 6)
    assert str(table.loc[TEXT_CONTROLS[1], "Our method, change"]) == points(-1 / 6)
    assert set(table["Classes with a text of their own"]) == {7, ""}  # rivals are not texts of another kind
    assert str(table.loc[MOTION, "less Vanilla CLIP"]) == points(1 / 6)  # 3 of 6 clips of each class against 2
    assert "less Our method" not in table
    nearest = f"the right one among {NEAREST}"
    assert table.loc[nearest, "Our method"].value == pytest.approx(4 / 6)
    assert str(table.loc[nearest, "Our method, change"]) == points(-1 / 6)


def test_frames_hold_every_number_and_order(cfg):
    probes = put_everything(cfg, seeds=(0, 1))
    table = frame_table(probes, probe_numbers(probes), (UCF, HMDB))
    assert len(table) == 2 * len(PROBED_METHODS)
    table = table[: len(PROBED_METHODS)].set_index("Method")
    shares = [cell.value for cell in table.loc["Our method", ["1 frame", "8 frames"]]]
    assert shares == pytest.approx([1 / 6, 2 / 6])
    assert table.loc["X-CLIP", "1 frame"] == "built in"
    assert table.loc["X-CLIP", "8 frames"].value == pytest.approx(2 / 6)
    assert str(table.loc["Our method", "1 frame, change"]) == points(-1 / 6)
    assert table.loc["X-CLIP", "1 frame, change"] == NOT_RUN
    assert {f"{order}, change" for order in ORDERS} & set(table) == {f"{order}, change" for order in ORDERS[1:]}
    assert str(table.loc["Our method", "reversed, change"]) == points(0)
    assert table.iloc[0, -2:].map(str).tolist() == ["25.0", "5.0e-01"]  # the larger of named and of masked descriptions


def test_pairs_hold_every_kind_and_the_taught_heads(cfg):
    table = pair_table(probe_numbers(put_everything(cfg, seeds=(0, 1)))).set_index("Method")
    assert len(table) == len(PROBED_METHODS) + 3
    assert table.loc["Our method", f"{PAIR_LABEL['object']}, whole pairs"] == Percent(0.2)
    directions = table[PAIR_LABEL[REVERSED_PAIRS]][-3:]
    assert [cell.value for cell in directions] == pytest.approx([3 / 6, 4 / 6, 5 / 6])
    assert {type(cell) for cell in directions} == {Percent}
    assert table["Steps of teaching"].tolist()[-4:] == ["", 0, 400, 400]
    assert set(table[PAIR_LABEL["object"]][-3:]) == {""}
    assert set(table["Seeds"]) == {2}


def test_what_was_not_run_says_so(cfg):
    put(cfg, TEXT, "motion", UCF, texts(4)[:2])
    probes = read(cfg)
    numbers = probe_numbers(probes)
    table = text_table(probes, numbers, (UCF,)).set_index("Text")
    assert table.loc["verbs only", "Our method"] == table.loc[MOTION, "Vanilla CLIP"] == NOT_RUN
    assert table.loc[f"the right one among {NEAREST}", "Our method, change"] == NOT_RUN
    assert set(table["less Vanilla CLIP"]) == {NOT_RUN}
    frames = frame_table(probes, numbers, (UCF,))
    assert list(frames.columns[:3]) == ["Target", "Method", "Head"]
    assert set(frames.iloc[:, 3:].to_numpy().ravel()) == {NOT_RUN}
    table = pair_table(numbers).set_index("Method")
    assert set(table[PAIR_LABEL[REVERSED_PAIRS]]) == {NOT_RUN}
    assert set(table["Seeds"]) == {0}
    probes = put_videos_of_ours(cfg)
    frames = frame_table(probes, probe_numbers(probes), (UCF,)).set_index("Method")
    assert set(frames.loc["Text4Vis", "1 frame":]) == {NOT_RUN}


def test_numbers_have_a_row_for_every_condition(cfg):
    probes = put_everything(cfg, seeds=(0, 1, 2))
    numbers = probe_numbers(probes)
    row = numbers[(numbers["family"] == TEXT) & (numbers["method"] == "clip") & (numbers["condition"] == MOTION)].iloc[
        0
    ]
    assert (row["percent"], row["seeds"], row["chance"]) == (pytest.approx(100 / 3), 3, 12.5)
    assert (numbers["low"] <= numbers["percent"] + 1e-9).all()
    assert (numbers["percent"] <= numbers["high"] + 1e-9).all()
    assert not numbers.duplicated(["family", "dataset", "method", "condition", "kind", "frames", "question"]).any()


def test_changes_are_to_what_a_condition_is_compared_with(cfg):
    numbers = probe_numbers(put_everything(cfg))
    rivals = numbers[numbers["condition"] == NEAREST]
    assert set(rivals["method"]) == set(PROBED_METHODS)
    for name in ("change", "change_low", "change_high"):
        assert rivals[name].tolist() == pytest.approx([-100 / 6] * len(rivals))  # 4 of 6 less 5 of 6
    assert numbers.loc[numbers["condition"].isin((MOTION, RANDOM, FILMED)), "change"].isna().all()
    frozen = numbers[(numbers["family"] == VIDEO) & (numbers["condition"] == ORDERS[-1])]
    assert set(frozen["kind"]) == {"object", "masked"}
    assert set(frozen["change"]) == {0.0}
    counted = numbers[(numbers["condition"] == SPREAD) & (numbers["method"] == "motion")].set_index("frames")["change"]
    assert counted[1].tolist() == pytest.approx([-100 / 6] * 4)  # two targets, two kinds
    assert counted[8].isna().all()


def test_gaps_are_over_the_seeds_that_both_were_run_with(cfg):
    for seed, ours in enumerate((4, 2)):
        put(cfg, TEXT, "motion", UCF, texts(ours), seed)
    put(cfg, TEXT, "clip", UCF, texts(1), 0)
    probes = read(cfg)
    table = text_table(probes, probe_numbers(probes), (UCF,)).set_index("Text")
    assert str(table.loc[MOTION, "less Vanilla CLIP"]) == points(1 / 2)
    put(cfg, TEXT, "names", UCF, texts(1), 2)
    ours, theirs = (answers_of(select(read(cfg), family=TEXT, method=key), name=MOTION) for key in ("motion", "names"))
    assert difference(ours, theirs) is None
    with pytest.raises(ValueError, match=r"seeds \(0, 1\) and \(2,\): none is shared"):
        ours.less(theirs)


def test_answers_to_other_clips_are_not_paired(cfg):
    put(cfg, TEXT, "motion", UCF, texts(4))
    put(cfg, TEXT, "clip", HMDB, [Condition(MOTION, right(4)[:-6], 0.125)], clusters=LABELS[:-6])
    ours, theirs = (answers_of(select(read(cfg), family=TEXT, method=key), name=MOTION) for key in ("motion", "clip"))
    with pytest.raises(ValueError, match="saw other videos"):
        ours.less(theirs)


def probe_figures(probes: list[dict], cfg) -> list:
    numbers = probe_numbers(probes)
    return [text_figure(numbers, cfg), frame_figure(numbers, cfg), pair_figure(numbers)]


def test_panels_without_probes_say_not_run(cfg):
    """In the profile paper there are no minimal pairs; before 06_motion_probes there is nothing."""
    figures = probe_figures([], cfg)
    assert [[[t.get_text() for t in ax.texts] for ax in f.get_axes()] for f in figures] == [
        [[NOT_RUN]] * n for n in (2, 4, 1)
    ]
    assert [layout_faults(figure) for figure in figures] == [[]] * 3
    put_videos_of_ours(cfg)
    said = [[text.get_text() for text in ax.texts] for ax in probe_figures(read(cfg), cfg)[1].get_axes()]
    assert said == [[], [NOT_RUN], [], [NOT_RUN]]


def test_the_figures_are_legible(cfg):
    assert [layout_faults(figure) for figure in probe_figures(put_everything(cfg), cfg)] == [[]] * 3


def test_the_tables_are_written(cfg):
    """Numbers become text here: shares in percent, differences in points."""
    tables = {name: table.map(str) for name, table in write_probe_tables(put_everything(cfg), cfg).items()}
    assert set(tables) == {"texts", "frames", "pairs"}
    assert set(tables) == {path.stem for path in (cfg.results_dir / "tables").glob("*.csv")}
    motion = tables["texts"].set_index("Text").iloc[0]
    assert (motion["Vanilla CLIP"], motion["less Vanilla CLIP"]) == ("33.3", "+16.7 [+16.7, +16.7]")
    assert tables["frames"].iloc[0, -2:].tolist() == ["25.0", "5.0e-01"]
    assert tables["pairs"][PAIR_LABEL[REVERSED_PAIRS]].iloc[-1].startswith("83.3 [")


# --- for real, at the smoke size ---


@pytest.mark.slow
def test_probes_are_made_once_and_read_again(smoke, monkeypatch):
    first = run_probes(smoke, "motion")
    assert len(first) == 5
    before = [path.stat().st_mtime_ns for path in first]
    for module, name in ((video_controls, "encode_controls"), (pair_probing, "encode_videos")):
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
        probes = select(read_probes(smoke.cfg, read_records(smoke.cfg)), family=TEXT, method="motion", dataset=target)
        for name, kind in ((MOTION, "object"), ("objects masked", "masked")):
            np.testing.assert_array_equal(answers_of(probes, name=name).right, measured[target, kind].correct)


@pytest.mark.slow
def test_a_clip_as_filmed_is_what_measure_finds(smoke):
    """Up to the rounding of stored features, in which a tie may fall the other way."""
    measured = smoke.measure("motion_temporal")
    run_probes(smoke, "motion_temporal")
    for target in smoke.cfg.targets:
        probes = select(
            read_probes(smoke.cfg, read_records(smoke.cfg)), family=VIDEO, method="motion_temporal", dataset=target
        )
        filmed = answers_of(probes, name=FILMED, frames=smoke.cfg.num_frames, kind="object")
        assert (filmed.right == measured[target, "object"].correct).mean() > 0.95


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
        for record in select(
            read_probes(smoke.cfg, read_records(smoke.cfg)), family=VIDEO, method="clip", dataset=target
        ):
            for condition in record["conditions"]:
                if condition["name"] in (REVERSED, "shuffled"):
                    assert condition["largest_change_of_a_logit"] == 0.0


@pytest.mark.slow
def test_heads_are_taught_order(smoke):
    paths = probe_order(smoke)
    steps = [json.loads(path.read_text())["conditions"][0]["steps"] for path in paths]
    assert steps == [0, smoke.cfg.order_steps, smoke.cfg.order_steps]
    mean = json.loads(paths[0].read_text())["conditions"][0]
    assert (mean["acc1"], mean["pairs_right"]) == (0.5, 0.0)


@pytest.mark.slow
def test_the_sheet_of_pairs_is_legible(smoke):
    assert layout_faults(pairs_figure(smoke)[0]) == []
