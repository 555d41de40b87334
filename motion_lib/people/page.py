"""The page on which people answer tasks of `people.ratings` in a notebook: a video or a text, options, keys."""

import tempfile
from pathlib import Path

import anywidget
import av
import numpy as np
import traitlets

from motion_lib.data.video import VideoReadError, read_clip, write_video
from motion_lib.people.ratings import Session

_HERE = Path(__file__).parent
MAX_SECONDS = 15  # of a video that is shown


class RatingPage(anywidget.AnyWidget):
    """Shows the session's current task; answers are on disk before the next, so it may be closed anytime."""

    _esm = _HERE / "page.js"
    _css = _HERE / "page.css"
    task = traitlets.Dict().tag(sync=True)
    video = traitlets.Bytes(b"").tag(sync=True)

    def __init__(self, session: Session):
        self.session = session
        super().__init__()
        self.on_msg(self._receive)
        self._show()

    def _receive(self, _: object, message: dict, buffers: list) -> None:
        # A key pressed while the next task is under way still means the one before: that task is no longer here.
        if message.get("task") != self.task.get("fingerprint"):
            return
        if message.get("back"):
            self.session.back()
        elif message.get("skip"):
            self.session.skip()
        elif "option" in message:
            self.session.answer(int(message["option"]))
        self._show()

    def _show(self) -> None:
        session, task = self.session, self.session.current
        shown = {"position": session.position, "total": len(session.tasks), "rater": session.rater}
        if task is None:
            self.task = {**shown, "done": True, "fingerprint": "", "options": []}
            return
        shown |= {"done": False, "fingerprint": task.fingerprint, "question": task.question, "text": task.text}
        try:
            video, options = playable(task.video) if task.video else b"", list(task.options)
        except VideoReadError as error:
            video, options = b"", []
            shown["text"] = f"This video cannot be shown: {error.reason} Please skip it."
        self.video = video  # before the task: the page draws itself when the task changes
        self.task = {**shown, "options": options}


def playable(path: Path) -> bytes:
    """A video as h264 in mp4, which browsers play: AVI files they do not.

    Raises:
        VideoReadError: if it cannot be read.
    """
    frames = read_clip(path, lambda n: np.arange(min(n, MAX_SECONDS * _frame_rate(path))))
    height, width = (size // 2 * 2 for size in frames.shape[1:3])  # h264 wants even sizes
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "clip.mp4"
        write_video(target, frames[:, :height, :width], _frame_rate(path))
        return target.read_bytes()


def _frame_rate(path: Path) -> int:
    """Frames per second of a video that can be read, 25 where it does not say."""
    with av.open(str(path), metadata_errors="ignore") as container:
        return max(1, round(container.streams.video[0].average_rate or 25))
