"""Descriptions generated and judged within one experiment, as 01_generation runs it."""

import json
from dataclasses import replace

import pytest
from stub_server import serving

from motion_lib.experiment.experiment import Experiment
from motion_lib.people import studies
from motion_lib.people.ratings import NOT_COLLECTED, ratings_dir
from motion_lib.report import collect as report
from motion_lib.texts.descriptions import changed_by_masking, read_descriptions
from motion_lib.texts.language_model import KEY_VARIABLE

# The stub's model describes all classes alike.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*equal to another class's:UserWarning")]


def model(body, number):
    """Describes, compares and masks; refuses one class."""
    prompt = body["messages"][0]["content"]
    if "Rewrite the description" in prompt:
        return prompt.rpartition("Description: ")[2].replace("racket", "object")
    if "Answer with the single letter" in prompt:
        return "A" if "A: second" in prompt else "B"
    if "ball" in prompt.lower():
        return "I'm sorry, I cannot."
    return f"{'first' if body['seed'] < 3 else 'second'} way of swinging the racket."


@pytest.fixture
def experiment(smoke, tmp_path, monkeypatch):
    """The smoke-size experiment with results of its own."""
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret")
    return Experiment(smoke.cfg)


def asking(experiment, url):
    return Experiment(replace(experiment.cfg, regenerate=True, llm="stub-model", llm_base_url=url))


def test_descriptions_are_generated_chosen_and_masked(experiment, capsys):
    cfg = experiment.cfg
    names = experiment.data.descriptions(cfg.targets[0], "object").class_names
    refused = [name for name in names if "ball" in name.lower()]
    assert refused
    with serving(model) as stub:
        found, choices = studies.regenerate(asking(experiment, stub.url))
        asked = len(stub.log)
        studies.regenerate(asking(experiment, stub.url))
        assert len(stub.log) == asked  # all is in the file
    folder = studies.generated_dir(cfg)
    named, masked = (read_descriptions(folder / f"{kind}.csv") for kind in ("object", "masked"))
    assert set(found.failed) == set(refused)
    assert set(named.class_names) == set(names) - set(refused)
    assert set(named.texts) == {"second way of swinging the racket."}
    assert {choice.by for choice in choices.values()} == {"model stub-model"}
    assert set(masked.texts) == {"second way of swinging the object."}
    assert len(changed_by_masking(named, masked)) == len(named)
    printed = capsys.readouterr().out
    assert f"{2 * len(names)} requests left to ask" in printed
    assert f"no description of {refused[0]!r}: 3 attempts: refused" in printed
    kept = json.loads((folder / "candidates.json").read_text(encoding="utf-8"))
    assert set(kept["failed"]) == set(refused)
    assert all("sk-secret" not in path.read_text(encoding="utf-8") for path in folder.iterdir())


def test_people_and_hands_win_over_the_model(experiment):
    cfg = experiment.cfg
    with serving(model) as stub:
        studies.regenerate(asking(experiment, stub.url))
        first = next(iter(studies.candidates(cfg)))
        for rater in ("ann", "ben", "cem"):
            session = studies.rating_session(Experiment(replace(cfg, rate="comparison", rater=rater)))
            assert session.current.id == first
            session.answer(next(i for i, text in enumerate(session.current.options) if text.startswith("first")))
        by_hand = f"{first},swinging something.\nno such class,x.\n"
        (studies.generated_dir(cfg) / "masked_by_hand.csv").write_text(by_hand, encoding="utf-8")
        _, choices = studies.regenerate(asking(experiment, stub.url))
    assert (choices[first].by, choices[first].votes) == ("people", (3, 0, 0))
    folder = studies.generated_dir(cfg)
    row = read_descriptions(folder / "object.csv").select([first])
    assert row.texts == ("first way of swinging the racket.",)
    assert read_descriptions(folder / "masked.csv").select([first]).texts == ("swinging something.",)
    assert json.loads((folder / "origin.json").read_text(encoding="utf-8"))[first] == "person"


def test_nothing_to_compare_says_to_generate_first(experiment):
    with pytest.raises(FileNotFoundError, match=r"run 01_generation with regenerate = True first"):
        studies.rating_session(Experiment(replace(experiment.cfg, rate="comparison", rater="ann")))


def test_ratings_fill_table_1(experiment):
    cfg = experiment.cfg
    assert set(studies.likert_table(cfg).filter(like="measured").to_numpy().ravel()) == {NOT_COLLECTED}
    for rater, option in (("ann", 4), ("ben", 3)):
        session = studies.rating_session(Experiment(replace(cfg, rate="likert", rater=rater)))
        session.answer(option)
    table = studies.likert_table(cfg).set_index("Attribute")
    assert table.loc["Conciseness", "Mean, measured"] == "4.50 (1 items)"
    assert table.loc["Conciseness", "IAA %, measured"] == "0.0"
    assert table.loc["Relevance", "Mean, measured"] == NOT_COLLECTED


@pytest.mark.parametrize(
    ("rate", "kind", "other"), [("retrieval", "object", "masked"), ("retrieval_masked", "masked", "object")]
)
def test_the_retrieval_study_fills_the_human_row(experiment, rate, kind, other):
    cfg, target = experiment.cfg, experiment.cfg.targets[1]
    session = studies.rating_session(Experiment(replace(cfg, rate=rate, rate_target=target, rater="ann")))
    texts = experiment.data.descriptions(target, kind).texts
    assert sorted(session.current.options) == sorted(texts)
    session.answer(session.current.correct)
    session.answer((session.current.correct + 1) % len(texts))
    cells = report.human_cells(cfg, target)
    assert {at: str(cell) for at, cell in cells.items()} == {
        kind: "50.0 [9.5, 90.5] (n=2, 1 raters)",
        other: NOT_COLLECTED,
    }
    assert (ratings_dir(cfg, f"retrieval-{target}-{kind}") / "ann.jsonl").is_file()


def test_masking_agreement_is_of_the_authors_files(experiment, paper_data):
    table, words = studies.masking_agreement(experiment.cfg)
    assert list(table["Descriptions"]) == ["UCF-101", "HMDB-51"]
    assert len(words) == table["Changed pairs"].sum() > 0
    assert ((words["Authors alone"] != "-") | (words["Both"] != "-")).all()


def test_masking_agreement_is_not_run_without_them(experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "empty"))
    assert studies.masking_agreement(experiment.cfg) is None


def test_an_unknown_target_to_rate_is_an_error(experiment):
    with pytest.raises(ValueError, match="rate_target 'ucf': expected one of miniature-ucf, miniature-hmdb"):
        studies.rating_session(Experiment(replace(experiment.cfg, rate="likert", rate_target="ucf", rater="ann")))
