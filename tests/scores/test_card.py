"""A card: its numbers are the evaluator's, its features are kept, its page holds everything."""

import json
import re

import numpy as np
import pytest

from motion_lib.__main__ import main
from motion_lib.config import RunConfig
from motion_lib.evaluation.protocols import FULL
from motion_lib.evaluation.retrieval import evaluate
from motion_lib.experiment.data import data_of
from motion_lib.experiment.inputs import MissingInputs
from motion_lib.methods import TABLE_METHODS
from motion_lib.scores import board, card, targets
from motion_lib.scores.names import named_model
from motion_lib.scores.page import write_page
from tests import made_records
from tests.conftest import SMOKE
from tests.scores.conftest import own_folder

pytestmark = pytest.mark.usefixtures("one_thread")
OVERRIDES = [word for name, value in SMOKE.items() for word in ("-p", name, str(value))]


@pytest.fixture
def named(smoke):
    return named_model("clip:miniature", smoke.cfg)


def test_a_card_holds_what_the_evaluator_gives(smoke, named, tmp_path, monkeypatch):
    (ucf,) = targets.targets_of(smoke.data, ["ucf101"])
    made = card.make_card(named, smoke.cfg, [ucf], tmp_path)
    assert made == json.loads((tmp_path / "card.json").read_text())
    (target,) = made["targets"]
    for kind, cell in target["results"].items():
        result = evaluate(named.model, ucf.videos, ucf.sets[kind])
        assert cell["top1"][0] == pytest.approx(100 * result.accuracy())
        assert cell["correct"] == result.correct.astype(int).tolist()
    lost = np.subtract(*(target["results"][kind]["correct"] for kind in ("object", "masked")))
    assert target["noun_reliance"]["points"][0] == pytest.approx(100 * lost.mean())  # masking changes every class
    assert target["frames"]["reversed"]["other_first_answer"] == 0  # the mean cannot see order
    assert target["texts"]["motion description"]["top1"][0] == pytest.approx(target["results"]["object"]["top1"][0])
    assert target["protocols"][FULL]["object"]["acc1"] == pytest.approx(target["results"]["object"]["top1"][0] / 100)
    one, mean = (target["texts"][f"its grammar, {how}"] for how in ("one of its sentences", "mean of its sentences"))
    assert (one["sentences"], mean["sentences"]) == (1, 9)
    assert len({clip["right"] for clip in target["clips"]}) == len(target["clips"]) > 1
    page = write_page(made, tmp_path).read_text()
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing that the page would have to fetch
    assert f"{target['results']['object']['top1'][0]:.1f}" in page

    def never(*_: object, **__: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(targets, "encode_videos", never)
    monkeypatch.setattr(card, "encode_controls", never)
    assert card.make_card(named, smoke.cfg, [ucf], tmp_path)["targets"] == made["targets"]


def test_a_quick_card_holds_the_tables_and_takes_nothing_from_a_full_one(smoke, named, tmp_path):
    (ucf,) = targets.targets_of(smoke.data, ["ucf101"])
    quick = card.make_card(named, smoke.cfg, [ucf], tmp_path, quick=True)
    assert "frames" not in quick["targets"][0]
    assert "left out: --quick" in quick["not_run"].values()
    full = card.make_card(named, smoke.cfg, [ucf], tmp_path)
    assert full["not_run"] == {}
    again = card.make_card(named, smoke.cfg, [ucf], tmp_path, quick=True)
    assert (again["targets"], again["not_run"]) == (full["targets"], {})
    other = targets.Target(ucf.name, ucf.label, ucf.videos, {"object": ucf.sets["masked"]}, ucf.data)
    assert "frames" not in card.make_card(named, smoke.cfg, [other], tmp_path, quick=True)["targets"][0]


def test_a_bare_machine_is_told_in_one_list_what_a_data_set_lacks(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    with pytest.raises(MissingInputs) as told:
        targets.targets_of(data_of(RunConfig.load("paper")), ["hmdb51"])
    assert "hmdb51: official lists" in str(told.value)
    assert "hmdb51: masked motion descriptions" in str(told.value)
    assert "ucf101" not in str(told.value)


def test_the_source_has_a_card_of_its_validation_videos(smoke, named, tmp_path):
    (source,) = targets.targets_of(smoke.data, ["kinetics400"])
    (part,) = card.make_card(named, smoke.cfg, [source], tmp_path)["targets"]
    assert list(part["results"]) == ["object"]
    assert part["protocols"][card.VERBS]["object"]["why"].startswith("not run")
    assert part["noun_reliance"]["why"] == "not run: no masked descriptions"


def test_a_folder_of_videos_and_a_table_of_texts(smoke, named, tmp_path):
    texts = smoke.data.descriptions("miniature-hmdb", "object")
    folder = own_folder(smoke.data.dataset("miniature-hmdb", "all"), tmp_path / "ucf101", 8)
    table = tmp_path / "texts.csv"
    rows = [f'{name},"{text}"' for name, text in zip(texts.class_names, texts.texts, strict=True)]
    table.write_text("\n".join(["class,description", *rows]))
    made = card.make_card(named, smoke.cfg, [targets.own_target(folder, table)], tmp_path, quick=True)
    (target,) = made["targets"]
    assert len(target["labels"]) == 8
    assert target["noun_reliance"]["why"] == "not run: no masked descriptions"
    (own,) = (b for b in board.boards_of([made], smoke.cfg) if b.label == "ucf101")
    assert [entry.name for entry in own.entries] == ["clip:miniature"]  # and none that the paper reports


def test_the_commands_write_a_card_and_a_board(smoke, capsys):
    assert main(["score", "clip:miniature", "--data", "ucf101", "--quick", *OVERRIDES]) == 0
    out = capsys.readouterr().out
    assert re.search(r"UCF-like, object: top-1 [\d.]+ \[[\d.]+, [\d.]+\] %", out)
    folder = smoke.cfg.results_dir / "scores"
    assert (folder / "clip-miniature-ucf101" / "card.png").is_file()
    assert main(["board", str(folder)]) == 0
    (table,) = (path for path in folder.glob("board-*.md") if "clip:miniature" in path.read_text())
    assert table.with_suffix(".png").is_file()


def test_what_does_not_go_together_is_refused(tmp_path, capsys):
    assert main(["score", "clip:miniature", "--videos", str(tmp_path)]) == 2
    assert "--videos goes with --descriptions" in capsys.readouterr().err
    assert main(["score", "python:no_such_module:Factory"]) == 1
    assert "No module named 'no_such_module'" in capsys.readouterr().err
    assert main(["board", str(tmp_path)]) == 1
    assert "no card.json" in capsys.readouterr().err


# ------------------------------------------------------------------ the board
def made_card(model: str, correct: list[int], videos: str = "v") -> dict:
    cell = {"descriptions": "d", "top1": [100 * np.mean(correct), 0.0, 100.0], "chance": 25.0, "correct": correct}
    target = {"name": "ucf101", "label": "UCF-101", "videos": videos, "labels": [0, 0, 1, 1, 2, 2, 3, 3]}
    return {"model": model, "profile": "paper", "targets": [target | {"results": {"object": cell, "masked": cell}}]}


def test_a_board_pairs_what_saw_the_same_videos_and_marks_what_was_reported(smoke):
    cards = [
        made_card("a", [1, 1, 1, 1, 1, 0, 0, 0]),
        made_card("b", [1, 0, 1, 0, 0, 0, 0, 0]),
        made_card("c", [1] * 8, "w"),
    ]
    boards = [b for b in board.boards_of(cards, smoke.cfg) if b.name.startswith("paper-")]  # others are of records
    assert [b.name for b in boards] == ["paper-ucf101", "paper-ucf101-2"]
    assert [len([e for e in b.entries if not e.reported]) for b in boards] == [2, 1]
    table = board.board_table(boards[0]).set_index("Model")
    assert table.loc["b", "less the first, object named"].startswith("-37.5 [")
    assert table.loc["a", "less the first, object named"] == ""
    assert str(table.loc["Our method (reported)", "object named, %"]) == "58.5"
    lines = board.board_figure(boards[:1])[0].axes[0].lines
    assert sum(line.get_markerfacecolor() == "none" for line in lines) == 6
    assert [line.get_label() for line in lines if line.get_marker() == "*"] == ["Human (reported)"]


def test_a_boards_own_rows_are_means_over_seeds_and_paired(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path))
    cfg = RunConfig.load("miniature", bootstrap_resamples=50)
    made_records.put_everything(cfg, seeds=(0, 1))
    boards = board.boards_of([], cfg)
    assert [b.name for b in boards] == ["miniature-miniature-ucf", "miniature-miniature-hmdb"]
    table = board.board_table(boards[0]).set_index("Model")
    assert len(table) == len(TABLE_METHODS)
    ours = table.loc["Our method, 2 seeds"]  # 1 and 2 of the six clips of every class
    assert str(ours["object named, %"]) == "25.0"
    best = table.iloc[0]
    assert best["less the first, object named"] == ""
    gap = 25.0 - float(str(best["object named, %"]))
    assert ours["less the first, object named"].startswith(f"{gap:+.1f} [")


def test_the_wording_that_is_retrieved_best_comes_first():
    cells = {"long": {"top1": [30.0, 0, 0]}, "short": {"top1": [40.0, 0, 0]}, "absent": "not run: not at hand"}
    cards = [{"model": "a", "targets": [{"label": "UCF-101", "texts": cells}]}]
    assert board.wording_table(cards)["Text"].tolist() == ["short", "long"]
    assert board.wording_table([]).empty


def test_a_card_of_another_schema_is_refused(tmp_path):
    (tmp_path / "card.json").write_text(json.dumps({"schema": 0}))
    with pytest.raises(ValueError, match="no card of schema 2"):
        board.read_cards(tmp_path)
