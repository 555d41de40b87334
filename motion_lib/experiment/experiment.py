"""One configured experiment: its data, its trained methods and their records. This is what notebooks call.

Everything it makes is kept under the run's results folder and named by what went into it, so that doing a thing twice
costs nothing: what is finished is looked up.
"""

from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from motion_lib.config import RunConfig
from motion_lib.data.datasets import check_missing
from motion_lib.evaluation import features
from motion_lib.evaluation.features import VideoFeatures, encode_videos, features_kept
from motion_lib.evaluation.protocols import protocol_results
from motion_lib.evaluation.retrieval import RetrievalResult, score, score_all
from motion_lib.experiment.data import open_data
from motion_lib.experiment.inputs import backbone_file
from motion_lib.experiment.records import Measurement, Weights, device_name, write_record
from motion_lib.methods import DESCRIPTION_KINDS, Method, get_method
from motion_lib.miniature.knowledge import zero_shot_knowledge
from motion_lib.models import loading, released
from motion_lib.models.clip import input_resolution
from motion_lib.models.loading import default_preprocess, load_model
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.models.released import RELEASES, Release, load_official
from motion_lib.storage import code_of, content_hash, file_sha256
from motion_lib.texts.descriptions import DescriptionSet
from motion_lib.training import Execution, History, Recipe, fine_tune, loop
from motion_lib.training.checkpoints import finished_history
from motion_lib.training.launch import launch, launched_by_torchrun
from motion_lib.training.loop import ClassifierWithTexts, parameter_groups
from motion_lib.training.memory import largest_in_training

_Settings = TypeVar("_Settings", Recipe, Execution)


@dataclass(frozen=True)
class Trained:
    """One method's model, loaded.

    Attributes:
        method: its row of the table of methods.
        model: in evaluation mode, on the configuration's device.
        weights: what it was loaded from.
        epoch: after how many epochs; None for the last, 0 for the backbone as pretrained.
    """

    method: Method
    model: PrototypeClassifier
    weights: Weights
    epoch: int | None = None


@cache
def trained_by() -> str:
    """Hash of the code that decides what a training gives, besides its parameters: all that the loop imports."""
    return code_of(loop, loading)


@cache
def encoded_by() -> str:
    """Hash of the code that decides what features are, besides weights and videos."""
    return code_of(features, loading, released)


@cache
def _backbone_sha256(path: Path, stamp: tuple[int, int]) -> str:
    return file_sha256(path)


class Experiment:
    """Data, models and results of one configuration.

    Args:
        cfg: the run.
        models: False where none of this project's models will be trained or loaded, which then need not be there.

    Attributes:
        data: its data sets, texts and backbone.

    Raises:
        MissingInputs: with one list of everything that the profile lacks on this machine.
    """

    def __init__(self, cfg: RunConfig, models: bool = True):
        for key in cfg.validate:
            get_method(key)  # a name that is none would be left out in silence
        self.cfg = cfg
        self.data = open_data(cfg, models)

    # --- training ---------------------------------------------------------------------------------

    def recipe(self) -> Recipe:
        """The training recipe of this configuration."""
        return self._settings(Recipe)

    def execution(self) -> Execution:
        """How this configuration trains, which changes no number (BatchNorm's aside, see `Execution`)."""
        return replace(self._settings(Execution), at_once=self.cfg.at_once or None)

    def _settings(self, kind: type[_Settings]) -> _Settings:
        """The configuration's parameters of the same names."""
        names = {field.name for field in fields(kind)} - {"at_once"}
        return kind(**{name: value for name, value in asdict(self.cfg).items() if name in names})

    def training_texts(self, method: Method) -> DescriptionSet:
        """The texts that a method is trained with: class names in its template, or descriptions."""
        descriptions = self.data.descriptions(self.cfg.source, "object")
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

    def run_dir(self, method: Method) -> Path:
        """Folder of a method's checkpoints, named by everything that decides its training."""
        backbone = self.data.backbone
        made_from = (
            asdict(self.recipe()),
            (method.architecture, method.head, method.training_texts),
            self.training_texts(method).sha256,
            self._backbone_identity(),
            self.data.label or self.cfg.source,
            default_preprocess("clip", input_resolution(backbone), self.cfg.num_frames).as_dict(),
        )
        identity = content_hash(*made_from, trained_by())
        return self.cfg.results_dir / "runs" / f"{method.key}-seed{self.cfg.seed}-{identity}"

    def _backbone_identity(self) -> str:
        """SHA-256 of the backbone's file; its name while that is not there."""
        path = backbone_file(self.data.backbone)
        if not path.is_file():
            return self.data.backbone
        stat = path.stat()
        return _backbone_sha256(path, (stat.st_size, stat.st_mtime_ns))

    def history(self, key: str) -> History | None:
        """What the finished training of a method did, read from its folder alone; None if it is not finished."""
        return finished_history(self.run_dir(get_method(key)), self.cfg.epochs)

    def train(self, key: str, fabric: Fabric | None = None) -> History:
        """Fine-tune a method on the source data set; what is finished is read, what was cut off goes on.

        With several `devices` the training is a process group of its own, started by torchrun.

        Args:
            key: of the method; one that is not trained here gives an empty history.
            fabric: what a member of torchrun's group brings.

        Raises:
            RuntimeError: if the group fails.
            ValueError: as `fine_tune`.
        """
        method = get_method(key)
        run_dir = self.run_dir(method)
        if not self.trains(key):
            return History(run_dir)
        if finished := self.history(key):
            return finished
        if self.cfg.devices > 1 and not launched_by_torchrun():
            launch(self.cfg, key, run_dir)
            if finished := self.history(key):
                return finished
            raise RuntimeError(f"the group of {self.cfg.devices} devices ended and {run_dir.name} is not finished.")
        model = self.load(method)
        if fabric is not None:
            model = model.to(fabric.device)
        with fabric.rank_zero_first() if fabric else nullcontext():
            clips = self.data.clips(self.cfg.source, "train", model.preprocess)  # one process fills the frame cache
        validate = partial(self._validate, method, model, run_dir) if key in self.cfg.validate else None
        texts = self.training_texts(method)
        return fine_tune(model, clips, texts, self.recipe(), run_dir, self.execution(), validate, fabric)

    def _validate(self, method: Method, model: PrototypeClassifier, run_dir: Path, epoch: int) -> dict[str, float]:
        """Top-1 of the held-out source clips and of every target's description sets after an epoch.

        The features are kept, so that measuring the same weights later encodes nothing again.
        """
        trained = Trained(method, model, self._weights(method, History(run_dir).checkpoint(epoch)), epoch)
        source = self.encode(trained, self.cfg.source, "val")
        measured = {"source": score(model, source, self.training_texts(method)).accuracy()}
        for target in self.cfg.targets:
            encoded = self.encode(trained, target, self._encoded_subset(epoch))
            videos = encoded.of(self.data.dataset(target, self.cfg.target_subset))
            for kind in DESCRIPTION_KINDS:
                measured[f"{target}/{kind}"] = score(model, videos, self.data.descriptions(target, kind)).accuracy()
        return measured

    def largest_at_once(self, key: str) -> int:
        """How many clips of a method's training fit this device at once.

        Raises:
            ValueError: without a GPU.
        """
        method = get_method(key)
        model = self.load(method).train()
        model.recompute = self.cfg.recompute
        classifier = ClassifierWithTexts(model, self.training_texts(method).texts)
        optimizer = torch.optim.AdamW(parameter_groups(model, self.recipe()), lr=0.0)
        precision = torch.bfloat16 if self.cfg.precision == "bf16" else torch.float32
        return largest_in_training(classifier, optimizer, precision)

    # --- models -----------------------------------------------------------------------------------

    def load(self, method: Method, checkpoint: Path | None = None) -> PrototypeClassifier:
        """The model of a method; a fresh head is drawn from the run's seed.

        Args:
            method: whose model.
            checkpoint: of `fine_tune`; None gives the backbone as pretrained.
        """
        cfg, backbone = self.cfg, self.data.backbone
        if release := self.release(method):
            path = release.path(cfg.data_root)
            model, ignored = load_official(method.key, path, backbone, cfg.torch_device)
            for key, reason in ignored.items():
                print(f"{path.name}: {key} ignored ({reason})")
            return model
        torch.manual_seed(cfg.seed)
        return load_model(method.architecture, checkpoint, backbone, method.head, cfg.torch_device, cfg.num_frames)

    def checkpoint(self, key: str, epoch: int | None = None) -> Path | None:
        """A method's weights, looked up; trained first where they are not there.

        Args:
            key: of the method.
            epoch: after so many epochs; None for the last, 0 for none.

        Returns:
            None for the backbone as pretrained. A released checkpoint has no epochs: it is returned for each of them.
        """
        if release := self.release(get_method(key)):
            return release.path(self.cfg.data_root)
        if not self.trains(key) or epoch == 0:
            return None
        history = self.train(key)
        return history.last_checkpoint if epoch is None else history.checkpoint(epoch)

    def trained(self, key: str, epoch: int | None = None) -> Trained:
        """A method's model, with what it was loaded from; `key` and `epoch` as in `checkpoint`."""
        method, checkpoint = get_method(key), self.checkpoint(key, epoch)
        return Trained(method, self.load(method, checkpoint), self._weights(method, checkpoint), epoch)

    @cached_property
    def vanilla(self) -> Trained:
        """The backbone as pretrained, mean pooling."""
        return self.trained("clip")

    def _weights(self, method: Method, checkpoint: Path | None) -> Weights:
        release = self.release(method)
        label = f"released by its authors: {release.file}" if release else method.weights
        trained = file_sha256(checkpoint) if checkpoint else ""
        return Weights(label, self.data.backbone_label, self._backbone_identity(), trained)

    # --- results ----------------------------------------------------------------------------------

    def encode(self, trained: Trained, name: str, subset: str) -> VideoFeatures:
        """Features of a data set, each video encoded once; kept on disk with the runs."""
        dataset, weights, cfg = self.data.dataset(name, subset), trained.weights, self.cfg
        head, preprocess = trained.method.head, trained.model.preprocess
        loaded = (head, weights.backbone_sha256, weights.checkpoint_sha256, preprocess.as_dict())
        # Without a checkpoint what CLIP lacks is drawn from the seed; mean pooling lacks nothing.
        drawn = None if weights.checkpoint_sha256 or head == "mean" else cfg.seed
        made_from = (loaded, drawn, dataset.stamps(), dataset.missing, device_name(cfg), encoded_by())
        path = cfg.results_dir / "runs" / "features" / f"{name}-{subset}-{content_hash(*made_from)}.pt"

        def encoded() -> VideoFeatures:
            clips = self.data.clips(name, subset, preprocess)
            return encode_videos(trained.model, clips, num_workers=cfg.num_workers, device=cfg.torch_device)

        kept = features_kept(path, dataset, encoded)
        check_missing(kept.dataset, cfg.max_missing, kept.failed)
        return kept

    def _encoded_subset(self, epoch: int | None) -> str:
        """Which videos of a target are encoded after an epoch: after the last all of them, since the protocols are
        of all; after the others those that records are of."""
        return "all" if epoch in (None, self.cfg.epochs) else self.cfg.target_subset

    def measure(self, key: str, epoch: int | None = None) -> dict[tuple[str, str], RetrievalResult]:
        """Retrieve every target's descriptions, named and masked, and write one record each.

        Args:
            key: of the method.
            epoch: as in `checkpoint`.

        Returns:
            {(target, kind): result}.
        """
        trained, results = self.trained(key, epoch), {}
        for target in self.cfg.targets:
            sets = [self.data.descriptions(target, kind) for kind in DESCRIPTION_KINDS]
            videos = self.encode(trained, target, self._encoded_subset(epoch))
            part = videos.of(self.data.dataset(target, self.cfg.target_subset))
            listed = {item.video_id for item in part.dataset.items}
            for kind, texts, everything in zip(
                DESCRIPTION_KINDS, sets, score_all(trained.model, videos, sets), strict=True
            ):
                counted = everything.among(np.array([video_id in listed for video_id in everything.video_ids]))
                result = replace(counted, failed=part.failed, missing=part.dataset.missing)
                results[target, kind] = result
                lists = self.data.protocol_lists(target, kind) if epoch is None else None
                protocols = protocol_results(everything, lists, self.cfg.bootstrap_resamples) if lists else {}
                self._record(trained, target, kind, result, texts, videos, protocols=protocols)
        return results

    def source_validation(self, key: str, epoch: int | None = None) -> RetrievalResult:
        """Held-out source clips against the texts that the method was trained with.

        Writes a record where these are descriptions.

        Args:
            key: of the method.
            epoch: as in `checkpoint`.
        """
        trained, named = self.trained(key, epoch), self.data.descriptions(self.cfg.source, "object")
        texts = self.training_texts(trained.method) if trained.method.trained else named
        videos = self.encode(trained, self.cfg.source, "val")
        result = score(trained.model, videos, texts)
        if texts.sha256 == named.sha256:
            self._record(trained, self.cfg.source, "object", result, texts, videos, subset="val")
        return result

    def _record(
        self,
        trained: Trained,
        dataset: str,
        kind: str,
        result: RetrievalResult,
        texts: DescriptionSet,
        videos: VideoFeatures,
        **more: object,
    ) -> None:
        measured = Measurement(
            trained.method,
            dataset,
            kind,
            trained.epoch,
            result,
            texts,
            videos.wall_time_sec,
            len(videos.dataset),
            trained.weights,
            self.data.label,
            class_names=videos.dataset.class_names,
            **more,
        )
        write_record(self.cfg, measured, trained.model.preprocess)

    def backbone_knowledge(self) -> pd.DataFrame:
        """What the backbone names of clips whose content is known, where there are such clips."""
        if self.data.known is None:
            return pd.DataFrame({"Aspect": ["not measured: the content of real clips is not known"]})
        videos = self.encode(self.vanilla, self.data.known, "all")
        return zero_shot_knowledge(self.vanilla.model, videos, self.data.world.hmdb, self.cfg.world_seed)
