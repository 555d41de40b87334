"""One trained method as the subject of probes: loaded once, its probes read where they were already made."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from motion_lib import (
    evaluation,
    frames,
    heads,
    image_tower,
    metrics,
    models,
    order_control,
    preprocessing,
    probes,
    text_controls,
    video,
    video_controls,
    xclip,
)
from motion_lib.datasets import VideoDataset
from motion_lib.descriptions import DescriptionSet
from motion_lib.experiment import Experiment
from motion_lib.methods import Method, get_method
from motion_lib.models import PrototypeClassifier
from motion_lib.probes import Condition, Probe
from motion_lib.records import Weights
from motion_lib.storage import content_hash

# Code that decides what a probe gives, besides its weights, videos and texts.
_PROBED_BY = (
    evaluation,
    frames,
    heads,
    image_tower,
    metrics,
    models,
    order_control,
    preprocessing,
    probes,
    text_controls,
    video,
    video_controls,
    xclip,
)


@dataclass(frozen=True)
class Subject:
    """One trained method of an experiment, loaded once for all probes of a data set."""

    experiment: Experiment
    method: Method
    model: PrototypeClassifier
    weights: Weights

    @classmethod
    def of(cls, made: Experiment, key: str) -> "Subject":
        """The method after its last epoch."""
        model, weights = made.model_and_weights(key)
        return cls(made, get_method(key), model, weights)

    def keep(
        self,
        family: str,
        dataset: str,
        made_from: Sequence[object],
        probe: Callable[[], tuple[np.ndarray, list[Condition], dict[str, str]]],
    ) -> Path:
        """The record of a probe, read if it is there and made otherwise.

        Args:
            made_from: what decides its outcome, besides the weights and the code.
            probe: gives the clusters, the conditions and, by name, what could not be run and why.
        """
        cfg, drawn = self.experiment.cfg, None if self.weights.checkpoint_sha256 else self.experiment.cfg.seed
        identity = content_hash(
            asdict(self.weights), self.method.head, drawn, self.model.preprocess.as_dict(),
            self.experiment.data_label, *made_from, *_PROBED_BY,
        )  # fmt: skip
        if path := probes.kept_probe(cfg, family, self.method.key, dataset, identity):
            return path
        started = time.perf_counter()
        clusters, conditions, not_run = probe()
        about = Probe(
            family, self.method, dataset, self.weights, self.experiment.data_label, identity, clusters, conditions,
            not_run,
        )  # fmt: skip
        return probes.write_probe(cfg, about, time.perf_counter() - started)


def text_prototypes(
    model: PrototypeClassifier, sets: Sequence[DescriptionSet], dataset: VideoDataset
) -> list[torch.Tensor]:
    """(K, ...) text features of each set, in the order of the data set's classes."""
    with torch.inference_mode():
        return [model.encode_text(only.select(dataset.class_names).texts) for only in sets]


def ids_of(dataset: VideoDataset) -> list[str]:
    """Names of its videos, in order."""
    return [item.video_id for item in dataset.items]
