"""Descriptions that others wrote of the same classes, and several sentences a class as one prototype.

The mean of several sentences' embeddings is a prompt ensemble, as CLIP's authors make one of templates; the paper has
one sentence a class. Files of others are fetched by `motion data` from pinned commits and belong to their authors.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.evaluation.features import VideoFeatures
from motion_lib.evaluation.intervals import bootstrap_mean
from motion_lib.evaluation.metrics import ranks_of_texts
from motion_lib.evaluation.retrieval import similarities
from motion_lib.experiment.data import Data, MiniatureData
from motion_lib.miniature.sentences import ARM_PHRASES, BODY_PHRASES, TEMPO_WORDS
from motion_lib.miniature.world import MotionClass
from motion_lib.models.prototype import VideoTextModel
from motion_lib.storage import read_list
from motion_lib.texts.descriptions import squeeze_key

# {who wrote them: {data set of the paper: file below MOTION_DATA}}. GPT4Vis names its classes; OST and FROSTER
# number theirs, in alphabetical order, and FROSTER writes a name before each sentence.
WRITERS: dict[str, Mapping[str, str]] = {
    "GPT4Vis": {
        "kinetics400": "descriptions/gpt4vis/k400_20_prompts_0_400_api.json",
        "ucf101": "descriptions/gpt4vis/ucf_20_prompts.json",
        "hmdb51": "descriptions/gpt4vis/hmdb_20_prompts_0_51_api.json",
    },
    "OST, temporal": {
        "kinetics400": "descriptions/ost/k400.json",
        "ucf101": "descriptions/ost/ucf.json",
        "hmdb51": "descriptions/ost/hmdb.json",
    },
    "FROSTER": {
        "kinetics400": "descriptions/froster/k400.json",
        "ucf101": "descriptions/froster/ucf101.json",
        "hmdb51": "descriptions/froster/hmdb.json",
    },
}
VERB_CLASSES = "kinetics400/annotations/kinetics-400-verb-classes.txt"
_TEXTS_AT_ONCE = 256


@dataclass(frozen=True)
class Wording:
    """One or more sentences a class.

    Attributes:
        class_names: K names, as a data set spells them.
        sentences: K lists.
    """

    class_names: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]

    @property
    def fewest(self) -> int:
        """Sentences that every class has."""
        return min(map(len, self.sentences))


def wordings_of(data: Data, name: str, class_names: Sequence[str]) -> dict[str, Wording | None]:
    """Every wording of a data set's classes by its writer, in the data set's order; None for one not at hand.

    In the miniature it is this project's own grammar: three phrases for the arms by three for the body.

    Raises:
        ValueError: for a file that does not hold these classes.
    """
    if isinstance(data, MiniatureData):
        spec = getattr(data.world, name.removeprefix("miniature-"))
        said = {squeeze_key(of_class.name): _said(of_class) for of_class in spec.classes}
        return {"its grammar": Wording(tuple(class_names), tuple(said[squeeze_key(n)] for n in class_names))}
    paths = {who: data.cfg.data_root / files[DATASETS[name].paper] for who, files in WRITERS.items()}
    return {who: read_wording(path, class_names) if path.is_file() else None for who, path in paths.items()}


def _said(of_class: MotionClass) -> tuple[str, ...]:
    """Nine sentences of one motion."""
    arms = [phrase.format(item=of_class.item) for phrase in ARM_PHRASES[of_class.arm]]
    words = TEMPO_WORDS[of_class.tempo]
    pairs = [(arm, body) for arm in arms for body in BODY_PHRASES[of_class.body]]
    return tuple(f"a {words[n % len(words)]} motion: {arm} and {body}." for n, (arm, body) in enumerate(pairs))


def read_wording(path: Path, class_names: Sequence[str]) -> Wording:
    """Sentences of every class from a JSON object of lists or sentences, by class name or by number.

    Numbers count the classes in alphabetical order, whatever their capitals. A "Name: " before a sentence is left out.

    Raises:
        ValueError: with the file and the first class that it lacks.
    """
    read = json.loads(path.read_text(encoding="utf-8"))
    lists = {key: [value] if isinstance(value, str) else list(value) for key, value in read.items()}
    if set(lists) == set(map(str, range(len(class_names)))):
        ordered = sorted(class_names, key=str.lower)
        lists = {name: [_without_name(text) for text in lists[str(n)]] for n, name in enumerate(ordered)}
    by_key = {squeeze_key(name): [" ".join(text.split()) for text in texts] for name, texts in lists.items()}
    if lacking := [name for name in class_names if not by_key.get(squeeze_key(name))]:
        raise ValueError(f"{path.name}: no sentence of {lacking[0]!r}, one of {len(lacking)} of {len(class_names)}.")
    return Wording(tuple(class_names), tuple(tuple(by_key[squeeze_key(name)]) for name in class_names))


def _without_name(text: str) -> str:
    """A sentence without the few words and the colon that stand before it, as of a class or a step."""
    name, colon, rest = text.partition(": ")
    return rest if colon and len(name.split()) <= 6 else text


def verb_classes(data: Data, class_names: Sequence[str]) -> tuple[int, ...] | None:
    """Indices of the 97 classes of Kinetics-verb (Momeni et al. 2023), which share a noun; None without the list."""
    path = data.cfg.data_root / VERB_CLASSES
    if not path.is_file():
        return None
    listed = set(map(squeeze_key, read_list(path)))
    return tuple(c for c, name in enumerate(class_names) if squeeze_key(name) in listed)


# ------------------------------------------------------------------ scores
def score_wording(model: VideoTextModel, videos: VideoFeatures, wording: Wording, cfg: RunConfig) -> dict[str, dict]:
    """Top-1 of one sentence a class, on average over the sentences that every class has, and of their mean.

    Returns:
        {"one of its sentences", "mean of its sentences": {top1: percent with its interval over classes, sentences}}.

    Raises:
        ValueError: for a model whose texts are no single vectors.
    """
    flat = [text for of_class in wording.sentences for text in of_class]
    with torch.inference_mode():
        parts = [model.encode_text(flat[n : n + _TEXTS_AT_ONCE]) for n in range(0, len(flat), _TEXTS_AT_ONCE)]
        encoded = torch.cat(parts)
        if encoded.ndim != 2:
            raise ValueError("its texts are no single vectors")
        labels, of_class = np.array(videos.dataset.labels), encoded.split([len(s) for s in wording.sentences])
        singles = [torch.stack([texts[n] for texts in of_class]) for n in range(wording.fewest)]
        correct = [_correct(model, videos, single, labels) for single in singles]
        found = {"one of its sentences": (np.mean(correct, axis=0), 1)}
        if len(flat) > len(of_class):
            means = torch.stack([F.normalize(texts.float(), dim=-1).mean(dim=0) for texts in of_class])
            # As long as one sentence's: X-CLIP adds to a text before it compares.
            prototypes = F.normalize(means, dim=-1) * encoded.float().norm(dim=-1).mean()
            mean = _correct(model, videos, prototypes.to(encoded.dtype), labels)
            found["mean of its sentences"] = (mean, len(flat) / len(of_class))
    return {
        how: {
            "top1": [100 * v for v in bootstrap_mean(right, labels, resamples=cfg.bootstrap_resamples)],
            "sentences": count,
        }
        for how, (right, count) in found.items()
    }


def _correct(model: VideoTextModel, videos: VideoFeatures, texts: Tensor, labels: np.ndarray) -> np.ndarray:
    """(N,) 0 or 1: the right one of (K, D) texts came first."""
    scores = similarities(model, videos.features, texts).numpy()
    return (ranks_of_texts(scores, labels) == 0).astype(float)
