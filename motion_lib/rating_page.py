"""The page on which people answer tasks of `motion_lib.ratings` in a notebook: a video or a text, options, keys."""

import tempfile
from fractions import Fraction
from pathlib import Path

import anywidget
import av
import traitlets

from motion_lib.ratings import Session
from motion_lib.video import read_clip, write_video

_HERE = Path(__file__).parent
MAX_SECONDS = 15  # of a video that is shown


class RatingPage(anywidget.AnyWidget):
    """Shows the session's current task and records what is answered.

    Every answer is on disk before the next task appears; the page may be closed at any time and goes on
    where it was.
    """

    _esm = _HERE / "rating_page.js"
    _css = _HERE / "rating_page.css"
    task = traitlets.Dict().tag(sync=True)
    video = traitlets.Bytes(b"").tag(sync=True)

    def __init__(self, session: Session):
        self.session = session
        super().__init__()
        self.on_msg(self._receive)
        self._show()

    def _receive(self, _: object, message: dict, buffers: list) -> None:
        if message.get("back"):
            self.session.back()
        elif "option" in message:
            self.session.answer(int(message["option"]))
        self._show()

    def _show(self) -> None:
        session, task = self.session, self.session.current
        shared = {"position": session.position, "total": len(session.tasks), "rater": session.rater}
        if task is None:
            self.task = {**shared, "done": True, "options": []}
            return
        # The video first: the page draws itself when the task changes.
        self.video = playable(task.video) if task.video else b""
        self.task = {
            **shared,
            "done": False,
            "id": task.id,
            "question": task.question,
            "text": task.text,
            "options": list(task.options),
        }


def playable(path: Path) -> bytes:
    """A video as h264 in mp4, which browsers play: AVI files they do not.

    Raises: VideoReadError.
    """
    with av.open(str(path), metadata_errors="ignore") as container:
        rate = container.streams.best("video").average_rate or Fraction(25)
    fps = max(1, round(rate))
    frames = read_clip(path, lambda n: range(min(n, MAX_SECONDS * fps)))
    height, width = (size // 2 * 2 for size in frames.shape[1:3])  # h264 wants even sizes
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "clip.mp4"
        write_video(target, frames[:, :height, :width], fps)
        return target.read_bytes()
