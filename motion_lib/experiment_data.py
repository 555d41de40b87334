"""What an experiment works on: data sets, texts, lists and backbone of one `RunConfig`."""

from functools import cached_property
from pathlib import Path

from motion_lib import inputs
from motion_lib.class_overlap import LEVELS, seen_texts, without_counterpart
from motion_lib.config import RunConfig
from motion_lib.datasets import VideoDataset, check_missing, open_dataset
from motion_lib.descriptions import DescriptionSet, changed_by_masking, read_descriptions
from motion_lib.frames import Clips, open_clips
from motion_lib.methods import DESCRIPTION_KINDS, get_method
from motion_lib.miniature.build import MiniaturePaths, build
from motion_lib.miniature.minimal_pairs import PairPaths, build_pairs
from motion_lib.miniature.other_texts import action_descriptions, alternate_version
from motion_lib.miniature.pretrain import TinyClip
from motion_lib.miniature.sentences import class_caption
from motion_lib.miniature.world import World, make_world
from motion_lib.models import PrototypeClassifier
from motion_lib.protocols import SPLITS, ProtocolLists


class ExperimentData:
    """Data of one `RunConfig`.

    Args: models: False where none of this project's models will be trained or loaded, which then need not be there.
    Raises: MissingInputs with one list of everything that the profile lacks on this machine.
    """

    def __init__(self, cfg: RunConfig, models: bool = True):
        for key in cfg.validate:
            get_method(key)  # a name that is none would be left out in silence
        inputs.require_inputs(cfg, models)
        self.cfg = cfg

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

    def other_texts(self, name: str) -> dict[str, DescriptionSet | None]:
        """Action descriptions and the alternate version of a target's motion descriptions; None where not at hand."""
        if self.miniature:
            dataset = {"miniature-ucf": self.world.ucf, "miniature-hmdb": self.world.hmdb}[name]
            return {"action description": action_descriptions(dataset), "alternate version": alternate_version(dataset)}
        paths = {kind: inputs.other_csv(self.cfg, name, kind) for kind in ("action description", "alternate version")}
        return {
            kind: read_descriptions(path, strip_lead=kind == "alternate version") if path.is_file() else None
            for kind, path in paths.items()
        }

    def caption(self, index: int) -> str:
        """An ordinary caption of source class `index`: alt text in the miniature, a prompt of the name elsewhere."""
        if self.miniature:
            return class_caption(self.world.source.classes[index])
        return f"a video of a person {self.descriptions(self.cfg.source, 'object').class_names[index]}"

    @cached_property
    def world(self) -> World:
        """The classes of the miniature."""
        return make_world(self.cfg.world_seed, source_clips=self.cfg.source_clips, target_clips=self.cfg.target_clips)

    @cached_property
    def minimal_pairs(self) -> PairPaths | None:
        """Rendered clips that differ in one thing alone; None where the truth of clips is not known."""
        if not self.miniature:
            return None
        cfg = self.cfg
        return build_pairs(cfg.data_root / "miniature", self.world, cfg.world_seed, cfg.pairs, cfg.action_clips)

    @property
    def data_label(self) -> str:
        """The rendered world that records are of; "" for data that are not rendered."""
        return self.data_root.name if self.miniature else ""

    def protocol_lists(self, target: str, kind: str) -> ProtocolLists:
        """Which videos and classes of a target each protocol counts, when its descriptions of `kind` are scored.

        A text that masking changed is no longer one that the source holds.
        """
        names = self.dataset(target, "all").class_names
        named, masked = (self.descriptions(target, kind_).select(names) for kind_ in DESCRIPTION_KINDS)
        source = self.descriptions(self.cfg.source, "object")
        seen = set(seen_texts(self.descriptions(target, kind).select(names), source))
        classes = {
            "text seen in the source": tuple(sorted(seen)),
            "text not seen in the source": tuple(c for c in range(len(names)) if c not in seen),
        }
        for level in LEVELS:
            classes[f"no counterpart in the source ({level})"] = without_counterpart(
                target, names, source.class_names, level
            )
        classes["changed by masking"] = changed_by_masking(named, masked)
        return ProtocolLists({split: self._test_ids(target, split) for split in SPLITS}, classes)

    def _test_ids(self, target: str, split: int) -> frozenset[str] | None:
        """Videos of an official test list; None where the list is not at hand."""
        try:
            return frozenset(item.video_id for item in open_dataset(target, self.data_root, split, "test").items)
        except FileNotFoundError:
            return None
