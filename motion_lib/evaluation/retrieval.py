"""Motion-description retrieval: which of all descriptions fits this video best?

Each video is encoded once per model; any number of description sets is then compared with the features. With one right
description per video, recall at k is top-k accuracy (paper, section 5).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from motion_lib.data.clips import Clips
from motion_lib.data.datasets import VideoDataset
from motion_lib.evaluation.features import VideoFeatures, encode_videos
from motion_lib.evaluation.intervals import Interval, bootstrap_accuracy
from motion_lib.evaluation.metrics import mean_per_class, ranks_of_texts, retrieval_metrics
from motion_lib.models.memory import InPieces
from motion_lib.models.prototype import VideoTextModel
from motion_lib.texts.descriptions import DescriptionSet

_COMPARED_AT_ONCE = 2**25  # numbers of the videos' features: some hundred of X-CLIP's, any data set of another model's


def evaluate(
    model: VideoTextModel,
    dataset: VideoDataset | Clips,
    descriptions: DescriptionSet,
    batch_size: int = 32,
    num_workers: int = 0,
) -> "RetrievalResult":
    """Retrieve a data set's descriptions (paper, Tables 2 and 3), on the model's device."""
    videos = encode_videos(model, dataset, batch_size, num_workers)
    return score(model, videos, descriptions)


def score(model: VideoTextModel, videos: VideoFeatures, descriptions: DescriptionSet) -> "RetrievalResult":
    """Compare every video with the description of every class of its data set."""
    return score_all(model, videos, [descriptions])[0]


def score_all(model: VideoTextModel, videos: VideoFeatures, sets: Sequence[DescriptionSet]) -> list["RetrievalResult"]:
    """Compare every video with the descriptions of many sets.

    A text that several sets share is encoded once, and all are compared with the videos in one product.

    Raises:
        ValueError: if no video could be read.
    """
    dataset = videos.dataset
    if not dataset.items:
        failed = next(iter(videos.failed.items()), "none is there")
        raise ValueError(f"{dataset.name}: none of its {len(videos.failed)} videos could be read, e.g. {failed}.")
    texts = [descriptions.select(dataset.class_names).texts for descriptions in sets]
    column = {text: i for i, text in enumerate(dict.fromkeys(text for of_set in texts for text in of_set))}
    logits = similarities(model, videos.features, tuple(column)).numpy()
    ids = tuple(item.video_id for item in dataset.items)
    rest = (np.array(dataset.labels), np.array(dataset.groups), ids, videos.failed, dataset.missing)
    return [
        RetrievalResult(dataset.name, descriptions.name, logits[:, [column[text] for text in of_set]], *rest)
        for descriptions, of_set in zip(sets, texts, strict=True)
    ]


def similarities(model: VideoTextModel, features: Tensor, texts: Sequence[str] | Tensor) -> Tensor:
    """Compare videos with texts where the model has its text features.

    Args:
        features: (N, ...) on the CPU.
        texts: K of them, or their features.

    Returns:
        (N, K) float32 logits on the CPU.
    """
    with torch.inference_mode():
        encoded = texts if isinstance(texts, Tensor) else model.encode_text(texts)
        device, dtype = getattr(encoded, "device", "cpu"), getattr(encoded, "dtype", features.dtype)
        wider = torch.promote_types(features.dtype, dtype)  # of what is kept as float16

        def compare(videos: Tensor) -> Tensor:
            return model.similarity(videos.to(device, wider), encoded).float().cpu()

        pieces = InPieces(compare, max(1, _COMPARED_AT_ONCE // features[0].numel()))
        return torch.cat(list(pieces(features)))


@dataclass(frozen=True)
class RetrievalResult:
    """How well one description set is retrieved.

    A tie counts against the model, so that a constant score is never right (`motion_lib.evaluation.metrics`).

    Attributes:
        scores: (N, K) logits.
        labels: (N,) index of the right description.
        groups: (N,) recording of each video, for the bootstrap.
        failed: {video_id: reason} of the unreadable videos.
        missing: videos of the official list that are not on disk.
    """

    dataset: str
    descriptions: str
    scores: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    video_ids: tuple[str, ...]
    failed: dict[str, str]
    missing: tuple[str, ...] = ()

    @property
    def ranks(self) -> np.ndarray:
        """(N,) how many other descriptions score at least as high as the right one."""
        return ranks_of_texts(self.scores, self.labels)

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool: the right description came first."""
        return self.ranks == 0

    def accuracy(self, k: int = 1) -> float:
        """Share of videos whose description is among the k best."""
        return float((self.ranks < k).mean())

    @property
    def mean_per_class_acc(self) -> float:
        """Top-1 averaged over the classes that have videos."""
        return mean_per_class(self.correct, self.labels)

    def metrics(self) -> dict[str, float]:
        """All metrics of both directions, see `motion_lib.evaluation.metrics.retrieval_metrics`."""
        return retrieval_metrics(self.scores, self.labels)

    def among(self, videos: np.ndarray | None = None, classes: Collection[int] | None = None) -> "RetrievalResult":
        """The same answers on some of the videos, or among some of the classes.

        Args:
            videos: (N,) bool, those that are kept.
            classes: the candidates that are left; videos of other classes go too. Labels are renumbered.

        Raises:
            ValueError: if no video is left.
        """
        keep = np.ones(len(self.labels), dtype=bool) if videos is None else np.array(videos, dtype=bool)
        columns = np.arange(self.scores.shape[1]) if classes is None else np.array(sorted(classes))
        keep &= np.isin(self.labels, columns)
        if not keep.any():
            raise ValueError(f"{self.dataset}: none of its {len(keep)} videos is left to score.")
        return replace(
            self,
            scores=self.scores[np.ix_(keep, columns)],
            labels=np.searchsorted(columns, self.labels[keep]),
            groups=self.groups[keep],
            video_ids=tuple(video_id for video_id, kept in zip(self.video_ids, keep, strict=True) if kept),
        )

    def interval(self, resamples: int = 10_000, confidence: float = 0.95) -> Interval:
        """Top-1 with its bootstrap interval over groups of clips from one recording."""
        return bootstrap_accuracy(self.correct, self.groups, resamples=resamples, confidence=confidence)
