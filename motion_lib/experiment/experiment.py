"""One configured experiment: its data, its trained methods and their records. This is what notebooks call.

All it makes is kept in the results folder, named by what went into it: what is finished is looked up.
"""

import ctypes
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric

from motion_lib.config import RunConfig
from motion_lib.data.clips import Clips, clips_for
from motion_lib.data.datasets import check_missing
from motion_lib.evaluation import features
from motion_lib.evaluation.features import VideoFeatures, encode_videos
from motion_lib.evaluation.protocols import protocol_results
from motion_lib.evaluation.retrieval import RetrievalResult, score, score_all
from motion_lib.experiment import cache as caches
from motion_lib.experiment import precision
from motion_lib.experiment.cache import features_kept
from motion_lib.experiment.data import data_of
from motion_lib.experiment.inputs import missing_inputs, shortages, stop_without
from motion_lib.experiment.largest import largest_in_training
from motion_lib.experiment.launch import launch, launched_by_torchrun
from motion_lib.experiment.precision import agreement, computing_in
from motion_lib.experiment.records import Measurement, Weights, device_name, write_record
from motion_lib.experiment.runs import Runs
from motion_lib.methods import DESCRIPTION_KINDS, METHODS, Method, get_method
from motion_lib.miniature.knowledge import zero_shot_knowledge
from motion_lib.models import loading, released
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.storage import code_of, content_hash
from motion_lib.texts.descriptions import DescriptionSet
from motion_lib.training import History, fine_tune
from motion_lib.training.loop import ClassifierWithTexts, parameter_groups

AGREEMENT_CLIPS = 256  # of each target, that are encoded in float32 too


@dataclass(frozen=True)
class Trained:
    """One method's model, in evaluation mode on the configuration's device, and what it was loaded from."""

    method: Method
    model: PrototypeClassifier
    weights: Weights
    epoch: int | None = None  # None for the last, 0 for the backbone as pretrained


@cache
def encoded_by() -> str:
    """Hash of the code that decides what features are, besides weights and videos."""
    return code_of(features, loading, released, caches, precision)


def keep_freed_memory() -> None:
    """Let this process use freed blocks again instead of giving them back to the system (glibc; elsewhere nothing).

    By default every block above 32 MB is mapped anew, and its pages are cleared when they are first touched: a tenth
    to a quarter of the time of encoding the miniature's clips on a CPU.
    """
    libc, blocks, top, most = ctypes.CDLL(None), -3, -1, 2**30  # glibc's M_MMAP_THRESHOLD and M_TRIM_THRESHOLD, bytes
    if hasattr(libc, "mallopt"):
        libc.mallopt(blocks, most)
        libc.mallopt(top, most)


class Experiment:
    """Data, models and results of one configuration.

    Args:
        cfg: the run.
        models: False where none of this project's models will be trained or loaded, which then need not be there.

    Raises:
        MissingInputs: with one list of everything that the profile lacks on this machine. The source is asked for
            where a run is to be trained: to read a finished one, `Experiment` needs no video of it.
        ValueError: for a method to validate that is none.
    """

    def __init__(self, cfg: RunConfig, models: bool = True):
        for key in cfg.validate:
            get_method(key)  # a name that is none would be left out in silence
        self.cfg = cfg
        if cfg.torch_device.type == "cpu":
            keep_freed_memory()
        self.data = data_of(cfg)
        self.runs = Runs(cfg, self.data)
        lacking = missing_inputs(cfg, models)
        if lacking and not missing_inputs(cfg, models, training=False) and any(map(self.runs.history, METHODS)):
            print(f"profile {cfg.profile!r}: finished runs are read; to train, it lacks {'; '.join(lacking)}")
            return
        stop_without(cfg, lacking)
        if cfg.profile != "miniature" and not launched_by_torchrun():
            print(f"profile {cfg.profile!r}: all inputs are there.")

    def train(self, key: str, fabric: Fabric | None = None) -> History:
        """Fine-tune a method on the source data set; what is finished is read, what was cut off goes on.

        With several `devices` the training is a process group of its own, started by torchrun. A method that is not
        trained here gives an empty history.

        Args:
            fabric: what a member of torchrun's group brings.

        Raises:
            MissingInputs: if a run is to be trained whose inputs are not there.
            RuntimeError: if the group fails.
            ValueError: as `fine_tune`.
        """
        method = get_method(key)
        run_dir = self.runs.folder(method)
        if not self.runs.trains(key):
            return History(run_dir)
        if finished := self.runs.history(key):
            return finished
        stop_without(self.cfg, missing_inputs(self.cfg))
        if self.cfg.devices > 1 and not launched_by_torchrun():
            self.__dict__.pop("vanilla", None)  # the group is to have its memory
            launch(self.cfg, key, run_dir)
            if not (finished := self.runs.history(key)):
                raise RuntimeError(f"the group of {self.cfg.devices} devices ended, {run_dir.name} is not finished.")
            return finished
        if fabric is None or fabric.is_global_zero:
            warned = (f"Warning. {lack}." for lack in shortages(self.cfg, fabric.world_size if fabric else 1))
            for sentence in (*self.runs.of_other_identity(method), *warned):
                print(sentence, flush=True)
            self.runs.note_identity(method)
        model = self.runs.load(method)
        if fabric is not None:
            model = model.to(fabric.device)
        with fabric.rank_zero_first() if fabric else nullcontext():
            clips = self.data.clips(self.cfg.source, "train", model.preprocess)  # one process fills the frame cache
        validate = partial(self._validate, method, model, run_dir, fabric) if key in self.cfg.validate else None
        texts = self.runs.training_texts(method)
        return fine_tune(model, clips, texts, self.runs.recipe(), run_dir, self.runs.execution(), validate, fabric)

    def _validate(
        self, method: Method, model: PrototypeClassifier, run_dir: Path, fabric: Fabric | None, epoch: int
    ) -> dict[str, float]:
        """Top-1 of the held-out source clips and of every target's description sets after an epoch.

        All devices encode. The features are kept, so that measuring the same weights later encodes nothing again.
        """
        trained = Trained(method, model, self.runs.weights(method, History(run_dir).checkpoint(epoch)), epoch)
        source = self.encode(trained, self.cfg.source, "val", fabric)
        measured = {"source": score(model, source, self.runs.training_texts(method)).accuracy()}
        for target in self.cfg.targets:
            encoded = self.encode(trained, target, self._encoded_subset(epoch), fabric)
            videos = encoded.of(self.data.dataset(target, self.cfg.target_subset))
            for kind in DESCRIPTION_KINDS:
                measured[f"{target}/{kind}"] = score(model, videos, self.data.descriptions(target, kind)).accuracy()
        return measured

    def largest_at_once(self, key: str) -> int:
        """How many clips of a method's training fit this device at once.

        Raises:
            ValueError: without a GPU.
        """
        if self.cfg.torch_device.type != "cuda":  # asked first: loading may build the miniature
            raise ValueError("--largest needs a GPU: a CPU would swap instead of saying that memory does not suffice.")
        method = get_method(key)
        model = self.runs.load(method).train()
        model.recompute = self.cfg.recompute
        classifier = ClassifierWithTexts(model, self.runs.training_texts(method).texts)
        optimizer = torch.optim.AdamW(parameter_groups(model, self.runs.recipe()), lr=0.0)
        precision = torch.bfloat16 if self.cfg.precision == "bf16" else torch.float32
        return largest_in_training(classifier, optimizer, precision)

    def checkpoint(self, key: str, epoch: int | None = None) -> Path | None:
        """A method's weights, looked up; trained first where they are not there.

        Args:
            epoch: after so many epochs; None for the last, 0 for none.

        Returns:
            None for the backbone as pretrained. A released checkpoint has no epochs: it is returned for each of them.
        """
        if release := self.runs.release(get_method(key)):
            return release.path(self.cfg.data_root)
        if not self.runs.trains(key) or epoch == 0:
            return None
        history = self.train(key)
        return history.last_checkpoint if epoch is None else history.checkpoint(epoch)

    def trained(self, key: str, epoch: int | None = None) -> Trained:
        """A method's model, with what it was loaded from; `key` and `epoch` as in `checkpoint`."""
        method, checkpoint = get_method(key), self.checkpoint(key, epoch)
        return Trained(method, self.runs.load(method, checkpoint), self.runs.weights(method, checkpoint), epoch)

    @cached_property
    def vanilla(self) -> Trained:
        """The backbone as pretrained, mean pooling."""
        return self.trained("clip")

    def encode(self, trained: Trained, name: str, subset: str, fabric: Fabric | None = None) -> VideoFeatures:
        """Features of a data set, each video encoded once; kept on disk with the runs.

        Args:
            fabric: a group of devices that all call this and share the videos.
        """
        dataset, weights, cfg = self.data.dataset(name, subset), trained.weights, self.cfg
        head, preprocess = trained.method.head, trained.model.preprocess
        loaded = (head, weights.backbone_sha256, weights.checkpoint_sha256, preprocess.as_dict())
        # Without a checkpoint what CLIP lacks is drawn from the seed; mean pooling lacks nothing.
        drawn = None if weights.checkpoint_sha256 or head == "mean" else cfg.seed
        computed = (device_name(cfg), cfg.encoding_precision, encoded_by())
        made_from = (loaded, drawn, dataset.stamps(), dataset.missing, *computed)
        path = cfg.results_dir / "runs" / "features" / f"{name}-{subset}-{content_hash(*made_from)}.pt"

        def encoded() -> VideoFeatures:
            again = self.runs.release(trained.method) is None  # released weights do not change from epoch to epoch
            with fabric.rank_zero_first() if fabric else nullcontext():  # one process fills the frame cache
                clips = self.data.clips(name, subset, preprocess, again, bool(fabric) and not fabric.is_global_zero)
            together = bool(fabric) and fabric.world_size > 1
            return self._encoded(trained, clips, cfg.encoding_precision, dtype=torch.float16, together=together)

        kept = features_kept(path, dataset, encoded, fabric)
        check_missing(kept.dataset, cfg.max_missing, kept.failed)
        return kept

    def _encoded(self, trained: Trained, clips: Clips, precision: str, **more: object) -> VideoFeatures:
        with computing_in(precision, trained.model.device):
            return encode_videos(trained.model, clips, num_workers=self.cfg.num_workers, **more)

    def _agreement(self, trained: Trained, target: str, sets: list[DescriptionSet]) -> list[dict[str, float]]:
        """For each description set how far answers in `eval_precision` are from float32's; no entry where it is that.

        Asked of some clips, spread over the classes, since all would cost what the precision saves.
        """
        if self.cfg.encoding_precision == "fp32":
            return [{}] * len(sets)
        dataset = self.data.dataset(target, self.cfg.target_subset)
        some = replace(dataset, items=dataset.items[:: max(1, len(dataset) // AGREEMENT_CLIPS)])
        clips = clips_for(some, trained.model.preprocess)
        answers = (self._encoded(trained, clips, name) for name in (self.cfg.encoding_precision, "fp32"))
        found, reference = (score_all(trained.model, videos, sets) for videos in answers)
        return [agreement(*pair) for pair in zip(found, reference, strict=True)]

    def _encoded_subset(self, epoch: int | None) -> str:
        """After the last epoch all videos of a target, since the protocols are of all; else those of the records."""
        return "all" if epoch in (None, self.cfg.epochs) else self.cfg.target_subset

    def measure(self, key: str, epoch: int | None = None) -> dict[tuple[str, str], RetrievalResult]:
        """Retrieve every target's descriptions, named and masked, and write one record each.

        Returns:
            {(target, kind): result}; `key` and `epoch` as in `checkpoint`.
        """
        trained, results = self.trained(key, epoch), {}
        for target in self.cfg.targets:
            sets = [self.data.descriptions(target, kind) for kind in DESCRIPTION_KINDS]
            videos = self.encode(trained, target, self._encoded_subset(epoch))
            part = videos.of(self.data.dataset(target, self.cfg.target_subset))
            listed = {item.video_id for item in part.dataset.items}
            scored, agreements = score_all(trained.model, videos, sets), self._agreement(trained, target, sets)
            for kind, texts, everything, agreed in zip(DESCRIPTION_KINDS, sets, scored, agreements, strict=True):
                counted = everything.among(np.array([video_id in listed for video_id in everything.video_ids]))
                result = results[target, kind] = replace(counted, failed=part.failed, missing=part.dataset.missing)
                lists = self.data.protocol_lists(target, kind) if epoch is None else None
                protocols = protocol_results(everything, lists, self.cfg.bootstrap_resamples) if lists else {}
                self._record(trained, kind, texts, result, videos, protocols=protocols, agreement=agreed)
        return results

    def source_validation(self, key: str, epoch: int | None = None) -> RetrievalResult:
        """Held-out source clips against the texts that the method was trained with; a record if these describe motion.

        `key` and `epoch` as in `checkpoint`.
        """
        trained, named = self.trained(key, epoch), self.data.descriptions(self.cfg.source, "object")
        texts = self.runs.training_texts(trained.method) if trained.method.trained else named
        videos = self.encode(trained, self.cfg.source, "val")
        result = score(trained.model, videos, texts)
        if texts.sha256 == named.sha256:
            self._record(trained, "object", texts, result, videos, subset="val")
        return result

    def _record(self, trained: Trained, *about: object, **more: object) -> None:
        """Write a record; `about` are kind, texts, result and videos of a `Measurement`."""
        loaded = (trained.method, trained.weights, trained.epoch)
        write_record(self.cfg, Measurement(*loaded, *about, self.data.label, **more), trained.model.preprocess)

    def backbone_knowledge(self) -> pd.DataFrame:
        """What the backbone names of clips whose content is known, where there are such clips."""
        if self.data.known is None:
            return pd.DataFrame({"Aspect": ["not measured: the content of real clips is not known"]})
        videos = self.encode(self.vanilla, self.data.known, "all")
        return zero_shot_knowledge(self.vanilla.model, videos, self.data.world.hmdb, self.cfg.world_seed)
