"""Other frames in the place of a clip's own: does a model need more than one picture, and their order?

Fewer and more frames; one of them repeated; the middle one frozen; the clip reversed or shuffled. What a model
computes of each picture alone is computed once, whatever the number of controls: the whole image tower where frame
embeddings depend on one frame each (`independent_frames`). Mean pooling cannot see order: reversed and shuffled clips
give its features bit for bit.

Orders are shown with the frames that the model is tested on. Numbers of frames are compared on frames from the middle
of as many equal segments: by their starts, as Text4Vis samples, a single frame would be the clip's first, and the
effect of the number mixed with that of the place.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from motion_lib.data.clips import Clips
from motion_lib.data.datasets import VideoDataset, VideoItem, check_missing
from motion_lib.data.video import VideoReadError, sample_indices
from motion_lib.models.prototype import MeanPooling, PrototypeClassifier
from motion_lib.models.xclip import XClip
from motion_lib.texts.descriptions import DescriptionSet

FRAME_COUNTS = (1, 2, 4, 8, 16, 32)
FILMED, REVERSED, SHUFFLED = "as filmed", "reversed", "shuffled"
SPREAD = "middles of segments"
REPEATED, FROZEN = "one frame repeated", "middle frame frozen"
ORDERS = (FILMED, REVERSED, SHUFFLED, REPEATED, FROZEN)
SHUFFLES = 3


@dataclass(frozen=True)
class Control:
    """One way to show a clip; `frames` of them, `draw` numbers the random ones."""

    name: str
    frames: int
    draw: int = 0

    def sampling(self, own: str) -> str:
        """How frames are sampled, for a model that samples by `own`; see `motion_lib.data.video.sample_indices`."""
        return "center" if self.name == SPREAD else own

    def positions(self, index: int) -> np.ndarray:
        """(T,) which of the T sampled frames of video `index` are shown, in order."""
        filmed = np.arange(self.frames)
        if self.name == REVERSED:
            return filmed[::-1].copy()
        if self.name == SHUFFLED:  # the same order for all videos, and never the one that was filmed
            orders = (np.random.default_rng([self.draw, attempt]).permutation(filmed) for attempt in range(100))
            return next((order for order in orders if (order != filmed).any()), filmed)
        if self.name == FROZEN:
            return np.full(self.frames, self.frames // 2)
        if self.name == REPEATED:
            return np.full(self.frames, np.random.default_rng([3, index]).integers(self.frames))
        return filmed


def controls_for(model: PrototypeClassifier) -> list[Control]:
    """The controls that a model can be shown, the clip as filmed first.

    All orders of its own number of frames, and other numbers as far as its weights allow, see `beyond_its_weights`.
    """
    own, beyond = model.preprocess.num_frames, beyond_its_weights(model)
    orders = [Control(name, own) for name in (FILMED, REVERSED, REPEATED, FROZEN)]
    orders += [Control(SHUFFLED, own, draw) for draw in range(SHUFFLES)]
    return orders + [Control(SPREAD, count) for count in sorted({*FRAME_COUNTS, own} - beyond.keys())]


def beyond_its_weights(model: PrototypeClassifier) -> dict[int, str]:
    """{number of frames: why a model is not shown it}.

    A model whose frames talk to each other has its number built in; a temporal transformer has learned a place for as
    many frames as it was trained with.
    """
    own = model.preprocess.num_frames
    if not model.independent_frames:
        return {count: f"made for {own} frames" for count in FRAME_COUNTS if count != own}
    if isinstance(model.head, MeanPooling):
        return {}
    return {count: f"{own} places learned" for count in FRAME_COUNTS if count > own}


def frames_label(count: int) -> str:
    """Name of a number of frames in tables."""
    return "1 frame" if count == 1 else f"{count} frames"


class _Pictures(Dataset):
    """The distinct frames that all controls of a video need, and where in them each control finds its own."""

    def __init__(self, clips: Clips, controls: Sequence[Control]):
        self.clips, self.controls = clips, controls

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[int, np.ndarray | VideoReadError, list[np.ndarray]]:
        own = self.clips.preprocess.sampling
        shown: list[np.ndarray] = []  # under each control the indices of its frames

        def choose(length: int) -> np.ndarray:
            sampled = (sample_indices(length, c.frames, c.sampling(own)) for c in self.controls)
            shown[:] = [np.asarray(s)[c.positions(index)] for c, s in zip(self.controls, sampled, strict=True)]
            return np.unique(np.concatenate(shown))

        try:
            pictures = self.clips.source.read(index, choose)
        except VideoReadError as error:
            return index, error, []
        wanted = np.unique(np.concatenate(shown))
        places = [np.searchsorted(wanted, indices) for indices in shown]
        return index, pictures, places


class _Batch(NamedTuple):
    """Some videos; their pictures stand in one tensor, which a worker hands over in shared memory at once."""

    indices: list[int]
    pictures: Tensor  # (P, 3, S, S) uint8, of all videos one after the other
    counts: list[int]  # how many of them each video has
    places: list[list[np.ndarray]]  # of each video, under each control, among its own
    failed: dict[int, str]

    @classmethod
    def of(cls, samples: list[tuple[int, np.ndarray | VideoReadError, list[np.ndarray]]]) -> "_Batch":
        """As the loader's `collate_fn`."""
        failed = {i: read.reason for i, read, _ in samples if isinstance(read, VideoReadError)}
        shown = [sample for sample in samples if sample[0] not in failed]
        indices, pictures, places = map(list, zip(*shown, strict=True)) if shown else ([], [], [])
        joined = torch.from_numpy(np.concatenate(pictures)) if shown else torch.empty(0, 0, 0, 3)
        return cls(indices, joined.permute(0, 3, 1, 2), [len(p) for p in pictures], places, failed)


def encode_controls(
    model: PrototypeClassifier, clips: Clips, controls: Sequence[Control], batch_size: int = 16, num_workers: int = 0
) -> Iterator[tuple[list[int], list[Tensor], dict[str, str]]]:
    """Decode every video once and encode it under every control.

    Yields:
        For each batch the indices of its readable videos, one (B, ...) feature tensor a control, and the videos that
        could not be read with the reason.
    """
    items = clips.dataset.items
    loader = DataLoader(_Pictures(clips, controls), batch_size, num_workers=num_workers, collate_fn=_Batch.of)
    for batch in tqdm(loader, desc=f"video controls, {clips.dataset.name}", unit="batch", mininterval=2):
        failed = {items[i].video_id: reason for i, reason in batch.failed.items()}
        yield batch.indices, _features(model, batch) if batch.indices else [], failed


@torch.inference_mode()
def _features(model: PrototypeClassifier, batch: _Batch) -> list[Tensor]:
    encode_pictures, encode_sequence = _in_two_steps(model)
    of_videos = encode_pictures(model.normalise(batch.pictures.to(model.device))).split(batch.counts)
    ways = zip(*batch.places, strict=True)  # of each control, the places of every video
    return [encode_sequence(torch.stack([v[p] for v, p in zip(of_videos, way, strict=True)])) for way in ways]


def _in_two_steps(model: PrototypeClassifier) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """What a model computes of each picture alone, (N, 3, S, S) -> (N, ...), and the rest, (B, T, ...) -> (B, ...)."""
    if isinstance(model, XClip):
        return model.encode_pictures, model.encode_sequence
    if model.independent_frames:
        return lambda pictures: model.encode_frames(pictures[None])[0], model.head
    return lambda pictures: pictures, model.encode_video


def score_controls(
    model: PrototypeClassifier,
    clips: Clips,
    controls: Sequence[Control],
    sets: Sequence[DescriptionSet],
    max_missing: float,
    num_workers: int = 0,
) -> tuple[np.ndarray, list[VideoItem], dict[str, str]]:
    """Compare every video under every control with every description of each set.

    Returns:
        (C, S, N, K) float32 logits of C controls and S sets; the N videos that could be read; {video_id: reason} of
        the others.

    Raises:
        TooManyMissing: where more than the share `max_missing` of the listed videos is absent or unreadable.
    """
    prototypes = text_prototypes(model, sets, clips.dataset)
    scores, shown, failed = [], [], dict(clips.failed)
    for indices, features, unreadable in encode_controls(model, clips, controls, num_workers=num_workers):
        failed.update(unreadable)
        shown += [clips.dataset.items[i] for i in indices]
        with torch.inference_mode():
            logits = [[model.similarity(video, text).float().cpu() for text in prototypes] for video in features]
        scores += [np.array(logits)] if indices else []
    check_missing(replace(clips.dataset, items=tuple(shown)), max_missing, failed)
    return np.concatenate(scores, axis=2), shown, failed


def text_prototypes(model: PrototypeClassifier, sets: Sequence[DescriptionSet], dataset: VideoDataset) -> list[Tensor]:
    """(K, ...) text features of each set, in the order of the data set's classes."""
    with torch.inference_mode():
        return [model.encode_text(texts.select(dataset.class_names).texts) for texts in sets]
