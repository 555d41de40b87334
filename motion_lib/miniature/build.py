"""Writes the miniature to disk: mp4 files and lists in the three official layouts, texts, the tiny CLIP's weights."""

import csv
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from motion_lib.data import video
from motion_lib.miniature import drawing, motions, pretrain, sentences, stills, tiny_clip, world
from motion_lib.miniature.parallel import parallel_map
from motion_lib.miniature.world import DatasetSpec, MotionClass, World
from motion_lib.storage import built_once, content_hash, write_json, write_text
from motion_lib.texts.descriptions import DescriptionSet, write_descriptions

VAL_SHARE = 0.2  # of the source clips, held out for choosing recipes: targets are never used for that
SPLITS = (1, 2, 3)  # of the targets: split k tests on every third group of a class, from the k-th on


DRAWN_BY = (motions, drawing, sentences)


@dataclass(frozen=True)
class MiniaturePaths:
    """Where one built miniature lies: `root` is a data root for `open_dataset`."""

    root: Path

    def descriptions(self, key: str, kind: str) -> Path:
        """CSV of data set `key` ("source", "ucf", "hmdb"); `kind` is "object" or "masked"."""
        return self.root / "descriptions" / f"{key}_{kind}.csv"


def build(cache_dir: Path, world_seed: int = 0, **sizes: int) -> MiniaturePaths:
    """Build what is not there yet and return where everything is.

    Args:
        cache_dir: parent of all worlds.
        world_seed: of classes and clips.
        sizes: arguments of `make_world`.

    A world is named by a hash of its parameters and of the code that draws it, so that a change rebuilds what it
    touches.
    """
    written_by = (world, sys.modules[__name__], video.write_video)
    root = cache_dir / f"world-{content_hash(world_seed, sizes, *DRAWN_BY, *written_by)}"
    built_once(
        root / "complete.json",
        lambda done: _write_world(root, done, world_seed, world.make_world(world_seed, **sizes)),
    )
    return MiniaturePaths(root)


def pretrained_backbone(cache_dir: Path) -> Path:
    """The same recipe run on this machine, if it was not yet: hours, interrupted at will."""
    recipe = pretrain.Pretraining()
    name = f"clip-scratch-{content_hash(asdict(recipe), *DRAWN_BY, stills, pretrain, tiny_clip)}"
    small = cache_dir / f"{name}.half.pt"
    if not small.is_file():
        pretrain.pretrain(small, recipe)
    return tiny_clip.whole(small, cache_dir)


# ------------------------------------------------------------------ videos
def video_path(dataset: DatasetSpec, which: MotionClass, clip: int) -> tuple[Path, str]:
    """Path below the root in the layout of the data set that this one stands for, and its list entry."""
    if dataset.key == "source":
        part = "train" if clip < _training_clips(dataset.clips_per_class) else "val"
        stem = f"mini{which.index:03d}c{clip:03d}_000000_000002"  # 11-character id, start and end second
        return Path("kinetics400") / part / which.name / f"{stem}.mp4", stem
    if dataset.key == "ucf":
        cls = camel_case(which.name)
        entry = f"{cls}/v_{cls}_g{clip // 2 + 1:02d}_c{clip % 2 + 1:02d}.mp4"
        return Path("ucf101/UCF-101") / entry, entry
    cls = which.name.replace(" ", "_")
    # Every class has its films to itself, as its places and persons are drawn for it alone.
    name = f"film{which.index:02d}{clip // 2:02d}_{cls}_f_cm_np1_fr_med_{clip % 2}.mp4"
    return Path("hmdb51/videos") / cls / name, name


def _training_clips(count: int) -> int:
    """How many of a class's `count` source clips train, the others being held out.

    Even where three or more leave the choice, since clips 2k and 2k + 1 share a group.
    """
    wanted = 2 * math.ceil(round(count * (1 - VAL_SHARE), 6) / 2)
    return max(min(wanted, 2 * ((count - 1) // 2)), 1)


def camel_case(name: str) -> str:
    """ "umbrella drill" -> "UmbrellaDrill", the way UCF-101 writes its classes."""
    return "".join(word.capitalize() for word in name.split())


def _write_world(root: Path, done: Path, seed: int, built: World) -> None:
    jobs = []
    for dataset in (built.source, built.ucf, built.hmdb):
        _write_descriptions(root, dataset)
        clips = [(which, clip) for which in dataset.classes for clip in range(dataset.clips_per_class)]
        jobs += [(str(root / video_path(dataset, *at)[0]), dataset, *at, seed) for at in clips]
    parallel_map(world.write_clip, jobs, "rendering clips")
    _write_kinetics_lists(root / "kinetics400", built.source)
    _write_ucf_lists(root / "ucf101/ucfTrainTestlist", built.ucf)
    _write_hmdb_lists(root / "hmdb51/testTrainMulti_7030_splits", built.hmdb)
    write_json(
        root / "world.json",
        {d.key: [asdict(c) for c in d.classes] for d in (built.source, built.ucf, built.hmdb)},
    )
    done.write_text(json.dumps({"seed": seed}))


# ------------------------------------------------------------------ lists and texts
def _write_descriptions(root: Path, dataset: DatasetSpec) -> None:
    names = tuple(c.name for c in dataset.classes)
    for kind, texts in (
        ("object", [c.description for c in dataset.classes]),
        ("masked", [c.masked for c in dataset.classes]),
    ):
        path = MiniaturePaths(root).descriptions(dataset.key, kind)
        write_descriptions(DescriptionSet(f"{dataset.key}_{kind}", names, tuple(texts)), path)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    write_text(path, "\r\n".join(lines) + "\r\n")  # the official lists end their lines so


def _write_kinetics_lists(folder: Path, dataset: DatasetSpec) -> None:
    for part in ("train", "val"):
        path = folder / "annotations" / f"{part}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("label", "youtube_id", "time_start", "time_end", "split"))
            for which in dataset.classes:
                for clip in range(dataset.clips_per_class):
                    where, stem = video_path(dataset, which, clip)
                    if where.parts[1] == part:
                        writer.writerow((which.name, stem.split("_")[0], 0, 2, part))


def _tests(clip: int, split: int) -> bool:
    return clip // 2 % len(SPLITS) == split - 1


def _write_ucf_lists(folder: Path, dataset: DatasetSpec) -> None:
    _write_lines(folder / "classInd.txt", (f"{c.index + 1} {camel_case(c.name)}" for c in dataset.classes))
    for split in SPLITS:
        train, test = [], []
        for which in dataset.classes:
            for clip in range(dataset.clips_per_class):
                entry = video_path(dataset, which, clip)[1]
                if _tests(clip, split):
                    test.append(entry)
                else:
                    train.append(f"{entry} {which.index + 1}")
        _write_lines(folder / f"testlist{split:02d}.txt", test)
        _write_lines(folder / f"trainlist{split:02d}.txt", train)


def _write_hmdb_lists(folder: Path, dataset: DatasetSpec) -> None:
    for split in SPLITS:
        for which in dataset.classes:
            # Flag 2 tests, 1 trains; the official lists also leave some out (0).
            flags = [2 if _tests(clip, split) else 1 for clip in range(dataset.clips_per_class)]
            rows = [f"{video_path(dataset, which, clip)[1]} {flag} " for clip, flag in enumerate(flags)]
            _write_lines(folder / f"{which.name.replace(' ', '_')}_test_split{split}.txt", rows)
