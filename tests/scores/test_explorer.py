"""The explorer: its answers are the model's, and its page holds all of them and asks nobody."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from motion_lib.experiment.notebook import somebody_watches
from motion_lib.scores import explorer as explorers
from motion_lib.scores.explorer import ExplorerWidget, explorer_figure, explorer_of, write_explorer
from motion_lib.texts.descriptions import write_descriptions
from tests.scores.conftest import own_folder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def explorer(smoke):
    return explorer_of(replace(smoke.cfg, explore_model="clip:miniature"))


def by_hand(explorer, clip: int, text: str) -> float:
    """The logit of one clip and one sentence."""
    model = explorer.named.model
    with torch.inference_mode():
        return float(model.similarity(explorer.videos.features[[clip]], model.encode_text([text])))


def test_a_sentence_finds_its_clips_and_a_clip_its_sentences(explorer):
    text = explorer.texts["object"][1]
    found = explorer.search(text, 3)
    logits = [by_hand(explorer, n, text) for n in range(len(explorer.videos.dataset))]
    assert [n for n, _ in found] == np.argsort(-np.array(logits), kind="stable")[:3].tolist()
    assert [logit for _, logit in found] == pytest.approx(sorted(logits, reverse=True)[:3], rel=1e-4)
    ranked = explorer.ranked(0, "masked", 2)
    assert len(ranked) in (2, 3)
    assert explorer.videos.dataset.labels[0] in dict(ranked)
    assert all(0 < share < 1 for _, share in ranked)


def test_a_word_is_worth_what_its_absence_costs(explorer):
    lost = explorer.worth([0, 2], "a quick kick")
    whole, without = by_hand(explorer, 2, "a quick kick"), by_hand(explorer, 2, "a kick")
    assert lost.shape == (2, 3)
    assert lost[1, 1] == pytest.approx(whole - without, abs=1e-3)
    assert explorer.worth([0], "kick").shape == (1, 1)  # nothing is left of it, which a text tower reads as well


def test_features_are_kept(explorer, smoke, monkeypatch):
    def never(*_: object, **__: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr("motion_lib.scores.targets.encode_videos", never)
    explorer_of(replace(smoke.cfg, explore_model="clip:miniature"))


def test_a_folder_needs_its_texts(smoke, tmp_path):
    with pytest.raises(ValueError, match="go together"):
        explorer_of(replace(smoke.cfg, explore_videos=str(tmp_path)))


def test_a_folder_of_ones_own_is_explored_as_well(smoke, tmp_path):
    texts = smoke.data.descriptions("miniature-hmdb", "object")
    folder = own_folder(smoke.data.dataset("miniature-hmdb", "all"), tmp_path / "mine", 6)
    write_descriptions(texts, tmp_path / "texts.csv")
    asked = {"explore_videos": str(folder), "explore_texts": str(tmp_path / "texts.csv")}
    own = explorer_of(replace(smoke.cfg, explore_model="clip:miniature", **asked))
    assert own.title == "clip:miniature, mine"
    assert len(own.search(texts.texts[0])) == 6
    assert list(own.texts) == ["object"]
    assert write_explorer(own, tmp_path).name == "folder-mine.html"


def test_a_page_holds_every_answer_and_asks_nobody(explorer, tmp_path):
    most = 5
    page = write_explorer(explorer, tmp_path, most).read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="data">(.+?)</script>', page, re.DOTALL)[1])
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=|https?://|@import", page.replace(json.dumps(data), ""))
    shown = [clip["number"] for clip in data["about"]["clips"]]
    assert (len(shown), data["about"]["of"]) == (most, len(explorer.videos.dataset))
    assert set(data["strips"]) == set(map(str, shown))
    assert set(data["answers"]) == set(data["about"]["sentences"])
    for text, best in data["answers"].items():
        assert {n for n, _ in best} <= set(shown)
        assert best[0][1] == pytest.approx(by_hand(explorer, best[0][0], text), abs=0.006)
    told = data["told"][f"{shown[0]} object"]
    assert [row[1] for row in told] == [explorer.texts["object"][c] for c, _ in explorer.ranked(shown[0])]
    assert sum(row[3] for row in told) == 1
    assert all(len(row[4]) == len(row[1].split()) for row in told)


def test_the_widget_answers_any_sentence(explorer, monkeypatch):
    sent = []
    monkeypatch.setattr(ExplorerWidget, "send", lambda self, content: sent.append(content))
    widget = ExplorerWidget(explorer)
    assert widget.about["any"]
    widget._answer(widget, {"sentence": "a quick kick"}, [])
    widget._answer(widget, {"clip": 0, "kind": "masked"}, [])
    (found, told) = sent
    assert [n for n, _ in found["best"]] == [n for n, _ in explorer.search("a quick kick")]
    assert set(found["strips"]) == {str(n) for n, _ in found["best"]}
    assert all(strip.startswith("data:image/webp;base64,") for strip in found["strips"].values())
    assert told["told"][0][1] in explorer.texts["masked"]


def test_the_figure_draws_a_bar_for_every_word(explorer):
    figure = explorer_figure(explorer, "a quick kick", 0)
    words = 3 + sum(len(explorer.texts["object"][c].split()) for c, _ in explorer.ranked(0))
    assert len(figure.axes[0].patches) == words
    plt.close(figure)


def test_batch_runs_show_no_widget(monkeypatch):
    monkeypatch.delenv("MOTION_BATCH", raising=False)
    assert somebody_watches()
    monkeypatch.setenv("MOTION_BATCH", "1")
    assert not somebody_watches()


def test_the_pages_program_is_javascript(tmp_path):
    if (node := shutil.which("node")) is None:
        pytest.skip("node is absent")
    program = tmp_path / "explorer.mjs"
    program.write_text((explorers._HERE / "explorer.js").read_text(encoding="utf-8"), encoding="utf-8")
    subprocess.run([node, "--check", str(program)], check=True)
