"""Tasks for people, what is kept of their answers, and what follows from them."""

import math
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import tiny

from motion_lib.data.video import read_clip
from motion_lib.evaluation.intervals import bootstrap_accuracy
from motion_lib.people.page import RatingPage, playable
from motion_lib.people.ratings import (
    ATTRIBUTES,
    SCALE,
    Session,
    comparison_tasks,
    likert_results,
    likert_tasks,
    read_answers,
    read_key,
    read_study,
    retrieval_tasks,
    study_result,
    votes,
    wilson_interval,
    write_key,
)
from motion_lib.texts.choosing import Vote, choice_table, majority, order_of
from motion_lib.texts.descriptions import DescriptionSet

TEXTS = DescriptionSet("two", ("wave", "jump"), ("raising one arm.", "bending both knees."))


# --- tasks ---


def test_every_attribute_of_every_description_is_asked():
    tasks = likert_tasks(TEXTS)
    assert [task.id for task in tasks] == [
        f"{name}: {attribute}" for name in ("wave", "jump") for attribute in ATTRIBUTES
    ]
    assert {task.options for task in tasks} == {SCALE}


def videos(per_class=7):
    dataset = tiny.dataset([Path(f"clip_{i}.mp4") for i in range(8 * per_class)])
    return replace(dataset, name="tiny")


def test_five_videos_of_each_class_and_all_descriptions():
    tasks = retrieval_tasks(videos(), tiny.DESCRIPTIONS)
    assert len(tasks) == len({task.id for task in tasks}) == 40
    labels = {item.video_id: item.label for item in videos().items}
    for task in tasks:
        assert task.options[task.correct] == tiny.DESCRIPTIONS.texts[labels[task.id]]
        assert sorted(task.options) == sorted(tiny.DESCRIPTIONS.texts)
    assert tasks == retrieval_tasks(videos(), tiny.DESCRIPTIONS)
    assert tasks != retrieval_tasks(videos(), tiny.DESCRIPTIONS, seed=1)
    assert len(retrieval_tasks(videos(per_class=2), tiny.DESCRIPTIONS)) == 16


def test_candidates_are_shown_in_either_order_and_voted_for_rightly():
    candidates = {f"class {i}": (f"first {i}", f"second {i}") for i in range(40)}
    shown = {rater: comparison_tasks(candidates, rater) for rater in ("ann", "ben")}
    swapped = [task.options[0].startswith("second") for tasks in shown.values() for task in tasks]
    assert 20 < sum(swapped) < 60
    prefers_second = {
        rater: {
            task.fingerprint: next(i for i, text in enumerate(task.options) if text.startswith("second"))
            for task in tasks
        }
        for rater, tasks in shown.items()
    }
    assert [vote.choice for vote in votes(prefers_second, candidates)] == [1] * 80
    (vote,) = votes({"ann": {shown["ann"][0].fingerprint: 2}}, candidates)
    assert (vote.class_name, vote.choice) == ("class 0", None)


def test_votes_on_other_sentences_do_not_count():
    """Candidates that were generated anew were seen by nobody."""
    candidates = {"rowing": ("first", "second")}
    answers = {"ann": {comparison_tasks(candidates, "ann")[0].fingerprint: 0}}
    assert len(votes(answers, candidates)) == 1
    assert votes(answers, {"rowing": ("first", "another")}) == []


# --- majority ---


def test_majority_of_five_and_ties():
    given = [Vote("a", f"r{i}", choice) for i, choice in enumerate((1, 1, 0, 1, None))]
    given += [Vote("b", f"r{i}", choice) for i, choice in enumerate((0, 1))]
    found = majority(given)
    assert (found["a"].choice, found["a"].votes, found["a"].tied) == (1, (1, 3, 1), False)
    assert (found["b"].choice, found["b"].tied) == (0, True)
    table = choice_table(found).iloc[0]
    assert (table["First candidate"], table["Second candidate"], table["Ties (the first is taken)"]) == (0, 1, 1)
    assert table["Decided by"] == "people"
    with pytest.raises(ValueError, match="'r0' voted twice on 'a'"):
        majority([*given, Vote("a", "r0", 0)])


def test_order_depends_on_class_and_rater_alone():
    assert order_of("rowing", "ann") == order_of("rowing", "ann")
    assert {order_of(f"class {i}", "ann") for i in range(20)} == {(0, 1), (1, 0)}


# --- a rater's way ---


def test_a_session_goes_on_where_it_was(tmp_path):
    tasks = likert_tasks(TEXTS)
    first = Session(tasks, tmp_path, "ann")
    for option in (4, 0, 3):
        first.answer(option)
    again = Session(tasks, tmp_path, "ann")
    assert (again.position, again.current) == (3, tasks[3])
    assert again.answers == {tasks[0].fingerprint: 4, tasks[1].fingerprint: 0, tasks[2].fingerprint: 3}
    assert Session(tasks, tmp_path, "ben").position == 0


def test_a_corrected_answer_counts_and_the_old_one_is_kept_in_the_file(tmp_path):
    tasks = likert_tasks(TEXTS)
    session = Session(tasks, tmp_path, "ann")
    session.answer(1)
    session.back()
    session.answer(2)
    session.back()
    session.back()
    assert session.position == 0
    assert read_answers(tmp_path) == {"ann": {tasks[0].fingerprint: 2}}
    assert len((tmp_path / "ann.jsonl").read_text().splitlines()) == 2


def test_the_end_and_wrong_options_are_errors(tmp_path):
    session = Session(likert_tasks(TEXTS)[:1], tmp_path, "ann")
    with pytest.raises(ValueError, match="option 5: not of this task"):
        session.answer(5)
    session.answer(0)
    assert session.current is None
    with pytest.raises(ValueError, match="all tasks are answered"):
        session.answer(0)
    assert Session(session.tasks, tmp_path, "ann").current is None


@pytest.mark.parametrize("rater", ["", "../ann", "a b", "ann/ben"])
def test_a_rater_needs_a_name_of_a_file(tmp_path, rater):
    with pytest.raises(ValueError, match="use letters, digits"):
        Session(likert_tasks(TEXTS), tmp_path, rater)


def test_a_line_cut_off_by_a_kill_loses_that_answer_alone(tmp_path):
    tasks = likert_tasks(TEXTS)
    Session(tasks, tmp_path, "ann").answer(2)
    with (tmp_path / "ann.jsonl").open("ab") as file:
        file.write('{"rater": "ann", "task": "\u00e9'.encode()[:-1])
    again = Session(tasks, tmp_path, "ann")
    assert again.position == 1
    again.answer(4)
    assert read_answers(tmp_path) == {"ann": {tasks[0].fingerprint: 2, tasks[1].fingerprint: 4}}


def test_answers_to_other_texts_do_not_count(tmp_path):
    Session(likert_tasks(TEXTS), tmp_path, "ann").answer(2)
    rewritten = DescriptionSet("two", TEXTS.class_names, ("raising an arm.", TEXTS.texts[1]))
    assert Session(likert_tasks(rewritten), tmp_path, "ann").position == 0


def test_a_task_can_be_skipped(tmp_path):
    session = Session(likert_tasks(TEXTS)[:1], tmp_path, "ann")
    session.skip()
    session.skip()
    assert (session.position, session.current, read_answers(tmp_path)) == (1, None, {})


# --- what follows ---


def ratings(**columns):
    """Answers {rater: ratings 1 to 5 of Correctness of a, b, c, ...; 0 is none}, and the names of the tasks."""
    answers = {
        rater: {f"print {i}": value - 1 for i, value in enumerate(values) if value} for rater, values in columns.items()
    }
    return answers, {f"print {i}": f"class {i}: Correctness" for i in range(12)}


def test_likert_by_hand():
    (name, found), *rest = likert_results(*ratings(ann=(5, 4, 4, 1), ben=(5, 4, 3, 1))).items()
    assert (name, rest) == ("Correctness", [])
    assert found.mean == pytest.approx(27 / 8)
    assert found.iaa_percent == 75
    assert (found.items, found.raters) == (4, 2)
    assert 0.9 < found.alpha < 1


def test_alpha_of_the_literature():
    """Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", example C: ordinal alpha 0.815."""
    table = {
        "A": (1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0),
        "B": (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3),
        "C": (0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0),
        "D": (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0),
    }
    assert likert_results(*ratings(**table))["Correctness"].alpha == pytest.approx(0.815, abs=5e-4)


def test_agreement_needs_two_raters_and_alpha_two_values():
    alone = likert_results(*ratings(ann=(5, 4)))["Correctness"]
    assert np.isnan(alone.iaa_percent)
    assert np.isnan(alone.alpha)
    same = likert_results(*ratings(ann=(1, 1), ben=(1, 1)))["Correctness"]
    assert same.iaa_percent == 100
    assert np.isnan(same.alpha)
    assert likert_results({}, {}) == {}


def test_the_study_counts_right_answers_with_wilsons_interval(tmp_path):
    tasks = retrieval_tasks(videos(), tiny.DESCRIPTIONS)
    write_key(tasks, tmp_path)
    assert read_study(tmp_path) is None
    session = Session(tasks, tmp_path, "ann")
    for i, task in enumerate(tasks):
        session.answer(task.correct if i % 4 else (task.correct + 1) % 8)
    result = study_result({task.fingerprint: task.correct for task in tasks}, read_answers(tmp_path))
    assert (result.answers, result.raters, result.tasks) == (40, 1, 40)
    share, low, high = result.accuracy
    assert share == 0.75
    assert (low, high) == (pytest.approx(0.598, abs=1e-3), pytest.approx(0.858, abs=1e-3))
    assert str(read_study(tmp_path)) == "75.0 [59.8, 85.8] (n=40, 1 raters)"
    assert read_key(tmp_path)[tasks[0].fingerprint] == (tasks[0].id, tasks[0].correct)
    other = retrieval_tasks(videos(), tiny.DESCRIPTIONS.select(tiny.DESCRIPTIONS.class_names[::-1]), seed=3)
    write_key([replace(task, options=task.options[::-1]) for task in other], tmp_path)
    assert read_study(tmp_path) is None  # other lists of sentences: nobody has seen them


def test_nobody_is_not_a_number(tmp_path):
    assert read_study(tmp_path) is None
    assert study_result({}, {}) is None


# --- the page ---


def press(page, **message):
    """What the browser sends for the task it shows."""
    page._receive(None, {"task": page.task["fingerprint"], **message}, [])


def test_the_page_records_and_goes_on(tmp_path):
    video = tiny.write_numbered(tmp_path / "clip.mp4", 20)
    task = retrieval_tasks(videos(), tiny.DESCRIPTIONS)[0]
    tasks = [replace(task, video=video), *likert_tasks(TEXTS)[:1]]
    page = RatingPage(Session(tasks, tmp_path, "ann"))
    assert (page.task["position"], page.task["total"], page.task["done"]) == (0, 2, False)
    assert "correct" not in page.task
    assert page.video[4:8] == b"ftyp"
    press(page, option=3)
    assert read_answers(tmp_path)["ann"] == {task.fingerprint: 3}
    assert (page.task["text"], page.video) == ("wave: raising one arm.", b"")
    press(page, back=True)
    assert page.task["fingerprint"] == task.fingerprint
    press(page, option=1)
    press(page, option=4)
    assert page.task["done"]
    assert read_answers(tmp_path)["ann"] == {task.fingerprint: 1, tasks[1].fingerprint: 4}
    press(page, back=True)  # the last answer can be mended too
    press(page, option=0)
    assert read_answers(tmp_path)["ann"][tasks[1].fingerprint] == 0


def test_a_second_key_press_does_not_answer_the_next_task(tmp_path):
    tasks = likert_tasks(TEXTS)
    page = RatingPage(Session(tasks, tmp_path, "ann"))
    seen = page.task["fingerprint"]
    for _ in range(3):
        page._receive(None, {"task": seen, "option": 1}, [])
    assert read_answers(tmp_path) == {"ann": {tasks[0].fingerprint: 1}}


def test_a_video_that_cannot_be_shown_can_be_skipped(tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    tasks = [replace(retrieval_tasks(videos(), tiny.DESCRIPTIONS)[0], video=broken), *likert_tasks(TEXTS)[:1]]
    page = RatingPage(Session(tasks, tmp_path, "ann"))
    assert "cannot be shown: not a readable video" in page.task["text"]
    assert page.task["options"] == []
    press(page, skip=True)
    assert page.task["text"] == "wave: raising one arm."
    assert read_answers(tmp_path) == {}


def test_a_video_is_made_playable(tmp_path):
    """AVI in, h264 in mp4 out, even sizes, not longer than what is watched."""
    odd = np.zeros((400, 33, 35, 3), np.uint8)
    path = tmp_path / "odd.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 33, 35, "yuv420p"
        for picture in odd:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "out.mp4").write_bytes(playable(path))
    assert read_clip(tmp_path / "out.mp4", np.arange).shape == (375, 32, 34, 3)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (7, 10), (10, 10), (495, 505)])
def test_wilson_by_formula(successes, n):
    z, p = 1.959963984540054, successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson_interval(successes, n) == pytest.approx((p, centre - half, centre + half), abs=1e-12)


def test_wilson_has_width_where_the_bootstrap_has_none():
    _, low, high = bootstrap_accuracy(np.ones(30, bool))
    assert low == high
    assert wilson_interval(30, 30).low < 0.9


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_wilson_refuses(successes, n):
    with pytest.raises(ValueError, match="expected 0 <= successes <= n"):
        wilson_interval(successes, n)
