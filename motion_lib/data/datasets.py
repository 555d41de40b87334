"""Kinetics-400, UCF-101 and HMDB-51 in their official folder and split layouts.

    root/kinetics400/annotations/{train,val}.csv            label,youtube_id,time_start,time_end,split
    root/kinetics400/{train,val}/<label>/<id>_<start>_<end>.mp4
    root/ucf101/ucfTrainTestlist/{classInd,trainlist01,testlist01,...}.txt
    root/ucf101/UCF-101/<Class>/v_<Class>_g01_c01.avi
    root/hmdb51/testTrainMulti_7030_splits/<class>_test_split1.txt
    root/hmdb51/videos/<class>/<name>.avi

The miniature writes the same layouts, so the same functions read both. Labels go by class name, never by the ids of
a list file. Copies in use differ in capitals, in suffixes and, for Kinetics, in folders and file names, so a video is
found by what its name says and not by one spelling of its path.
"""

import csv
import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from motion_lib.data.catalogue import facts_of

VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mkv", ".webm"})


@dataclass(frozen=True)
class VideoItem:
    """One video: where it is, its class, and the group it shares a place or source film with."""

    video_id: str
    path: Path
    label: int
    group: str


@dataclass(frozen=True)
class VideoDataset:
    """Videos of one split with their class names; `missing` are listed videos that are not on disk."""

    name: str
    class_names: tuple[str, ...]
    items: tuple[VideoItem, ...]
    split: int | None
    subset: str
    missing: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> list[int]:
        """Class index of each video."""
        return [item.label for item in self.items]

    @property
    def groups(self) -> list[str]:
        """Group of each video, the unit of the clustered bootstrap."""
        return [item.group for item in self.items]

    def stamps(self) -> list[tuple[str, int, int]]:
        """(video_id, bytes, time of change in ns) of each video: other files under the same names have others."""
        return [(item.video_id, (stat := item.path.stat()).st_size, stat.st_mtime_ns) for item in self.items]

    def describe(self) -> str:
        """One line: name, split, counts, what is missing."""
        absent = f"; {len(self.missing)} listed videos are not on disk" if self.missing else ""
        split = "" if self.split is None else f", split {self.split}"
        return f"{self.name} ({self.subset}{split}): {len(self)} videos of {len(self.class_names)} classes{absent}"


def open_dataset(name: str, root: str | Path, split: int = 1, subset: str = "test") -> VideoDataset:
    """Open one data set.

    Args:
        name: "kinetics400", "ucf101", "hmdb51"; "miniature-source", "miniature-ucf" or "miniature-hmdb", the
            rendered ones in these layouts; or "folder", any folder of class folders.
        root: directory that holds the layouts above (for "folder", the class folders themselves).
        split: 1, 2 or 3 for UCF-101 and HMDB-51.
        subset: "train" or "test" ("val" for Kinetics), or "all".

    Raises:
        ValueError: for an unknown name or subset.
        FileNotFoundError: when lists or all videos are absent.
    """
    layout = facts_of(name).layout
    folder = Path(root) / ("" if layout == "folder" else layout)
    dataset = replace(_LAYOUTS[layout](folder, split, subset), name=name)
    if not dataset.items:
        raise FileNotFoundError(
            f"{name}: none of its {len(dataset.missing)} listed videos is below {folder}. "
            "Put the videos in the layout of motion_lib.data.datasets or set MOTION_DATA."
        )
    return dataset


class TooManyMissing(RuntimeError):
    """More videos of a data set are missing or unreadable than the run allows."""


def check_missing(dataset: VideoDataset, max_missing: float, unreadable: Collection[str] = ()) -> None:
    """Stop where a measurement would be of another data set than the one it names.

    Args:
        dataset: its readable videos.
        max_missing: share of the listed videos that may be absent or unreadable, in [0, 1].
        unreadable: names of the videos that are on disk and cannot be read.

    Raises:
        TooManyMissing: above that share.
    """
    lacking = len(dataset.missing) + len(unreadable)
    listed = len(dataset) + lacking
    if lacking > max_missing * listed:
        names = ", ".join([*dataset.missing, *unreadable][:3])
        raise TooManyMissing(
            f"{dataset.name} ({dataset.subset}): {len(dataset.missing)} of {listed} listed videos are not on disk and "
            f"{len(unreadable)} cannot be read, e.g. {names}; max_missing allows {max_missing:.1%}. "
            "Get them, or raise max_missing and say so."
        )


# ------------------------------------------------------------------ Kinetics-400
_KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
# "<11 characters of YouTube's id>", alone or with the start and end second, padded or not.
_KINETICS_NAME = re.compile(r"(?P<id>.{11})(?:_(?P<start>\d+)_(?P<end>\d+))?")


def _kinetics(root: Path, split: int, subset: str) -> VideoDataset:
    parts = _parts_of(subset, ("train", "val"))
    rows = [row for part in parts for row in _kinetics_rows(root / "annotations", part)]
    names = sorted({row["label"] for row in rows})
    index = {label: i for i, label in enumerate(names)}
    videos = _kinetics_videos(root)
    return _dataset(names, [_kinetics_item(videos, row, index[row["label"]]) for row in rows], None, subset)


def _kinetics_rows(annotations: Path, part: str) -> list[dict[str, str]]:
    """Rows of the list of a part: `train.csv`, or under a longer name as in `kinetics-400_train.csv`."""
    _require(annotations, "the folder of the Kinetics lists")
    named = [p for p in sorted(annotations.glob("*.csv")) if re.search(rf"(^|[-_]){part}(idate)?$", p.stem)]
    path = _require(named[0] if named else annotations / f"{part}.csv", f"the Kinetics list of {part}")
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        lacking = [name for name in _KINETICS_COLUMNS if name not in (reader.fieldnames or ())]
        if lacking:
            raise ValueError(f"{path}: no column {', '.join(lacking)}; expected {','.join(_KINETICS_COLUMNS)},split.")
        rows = list(reader)
    for number, row in enumerate(rows, start=2):
        if not (row["label"] and row["youtube_id"] and (row["time_end"] or "").strip().isdigit()):
            raise ValueError(f"{path}, line {number}: expected a label, an id and whole seconds, found {row}.")
    return rows


def _kinetics_videos(root: Path) -> dict[tuple[str, ...], Path]:
    """(id, start, end) or (id,) -> video, for all of the folders that copies of Kinetics use."""
    videos = {}
    for folder, _, files in os.walk(root, followlinks=True):
        for name in sorted(files):
            if _is_video(name) and (match := _KINETICS_NAME.fullmatch(Path(name).stem)):
                times = [str(int(match[key])) for key in ("start", "end") if match[key]]
                videos.setdefault((match["id"], *times), Path(folder) / name)
    return videos


def _kinetics_item(videos: dict[tuple[str, ...], Path], row: dict[str, str], label: int) -> VideoItem:
    film, start, end = row["youtube_id"], int(row["time_start"]), int(row["time_end"])
    path = videos.get((film, str(start), str(end))) or videos.get((film,)) or _ABSENT
    return VideoItem(f"{film}_{start:06d}_{end:06d}", path, label, group=film)


# ------------------------------------------------------------------ UCF-101
def _ucf(root: Path, split: int, subset: str) -> VideoDataset:
    lists = _require(root / "ucfTrainTestlist", "the folder of the official UCF-101 lists")
    names = [line.split()[1] for line in _lines(lists / "classInd.txt", "the class list")]
    index = {name.lower(): i for i, name in enumerate(names)}
    items, videos = [], _ClassFolders(root / "UCF-101")
    for part in _parts_of(subset, ("train", "test")):
        for line in _lines(lists / f"{part}list{split:02d}.txt", f"the official list of {part}, split {split}"):
            # "Class/v_Class_g01_c01.avi" or, in training lists, the same and an id, which is not used.
            items.append(_ucf_item(videos, line.split()[0], index))
    return _dataset(names, items, split, subset)


def _ucf_item(videos: "_ClassFolders", entry: str, index: dict[str, int]) -> VideoItem:
    folder, name = entry.split("/")
    label = index.get(folder.lower())
    if label is None:
        raise ValueError(f"{entry}: class {folder} is not in classInd.txt; restore the official lists.")
    match = re.search(r"_g(\d+)_c\d+", name)
    group = f"{folder}_g{match[1]}" if match else name
    return VideoItem(Path(name).stem, videos.find(folder, name), label, group)


# ------------------------------------------------------------------ HMDB-51
_HMDB_FLAGS = {"train": ("1",), "test": ("2",), "all": ("0", "1", "2")}  # 0: in neither part of this split


def _hmdb(root: Path, split: int, subset: str) -> VideoDataset:
    _parts_of(subset, ("train", "test"))
    lists = _require(root / "testTrainMulti_7030_splits", "the folder of the official HMDB-51 lists")
    suffix = f"_test_split{split}.txt"
    names = sorted(p.name.removesuffix(suffix) for p in lists.iterdir() if p.name.endswith(suffix))
    if not names:
        raise FileNotFoundError(f"{lists}: no list <class>{suffix}; HMDB-51 has splits 1, 2 and 3.")
    items, videos = [], _ClassFolders(root / "videos")
    for label, class_name in enumerate(names):
        for line in _lines(lists / f"{class_name}{suffix}", "the list of a class"):
            name, flag = line.split()
            if flag in _HMDB_FLAGS[subset]:
                path, group = videos.find(class_name, name), _source_film(name, class_name)
                items.append(VideoItem(Path(name).stem, path, label, group))
    return _dataset([name.replace("_", " ") for name in names], items, split, subset)


def _source_film(name: str, class_name: str) -> str:
    """What an HMDB-51 clip was cut from: its file name before the class, whatever the class.

    The class is looked for from the end: a film's own title may hold it ("The_wave_..._wave_f_cm_np1_fr_med_0").
    """
    return name.rsplit(f"_{class_name}_", 1)[0]


# ------------------------------------------------------------------ any folder of class folders
def _folder(root: Path, split: int, subset: str) -> VideoDataset:
    classes = sorted(p for p in _require(root, "the folder of class folders").iterdir() if p.is_dir())
    items = []
    for label, folder in enumerate(classes):
        for path in sorted(path for path in folder.rglob("*") if _is_video(path.name)):
            name = path.relative_to(root).as_posix()  # not the file's alone: two classes may each hold a "clip_1.mp4"
            items.append(VideoItem(name, path, label, name))
    return _dataset([folder.name.replace("_", " ") for folder in classes], items, None, "all")


_LAYOUTS: dict[str, Callable[[Path, int, str], VideoDataset]] = {
    "kinetics400": _kinetics,
    "ucf101": _ucf,
    "hmdb51": _hmdb,
    "folder": _folder,
}


# ------------------------------------------------------------------ lists and folders
_ABSENT = Path()


def _dataset(class_names: list[str], listed: list[VideoItem], split: int | None, subset: str) -> VideoDataset:
    """The listed videos, those set apart whose path is absent."""
    present = tuple(item for item in listed if item.path != _ABSENT)
    missing = tuple(item.video_id for item in listed if item.path == _ABSENT)
    return VideoDataset("", tuple(class_names), present, split, subset, missing)


def _parts_of(subset: str, parts: tuple[str, ...]) -> tuple[str, ...]:
    """The official parts that make up a subset."""
    if subset not in (*parts, "all"):
        raise ValueError(f"subset {subset!r}: expected one of {', '.join(parts)}, all.")
    return parts if subset == "all" else (subset,)


def _require(path: Path, what: str) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path}: {what} is missing. See the data layout in README.md.")
    return path


def _lines(path: Path, what: str) -> list[str]:
    return [line for line in _require(path, what).read_text(encoding="utf-8").split("\n") if line.strip()]


class _ClassFolders:
    """Videos of class folders, found whatever the capitals and the suffix; each folder is listed once."""

    def __init__(self, root: Path):
        self._root, self._videos = root, {}
        self._folders: dict[str, list[Path]] = {}
        for entry in _entries(root):
            if entry.is_dir():
                self._folders.setdefault(_spelling(entry.name), []).append(Path(entry))

    def find(self, folder: str, name: str) -> Path:
        """The video of this name in a class folder, or lying loose in the root."""
        for place in (*self._folders.get(_spelling(folder), ()), self._root):
            if path := self._listed(place).get(Path(name).stem.lower()):
                return path
        return _ABSENT

    def _listed(self, folder: Path) -> dict[str, Path]:
        if folder not in self._videos:
            videos = sorted(Path(entry) for entry in _entries(folder) if _is_video(entry.name))
            self._videos[folder] = {path.stem.lower(): path for path in videos}
        return self._videos[folder]


def _entries(folder: Path) -> list[os.DirEntry]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:  # one call a folder: asking for each of 240,000 files is slow on a network
        return list(entries)


def _is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122  as fast as it gets, see above


def _spelling(name: str) -> str:
    return name.lower().replace("_", " ")
