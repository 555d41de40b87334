"""Ask a model by hand: which clips fit a sentence, which descriptions fit a clip, and what each word is worth to it.

One program for the page, `explorer.js`, draws both: the widget of a notebook, whose kernel answers any sentence, and a
page of HTML that holds the answers to the sentences it knows and asks nobody.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from string import Template

import anywidget
import numpy as np
import traitlets
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.special import softmax
from tqdm import tqdm

from motion_lib.config import RunConfig
from motion_lib.data.clips import Clips
from motion_lib.evaluation.features import VideoFeatures
from motion_lib.evaluation.retrieval import similarities
from motion_lib.experiment.data import data_of
from motion_lib.experiment.experiment import Experiment
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.probes.text_controls import readable
from motion_lib.report.diagrams import FROM_CORNER, LINE, MARGIN, canvas, side_by_side, word_width, wrap, write
from motion_lib.report.plots import FULL_INCHES, paper_style
from motion_lib.report.tables import KIND_LABEL
from motion_lib.scores.names import Named, named_model
from motion_lib.scores.targets import (
    Target,
    clips_of,
    kept_features,
    kept_path,
    own_target,
    slug,
    strip_of,
    targets_of,
)
from motion_lib.storage import write_text

_HERE = Path(__file__).parent
BEST_CLIPS, BEST_TEXTS = 12, 5  # that are shown of an answer
_FRAMES = 8  # of a moving picture
_INK, _RIGHT = {"gain": "#0072b2", "loss": "#d55e00"}, "#1b6b2f"
_SHOWN = 6  # clips of a figure
_PICTURE, _LINE, _CAPTION = 1.5, LINE + 0.06, 0.55  # inches: its large picture, a line with bars, words below clips
_BESIDE = FULL_INCHES - _PICTURE - 0.2


@dataclass(frozen=True)
class Explorer:
    """A model's answers on one data set, from features that are kept.

    Attributes:
        videos: their features.
        clips: the same videos, as pictures.
        title: model and data set.
    """

    named: Named
    target: Target
    videos: VideoFeatures
    clips: Clips
    title: str

    @cached_property
    def texts(self) -> dict[str, tuple[str, ...]]:
        """{kind: K descriptions in the order of the data set's classes}."""
        names = self.videos.dataset.class_names
        return {kind: texts.select(names).texts for kind, texts in self.target.sets.items()}

    @cached_property
    def logits(self) -> dict[str, np.ndarray]:
        """{kind: (N, K) logits}."""
        return {kind: self._compare(texts) for kind, texts in self.texts.items()}

    def search(self, sentence: str, count: int = BEST_CLIPS) -> list[tuple[int, float]]:
        """The clips that fit a sentence best: their numbers and logits."""
        return _best_of(self._compare((sentence,))[:, 0], count)

    def ranked(self, clip: int, kind: str = "object", count: int = BEST_TEXTS) -> list[tuple[int, float]]:
        """The classes whose descriptions fit a clip best, and their probabilities; a worse right one comes last."""
        of_classes = softmax(self.logits[kind][clip])
        best, right = _best_of(of_classes, count), self.videos.dataset.labels[clip]
        return best if right in dict(best) else [*best, (right, float(of_classes[right]))]

    def worth(self, clips: Sequence[int], sentence: str) -> np.ndarray:
        """(C, W) logit that clips lose when one of the sentence's words, as blanks divide them, is left out."""
        words = sentence.split()
        without = [" ".join(words[:n] + words[n + 1 :]) for n in range(len(words))]
        logits = similarities(self.named.model, self.videos.features[list(clips)], (sentence, *without)).numpy()
        return logits[:, :1] - logits[:, 1:]

    def _compare(self, texts: Sequence[str]) -> np.ndarray:
        return similarities(self.named.model, self.videos.features, texts).numpy()

    def frames(self, clip: int) -> np.ndarray:
        """(T, 3, S, S) uint8 of a clip, as the model sees it."""
        return self.clips[self._places[self.videos.dataset.items[clip].video_id]]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {item.video_id: number for number, item in enumerate(self.clips.dataset.items)}


def _best_of(values: np.ndarray, count: int) -> list[tuple[int, float]]:
    return [(int(n), float(values[n])) for n in np.argsort(-values, kind="stable")[:count]]


def explorer_of(cfg: RunConfig) -> Explorer:
    """The explorer that a configuration asks for: `explore_model` on `explore_videos` with `explore_texts`.

    Without a name it is our method as trained here, without a folder the first target. Features are kept: with the runs
    or, of a model with a name, as of its card.

    Raises:
        ValueError: for a folder without texts, or texts without a folder.
        TooManyMissing: above the share `max_missing`.
    """
    if bool(cfg.explore_videos) != bool(cfg.explore_texts):
        raise ValueError("explore_videos and explore_texts go together: a folder of class folders, and its CSV.")
    experiment = None if cfg.explore_model else Experiment(cfg)  # which says in one list what it lacks
    data, own = experiment.data if experiment else data_of(cfg), cfg.explore_videos != ""
    if own:
        target = own_target(Path(cfg.explore_videos), Path(cfg.explore_texts))
    else:
        (target,) = targets_of(data, cfg.targets[:1])
    if experiment:
        trained = experiment.trained("motion")
        named = Named(METHODS["motion"].label, trained.model)
    else:
        named = named_model(cfg.explore_model, cfg)
    if own or not experiment:
        folder = cfg.results_dir / "scores" / slug(named.name)
        videos = kept_features(named, cfg, target, kept_path(named, target, folder))
    else:
        videos = experiment.encode(trained, target.name, cfg.target_subset)
    clips = clips_of(named, target)
    return Explorer(named, target, videos, clips, f"{named.name}, {target.label}")


# ------------------------------------------------------------------ what the page is told
def _about(explorer: Explorer, shown: Sequence[int]) -> dict:
    """What the page shows before it is asked anything; `shown` are the clips that it has pictures of."""
    dataset, kinds = explorer.videos.dataset, list(explorer.texts)
    sentences = dict.fromkeys(text for kind in kinds for text in explorer.texts[kind])
    names = readable(dataset.class_names)
    return {
        "title": explorer.title,
        "kinds": {kind: KIND_LABEL[kind] for kind in kinds},
        "sentences": list(sentences),
        "frames": min(_FRAMES, explorer.named.model.preprocess.num_frames),
        "clips": [{"name": dataset.items[n].video_id, "class": names[dataset.labels[n]], "number": n} for n in shown],
    }


def _told(explorer: Explorer, clip: int, kind: str, worth: Sequence[Sequence[float]] | None = None) -> list[list]:
    """[class, its description, probability, whether right, what each word is worth] of the best and the right one."""
    dataset, rows = explorer.videos.dataset, []
    for place, (c, share) in enumerate(explorer.ranked(clip, kind)):
        text = explorer.texts[kind][c]
        lost = worth[place] if worth else explorer.worth([clip], text)[0]
        rounded = [round(float(v), 3) for v in lost]
        rows.append([*readable([dataset.class_names[c]]), text, round(share, 4), c == dataset.labels[clip], rounded])
    return rows


class ExplorerWidget(anywidget.AnyWidget):
    """The explorer in a notebook; its kernel answers, and sends pictures of the clips that it names."""

    _esm = _HERE / "explorer.js"
    _css = _HERE / "explorer.css"
    about = traitlets.Dict().tag(sync=True)

    def __init__(self, explorer: Explorer):
        self.explorer = explorer
        super().__init__(about=_about(explorer, range(len(explorer.videos.dataset))) | {"any": True})
        self.on_msg(self._answer)

    def _answer(self, _: object, asked: dict, buffers: list) -> None:
        clips = []
        if "sentence" in asked:
            best = [[n, round(logit, 2)] for n, logit in self.explorer.search(asked["sentence"])]
            answer, clips = {"sentence": asked["sentence"], "best": best}, [n for n, _ in best]
        else:
            clip, kind = int(asked["clip"]), asked["kind"]
            answer, clips = {"clip": clip, "kind": kind, "told": _told(self.explorer, clip, kind)}, [clip]
        self.send(answer | {"strips": {str(n): strip_of(self.explorer.frames(n), _FRAMES) for n in clips}})


# ------------------------------------------------------------------ a page with everything inside
def write_explorer(explorer: Explorer, folder: Path, most: int = 600) -> Path:
    """Write `<data set>.html`, which needs no kernel and no network: it holds the answers to every description.

    Args:
        most: clips, taken evenly from the list, since their pictures are most of the page; it says how many there are.
    """
    dataset = explorer.videos.dataset
    shown = sorted(set(np.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().astype(int).tolist()))
    about, answers, told = _about(explorer, shown), {}, {}
    for kind, texts in explorer.texts.items():
        for c, text in enumerate(texts):
            of_shown = explorer.logits[kind][shown, c]
            answers[text] = [[shown[n], round(logit, 2)] for n, logit in _best_of(of_shown, BEST_CLIPS)]
        told |= _told_of_all(explorer, shown, kind)
    strips = {
        str(n): strip_of(explorer.frames(n), _FRAMES)
        for n in tqdm(shown, "pictures for the page", unit="clip", mininterval=2)
    }
    about["of"] = len(dataset)
    data = {"about": about, "answers": answers, "told": told, "strips": strips}
    template = Template((_HERE / "explorer.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=escape(explorer.title),
        style=(_HERE / "explorer.css").read_text(encoding="utf-8"),
        script=(_HERE / "explorer.js").read_text(encoding="utf-8").replace("export default { render };", ""),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    )
    return write_text(folder / f"{slug(explorer.target.name)}.html", page)


def _told_of_all(explorer: Explorer, shown: Sequence[int], kind: str) -> dict[str, list[list]]:
    """{"clip kind": `_told`} of many clips: the words of each description are left out once for all of them."""
    wanted: dict[int, list[int]] = {}  # class -> clips that are told of it
    for clip in shown:
        for c, _ in explorer.ranked(clip, kind):
            wanted.setdefault(c, []).append(clip)
    lost: dict[tuple[int, int], np.ndarray] = {}
    for c, clips in tqdm(wanted.items(), f"words of the descriptions, {kind}", unit="text", mininterval=2):
        of_clips = explorer.worth(clips, explorer.texts[kind][c])
        lost |= {(clip, c): row for clip, row in zip(clips, of_clips, strict=True)}
    return {
        f"{clip} {kind}": _told(explorer, clip, kind, [lost[clip, c] for c, _ in explorer.ranked(clip, kind)])
        for clip in shown
    }


# ------------------------------------------------------------------ the same as a figure
def explorer_figure(explorer: Explorer, sentence: str, clip: int, kind: str = DESCRIPTION_KINDS[0]) -> Figure:
    """The clips that fit a sentence best, the descriptions that fit a clip best, and what their words are worth.

    Args:
        clip: number of the clip whose descriptions are ranked.
    """
    best, dataset = explorer.search(sentence, _SHOWN), explorer.videos.dataset
    told = _told(explorer, clip, kind)
    asked = explorer.worth([best[0][0]], sentence)[0]
    most = max(float(np.abs(values).max()) for values in (asked, *(row[4] for row in told)))
    with paper_style():
        wide, each = FULL_INCHES - 2 * MARGIN, (FULL_INCHES - MARGIN) / _SHOWN
        beside = max(_PICTURE, sum(LINE + _height(text, _BESIDE) for _, text, *_ in told))
        height = 2 * MARGIN + _height(sentence, wide) + each + _CAPTION + beside
        figure, ax = canvas(height)
        y = _sentence(ax, MARGIN, height - MARGIN, wide, sentence, asked, most)
        for place, (n, logit) in enumerate(best):
            x = MARGIN + place * each
            _picture(figure, explorer.frames(n), x, y - each, each - 0.06)
            (name,) = readable([dataset.class_names[dataset.labels[n]]])
            lines = [f"{logit:.1f}", *wrap(name, each - 0.08)]
            write(ax, x, y - each - 0.03, "\n".join(lines[:4]), fontsize=6.2, **FROM_CORNER)
        y -= each + _CAPTION
        _picture(figure, explorer.frames(clip), MARGIN, y - _PICTURE, _PICTURE)
        for name, text, share, right, worth in told:
            mark = "\N{CHECK MARK} " if right else ""
            look = {"color": _RIGHT if right else "0.3", "weight": "bold" if right else "normal"}
            write(ax, _PICTURE + 0.15, y, f"{mark}{100 * share:.0f} %  {name}", **look, **FROM_CORNER)
            y = _sentence(ax, _PICTURE + 0.15, y - LINE, _BESIDE, text, worth, most)
        return figure


def _picture(figure: Figure, frames: np.ndarray, x: float, y: float, side: float) -> None:
    """Four frames of a clip in a square, its corner in inches."""
    width, height = figure.get_size_inches()
    shown = frames[np.linspace(0, len(frames) - 1, 4).round().astype(int)].transpose(0, 2, 3, 1)
    ax = figure.add_axes((x / width, y / height, side / width, side / height))
    ax.imshow(np.concatenate([side_by_side(shown[:2]), side_by_side(shown[2:])]), interpolation="none", aspect="auto")
    ax.axis("off")


def _height(text: str, width: float) -> float:
    """Inches that a sentence takes with its bars."""
    return len(wrap(text, width * 0.9)) * _LINE + 0.04


def _sentence(ax: Axes, x: float, y: float, width: float, text: str, worth: Sequence[float], most: float) -> float:
    """Words, and under each a bar as long as it is worth, blue for a gain; returns where the next line begins."""
    n = 0
    for line in wrap(text, width * 0.9):
        at = x
        for word in line.split():
            wide, value = word_width(word) / 72 * 1.06, worth[n]
            write(ax, at, y - 0.8 * LINE, word, ha="left", va="baseline")
            long = wide * min(1.0, abs(value) / most)
            colour = _INK["gain"] if value > 0 else _INK["loss"]
            ax.add_patch(Rectangle((at, y - LINE - 0.035), long, 0.03, color=colour, lw=0))
            at, n = at + wide + 0.05, n + 1
        y -= _LINE
    return y - 0.04
