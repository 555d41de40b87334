"""One configured experiment: its data, its trained methods and their records.

This is the layer that notebooks call. Everything it makes is kept under the run's results folder
or the data root and named by what went into it, so that doing a thing twice costs nothing.
"""

from contextlib import nullcontext
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path

import pandas as pd
import torch
from lightning_fabric import Fabric

from motion_lib import (
    augmentation,
    clip_loading,
    evaluation,
    frames,
    heads,
    image_tower,
    inputs,
    loading,
    models,
    preprocessing,
    video,
    xclip,
)
from motion_lib.config import RunConfig
from motion_lib.datasets import VideoDataset, check_missing, open_dataset
from motion_lib.descriptions import DescriptionSet, read_descriptions
from motion_lib.evaluation import RetrievalResult, VideoFeatures, encode_videos, score
from motion_lib.feature_cache import features_kept
from motion_lib.frames import Clips, open_clips
from motion_lib.methods import DESCRIPTION_KINDS, Method, get_method
from motion_lib.miniature.build import MiniaturePaths, build
from motion_lib.miniature.knowledge import zero_shot_knowledge
from motion_lib.miniature.pretrain import TinyClip
from motion_lib.miniature.sentences import class_caption
from motion_lib.miniature.world import World, make_world
from motion_lib.model_loading import load_model
from motion_lib.models import FrameEncoder, PrototypeClassifier
from motion_lib.official import RELEASES, Release, load_official
from motion_lib.records import Measurement, Weights, write_record
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


class Experiment:
    """Data, models and results of one `RunConfig`.

    Raises: MissingInputs with one list of everything that the profile lacks on this machine.
    """

    def __init__(self, cfg: RunConfig):
        for key in cfg.validate:
            get_method(key)  # a name that is none would be left out in silence
        inputs.require_inputs(cfg)
        self.cfg = cfg

    # -------------------------------------------------------------- inputs
    @cached_property
    def miniature(self) -> MiniaturePaths | None:
        """The rendered world and its tiny CLIP, built if absent; None in other profiles."""
        cfg = self.cfg
        if cfg.profile != "miniature":
            return None
        tiny = TinyClip(num_stills=cfg.stills, epochs=cfg.pretrain_epochs)
        folder = cfg.data_root / "miniature"
        return build(folder, cfg.world_seed, tiny, source_clips=cfg.source_clips, target_clips=cfg.target_clips)

    @cached_property
    def backbone(self) -> str:
        """What `load_model` takes: an OpenAI name or a path."""
        return str(self.miniature.clip) if self.cfg.backbone == "miniature" else inputs.resolved(self.cfg.backbone)

    @property
    def backbone_label(self) -> str:
        """The backbone as a notebook prints it, without a path."""
        return Path(self.backbone).name if Path(self.backbone).is_file() else self.backbone

    @property
    def data_root(self) -> Path:
        """Parent of the official layouts."""
        return self.miniature.root if self.miniature else self.cfg.data_root

    def dataset(self, name: str, subset: str) -> VideoDataset:
        """A data set of this experiment. Raises: TooManyMissing above the share `max_missing`."""
        dataset = open_dataset(name, self.data_root, self.cfg.split, subset)
        check_missing(dataset, self.cfg.max_missing)
        return dataset

    def clips(self, name: str, subset: str, model: PrototypeClassifier) -> Clips:
        """The same, ready for a model, with the frame cache of the configuration.

        What is packed loses a little to JPEG, so only training reads it: targets are encoded once for
        each model and decoded for that.
        """
        cache = self.cfg.frame_cache
        if cache == "packed" and (name, subset) != (self.cfg.source, "train"):
            cache = "none"
        clips = open_clips(
            self.dataset(name, subset), model.preprocess, self.data_root / "frames", cache, self.cfg.num_workers
        )
        check_missing(clips.dataset, self.cfg.max_missing, clips.failed)
        return clips

    def descriptions(self, name: str, kind: str) -> DescriptionSet:
        """Motion descriptions of a data set, "object" (named) or "masked"."""
        if self.miniature:
            return read_descriptions(self.miniature.descriptions(name.removeprefix("miniature-"), kind))
        return read_descriptions(inputs.authors_csv(self.cfg, name, kind))

    def caption(self, index: int) -> str:
        """An ordinary caption of source class `index`: alt text in the miniature, a prompt of the name elsewhere."""
        if self.miniature:
            return class_caption(self.world.source.classes[index])
        return f"a video of a person {self.descriptions(self.cfg.source, 'object').class_names[index]}"

    @cached_property
    def world(self) -> World:
        """The classes of the miniature."""
        return make_world(self.cfg.world_seed, source_clips=self.cfg.source_clips, target_clips=self.cfg.target_clips)

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
            videos = self.encode(method, model, weights, target, self.cfg.target_subset)
            for kind in DESCRIPTION_KINDS:
                measured[f"{target}/{kind}"] = score(model, videos, self.descriptions(target, kind)).accuracy()
        return measured

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

    def _weights(self, method: Method, checkpoint: Path | None) -> Weights:
        backbone, trained = inputs.backbone_file(self.backbone), checkpoint and file_sha256(checkpoint)
        release = self.release(method)
        label = f"released by its authors: {release.file}" if release else method.weights
        return Weights(label, self.backbone_label, file_sha256(backbone), trained or "")

    def encode(
        self, method: Method, model: PrototypeClassifier, weights: Weights, name: str, subset: str
    ) -> VideoFeatures:
        """Features of a data set, each video encoded once; kept on disk with the runs.

        Returns: VideoFeatures on the run's device.   Args: weights: what `model` was loaded from.
        """
        dataset = self.dataset(name, subset)
        videos = (self.data_root.name, [item.video_id for item in dataset.items])
        loaded = (method.head, weights.backbone_sha256, weights.checkpoint_sha256, model.preprocess.as_dict())
        # Without a checkpoint what CLIP lacks is drawn from the seed; mean pooling lacks nothing.
        drawn = None if weights.checkpoint_sha256 or method.head == "mean" else self.cfg.seed
        identity = content_hash(loaded, drawn, videos, *_TRAINED_BY, evaluation)
        path = self.cfg.results_dir / "runs" / "features" / f"{name}-{subset}-{identity}.pt"

        def encoded() -> VideoFeatures:
            clips = self.clips(name, subset, model)
            return encode_videos(model, clips, num_workers=self.cfg.num_workers, device=self.cfg.torch_device)

        kept = features_kept(path, dataset, encoded)
        check_missing(kept.dataset, self.cfg.max_missing, kept.failed)
        return replace(kept, features=kept.features.to(self.cfg.torch_device))

    def measure(self, key: str, epoch: int | None = None) -> dict[tuple[str, str], RetrievalResult]:
        """Retrieve every target's descriptions, named and masked, and write one record each.

        Returns: {(target, kind): result}.   `epoch`: as in `trained_model`; None is the last one.
        """
        method, checkpoint, results = get_method(key), self.checkpoint(key, epoch), {}
        model, weights = self.load(method, checkpoint), self._weights(method, checkpoint)
        data = self.data_root.name if self.miniature else ""
        for target in self.cfg.targets:
            videos = self.encode(method, model, weights, target, self.cfg.target_subset)
            for kind in DESCRIPTION_KINDS:
                descriptions = self.descriptions(target, kind)
                result = results[target, kind] = score(model, videos, descriptions)
                measured = Measurement(
                    method, target, kind, epoch, result, descriptions, videos.wall_time_sec, weights, data
                )
                write_record(self.cfg, measured, model.preprocess)
        return results

    @cached_property
    def vanilla(self) -> PrototypeClassifier:
        """The backbone as pretrained, mean pooling."""
        return self.load(get_method("clip"))

    def encode_frames(self, model: PrototypeClassifier, name: str) -> VideoFeatures:
        """Frame embeddings (N, T, D) of a target, what a temporal head works on."""
        clips = self.clips(name, self.cfg.target_subset, model)
        return encode_videos(FrameEncoder(model), clips, num_workers=self.cfg.num_workers, device=self.cfg.torch_device)

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
        method, checkpoint = get_method(key), self.checkpoint(key, epoch)
        model, weights = self.load(method, checkpoint), self._weights(method, checkpoint)
        named = self.descriptions(self.cfg.source, "object")
        texts = self.training_texts(method) if method.trained else named
        videos = self.encode(method, model, weights, self.cfg.source, "val")
        result = score(model, videos, texts)
        if texts.sha256 == named.sha256:
            data = self.data_root.name if self.miniature else ""
            measured = Measurement(
                method, self.cfg.source, "object", epoch, result, texts, videos.wall_time_sec, weights, data, "val"
            )
            write_record(self.cfg, measured, model.preprocess)
        return result
