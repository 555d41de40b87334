"""Questions to a language model behind any OpenAI-compatible server; each is paid for once and kept.

Every question and what came of it is a line of an append-only file, found again by a hash of the
question. A run that is killed and started again asks only what has no answer yet. The key comes from
the environment and stays there.
"""

import json
import os
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import openai

from motion_lib.storage import content_hash

KEY_VARIABLE = "OPENAI_API_KEY"
RETRIES = 6  # of the client, with exponential back-off, for rate limits, 5xx and broken connections
TIMEOUT_SEC = 120


class NoAnswer(RuntimeError):
    """One question that got no usable answer; others may."""


class LanguageModelError(RuntimeError):
    """The server refuses to work with us at all: a wrong key, an unknown model, a malformed request."""


@dataclass(frozen=True)
class Question:
    """One request. `seed` also tells candidates and repeated attempts apart."""

    prompt: str
    model: str
    temperature: float
    seed: int
    max_tokens: int = 200

    @property
    def key(self) -> str:
        """Content address: the same question has the same key on every machine."""
        return content_hash(asdict(self))


class Audit:
    """Append-only JSON lines of questions, answers and failures.

    A line that a kill cut off is passed over; the next one starts on a line of its own.
    """

    def __init__(self, path: Path):
        self.path, self._lock, self._answers = path, threading.Lock(), {}
        path.parent.mkdir(parents=True, exist_ok=True)
        for entry in self.entries():
            if entry["error"] is None:
                self._answers.setdefault(entry["key"], entry["answer"])

    def entries(self) -> list[dict]:
        """All whole lines."""
        if not self.path.is_file():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:  # cut off by a kill
                continue
        return found

    def answer(self, key: str) -> str | None:
        """What was answered to the question of this key, or None."""
        return self._answers.get(key)

    def add(self, question: Question, answer: str | None, error: str | None, **details: object) -> None:
        """Append what came of a question; on disk when this returns."""
        entry = {"key": question.key, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        entry |= {"question": asdict(question), "answer": answer, "error": error, **details}
        line = (json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8")
        with self._lock, self.path.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
            if error is None:
                self._answers.setdefault(question.key, answer)


class LanguageModel:
    """A model behind a server.

    Args:
        model: its name there.   audit: file of questions and answers.
        base_url: of the server; None is OpenAI's. Servers of one's own (vLLM, Ollama, llama.cpp) need no key.
        temperature: of sampling.   retries: of the client, see RETRIES.
    Raises: LanguageModelError if OpenAI's own server is asked without a key in the environment.
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
            raise LanguageModelError(
                f"no key: set {KEY_VARIABLE} in the environment, or base_url to a server of yours."
            )
        self.model, self.temperature, self.audit = model, temperature, Audit(audit)
        self._client = openai.OpenAI(
            api_key=self._secret or "none", base_url=base_url, max_retries=retries, timeout=TIMEOUT_SEC
        )

    def question(self, prompt: str, seed: int) -> Question:
        """The request that `ask` would send."""
        return Question(prompt, self.model, self.temperature, seed)

    def ask(self, prompt: str, seed: int = 0) -> str:
        """The answer, from the file if the question was answered before.

        Raises: NoAnswer after the client's retries; LanguageModelError where retrying cannot help.
        """
        question = self.question(prompt, seed)
        kept = self.audit.answer(question.key)
        return self._send(question) if kept is None else kept

    def _send(self, question: Question) -> str:
        try:
            response = self._client.chat.completions.create(
                model=question.model,
                messages=[{"role": "user", "content": question.prompt}],
                temperature=question.temperature,
                seed=question.seed,
                max_tokens=question.max_tokens,
            )
            message = response.choices[0].message
            text = message.content if isinstance(message.content, str) else (message.refusal or "")
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise LanguageModelError(f"{question.model}: the server refuses ({self._reason(error)}).") from error
        except openai.BadRequestError as error:
            raise LanguageModelError(f"{question.model}: not understood ({self._reason(error)}).") from error
        # What a server makes of "OpenAI-compatible" is anybody's guess: text where JSON should be, no choices.
        except (openai.OpenAIError, AttributeError, LookupError, TypeError, ValueError) as error:
            reason = self._reason(error)
            self.audit.add(question, None, reason)
            raise NoAnswer(reason) from error
        usage = response.usage.model_dump(include={"prompt_tokens", "completion_tokens"}) if response.usage else {}
        self.audit.add(question, text, None, usage=usage, served_model=response.model, id=response.id)
        return text

    def _reason(self, error: Exception) -> str:
        """One line without the key, which servers like to quote."""
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
        return reason.replace(self._secret, "***") if self._secret else reason
