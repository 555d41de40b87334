"""What servers of today answer: options refused, thinking, half answers, no answers; a stub on loopback for each."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from motion_lib.storage import read_lines
from motion_lib.texts.choosing import judge
from motion_lib.texts.generation import generate
from motion_lib.texts.language_model import (
    KEY_VARIABLE,
    ROOM_TO_THINK,
    SILENCES,
    Audit,
    LanguageModel,
    LanguageModelError,
    NoAnswer,
    Question,
    without_thinking,
)

SECRET = "sk-a-key-that-must-not-leak-0123456789"
TEXT = "swinging both arms in circles."


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, SECRET)
    monkeypatch.setattr("openai._base_client.BaseClient._calculate_retry_timeout", lambda *arguments: 0.001)


def completion(content, finish="stop", **message):
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}


def refusal(message, **fields):
    return {"error": {"message": message, **fields}}


@contextmanager
def server(reply, kind="application/json", headers=()):
    """Yield its address and the list of bodies it was sent; `reply(body)` is a completion, or (status, content)."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body)
            answer = reply(body) if callable(reply) else reply
            status, content = answer if isinstance(answer, tuple) else (200, answer)
            data = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            own = {"Content-Type": kind, "Content-Length": len(data), "Connection": "close"}
            for name, value in (own | dict(headers)).items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/v1", asked
        finally:
            http.shutdown()
            thread.join()


def model_of(url, folder, **options):
    return LanguageModel("m", folder / "audit.jsonl", url, **options)


def kept(folder):
    """Answers in the file that a resumed run would take."""
    return [entry["answer"] for entry in read_lines(folder / "audit.jsonl") if entry["error"] is None]


# --- options ---


def test_an_option_that_is_refused_is_renamed_or_left_out_for_the_whole_run(tmp_path):
    def reply(body):
        if "max_tokens" in body:
            said = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            return 400, refusal(said, param="max_tokens", code="unsupported_parameter")
        if "temperature" in body:
            return 400, refusal("'temperature' does not support 0.7 with this model.", param="temperature")
        if "seed" in body:
            return 422, {"object": "error", "message": {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs"}]}}
        return completion(TEXT)

    with server(reply) as (url, asked):
        model = model_of(url, tmp_path, temperature=0.7)
        assert [model.ask("one"), model.ask("two")] == [TEXT, TEXT]
    assert len(asked) == 5
    assert asked[-1].keys() == {"model", "messages", "max_completion_tokens"}


def test_an_option_that_is_refused_under_its_other_name_too_is_left_out(tmp_path):
    def reply(body):
        limit = {"max_tokens", "max_completion_tokens"} & body.keys()
        return (400, refusal(f"no {limit}, only max_completion_tokens")) if limit else completion(TEXT)

    with server(reply) as (url, asked):
        assert model_of(url, tmp_path).ask("one") == TEXT
    assert len(asked) == 3


def test_a_complaint_of_all_options_and_of_none_ends(tmp_path):
    reply = (400, refusal("max_tokens, temperature and seed are fine, but the rest is not"))
    with server(reply) as (url, asked), pytest.raises(LanguageModelError, match="but the rest is not"):
        model_of(url, tmp_path).ask("one")
    assert len(asked) == 4


def test_after_an_answer_that_was_cut_off_there_is_room_to_think(tmp_path):
    def reply(body):
        return completion(TEXT) if body["max_tokens"] == ROOM_TO_THINK else completion("<think>Let me", "length")

    with server(reply) as (url, asked):
        found = generate(["rowing", "golf"], model_of(url, tmp_path), candidates=1, workers=1)
    assert found.failed == {}
    assert [body["max_tokens"] for body in asked] == [200, ROOM_TO_THINK, ROOM_TO_THINK]


# --- half answers and odd ones ---


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (completion("swinging both ar", "length"), "finish_reason length"),
        (completion("swinging both ar", "content_filter"), "finish_reason content_filter"),
        (completion(None, "tool_calls"), "finish_reason tool_calls"),
        (completion(None), "without words"),
        (completion(""), "without words"),
        (completion([]), "without words"),
        (completion([{"type": "image_url", "image_url": {"url": "x"}}]), "without words"),
        (completion(None, reasoning_content=TEXT), "without words"),
        (completion("<think>Let me see, swinging"), "beside its thinking"),
        ({"choices": []}, "no answer in one piece"),
        ({"choices": [{"index": 0}]}, "no answer in one piece"),
        ({"choices": [None]}, "no answer in one piece"),
        ([1], "no answer in one piece"),
        ({"error": {"message": "rate limited upstream", "code": 429}}, "rate limited upstream"),
        ({"error": "overloaded", "choices": None}, "overloaded"),
    ],
)
def test_what_is_no_whole_answer_is_logged_and_asked_again(tmp_path, answer, reason):
    answers = [answer, completion(TEXT)]
    with server(lambda body: answers.pop(0)) as (url, asked):
        with pytest.raises(NoAnswer, match=reason):
            model_of(url, tmp_path).ask("one")
        assert kept(tmp_path) == []
        assert reason in read_lines(tmp_path / "audit.jsonl")[0]["error"]
        assert model_of(url, tmp_path).ask("one") == TEXT  # a resumed run
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("content", "kind", "reason"),
    [
        ('data: {"choices": [{"delta": {"content": "swinging"}}]}\n\ndata: [DONE]\n\n', "text/event-stream", "stream"),
        ("<html><body>Welcome</body></html>", "text/html", "Welcome"),
        ("swinging", "text/plain", "swinging"),
        ("{half", "application/json", "Expecting"),
    ],
)
def test_an_answer_of_another_kind_is_shown(tmp_path, content, kind, reason):
    with server(content, kind) as (url, _), pytest.raises(NoAnswer, match=reason):
        model_of(url, tmp_path).ask("one")
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    "answer",
    [
        completion([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": TEXT}]),
        completion([{"type": "text", "text": "swinging both arms"}, {"type": "output_text", "text": "in circles."}]),
        completion(TEXT, reasoning_content="Hm.", tool_calls=None, refusal=None),
        completion(TEXT, "eos_token"),
        completion(TEXT, None),
        {"choices": [{"message": {"content": TEXT}}]},
        {"choices": [{"message": {"content": TEXT}}], "usage": {}, "model": None},
        {"choices": [{"message": {"content": TEXT}}], "usage": [], "error": None},
    ],
)
def test_whole_answers_of_odd_servers_are_read(tmp_path, answer):
    with server(answer) as (url, _):
        assert model_of(url, tmp_path).ask("one") == TEXT


def test_a_number_is_an_answer_to_a_judge_and_no_description(tmp_path):
    with server(completion(7)) as (url, _):
        assert model_of(url, tmp_path).ask("one") == "7"
        assert "empty answer" in generate(["rowing"], model_of(url, tmp_path)).failed["rowing"]


# --- thinking ---


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\n\n</think>\n\n{TEXT}",
        f"<think>Hm.</think><think>And\nthen?</think>{TEXT}",
        f"<think>Hm. <think>Inner.</think> Outer.</think>{TEXT}",
        f"Hm, without a beginning.</think>\n{TEXT}",
        f"<thinking>Hm.</thinking>{TEXT}",
        f"<Reasoning>Hm.</Reasoning><answer>{TEXT}</answer>",
        f"<seed:think>Hm.</seed:think>{TEXT}",
        f"◁think▷Hm.◁/think▷{TEXT}",
        f"[THINK]Hm.[/THINK]{TEXT}",
        f"<|begin_of_thought|>Hm.<|end_of_thought|>{TEXT}",
        f"<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>{TEXT}<|END_RESPONSE|>",
        f"&lt;think&gt;Hm.&lt;/think&gt;{TEXT}",
        f"{TEXT}<think>Why so?</think>",
        f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{TEXT}<|return|>",
        f"<|channel|>final<|message|>{TEXT}",
        f"<|channel>thought\nHm.<channel|>{TEXT}",
        f"analysisNeed it short.assistantfinal{TEXT}",
        f"<|im_start|>assistant\n{TEXT}<|im_end|>",
        f"{TEXT}</s>",
        TEXT,
    ],
)
def test_thinking_is_no_part_of_an_answer(text):
    assert without_thinking(text) == TEXT


@pytest.mark.parametrize(
    "text",
    [
        "<think>Hm, let me",
        f"{TEXT}<think>Or rather",
        "<think>Hm.</think>",
        "◁think▷Hm",
        "[THINK]Hm",
        "<|channel|>analysis<|message|>Need it short.",
        "analysisNeed it short.",
        "Hm.</think>",
        " ",
    ],
)
def test_thinking_that_never_ends_in_an_answer_leaves_nothing(text):
    assert without_thinking(text) == ""


@pytest.mark.parametrize(
    "text", ["thinking hard, hand at the chin.", "a < b and c > d", "reasoning (with both hands)."]
)
def test_words_about_thinking_stay(text):
    assert without_thinking(text) == text


def test_a_judge_may_think_first(tmp_path):
    with server(completion("<think>Sentence A or B?</think>\n\nA")) as (url, _):
        assert judge({"rowing": ["one", "two"]}, model_of(url, tmp_path))["rowing"].votes == (1, 1, 0)


def test_thinking_without_an_end_in_an_older_file_is_asked_again(tmp_path):
    with server(completion(TEXT)) as (url, asked):
        for prompt, answer in (("open", "<think>Let me"), ("closed", "<think>Hm.</think>pulling back.")):
            Audit(tmp_path / "audit.jsonl").add(Question(prompt, "m", url, 1.0, 0), answer, None)
        model = model_of(url, tmp_path)
        assert [model.ask("open"), model.ask("closed"), model.ask("open")] == [TEXT, "pulling back.", TEXT]
    assert len(asked) == 1
    assert model_of(url, tmp_path).ask("open") == TEXT


# --- one class fails, or all do ---


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, refusal("The response was filtered due to Azure's content management policy", code="content_filter")),
        (400, refusal("Invalid prompt: your prompt was flagged as potentially violating our usage policy")),
        (403, refusal("Your chosen model requires moderation and your input was flagged", code=403)),
        (200, refusal("prohibited content", code=400)),
    ],
)
def test_a_filter_fails_one_class(tmp_path, status, error):
    def reply(body):
        return (status, error) if "slapping" in body["messages"][0]["content"] else completion(TEXT)

    with server(reply) as (url, asked):
        found = generate(["slapping", "rowing", "slapping faces", "golf"], model_of(url, tmp_path), workers=1)
    assert set(found.candidates) == {"rowing", "golf"}
    assert error["error"]["message"] in found.failed["slapping"]
    assert len(asked) == 4 + 12


def test_a_request_that_is_not_understood_after_others_were_fails_one_class(tmp_path):
    def reply(body):
        return (400, refusal("too odd")) if "golf" in body["messages"][0]["content"] else completion(TEXT)

    with server(reply) as (url, _):
        found = generate(["rowing", "golf"], model_of(url, tmp_path), workers=1)
    assert (set(found.candidates), set(found.failed)) == ({"rowing"}, {"golf"})


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, refusal("You exceeded your current quota", type="insufficient_quota", code="insufficient_quota")),
        (402, refusal("Insufficient Balance")),
        (400, refusal("Your credit balance is too low")),
        (200, refusal("no answer", code="insufficient_quota")),
        (401, refusal(f"Incorrect key {SECRET}")),
        (403, refusal("Country not supported")),
        (404, refusal("model 'm' not found, try pulling it first")),
        (405, refusal("Method Not Allowed")),
        (400, refusal("'m' is not a chat model")),
    ],
)
def test_what_is_hopeless_stops_after_one_request(tmp_path, status, error):
    with server((status, error)) as (url, asked), pytest.raises(LanguageModelError) as caught:
        model_of(url, tmp_path).ask("one")
    assert len(asked) == 1
    assert str(caught.value).startswith(f"m at {url}: ")
    assert error["error"]["message"].replace(SECRET, "***") in str(caught.value)
    assert SECRET not in str(caught.value) + (tmp_path / "audit.jsonl").read_text(encoding="utf-8")


def test_a_quota_that_runs_out_midway_stops_the_run(tmp_path):
    answers = [completion(TEXT), (429, refusal("spent", code="insufficient_quota"))]
    with server(lambda body: answers.pop(0)) as (url, _), pytest.raises(LanguageModelError, match="spent"):
        generate(["rowing", "golf"], model_of(url, tmp_path), workers=1)
    assert kept(tmp_path) == [TEXT]


@pytest.mark.parametrize(
    ("reply", "headers", "reason"),
    [
        ((503, refusal("loading the model")), {}, "loading the model"),
        ((429, refusal("slow down")), {"Retry-After": "86400"}, "slow down"),
        ((429, refusal("slow down")), {"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}, "slow down"),
        ({"choices": []}, {}, "no answer in one piece"),
    ],
)
def test_a_server_that_never_answers_is_given_up(tmp_path, reply, headers, reason):
    with server(reply, headers=headers.items()) as (url, asked), pytest.raises(LanguageModelError) as caught:
        generate([f"class {i}" for i in range(40)], model_of(url, tmp_path, retries=2), workers=1)
    assert str(caught.value).endswith(f" ({SILENCES} questions in a row without an answer)")
    assert reason in str(caught.value)
    assert len(asked) < 40  # of 720


def test_a_rate_limit_that_passes_is_waited_for(tmp_path):
    answers = [(429, refusal("slow down")), (503, refusal("busy")), (408, refusal("late")), completion(TEXT)]
    with server(lambda body: answers.pop(0)) as (url, _):
        assert model_of(url, tmp_path).ask("one") == TEXT


# --- addresses and keys ---


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:9/v1", "Connection refused"),
        ("http://no-such-host.invalid/v1", "no-such-host|[Nn]ame|resol"),
        ("127.0.0.1:9/v1", "base_url should look like http://localhost:8000/v1"),
        ("localhost:9/v1", "base_url should look like http://localhost:8000/v1"),
        ("http://127.0.0.1:9", "refused; base_url should look like http://localhost:8000/v1"),
        ("https://user:hidden@127.0.0.1:9/v1", "https://127.0.0.1:9/v1: .*refused"),
    ],
)
def test_an_address_where_nobody_answers_stops_the_run(tmp_path, address, reason):
    with pytest.raises(LanguageModelError, match=reason) as caught:
        generate(["rowing"], model_of(address, tmp_path))
    assert "hidden" not in str(caught.value) + (tmp_path / "audit.jsonl").read_text(encoding="utf-8")


def test_a_server_that_has_answered_may_come_back(tmp_path):
    with server(completion(TEXT)) as (url, _):
        model = model_of(url, tmp_path, retries=1)
        assert model.ask("one") == TEXT
    with pytest.raises(NoAnswer, match="refused"):
        model.ask("two")


@pytest.mark.parametrize(("end", "odd"), [("", True), ("/v1/chat/completions", True), ("/v1", False), ("/v1/", False)])
def test_an_odd_address_is_named_with_what_went_wrong(tmp_path, end, odd):
    with server((404, "404 page not found"), "text/plain") as (url, _), pytest.raises(LanguageModelError) as caught:
        model_of(url.removesuffix("/v1") + end, tmp_path).ask("one")
    assert "404 page not found" in str(caught.value)
    assert ("base_url should look like" in str(caught.value)) == odd


@pytest.mark.parametrize("key", [f"{SECRET}\n", f"  {SECRET}\r\n", f"\t{SECRET} "])
def test_blanks_around_a_key_or_an_address_do_not_matter(tmp_path, monkeypatch, key):
    monkeypatch.setenv(KEY_VARIABLE, key)
    with server(completion(TEXT)) as (url, _):
        assert model_of(f" {url}\n", tmp_path).ask("one") == TEXT


@pytest.mark.parametrize("key", [f"{SECRET}\u200b", "sk-a\nsk-b", "sk a", "sk-\u00e9"])
def test_a_key_that_cannot_be_one_is_named_and_not_shown(tmp_path, monkeypatch, key):
    monkeypatch.setenv(KEY_VARIABLE, key)
    with pytest.raises(LanguageModelError, match=f"{KEY_VARIABLE} holds a blank or a character") as caught:
        model_of("http://127.0.0.1:9/v1", tmp_path)
    assert "sk" not in str(caught.value)


def test_an_answer_that_echoes_the_key_is_kept_without_it(tmp_path):
    with server(completion(f"waving {SECRET}.")) as (url, _):
        assert model_of(url, tmp_path).ask("one") == "waving ***."
