"""The runs of one configuration: what each trains with, where it lies, whether it is finished, what its weights are."""

import json
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path

import torch

from motion_lib.config import RunConfig
from motion_lib.experiment.data import Data
from motion_lib.experiment.records import Weights
from motion_lib.methods import Method, get_method
from motion_lib.models import loading
from motion_lib.models.clip import backbone_file, published_sha256
from motion_lib.models.loading import load_model
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.models.released import RELEASES, Release, load_official
from motion_lib.storage import code_of, content_hash, file_sha256, write_json
from motion_lib.texts.descriptions import DescriptionSet
from motion_lib.training import Execution, History, Recipe, loop
from motion_lib.training.checkpoints import finished_history

_IDENTITY = "identity.json"  # beside a run's checkpoints


@cache
def trained_by() -> str:
    """Hash of the code that decides what a training gives, besides its parameters: all that the loop imports."""
    return code_of(loop, loading)


@cache
def _backbone_sha256(path: Path, stamp: tuple[int, int]) -> str:
    return file_sha256(path)


class Runs:
    """Where the trainings of a configuration lie; nothing is trained or measured here."""

    def __init__(self, cfg: RunConfig, data: Data):
        self.cfg, self.data = cfg, data

    def recipe(self) -> Recipe:
        """The training recipe of this configuration."""
        return Recipe(**self._parameters_of(Recipe))

    def execution(self) -> Execution:
        """How this configuration trains, which changes no number (BatchNorm's aside, see `Execution`)."""
        return Execution(**self._parameters_of(Execution) | {"at_once": self.cfg.at_once or None})

    def _parameters_of(self, kind: type) -> dict[str, object]:
        names = {field.name for field in fields(kind)}
        return {name: value for name, value in asdict(self.cfg).items() if name in names}

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

    def identity(self, method: Method) -> dict[str, object]:
        """Everything that decides a method's training, by the names that a message uses."""
        return asdict(self.recipe()) | {
            "num_frames": self.cfg.num_frames,
            "architecture": (method.architecture, method.head, method.training_texts),
            "texts": self.training_texts(method).sha256,
            "backbone": self.backbone_identity(),
            "source": self.data.label or self.cfg.source,
            "code": trained_by(),
        }

    def folder(self, method: Method) -> Path:
        """Folder of a method's checkpoints, named by its identity."""
        identity = content_hash(self.identity(method))
        return self.cfg.results_dir / "runs" / f"{method.key}-seed{self.cfg.seed}-{identity}"

    def note_identity(self, method: Method) -> None:
        """Write beside a method's checkpoints what they come from, for `of_other_identity`."""
        write_json(self.folder(method) / _IDENTITY, self.identity(method))

    def of_other_identity(self, method: Method) -> list[str]:
        """A sentence for each run of this method and seed that lies beside its folder, newest first."""
        folder, now = self.folder(method), json.loads(json.dumps(self.identity(method)))
        beside = [other for other in folder.parent.glob(f"{method.key}-seed{self.cfg.seed}-*") if other != folder]
        found = []
        for other in sorted(beside, key=lambda path: path.stat().st_mtime, reverse=True):
            path = other / _IDENTITY
            was = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            changed = [name for name in now if was and was.get(name) != now[name]]
            why = f"{', '.join(changed or ['code or parameters'])} changed since"
            found.append(f"runs/{other.name} of an older identity lies beside and is not read: {why}.")
        return found[:3] + ([f"({len(found) - 3} more)"] if len(found) > 3 else [])

    def backbone_identity(self) -> str:
        """SHA-256 of the backbone's file, which OpenAI publishes for its own; a path while nothing is there."""
        if published := published_sha256(self.data.backbone):
            return published
        path = backbone_file(self.data.backbone)
        if not path.is_file():
            return self.data.backbone
        stat = path.stat()
        return _backbone_sha256(path, (stat.st_size, stat.st_mtime_ns))

    def history(self, key: str) -> History | None:
        """What the finished training of a method did, read from its folder alone; None if it is not finished."""
        return finished_history(self.folder(get_method(key)), self.cfg.epochs)

    def load(self, method: Method, checkpoint: Path | None = None) -> PrototypeClassifier:
        """The model of a method, without a checkpoint as pretrained; a fresh head is drawn from the run's seed."""
        cfg, backbone = self.cfg, self.data.backbone
        if release := self.release(method):
            path = release.path(cfg.data_root)
            model, ignored = load_official(method.key, path, backbone, cfg.torch_device)
            for key, reason in ignored.items():
                print(f"{path.name}: {key} ignored ({reason})")
            return model
        torch.manual_seed(cfg.seed)
        return load_model(method.architecture, checkpoint, backbone, method.head, cfg.torch_device, cfg.num_frames)

    def weights(self, method: Method, checkpoint: Path | None) -> Weights:
        """What `load` loads, as records name it."""
        release = self.release(method)
        label = f"released by its authors: {release.file}" if release else method.weights
        trained = file_sha256(checkpoint) if checkpoint else ""
        return Weights(label, self.data.backbone_label, self.backbone_identity(), trained)
