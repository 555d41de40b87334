"""Descriptions asked of a stub server on loopback that throttles, drops connections, answers garbage and dies."""

import os
import signal
import subprocess
import sys
import time
import traceback

import pytest
from stub_server import answer_of, serving

from motion_lib.storage import read_lines
from motion_lib.texts.choosing import judge
from motion_lib.texts.generation import (
    ATTEMPTS,
    PAPER_PROMPT,
    clean,
    count_tokens,
    estimate,
    fault,
    generate,
    prompt_of,
)
from motion_lib.texts.language_model import (
    KEY_VARIABLE,
    Audit,
    LanguageModel,
    LanguageModelError,
    NoAnswer,
    Question,
)
from motion_lib.texts.masking import mask_by_model

SECRET = "sk-a-key-that-must-not-leak-0123456789"
CLASSES = ["archery", "juggling balls", "skipping rope", "rowing", "fencing"]


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    # The client's back-off between attempts, which takes seconds.
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *arguments: 0.001)


def model_of(stub, folder, **options):
    return LanguageModel("stub-model", folder / "audit.jsonl", stub.url, **options)


# --- what is asked and what is accepted ---


def test_the_prompt_is_the_papers():
    prompt = prompt_of("golf driving")
    assert prompt == PAPER_PROMPT.replace("{}", "golf driving")
    assert prompt.startswith("Characteristic motion of air drumming action is: doing rhythmic, exaggerated")
    assert prompt.endswith("Similarly, provide the characteristic motions of action golf driving.")
    with pytest.raises(ValueError, match=r"write '\{\}' once, not 0 times"):
        prompt_of("golf", "no place")


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ('"swinging an arm."', "swinging an arm."),
        ("Characteristic motion of archery is: drawing back.", "drawing back."),
        ("The characteristic motions of action rowing are: pulling\nback.", "pulling back."),
        ("1. pulling back.", "pulling back."),
        ("- pulling back.", "pulling back."),
        ("```text\npulling back.\n```", "pulling back."),
        ("```\npulling\nback.\n```", "pulling back."),
        ("**pulling back.**", "pulling back."),
        ("> *pulling back.*", "pulling back."),
        ("\u00abpulling back.\u00bb", "pulling back."),
        ("**Description:** pulling back.", "pulling back."),
        ("Answer: 'pulling back.'", "pulling back."),
        ('Sure! Here\'s the characteristic motion of rowing:\n\n"pulling back."', "pulling back."),
        ("Certainly, here you go. The **characteristic motion of rowing** is: pulling back.", "pulling back."),
        ("Here is a description of the motion: pulling back.", "pulling back."),
        ("answering by hand, then sure steps here and there.", "answering by hand, then sure steps here and there."),
    ],
)
def test_answers_are_cleaned(answer, text):
    assert clean(answer) == text
    assert fault(text) is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", "empty answer"),
        ("...", "empty answer"),
        ("I'm sorry, but I cannot help with that.", "refused"),
        ("I\u2019m sorry, but no.", "refused"),
        ("As an AI language model, I do not move.", "refused"),
        ("I apologize, but that is not possible.", "refused"),
        ("I won't provide this description.", "refused"),
        ("My apologies, this is against policy.", "refused"),
        ("swinging an arm " * 40, "longer than CLIP's 77 tokens: 120 words"),
    ],
)
def test_what_is_no_description_is_recognised(answer, reason):
    assert reason in fault(clean(answer))


# --- a whole run ---


def test_two_candidates_of_each_class_are_asked_once(tmp_path):
    with serving() as stub:
        found = generate(CLASSES, model_of(stub, tmp_path))
        again = generate(CLASSES, model_of(stub, tmp_path))  # another process would read the same file
    assert found == again
    assert found.failed == {}
    assert list(found.candidates) == CLASSES
    assert all(len(set(texts)) == 2 for texts in found.candidates.values())
    assert len(stub.log) == 10
    assert stub.keys == {f"Bearer {SECRET}"}
    entries = read_lines(tmp_path / "audit.jsonl")
    assert len(entries) == 10
    assert entries[0]["question"]["temperature"] == 1.0
    assert entries[0]["usage"] == {"prompt_tokens": 50, "completion_tokens": 20}
    assert {entry["question"]["seed"] for entry in entries} == {0, ATTEMPTS}


FAULTS = [("status", 429), ("status", 500), "drop", ("status", 503), "html", "garbage"]


def test_faults_lose_nothing_and_pay_for_nothing_twice(tmp_path):
    """Every third request goes wrong in one of six ways; in the end all is there and nothing was answered twice."""

    def plan(body, number):
        return FAULTS[number // 3 % len(FAULTS)] if number % 3 == 0 else answer_of(body)

    with serving(plan) as stub:
        found = generate(CLASSES, model_of(stub, tmp_path), workers=2)
    assert found.failed == {}
    assert {name: len(texts) for name, texts in found.candidates.items()} == dict.fromkeys(CLASSES, 2)
    assert len(stub.log) > 10
    assert {str(outcome) for _, _, outcome in stub.log} > {str(fault) for fault in FAULTS[:3]}
    assert max(stub.answered.values()) == 1
    answers = {entry["answer"] for entry in read_lines(tmp_path / "audit.jsonl") if entry["error"] is None}
    for texts in found.candidates.values():
        assert set(texts) <= answers


def test_a_refusal_is_asked_again_and_then_listed(tmp_path):
    def plan(body, number):
        prompt, attempt = body["messages"][0]["content"], body["seed"] % ATTEMPTS
        if "archery" in prompt:
            return "I'm sorry, I can't describe that."
        if "rowing" in prompt:
            return "nothing" if attempt == 0 else answer_of(body)
        return "word " * 100 if "fencing" in prompt and attempt < 2 else answer_of(body)

    with serving(plan) as stub:
        found = generate(CLASSES, model_of(stub, tmp_path))
    assert list(found.failed) == ["archery"]
    assert "3 attempts: refused: I'm sorry" in found.failed["archery"]
    assert found.candidates["rowing"][0] == "moving both arms in way 1 while rowing."
    assert found.candidates["fencing"][0] == "moving both arms in way 2 while fencing."
    written = found.chosen({"rowing": 1})
    assert "archery" not in written.class_names
    assert not any("sorry" in text for text in written.texts)
    assert dict(zip(written.class_names, written.texts, strict=True))["rowing"].startswith("moving both arms in way 4")


def test_a_server_that_never_answers_is_listed_not_written(tmp_path):
    with serving(lambda body, number: ("status", 500)) as stub:
        found = generate(["archery"], model_of(stub, tmp_path, retries=1))
    assert found.candidates == {}
    assert "InternalServerError" in found.failed["archery"]
    with pytest.raises(ValueError, match="no descriptions"):
        found.chosen({})


@pytest.mark.parametrize("code", [400, 401, 403, 404])
def test_what_cannot_be_mended_by_asking_again_stops_the_run(tmp_path, code):
    with serving(lambda body, number: ("status", code)) as stub, pytest.raises(LanguageModelError) as caught:
        generate(CLASSES, model_of(stub, tmp_path))
    assert SECRET not in str(caught.value)  # the stub quotes it
    assert "***" in str(caught.value)
    assert len(stub.log) <= len(CLASSES) * 2


def test_the_key_is_in_no_file(tmp_path):
    def plan(body, number):
        return ("status", 500) if number < 3 else answer_of(body)

    with serving(plan) as stub:
        generate(CLASSES[:2], model_of(stub, tmp_path, retries=0))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert all(SECRET not in path.read_text(encoding="utf-8") for path in files)
    assert any("***" in path.read_text(encoding="utf-8") for path in files)


def test_without_a_key_only_ones_own_server_is_asked(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(LanguageModelError, match=f"set {KEY_VARIABLE} in the environment, or base_url"):
        LanguageModel("gpt-4", tmp_path / "audit.jsonl")
    with serving() as stub:
        assert model_of(stub, tmp_path).ask("hello action x.").startswith("moving")


# --- kills and files ---

RUN = """
import sys
from pathlib import Path
from motion_lib.texts.generation import generate
from motion_lib.texts.language_model import LanguageModel
classes = [f"class {i}" for i in range(40)]
print("ready", flush=True)
generate(classes, LanguageModel("stub-model", Path(sys.argv[1]), sys.argv[2]), workers=2)
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_resumes_without_paying_twice(tmp_path):
    """At most the answers that were under way when the process died, one for each of two workers, are asked again."""

    def plan(body, number):
        time.sleep(0.01)
        return answer_of(body)

    kills = 2
    with serving(plan) as stub:
        command = [sys.executable, "-c", RUN, str(tmp_path / "audit.jsonl"), stub.url]
        for run in range(kills + 1):
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
                assert process.stdout.readline() == "ready\n"
                seen = len(stub.log)
                while run < kills and len(stub.log) < seen + 9:
                    time.sleep(0.005)
                if run < kills:
                    process.send_signal(signal.SIGKILL)
                else:
                    assert process.stdout.readline() == "done\n"
        found = generate([f"class {i}" for i in range(40)], model_of(stub, tmp_path))
    assert all(len(texts) == 2 for texts in found.candidates.values())
    twice = sum(count - 1 for count in stub.answered.values())
    assert twice <= 2 * kills
    assert len(stub.answered) == 80


def test_a_line_that_a_kill_cut_off_is_passed_over(tmp_path):
    path = tmp_path / "audit.jsonl"
    one, two = (Question(prompt, "m", "http://server", 1.0, 0) for prompt in ("one", "two"))
    Audit(path).add(one, "first", None)
    with path.open("ab") as file:
        file.write(b'{"key": "half a li')
    audit = Audit(path)
    assert (audit.answer(one.key)["answer"], audit.answer(two.key)) == ("first", None)
    audit.add(two, "second", None)
    assert Audit(path).answer(two.key)["answer"] == "second"
    assert len(read_lines(path)) == 2


def test_an_answer_with_odd_line_ends_is_kept_whole(tmp_path):
    """Unicode has line separators that JSON leaves as they are."""
    question = Question("one", "m", "http://server", 1.0, 0)
    Audit(tmp_path / "audit.jsonl").add(question, "doing a\u2028wave\u0085now", None)
    assert Audit(tmp_path / "audit.jsonl").answer(question.key)["answer"] == "doing a\u2028wave\u0085now"


def test_answers_of_one_server_are_not_anothers(tmp_path):
    with serving(lambda body, number: "first server.") as one, serving(lambda body, number: "second server.") as two:
        assert [model_of(stub, tmp_path).ask("action x.") for stub in (one, two)] == ["first server.", "second server."]


def test_openais_server_is_not_taken_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert LanguageModel("gpt-4", tmp_path / "audit.jsonl").server == "https://api.openai.com/v1"


def test_a_traceback_holds_no_key(tmp_path):
    with serving(lambda body, number: ("status", 401)) as stub, pytest.raises(LanguageModelError) as caught:
        model_of(stub, tmp_path).ask("action x.")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_outright_refusal_is_none_of_the_descriptions(tmp_path):
    with serving(lambda body, number: ("refusal", "This cannot be done.")) as stub:
        model = model_of(stub, tmp_path)
        for _ in range(2):  # the second time from the file
            with pytest.raises(NoAnswer, match=r"refused: This cannot be done\."):
                model.ask("action x.")
        assert len(stub.log) == 1


def test_the_file_only_grows(tmp_path):
    with serving() as stub:
        generate(CLASSES[:2], model_of(stub, tmp_path))
        before = (tmp_path / "audit.jsonl").read_bytes()
        generate(CLASSES, model_of(stub, tmp_path))
    assert (tmp_path / "audit.jsonl").read_bytes().startswith(before)
    assert len((tmp_path / "audit.jsonl").read_bytes()) > len(before)


@pytest.mark.parametrize(
    "change", [{"prompt": "b"}, {"model": "n"}, {"server": "t"}, {"temperature": 0.0}, {"seed": 1}, {"max_tokens": 9}]
)
def test_every_part_of_a_question_is_part_of_its_address(change):
    base = {"prompt": "a", "model": "m", "server": "s", "temperature": 1.0, "seed": 0}
    assert Question(**base).key == Question(**base).key
    assert Question(**{**base, **change}).key != Question(**base).key


# --- the estimate ---


def test_the_estimate_counts_what_is_left(tmp_path):
    with serving() as stub:
        model = model_of(stub, tmp_path)
        before = estimate(CLASSES, model)
        generate(CLASSES[:3], model)
        left = estimate(CLASSES, model)
    assert (before.requests, left.requests) == (10, 4)
    assert before.input_tokens > 10 * 60
    assert before.output_tokens == 10 * 30
    assert "10 requests left to ask" in before.describe()


def test_long_prompts_are_counted_whole():
    assert count_tokens(["a b c", "a"]) == 4
    assert count_tokens(["word " * 300]) == 300
    assert count_tokens([]) == 0


# --- the same model as a judge and as a masker ---


def test_a_judge_that_prefers_a_sentence_is_believed_and_one_that_prefers_a_place_is_not(tmp_path):
    candidates = {"rowing": ("pulling back.", "sitting."), "archery": ("drawing.", "standing."), "golf": ("a b", "c d")}

    def plan(body, number):
        prompt = body["messages"][0]["content"]
        if "rowing" in prompt:
            return "A" if "A: sitting." in prompt else "B"  # the second candidate, wherever it stands
        return "Answer: A" if "archery" in prompt else "Both A and B are fine."

    with serving(plan) as stub:
        choices = judge(candidates, model_of(stub, tmp_path))
    assert (choices["rowing"].choice, choices["rowing"].votes, choices["rowing"].tied) == (1, (0, 2, 0), False)
    assert (choices["archery"].choice, choices["archery"].votes, choices["archery"].tied) == (0, (1, 1, 0), True)
    assert choices["golf"].votes == (0, 0, 2)
    assert choices["golf"].by == "model stub-model"


def test_an_answer_in_one_order_alone_is_a_tie(tmp_path):
    def plan(body, number):
        return "A" if "A: sitting." in body["messages"][0]["content"] else "Both are good."

    with serving(plan) as stub:
        (choice,) = judge({"rowing": ("pulling back.", "sitting.")}, model_of(stub, tmp_path)).values()
    assert (choice.tied, choice.votes) == (True, (0, 1, 1))


def test_a_judge_that_gives_no_answer_decides_nothing(tmp_path):
    with serving(lambda body, number: ("status", 500)) as stub:
        choices = judge({"rowing": ("a b c", "d e f")}, model_of(stub, tmp_path, retries=0))
    assert choices["rowing"].tied
    with pytest.raises(ValueError, match="1 candidates, expected 2"):
        judge({"rowing": ("alone",)}, None)


def test_a_model_masks_or_says_that_it_cannot(tmp_path):
    with serving(lambda body, number: 'Description: "swinging an object."') as stub:
        assert mask_by_model(model_of(stub, tmp_path))("swinging a racket.", "tennis") == "swinging an object."
    with serving(lambda body, number: "I cannot do that.") as stub, pytest.raises(NoAnswer, match="refused"):
        mask_by_model(model_of(stub, tmp_path / "other"))("swinging a racket.", "tennis")


def test_the_environment_is_left_as_it_was(tmp_path):
    with serving() as stub:
        generate(["archery"], model_of(stub, tmp_path))
    assert os.environ[KEY_VARIABLE] == SECRET
