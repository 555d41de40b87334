"""What an experiment works on: two classes with one interface, for the miniature and for the official data sets."""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path

from motion_lib.config import RunConfig
from motion_lib.data.clips import Clips, open_clips
from motion_lib.data.datasets import VideoDataset, check_missing, open_dataset
from motion_lib.data.preprocessing import Preprocess
from motion_lib.evaluation.protocols import SPLITS, ProtocolLists
from motion_lib.experiment.cache import open_test_views
from motion_lib.experiment.inputs import authors_csv, resolved
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.miniature import tiny_clip
from motion_lib.miniature.build import MiniaturePaths, build, pretrained_backbone
from motion_lib.miniature.minimal_pairs import PairPaths, build_pairs
from motion_lib.miniature.sentences import class_caption
from motion_lib.miniature.world import World, action_descriptions, alternate_version, make_world
from motion_lib.texts.descriptions import DescriptionSet, changed_by_masking, read_descriptions
from motion_lib.texts.overlap import LEVELS, seen_texts, without_counterpart


def data_of(cfg: RunConfig) -> "Data":
    """The data of a configuration, opened when they are first looked at; the miniature is then built."""
    return MiniatureData(cfg) if cfg.profile == "miniature" else OfficialData(cfg)


class Data(ABC):
    """Data sets, texts and backbone of one configuration."""

    label = ""  # the rendered world that records are of; "" for data that are not rendered
    known: str | None = None  # the data set whose true content is known, clip by clip; None where there is none

    def __init__(self, cfg: RunConfig):
        self.cfg = cfg

    @property
    def root(self) -> Path:
        """Parent of the official layouts."""
        return self.cfg.data_root

    @property
    def backbone(self) -> str:
        """What `load_model` takes: an OpenAI name or a path."""
        return resolved(self.cfg.backbone)

    @abstractmethod
    def descriptions(self, name: str, kind: str) -> DescriptionSet:
        """Motion descriptions of a data set; `kind` is "object" (named) or "masked"."""

    @abstractmethod
    def other_texts(self, name: str) -> dict[str, DescriptionSet | None]:
        """Action descriptions and the alternate version of a target's motion descriptions; None where not at hand."""

    @abstractmethod
    def caption(self, index: int) -> str:
        """An ordinary caption of source class `index`."""

    @property
    def minimal_pairs(self) -> PairPaths | None:
        """Rendered clips that differ in one thing alone; None where the truth of clips is not known."""
        return None

    @property
    def backbone_label(self) -> str:
        """The backbone as a notebook prints it, without a path."""
        return Path(self.backbone).name if Path(self.backbone).is_file() else self.backbone

    def dataset(self, name: str, subset: str) -> VideoDataset:
        """One data set.

        Raises:
            TooManyMissing: above the share `max_missing`.
        """
        dataset = open_dataset(name, self.root, self.cfg.split, subset)
        check_missing(dataset, self.cfg.max_missing)
        return dataset

    def clips(self, name: str, subset: str, preprocess: Preprocess, again: bool = False, quiet: bool = False) -> Clips:
        """The same, ready for a model, with the frame cache of the configuration.

        Args:
            again: the same frames will be tested on again.
            quiet: another process tells what is kept.
        """
        cache, dataset, frames = self.cfg.frame_cache, self.dataset(name, subset), self.root / "frames"
        if cache == "packed" and (name, subset) != (self.cfg.source, "train"):
            if again:
                return open_test_views(dataset, preprocess, frames, quiet)
            cache = "none"  # JPEG loses a little, so only training reads it
        clips = open_clips(dataset, preprocess, frames, cache, self.cfg.num_workers)
        check_missing(clips.dataset, self.cfg.max_missing, clips.failed)
        return clips

    def protocol_lists(self, target: str, kind: str) -> ProtocolLists:
        """Which videos and classes of a target each protocol counts, when its descriptions of `kind` are scored.

        A text that masking changed is no longer one that the source holds.
        """
        names = self.dataset(target, "all").class_names
        named, masked = (self.descriptions(target, each).select(names) for each in DESCRIPTION_KINDS)
        source = self.descriptions(self.cfg.source, "object")
        seen = set(seen_texts(self.descriptions(target, kind).select(names), source))
        classes = {
            "text seen in the source": tuple(sorted(seen)),
            "text not seen in the source": tuple(c for c in range(len(names)) if c not in seen),
        }
        for level in LEVELS:
            without = without_counterpart(target, names, source.class_names, level)
            classes[f"no counterpart in the source ({level})"] = without
        classes["changed by masking"] = changed_by_masking(named, masked)
        return ProtocolLists({split: self._test_ids(target, split) for split in SPLITS}, classes)

    def _test_ids(self, target: str, split: int) -> frozenset[str] | None:
        """Videos of an official test list; None where the list is not at hand."""
        try:
            return frozenset(item.video_id for item in open_dataset(target, self.root, split, "test").items)
        except FileNotFoundError:
            return None


class MiniatureData(Data):
    """The rendered world, built if absent, and a tiny CLIP."""

    known = "miniature-hmdb"  # of the targets the one whose objects and scenes are drawn freely

    @cached_property
    def paths(self) -> MiniaturePaths:
        """Where the world lies; it is rendered here."""
        return build(self.cfg.data_root / "miniature", self.cfg.world_seed, **self._sizes)

    @cached_property
    def world(self) -> World:
        """The classes of the miniature."""
        return make_world(self.cfg.world_seed, **self._sizes)

    @property
    def _sizes(self) -> dict[str, int]:
        names = ("source_classes", "ucf_classes", "hmdb_classes", "source_clips", "target_clips")
        return {name: getattr(self.cfg, name) for name in names}

    @property
    def root(self) -> Path:
        """The world's folder."""
        return self.paths.root

    @property
    def label(self) -> str:
        """Name of the world's folder, which is made of everything that drew it."""
        return self.root.name

    @cached_property
    def backbone(self) -> str:
        """The tiny CLIP as shipped or, for "scratch", as pretrained here; unless the configuration names another."""
        name, folder = self.cfg.backbone, self.cfg.data_root / "miniature"
        if name == "scratch":
            return str(pretrained_backbone(folder))
        shipped = {"miniature": tiny_clip.SHIPPED, "transformer": tiny_clip.TRANSFORMER}
        path = shipped.get(name) or Path(super().backbone)
        return str(tiny_clip.whole(path, folder) if tiny_clip.is_compact(path) else path)

    def descriptions(self, name: str, kind: str) -> DescriptionSet:
        """This project's own sentences."""
        return read_descriptions(self.paths.descriptions(name.removeprefix("miniature-"), kind))

    def other_texts(self, name: str) -> dict[str, DescriptionSet | None]:
        """Made of the same classes."""
        spec = {"miniature-ucf": self.world.ucf, "miniature-hmdb": self.world.hmdb}[name]
        return {"action description": action_descriptions(spec), "alternate version": alternate_version(spec)}

    def caption(self, index: int) -> str:
        """The alt text of a still: a thing and a place."""
        return class_caption(self.world.source.classes[index])

    @cached_property
    def minimal_pairs(self) -> PairPaths:
        """Rendered beside the world, if absent."""
        cfg = self.cfg
        return build_pairs(cfg.data_root / "miniature", self.world, cfg.world_seed, cfg.pairs, cfg.action_clips)


class OfficialData(Data):
    """Kinetics-400, UCF-101 and HMDB-51 below MOTION_DATA, with the authors' descriptions."""

    def descriptions(self, name: str, kind: str) -> DescriptionSet:
        """The authors' file."""
        return read_descriptions(authors_csv(self.cfg, name, kind))

    def other_texts(self, name: str) -> dict[str, DescriptionSet | None]:
        """The authors' further files."""
        texts: dict[str, DescriptionSet | None] = {}
        for kind in ("action description", "alternate version"):
            path = authors_csv(self.cfg, name, kind)
            texts[kind] = read_descriptions(path, strip_lead=kind == "alternate version") if path.is_file() else None
        return texts

    def caption(self, index: int) -> str:
        """The class name in a sentence."""
        return f"a video of a person {self.descriptions(self.cfg.source, 'object').class_names[index]}"
