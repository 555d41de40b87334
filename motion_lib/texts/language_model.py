"""Questions to a language model behind any OpenAI-compatible server; each is paid for once and kept.

Every question and what came of it is a line of an append-only file, looked up by a hash of the question. A run that is
killed and started again asks what has no answer yet. The key comes from the environment and stays there.
"""

import html
import os
import re
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from motion_lib.storage import append_line, content_hash, read_lines

KEY_VARIABLE = "OPENAI_API_KEY"
OPENAI_SERVER = "https://api.openai.com/v1"
RETRIES = 6  # of one request, with the client's exponential back-off, for rate limits, 5xx and broken connections
TIMEOUT_SEC = 300  # thinking takes minutes on a CPU
SILENCES = 8  # questions in a row that a server fails before it is given up: more than one class has
ROOM_TO_THINK = 2000  # tokens, once an answer was cut off at `Question.max_tokens`

# Parts of a question that a server may refuse, as it may call them.
_OPTIONS = {"max_tokens": r"max_\w*tokens", "temperature": "temperature", "seed": r"\w*seed"}
_WHOLE = ("stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete")  # servers' words for a finished answer
_PASSING = (408, 409, 429)  # of the 4xx
_UNREACHABLE = ("ConnectError", "ConnectTimeout", "UnsupportedProtocol", "LocalProtocolError", "ProxyError")
# Nor is there a common code for a prompt that is not liked, or for an empty account.
_FILTERED = "(?i)content.?(filter|manag|polic)|filtered|flagged|moderation|inappropriate|prohibited|inspection|safety"
_SPENT = "(?i)insufficient.{0,3}(quota|balance|fund|credit)|billing_|exceeded_current_quota|credit balance"

# <think>, </seed:think>, [THINK], <|end_of_thought|>, harmony's channels with their marks or, as some servers, without.
_NAME = r"(?:\w+:)?(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad)\b[^<>\[\]◁▷]*[>\]▷]"
_BEGIN = rf"[<\[◁]\|?(?:begin_of_|start_)?{_NAME}|<\|channel\|?>(?!final)|\Aanalysis(?-i:(?=[A-Z]))"
_END = rf"[<\[◁]\|?(?:/|end_of_|end_){_NAME}|<\|channel\|>final[^<]*<\|message\|>|<channel\|>|assistantfinal"
_MARKS = r"(?i)<\|(?:im_)?start\|>\s*assistant|<\|[^<>|]*\|>|</?s>|<(?:eos|end_of_turn)>|</?(?:answer|response|output)>"


class NoAnswer(RuntimeError):
    """One question that got no usable answer; others may."""


class LanguageModelError(RuntimeError):
    """The server will not work with us: a wrong key, address, model or request, an empty account, or no answers."""


def without_thinking(text: str) -> str:
    """What a model says after it thought aloud; nothing if it never came to the end of that.

    An end without a beginning counts for all that stands before it: chat templates swallow the beginning.
    """
    closed = re.sub(f"(?is)(?:{_BEGIN}).*?(?:{_END})", " ", html.unescape(text))
    after = re.split(f"(?i){_END}", closed)[-1]
    return "" if re.search(f"(?i){_BEGIN}", after) else re.sub(_MARKS, " ", after).strip()


@dataclass(frozen=True)
class Question:
    """One request. `seed` also tells candidates and repeated attempts apart; `server` is the address asked."""

    prompt: str
    model: str
    server: str
    temperature: float
    seed: int
    max_tokens: int = 200

    @property
    def key(self) -> str:
        """Content address: the same question has the same key on every machine."""
        return content_hash(asdict(self))


class Audit:
    """Append-only JSON lines of questions, answers and failures."""

    def __init__(self, path: Path):
        self.path, self._lock = path, threading.Lock()
        self._answers: dict[str, dict] = {}
        for entry in read_lines(path):
            if entry["error"] is None:
                self._answers[entry["key"]] = entry

    def answer(self, key: str) -> dict | None:
        """The line with the answer to the question of this key, or None; older files hold answers without words."""
        entry = self._answers.get(key)
        return entry if entry and without_thinking(entry["answer"]) else None

    def add(self, question: Question, answer: str | None, error: str | None, **details: object) -> dict:
        """Append what came of a question; on disk when this returns."""
        entry = {"key": question.key, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        entry |= {"question": asdict(question), "answer": answer, "error": error, **details}
        with self._lock:
            append_line(self.path, entry)
            if error is None:
                self._answers[question.key] = entry
        return entry


class LanguageModel:
    """A model behind a server.

    Args:
        model: its name there.
        audit: file of questions and answers.
        base_url: of the server; None is OpenAI's. Servers of one's own (vLLM, Ollama, llama.cpp) need no key.

    Raises:
        LanguageModelError: if OpenAI's own server is asked without a key in the environment.
    """

    def __init__(
        self, model: str, audit: Path, base_url: str | None = None, temperature: float = 1.0, retries: int = RETRIES
    ):
        self._secret = os.environ.get(KEY_VARIABLE, "").strip()
        if not self._secret and base_url is None:
            raise LanguageModelError(f"no key: set {KEY_VARIABLE} in the environment, or base_url to your server.")
        if not re.fullmatch("[!-~]*", self._secret):
            raise LanguageModelError(f"{KEY_VARIABLE} holds a blank or a character that no key has; copy it again.")
        self.model, self.temperature, self.audit = model, temperature, Audit(audit)
        address = (base_url or OPENAI_SERVER).strip()  # said outright: the client would also read the environment
        self.server = re.sub(r"//[^/@]*@", "//", address)  # without a password
        import openai  # a second, which nobody should wait who asks no model

        self._openai, key, timeout = openai, self._secret or "none", openai.Timeout(TIMEOUT_SEC, connect=10)
        self._client = openai.OpenAI(api_key=key, base_url=address, max_retries=0, timeout=timeout)
        self._names: dict[str, str | None] = {option: option for option in _OPTIONS}  # None: not taken
        self._retries, self._room, self._answered, self._silences = retries, 0, False, 0

    def question(self, prompt: str, seed: int) -> Question:
        """The request that `ask` would send."""
        return Question(prompt, self.model, self.server, self.temperature, seed)

    def ask(self, prompt: str, seed: int = 0) -> str:
        """The answer without thoughts, from the file if the question was answered before.

        Raises:
            NoAnswer: after the client's retries, or for an answer that is cut off, withheld, empty or a refusal.
            LanguageModelError: where asking again cannot help.
        """
        question = self.question(prompt, seed)
        entry = self.audit.answer(question.key) or self._send(question)
        if entry.get("refused"):
            raise NoAnswer(f"refused: {entry['answer'][:60]}")
        return without_thinking(entry["answer"])

    def _send(self, question: Question) -> dict:
        try:
            response = self._complete(question)
            if not (getattr(response, "choices", None) and getattr(response.choices[0], "message", None)):
                whole = response.to_dict() if isinstance(response, self._openai.types.chat.ChatCompletion) else response
                found = getattr(response, "error", None) or repr(whole)[:200]
                raise ValueError(f"no answer in one piece (a stream is not read) but {found}")
        # "from None": a traceback shows the errors before it, and servers like to quote the key.
        except (self._openai.OpenAIError, LookupError, TypeError, ValueError) as error:
            said, fate = self._judged(error)
            reason = self._line(said)
            self.audit.add(question, None, reason)
            self._silences += fate != "filtered"
            if fate == "hopeless" or self._silences >= SILENCES:
                row = "" if fate == "hopeless" else f" ({self._silences} questions in a row without an answer)"
                raise LanguageModelError(f"{question.model} at {self.server}: {reason}{row}") from None
            raise NoAnswer(reason) from None
        self._answered, self._silences = True, 0
        choice, error = response.choices[0], None
        text, refusal = (_text(getattr(choice.message, part, None)) for part in ("content", "refusal"))
        finish = str(getattr(choice, "finish_reason", None) or "stop").lower()  # some servers never say it
        if finish not in _WHOLE:
            error = f"an answer that is cut off or withheld (finish_reason {finish})"
            self._room = ROOM_TO_THINK if finish in ("length", "max_tokens") else self._room
        elif not (refusal or without_thinking(text)):
            error = f"an answer without words{' beside its thinking' if text.strip() else ''}"
        usage = {name: getattr(response.usage, name, None) for name in ("prompt_tokens", "completion_tokens")}
        details = {"refused": bool(refusal), "usage": usage, "served_model": response.model, "id": response.id}
        entry = self.audit.add(question, self._hide(refusal or text), error, finish_reason=finish, **details)
        if error:
            raise NoAnswer(error)
        return entry

    def _complete(self, question: Question) -> object:
        """Ask once without retries, so that what is hopeless is seen at once, and then with them.

        An option that the server refuses is called as it asks or left out, also in all later questions.
        """
        client, messages = self._client, [{"role": "user", "content": question.prompt}]
        values = asdict(question) | {"max_tokens": max(question.max_tokens, self._room)}
        while True:
            sent = {option: name for option, name in self._names.items() if name}
            options = {name: values[option] for option, name in sent.items()}
            try:
                return client.chat.completions.create(model=question.model, messages=messages, extra_body=options)
            except self._openai.APIError as error:
                said, fate = self._judged(error)
                named = {option: re.findall(rf"\b{_OPTIONS[option]}\b", said) for option in sent}
                option = next((option for option, names in named.items() if names), None)
                if getattr(error, "status_code", 0) in (400, 422) and option and fate != "filtered":
                    others = set(named[option]) - {option} if sent[option] == option else ()
                    self._names[option] = min(others, default=None)
                elif fate != "passing" or client is not self._client or not self._retries:
                    raise
                else:
                    client = client.with_options(max_retries=self._retries - 1)

    def _judged(self, error: Exception) -> tuple[str, str]:
        """All that an error says, and what it is: "filtered", "hopeless" for every question, "passing" or "failed"."""
        status, bottom = getattr(error, "status_code", 0), error
        while bottom.__cause__:  # of a broken connection
            bottom = bottom.__cause__
        said = f"{type(error).__name__}: {f'{status} {error.response.text}' if status else bottom}"
        if status in (0, 400, 403, 422, 451) and re.search(_FILTERED, said):
            return said, "filtered"
        if broken := isinstance(error, self._openai.APIConnectionError):  # a server that has answered may come back
            lost = not self._answered and type(error.__cause__).__name__ in _UNREACHABLE
        else:  # one that has understood others minds this one
            lost = 400 <= status < 500 and status not in _PASSING and not (self._answered and status in (400, 422))
        if lost or re.search(_SPENT, said):
            return said, "hopeless"
        passing = (
            (broken and not isinstance(error, self._openai.APITimeoutError)) or status in _PASSING or status >= 500
        )
        return said, "passing" if passing else "failed"

    def _line(self, said: str) -> str:
        """What was said without markup, and how an address looks if this one looks otherwise."""
        said = " ".join(re.sub("<[^>]*>", " ", self._hide(said)).split())[:300]
        usual = re.fullmatch(r"https?://.+/v\d((?!/completions).)*", self.server)
        return said if usual else f"{said}; base_url should look like http://localhost:8000/v1"

    def _hide(self, text: str) -> str:
        """Without the key, which servers like to quote."""
        return text.replace(self._secret, "***") if self._secret else text


def _text(content: object) -> str:
    """Of a message's content: text, a number, nothing, or parts of which some are text."""
    if isinstance(content, list):
        return " ".join(map(_text, content))
    if isinstance(content, dict):
        return _text(content.get("text")) if content.get("type", "text") in ("text", "output_text") else ""
    return "" if content is None else str(content)
