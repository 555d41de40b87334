"""One trained method as the subject of probes: loaded once, its probes read where they were already made."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from motion_lib import (
    clip_loading,
    evaluation,
    feature_cache,
    frames,
    heads,
    image_tower,
    loading,
    metrics,
    model_loading,
    models,
    official,
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
from motion_lib.probes import Outcome, Probe
from motion_lib.records import Weights, device_name
from motion_lib.storage import content_hash

# Code that decides what a probe gives, besides its weights, videos and texts; the module of a probe adds itself.
_PROBED_BY = (
    clip_loading,
    evaluation,
    feature_cache,
    frames,
    heads,
    image_tower,
    loading,
    metrics,
    model_loading,
    models,
    official,
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
        probe: Callable[[], Outcome],
    ) -> Path:
        """The record of a probe, read if it is there and made otherwise.

        Args:
            made_from: what decides its outcome, besides the weights and the code that all probes share.
        """
        cfg, drawn = self.experiment.cfg, None if self.weights.checkpoint_sha256 else self.experiment.cfg.seed
        identity = content_hash(
            asdict(self.weights), self.method.head, drawn, self.model.preprocess.as_dict(),
            self.experiment.data_label, device_name(cfg), *made_from, *_PROBED_BY,
        )  # fmt: skip
        if path := probes.kept_probe(cfg, family, self.method.key, dataset, identity):
            return path
        started = time.perf_counter()
        outcome = probe()
        about = Probe(family, self.method, dataset, self.weights, self.experiment.data_label, identity)
        return probes.write_probe(cfg, about, outcome, time.perf_counter() - started)


def text_prototypes(
    model: PrototypeClassifier, sets: Sequence[DescriptionSet], dataset: VideoDataset
) -> list[torch.Tensor]:
    """(K, ...) text features of each set, in the order of the data set's classes."""
    with torch.inference_mode():
        return [model.encode_text(only.select(dataset.class_names).texts) for only in sets]
