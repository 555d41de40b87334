"""Questions to a language model behind any OpenAI-compatible server; each is paid for once and kept.

Every question and what came of it is a line of an append-only file, looked up by a hash of the question. A run that is
killed and started again asks what has no answer yet. The key comes from the environment and stays there.
"""

import os
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import openai

from motion_lib.storage import append_line, content_hash, read_lines

KEY_VARIABLE = "OPENAI_API_KEY"
OPENAI_SERVER = "https://api.openai.com/v1"
RETRIES = 6  # of the client, with exponential back-off, for rate limits, 5xx and broken connections
TIMEOUT_SEC = 120


class NoAnswer(RuntimeError):
    """One question that got no usable answer; others may."""


class LanguageModelError(RuntimeError):
    """The server refuses to work with us at all: a wrong key, an unknown model, a malformed request."""


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
        for entry in self.entries():
            if entry["error"] is None:
                self._answers.setdefault(entry["key"], entry)

    def entries(self) -> list[dict]:
        """All whole lines."""
        return read_lines(self.path)

    def answer(self, key: str) -> dict | None:
        """The line with the first answer to the question of this key, or None."""
        return self._answers.get(key)

    def add(self, question: Question, answer: str | None, error: str | None, **details: object) -> dict:
        """Append what came of a question; on disk when this returns."""
        entry = {"key": question.key, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        entry |= {"question": asdict(question), "answer": answer, "error": error, **details}
        with self._lock:
            append_line(self.path, entry)
            if error is None:
                self._answers.setdefault(question.key, entry)
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
        self,
        model: str,
        audit: Path,
        base_url: str | None = None,
        temperature: float = 1.0,
        retries: int = RETRIES,
    ):
        self._secret = os.environ.get(KEY_VARIABLE, "")
        if not self._secret and base_url is None:
            raise LanguageModelError(f"no key: set {KEY_VARIABLE} in the environment, or base_url to your server.")
        self.model, self.temperature, self.audit = model, temperature, Audit(audit)
        self.server = base_url or OPENAI_SERVER  # said outright: the client would also read it from the environment
        self._client = openai.OpenAI(
            api_key=self._secret or "none", base_url=self.server, max_retries=retries, timeout=TIMEOUT_SEC
        )

    def question(self, prompt: str, seed: int) -> Question:
        """The request that `ask` would send."""
        return Question(prompt, self.model, self.server, self.temperature, seed)

    def ask(self, prompt: str, seed: int = 0) -> str:
        """The answer, from the file if the question was answered before.

        Raises:
            NoAnswer: after the client's retries, or if the model refused outright.
            LanguageModelError: where asking again cannot help.
        """
        question = self.question(prompt, seed)
        entry = self.audit.answer(question.key) or self._send(question)
        if entry.get("refused"):
            raise NoAnswer(f"refused: {entry['answer'][:60]}")
        return entry["answer"]

    def _send(self, question: Question) -> dict:
        try:
            response = self._client.chat.completions.create(
                model=question.model,
                messages=[{"role": "user", "content": question.prompt}],
                temperature=question.temperature,
                seed=question.seed,
                max_tokens=question.max_tokens,
            )
            message = response.choices[0].message
            text, refusal = message.content or "", message.refusal or ""
        # "from None": a traceback shows the errors before it, and servers like to quote the key.
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise LanguageModelError(f"{question.model}: the server refuses ({self._reason(error)}).") from None
        except openai.BadRequestError as error:
            raise LanguageModelError(f"{question.model}: not understood ({self._reason(error)}).") from None
        # What a server makes of "OpenAI-compatible" is anybody's guess: text where JSON should be, no choices.
        except (openai.OpenAIError, AttributeError, LookupError, TypeError, ValueError) as error:
            reason = self._reason(error)
            self.audit.add(question, None, reason)
            raise NoAnswer(reason) from None
        usage = response.usage.model_dump(include={"prompt_tokens", "completion_tokens"}) if response.usage else {}
        details = {"refused": bool(refusal), "usage": usage, "served_model": response.model, "id": response.id}
        return self.audit.add(question, refusal or text, None, **details)

    def _reason(self, error: Exception) -> str:
        """One line without the key, which servers like to quote."""
        reason = f"{type(error).__name__}: {error}"
        if self._secret:
            reason = reason.replace(self._secret, "***")
        return reason.partition("\n")[0][:300]
