"""Executed notebooks made fit to publish: no secrets, no local paths, small pictures."""

import base64
import html
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat import NotebookNode
from PIL import Image

from motion_lib.config import REPOSITORY
from motion_lib.storage import home

_SECRET_NAME = re.compile("KEY|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
_SHORTEST_SECRET = 8  # shorter values are words that occur by chance, and so are
# "not-needed", as servers without keys are given
_WORDS = re.compile(r"(?!.{16})([A-Z]?[a-z]+|[A-Z]+)([-_ ]([A-Z]?[a-z]+|[A-Z]+))*")
_PICTURE = re.compile(r"image/(?!svg\+xml$)")
_KERNEL_FILE = re.compile(r"[^\s\"'<>=]*ipykernel_\d+[/\\]\d+\.py")
# Papermill's record of a run that says what was run; its paths and clock times differ on every machine.
_KEPT_METADATA = ("parameters", "duration", "exception", "version")


class Scrubber:
    """Replaces this machine's secrets by `***` and its paths by short names, in text or whole notebooks."""

    def __init__(self, environment: Mapping[str, str] | None = None):
        environment = os.environ if environment is None else environment
        secrets = sorted(set(_secrets(environment)), key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, secrets))) if secrets else None
        self._paths = _path_patterns(environment)

    def text(self, text: str) -> str:
        """The text without secrets and without this machine's paths."""
        if self._secrets:
            text = self._secrets.sub("***", text)
        text = _KERNEL_FILE.sub("<cell>", text)
        for pattern, name in self._paths:
            text = pattern.sub(lambda _, name=name: name, text)
        return text

    def notebook(self, notebook: NotebookNode) -> NotebookNode:
        """A copy to publish: every text scrubbed, clock times and papermill's paths dropped."""
        copy = nbformat.from_dict(json.loads(json.dumps(notebook)))
        # A secret may be cut in two pieces of a stream; of a progress bar, the last state is kept.
        copy, _ = CoalesceStreamsPreprocessor().preprocess(copy, {})
        clean = nbformat.from_dict(self._walk(copy))
        about = clean.metadata.get("papermill", {})
        clean.metadata["papermill"] = {key: about[key] for key in _KEPT_METADATA if key in about}
        for cell in clean.cells:
            for key in ("papermill", "execution"):
                cell.metadata.pop(key, None)
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell["id"] = "injected-parameters"  # papermill draws a new one each time
        return clean

    def _walk(self, value: object) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._walk(item) for item in value]
        if isinstance(value, dict):  # pictures are base64, where a match would be chance
            return {self.text(k): v if _PICTURE.match(k) else self._walk(v) for k, v in value.items()}
        return value


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    """Secret values as they may be printed: plain, line by line, and in Python, JSON, HTML and URL form."""
    for name, value in environment.items():
        if not _SECRET_NAME.search(name) or _WORDS.fullmatch(value.strip()):
            continue
        for part in {value.strip(), *(line.strip() for line in value.splitlines())}:
            if len(part) >= _SHORTEST_SECRET:
                yield from (part, repr(part)[1:-1], json.dumps(part)[1:-1])
                yield from (html.escape(part), quote(part, safe=""))


def _path_patterns(environment: Mapping[str, str]) -> list[tuple[re.Pattern, str]]:
    """This machine's folders and the names that stand for them, longest first."""
    named = {str(home()): "~", sys.base_prefix: "<python>", sys.prefix: "<python>"}
    for variable in ("MOTION_DATA", "MOTION_RESULTS"):
        named[environment.get(variable, "")] = f"${variable}"
    named[str(REPOSITORY)] = "."
    whole = r"(?<![\w.<-]){}(?![\w-])"  # HTML's </video> is no folder
    return [
        (re.compile(whole.format(re.escape(folder.rstrip("/")))), name)
        for folder, name in sorted(named.items(), key=lambda pair: -len(pair[0]))
        if Path(folder).is_absolute() and len(folder) > 1
    ]


def shrink_pictures(notebook: NotebookNode) -> None:
    """Replace each PNG by 64 colours, which plots do not miss, or by JPEG where that is smaller, as of video."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if picture := output.get("data", {}).pop("image/png", None):
            image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB")
            png, jpeg = io.BytesIO(), io.BytesIO()
            image.quantize(64, Image.Quantize.MAXCOVERAGE).save(png, "png", optimize=True)
            image.save(jpeg, "jpeg", quality=80, optimize=True)
            kind, data = min(("png", png.getvalue()), ("jpeg", jpeg.getvalue()), key=lambda pair: len(pair[1]))
            output.data[f"image/{kind}"] = base64.b64encode(data).decode()


class ProgressLog(io.TextIOBase):
    """A file for a running notebook's progress bars: passes on their newest state, once in `every_sec`."""

    def __init__(self, scrub: Callable[[str], str], show: Callable[[str], None], every_sec: float = 15.0):
        self._scrub, self._show, self._every_sec, self._shown = scrub, show, every_sec, time.monotonic()

    def write(self, text: str) -> None:
        """Take a piece of output; a bar rewrites its line with carriage returns."""
        states = [state for state in re.split(r"[\r\n]", text) if state.strip()]
        if states and time.monotonic() - self._shown >= self._every_sec:
            self._show(self._scrub(states[-1]))
            self._shown = time.monotonic()


class LineLog(io.TextIOBase):
    """A file for a running notebook's prints: passes whole lines on, scrubbed, at most `burst` per window."""

    def __init__(
        self, scrub: Callable[[str], str], show: Callable[[str], None], burst: int = 20, window_sec: float = 10.0
    ):
        self._scrub, self._show, self._burst, self._window_sec = scrub, show, burst, window_sec
        self._unfinished, self._shown, self._hidden, self._started = "", 0, 0, time.monotonic()

    def write(self, text: str) -> None:
        """Take a piece of output; papermill calls this as the notebook prints."""
        *lines, self._unfinished = (self._unfinished + text).split("\n")
        for line in lines:
            if time.monotonic() - self._started > self._window_sec:
                self._open_window()
            if self._shown < self._burst:
                self._show(self._scrub(line.rsplit("\r", 1)[-1]))
                self._shown += 1
            else:
                self._hidden += 1

    def close(self) -> None:
        """Pass on the last unfinished line and say how much was left out."""
        if self._unfinished:
            self.write("\n")
        self._open_window()

    def _open_window(self) -> None:
        if self._hidden:
            self._show(f"... {self._hidden} more lines, all of them in the executed copy")
        self._shown, self._hidden, self._started = 0, 0, time.monotonic()
