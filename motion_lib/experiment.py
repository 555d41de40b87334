"""One configured experiment: its data, its trained methods and their records.

This is the layer that notebooks call. Everything it makes is kept under the run's results folder
or the data root and named by what went into it, so that doing a thing twice costs nothing.
"""

from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from motion_lib import (
    augmentation,
    clip_loading,
    evaluation,
    feature_cache,
    frames,
    heads,
    image_tower,
    inputs,
    loading,
    model_loading,
    models,
    official,
    preprocessing,
    video,
    xclip,
)
from motion_lib.datasets import check_missing
from motion_lib.descriptions import DescriptionSet
from motion_lib.evaluation import RetrievalResult, VideoFeatures, encode_videos, score, score_all
from motion_lib.experiment_data import ExperimentData
from motion_lib.feature_cache import features_kept
from motion_lib.methods import DESCRIPTION_KINDS, Method, get_method
from motion_lib.miniature.knowledge import zero_shot_knowledge
from motion_lib.model_loading import load_model
from motion_lib.models import PrototypeClassifier
from motion_lib.official import RELEASES, Release, load_official
from motion_lib.protocols import protocol_results
from motion_lib.records import Measurement, Weights, device_name, write_record
from motion_lib.storage import content_hash, file_sha256
from motion_lib.training import Execution, History, Recipe, fine_tune, loop, recipe, state
from motion_lib.training.launch import launch, launched_by_torchrun
from motion_lib.training.run_files import is_finished

# Code that decides what a training run gives, besides its parameters.
_TRAINED_BY = (
    recipe,
    loop,
    state,
    augmentation,
    heads,
    models,
    image_tower,
    loading,
    preprocessing,
    video,
    frames,
    clip_loading,
    xclip,
)

_ENCODED_BY = (evaluation, feature_cache, model_loading, official)  # further code that decides features


class Experiment(ExperimentData):
    """Data, models and results of one `RunConfig`; raises as ExperimentData."""

    # -------------------------------------------------------------- training
    def recipe(self) -> Recipe:
        """The training recipe of this configuration."""
        cfg = self.cfg
        return Recipe(
            epochs=cfg.epochs,
            batch_size=cfg.batch_size,
            lr=cfg.lr,
            clip_ratio=cfg.clip_ratio,
            clip_ratio_reading=cfg.clip_ratio_reading,
            warmup_epochs=cfg.warmup_epochs,
            weight_decay=cfg.weight_decay,
            augmentation=cfg.augmentation,
            precision=cfg.precision,
            logit_scale=cfg.logit_scale,
            seed=cfg.seed,
        )

    def execution(self) -> Execution:
        """How this configuration trains, which changes no number (BatchNorm's aside, see `Execution`)."""
        cfg = self.cfg
        return Execution(
            num_workers=cfg.num_workers,
            at_once=cfg.at_once or None,
            checkpoint_minutes=cfg.checkpoint_minutes,
            recompute=cfg.recompute,
            compiled=cfg.compiled,
            tensorboard=cfg.tensorboard,
        )

    def training_texts(self, method: Method) -> DescriptionSet:
        """The texts that a method is trained with: class names in its template, or descriptions."""
        descriptions = self.descriptions(self.cfg.source, "object")
        if method.training_texts == "descriptions":
            return descriptions
        return DescriptionSet.from_class_names(descriptions.class_names, method.template)

    def release(self, method: Method) -> Release | None:
        """The authors' checkpoint that stands for a method in this configuration; None: it is trained here."""
        return RELEASES.get(method.key) if self.cfg.baselines == "official" else None

    def trains(self, key: str) -> bool:
        """Whether a method is fine-tuned here."""
        method = get_method(key)
        return method.trained and self.release(method) is None

    def load(self, method: Method, checkpoint: Path | None = None) -> PrototypeClassifier:
        """The model of a method; a fresh head is drawn from the run's seed."""
        if release := self.release(method):
            path = release.path(self.cfg.data_root)
            model, ignored = load_official(method.key, path, self.backbone, self.cfg.torch_device)
            for key, reason in ignored.items():
                print(f"{path.name}: {key} ignored ({reason})")
            return model
        torch.manual_seed(self.cfg.seed)
        return load_model(
            method.architecture,
            checkpoint,
            self.backbone,
            method.head,
            self.cfg.torch_device,
            self.cfg.num_frames,
        )

    def run_dir(self, method: Method) -> Path:
        """Folder of a method's checkpoints, named by everything that decides its training."""
        texts = self.training_texts(method)
        backbone = file_sha256(Path(self.backbone)) if Path(self.backbone).is_file() else self.backbone
        world = self.data_root.name if self.miniature else self.cfg.source
        preprocess = self.vanilla.preprocess.as_dict()
        scheme = (method.architecture, method.head, method.training_texts)
        identity = content_hash(asdict(self.recipe()), scheme, texts.sha256, backbone, world, preprocess, *_TRAINED_BY)
        return self.cfg.results_dir / "runs" / f"{method.key}-seed{self.cfg.seed}-{identity}"

    def train(self, key: str, fabric: Fabric | None = None) -> History:
        """Fine-tune a method on the source data set, or read the finished run; methods that are not
        trained here give an empty history.

        With several `devices` the training is a process group of its own, started by torchrun; `fabric` is
        what a member of that group brings. Raises: as `fine_tune`; RuntimeError if the group fails.
        """
        method = get_method(key)
        run_dir = self.run_dir(method)
        if not self.trains(key):
            return History(run_dir)
        model = self.load(method)
        if fabric is not None:
            model = model.to(fabric.device)
        with fabric.rank_zero_first() if fabric else nullcontext():
            clips = self.clips(self.cfg.source, "train", model)  # fills the frame cache, by one process
        if self.cfg.devices > 1 and not launched_by_torchrun() and not is_finished(run_dir, self.cfg.epochs):
            launch(self.cfg, key, run_dir)
        return fine_tune(
            model,
            clips,
            self.training_texts(method),
            self.recipe(),
            run_dir,
            self.execution(),
            partial(self._validate, method, model, run_dir) if key in self.cfg.validate else None,
            fabric,
        )

    def _validate(self, method: Method, model: PrototypeClassifier, run_dir: Path, epoch: int) -> dict[str, float]:
        """Top-1 of the held-out source clips and of every target's description sets after an epoch.

        The features are kept, so that measuring the same weights later encodes nothing again.
        """
        weights = self._weights(method, History(run_dir).checkpoint(epoch))
        source = self.encode(method, model, weights, self.cfg.source, "val")
        measured = {"source": score(model, source, self.training_texts(method)).accuracy()}
        for target in self.cfg.targets:
            encoded = self.encode(method, model, weights, target, self._encoded_subset(epoch))
            videos = encoded.of(self.dataset(target, self.cfg.target_subset))
            for kind in DESCRIPTION_KINDS:
                measured[f"{target}/{kind}"] = score(model, videos, self.descriptions(target, kind)).accuracy()
        return measured

    def _encoded_subset(self, epoch: int | None) -> str:
        """Which videos of a target are encoded after an epoch: after the last all of them, since the protocols are
        of all; after the others those that records are of."""
        return "all" if epoch in (None, self.cfg.epochs) else self.cfg.target_subset

    # -------------------------------------------------------------- results
    def checkpoint(self, key: str, epoch: int | None = None) -> Path | None:
        """A method's weights after its last epoch, or after `epoch` epochs; None: the backbone as pretrained.

        A released checkpoint has no epochs: it is returned for each of them.
        """
        if release := self.release(get_method(key)):
            return release.path(self.cfg.data_root)
        history = self.train(key)
        if not self.trains(key) or epoch == 0:
            return None
        return history.last_checkpoint if epoch is None else history.checkpoint(epoch)

    def trained_model(self, key: str, epoch: int | None = None) -> PrototypeClassifier:
        """A method's model after its last epoch, or after `epoch` epochs (0: before training)."""
        return self.load(get_method(key), self.checkpoint(key, epoch))

    def model_and_weights(self, key: str, epoch: int | None = None) -> tuple[PrototypeClassifier, Weights]:
        """`trained_model` and what it was loaded from."""
        method, checkpoint = get_method(key), self.checkpoint(key, epoch)
        return self.load(method, checkpoint), self._weights(method, checkpoint)

    def _weights(self, method: Method, checkpoint: Path | None) -> Weights:
        backbone, trained = inputs.backbone_file(self.backbone), checkpoint and file_sha256(checkpoint)
        release = self.release(method)
        label = f"released by its authors: {release.file}" if release else method.weights
        return Weights(label, self.backbone_label, file_sha256(backbone), trained or "")

    def encode(
        self, method: Method, model: PrototypeClassifier, weights: Weights, name: str, subset: str
    ) -> VideoFeatures:
        """Features of a data set, each video encoded once; kept on disk with the runs.

        Args: weights: what `model` was loaded from.
        """
        dataset = self.dataset(name, subset)
        loaded = (method.head, weights.backbone_sha256, weights.checkpoint_sha256, model.preprocess.as_dict())
        # Without a checkpoint what CLIP lacks is drawn from the seed; mean pooling lacks nothing.
        drawn = None if weights.checkpoint_sha256 or method.head == "mean" else self.cfg.seed
        made = (loaded, drawn, dataset.stamps(), dataset.missing, device_name(self.cfg))
        identity = content_hash(*made, *_TRAINED_BY, *_ENCODED_BY)
        path = self.cfg.results_dir / "runs" / "features" / f"{name}-{subset}-{identity}.pt"

        def encoded() -> VideoFeatures:
            clips = self.clips(name, subset, model)
            return encode_videos(model, clips, num_workers=self.cfg.num_workers, device=self.cfg.torch_device)

        kept = features_kept(path, dataset, encoded)
        check_missing(kept.dataset, self.cfg.max_missing, kept.failed)
        return kept

    def measure(self, key: str, epoch: int | None = None) -> dict[tuple[str, str], RetrievalResult]:
        """Retrieve every target's descriptions, named and masked, and write one record each.

        Returns: {(target, kind): result}.   `epoch`: as in `trained_model`; None is the last one.
        """
        method, results = get_method(key), {}
        model, weights = self.model_and_weights(key, epoch)
        for target in self.cfg.targets:
            sets = [self.descriptions(target, kind) for kind in DESCRIPTION_KINDS]
            videos = self.encode(method, model, weights, target, self._encoded_subset(epoch))
            part = videos.of(self.dataset(target, self.cfg.target_subset))
            listed = {item.video_id for item in part.dataset.items}
            for kind, descriptions, scored in zip(DESCRIPTION_KINDS, sets, score_all(model, videos, sets), strict=True):
                kept = scored.among(np.array([video_id in listed for video_id in scored.video_ids]))
                result = replace(kept, failed=part.failed, missing=part.dataset.missing)
                protocols = {} if epoch is not None else self._protocols(target, kind, scored)
                results[target, kind] = result
                measured = Measurement(
                    method, target, kind, epoch, result, descriptions, videos.wall_time_sec, len(videos.dataset),
                    weights, self.data_label, class_names=videos.dataset.class_names, protocols=protocols,
                )  # fmt: skip
                write_record(self.cfg, measured, model.preprocess)
        return results

    def _protocols(self, target: str, kind: str, result: RetrievalResult) -> dict[str, dict]:
        return protocol_results(result, self.protocol_lists(target, kind), self.cfg.bootstrap_resamples)

    @cached_property
    def vanilla(self) -> PrototypeClassifier:
        """The backbone as pretrained, mean pooling."""
        return self.load(get_method("clip"))

    def backbone_knowledge(self) -> pd.DataFrame:
        """What the backbone names of the HMDB-like target's clips, where object and scene are drawn freely."""
        if not self.miniature:
            return pd.DataFrame({"Aspect": ["not measured: the content of real clips is not known"]})
        vanilla = get_method("clip")
        videos = self.encode(vanilla, self.vanilla, self._weights(vanilla, None), "miniature-hmdb", "all")
        return zero_shot_knowledge(self.vanilla, videos, self.world.hmdb, self.cfg.world_seed)

    def source_validation(self, key: str, epoch: int | None = None) -> RetrievalResult:
        """Held-out source clips against the texts that the method was trained with; writes a record where these
        are descriptions."""
        method = get_method(key)
        model, weights = self.model_and_weights(key, epoch)
        named = self.descriptions(self.cfg.source, "object")
        texts = self.training_texts(method) if method.trained else named
        videos = self.encode(method, model, weights, self.cfg.source, "val")
        result = score(model, videos, texts)
        if texts.sha256 == named.sha256:
            measured = Measurement(
                method, self.cfg.source, "object", epoch, result, texts, videos.wall_time_sec, len(videos.dataset),
                weights, self.data_label, "val", class_names=videos.dataset.class_names,
            )  # fmt: skip
            write_record(self.cfg, measured, model.preprocess)
        return result
