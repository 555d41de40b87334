"""Motion-description retrieval: which of all descriptions fits this video best?

Each video is encoded once per model; any number of description sets is then scored against the
features. With one right description per video, recall at k is top-k accuracy (paper, section 5).
"""

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from motion_lib.datasets import VideoDataset
from motion_lib.descriptions import DescriptionSet
from motion_lib.frames import Clips, clips_for
from motion_lib.loading import evaluation_batches
from motion_lib.models import VideoTextModel
from motion_lib.preprocessing import normalise
from motion_lib.statistics import Interval, bootstrap_accuracy


@dataclass(frozen=True)
class VideoFeatures:
    """Features of every readable video of a data set.

    Attributes:
        features: (N, ...) as the model gives them.   dataset: the N videos, in that order.
        failed: {video_id: reason}.   wall_time_sec: of decoding and encoding.
    """

    features: Tensor
    dataset: VideoDataset
    failed: dict[str, str]
    wall_time_sec: float


@dataclass(frozen=True)
class RetrievalResult:
    """How well one description set is retrieved.

    Attributes:
        scores: (N, K) logits.   labels: (N,) right descriptions.   groups: (N,) for the bootstrap.
        video_ids: (N,) in the same order.   failed: {video_id: reason} of the unreadable videos.
        missing: videos of the official list that are not on disk.

    A tie counts against the model, so that a constant score is never right.
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
        right = self.scores[np.arange(len(self.labels)), self.labels][:, None]
        return (~(self.scores < right)).sum(axis=1) - 1  # "not less" also counts NaN against the model

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
        return float(np.mean([self.correct[self.labels == c].mean() for c in np.unique(self.labels)]))

    def interval(self, resamples: int = 10_000, confidence: float = 0.95) -> Interval:
        """Top-1 with its bootstrap interval over groups of clips from one recording."""
        return bootstrap_accuracy(self.correct, self.groups, resamples=resamples, confidence=confidence)


def encode_videos(
    model: VideoTextModel,
    dataset: VideoDataset | Clips,
    batch_size: int = 32,
    num_workers: int = 0,
    device: str | torch.device | None = None,
) -> VideoFeatures:
    """Decode and encode every video once.

    `device` None is the model's own, the CPU for a model that names none.
    Unreadable videos are left out, counted and named in `failed`.
    Raises: ValueError if no video can be read.
    """
    clips = clips_for(dataset, model.preprocess)
    device = device or getattr(model, "device", "cpu")
    start, features, kept, failed = time.perf_counter(), [], [], dict(clips.failed)
    batches = evaluation_batches(clips, batch_size, num_workers)
    with torch.inference_mode():
        for batch in tqdm(
            batches,
            desc=f"encoding {clips.dataset.name} ({clips.dataset.subset})",
            unit="batch",
            mininterval=2,
        ):
            failed.update(batch.failed)
            if len(batch):
                features.append(model.encode_video(normalise(batch.frames.to(device), model.preprocess)))
                kept += batch.indices.tolist()
    if not kept:
        raise ValueError(
            f"{clips.dataset.name}: none of its {len(clips)} videos could be read, e.g. {next(iter(failed.items()))}."
        )
    read = VideoDataset(
        clips.dataset.name,
        clips.dataset.class_names,
        tuple(clips.dataset.items[i] for i in kept),
        clips.dataset.split,
        clips.dataset.subset,
        clips.dataset.missing,
    )
    return VideoFeatures(torch.cat(features), read, failed, time.perf_counter() - start)


def score(model: VideoTextModel, videos: VideoFeatures, descriptions: DescriptionSet) -> RetrievalResult:
    """Compare every video with every description of its data set's classes."""
    chosen = descriptions.select(videos.dataset.class_names)
    with torch.inference_mode():
        logits = model.similarity(videos.features, model.encode_text(chosen.texts))
    return RetrievalResult(
        videos.dataset.name,
        descriptions.name,
        logits.float().cpu().numpy(),
        np.array(videos.dataset.labels),
        np.array(videos.dataset.groups),
        tuple(item.video_id for item in videos.dataset.items),
        videos.failed,
        videos.dataset.missing,
    )


def evaluate(
    model: VideoTextModel,
    dataset: VideoDataset | Clips,
    descriptions: DescriptionSet,
    batch_size: int = 32,
    num_workers: int = 0,
) -> RetrievalResult:
    """Top-1 retrieval of a data set's descriptions (paper, Tables 2 and 3), on the model's device."""
    return score(model, encode_videos(model, dataset, batch_size, num_workers), descriptions)
