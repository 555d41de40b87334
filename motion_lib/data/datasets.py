"""Kinetics-400, UCF-101 and HMDB-51 in their official folder and split layouts.

    root/kinetics400/annotations/{train,val}.csv            label,youtube_id,time_start,time_end,split
    root/kinetics400/{train,val}/<label>/<id>_<start>_<end>.mp4
    root/ucf101/ucfTrainTestlist/{classInd,trainlist01,testlist01,...}.txt
    root/ucf101/UCF-101/<Class>/v_<Class>_g01_c01.avi
    root/hmdb51/testTrainMulti_7030_splits/<class>_test_split1.txt
    root/hmdb51/videos/<class>/<name>.avi

The miniature writes the same layouts, so the same functions read both. Labels go by class name, never by the ids of
a list file. Copies in use differ in capitals, in suffixes, in folders and, for Kinetics, in file names, so a video is
found by what its name says and not by one spelling of its path.

A clip that a list names twice, under one label or two, counts once, with the label of its first row: for listing,
packing, training and evaluation alike. The later rows are named in `VideoDataset.ignored`.
"""

import csv
import os
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import wraps
from pathlib import Path

from motion_lib.data.catalogue import facts_of
from motion_lib.storage import file_stamp, read_list, shown_path, walk

# Of containers of moving pictures that FFmpeg reads, in any capitals.
VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265",
    ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe",
    ".mpeg", ".mpg", ".mpv", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm",
    ".wmv", ".y4m",
})  # fmt: skip
_TICK_NS = 2_000_000_000  # of the coarsest clock of a file system


@dataclass(frozen=True)
class VideoItem:
    """One video: where it is, its class, and the group it shares a place or source film with."""

    video_id: str
    path: Path
    label: int
    group: str


@dataclass(frozen=True)
class VideoDataset:
    """Videos of one split with their class names.

    Attributes:
        missing: listed videos that are not on disk.
        ignored: files that are no videos by their names, hidden and empty folders, and later rows of a listed clip.
        unreadable: {name: reason} of what is known at once to be unreadable; a folder counts as one video.
    """

    name: str
    class_names: tuple[str, ...]
    items: tuple[VideoItem, ...]
    split: int | None
    subset: str
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)

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
        return [(item.video_id, *file_stamp(item.path)) for item in self.items]

    def describe(self) -> str:
        """One line: name, split, counts, and what is missing, unreadable or passed over, with examples."""
        split = "" if self.split is None else f", split {self.split}"
        line = f"{self.name} ({self.subset}{split}): {len(self)} videos of {len(self.class_names)} classes"
        line += _examples(self.missing, "listed videos are not on disk") + _examples(self.unreadable, "cannot be read")
        return line + _examples(self.ignored, "are passed over")


def _kept(opens: Callable[..., VideoDataset]) -> Callable[..., VideoDataset]:
    """Read the folders of an opened data set again only if one of them, or a list, has changed."""
    kept: dict[tuple, tuple[dict[Path, int], VideoDataset | None]] = {}

    @wraps(opens)
    def opened(name: str, root: str | Path, split: int = 1, subset: str = "test") -> VideoDataset:
        layout, key = facts_of(name).layout, (name, Path(root).absolute(), split, subset)
        times, dataset = kept.get(key, ({}, None))
        if not times or any(_time(path) != when for path, when in times.items()):
            times = _times(key[1] / ("" if layout == "folder" else layout))  # first: what changes meanwhile counts
            dataset = opens(name, root, split, subset)
            # A folder that changed just now may change again within the same tick of its clock.
            kept[key] = ({} if time.time_ns() - max(times.values()) < _TICK_NS else times, dataset)
        return dataset

    return opened


def _times(root: Path) -> dict[Path, int]:
    """When each folder and list below `root` changed, in ns."""
    times: dict[Path, int] = {}
    for parts, files, _ in walk(root, {}):
        folder = root.joinpath(*parts)
        lists = (folder / name for name in files if name.endswith((".csv", ".txt")))
        times |= {path: _time(path) for path in (folder, *lists)}
    return times


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


@_kept
def open_dataset(name: str, root: str | Path, split: int = 1, subset: str = "test") -> VideoDataset:
    """Open one data set.

    Args:
        name: "kinetics400", "ucf101", "hmdb51"; "miniature-source", "miniature-ucf" or "miniature-hmdb", the
            rendered ones in these layouts; or "folder", any folder of class folders.
        root: directory that holds the layouts above (for "folder", the class folders themselves).
        split: 1, 2 or 3 for UCF-101 and HMDB-51.
        subset: "train" or "test" ("val" for Kinetics), or "all".

    Raises:
        ValueError: for an unknown name or subset, a fault in a list, or folders that are parts and no classes.
        FileNotFoundError: when lists or all videos are absent.
    """
    layout = facts_of(name).layout
    # Absolute: FFmpeg takes what stands before the colon of a relative path for a protocol.
    folder = Path(root).absolute() / ("" if layout == "folder" else layout)
    dataset = replace(_LAYOUTS[layout](folder, split, subset), name=name)
    if not dataset.items:
        listed, why = len(dataset.missing) + len(dataset.unreadable), _examples(dataset.unreadable, "cannot be read")
        raise FileNotFoundError(
            f"{name}: none of its {listed} listed videos is below {folder} and readable{why}. "
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
_SECONDS = r"(\d+)(?:\.0*)?"  # a list that went through pandas has 3.0 for 3
# "<11 characters of YouTube's id>", alone or with the start and end second, padded or not.
_KINETICS_NAME = re.compile(rf"([\w-]{{11}})(?:_{_SECONDS}_{_SECONDS})?", re.ASCII)
_Clip = tuple[str, int, int]  # film, start and end second


def _kinetics(root: Path, split: int, subset: str) -> VideoDataset:
    parts = _parts_of(subset, ("train", "val"))
    rows = [row for part in parts for row in _kinetics_rows(root / "annotations", part)]
    names = sorted({label for label, _ in rows})
    index = {label: i for i, label in enumerate(names)}
    films, items, unreadable = Counter(film for film, *_ in {clip for _, clip in rows}), [], {}
    copies = _kinetics_videos(root, unreadable)
    for label, clip in rows:
        film, start, end = clip
        keys = (clip, (film,)) if films[film] == 1 else (clip,)  # the id alone names neither of two clips
        path = next((Path(videos[key]) for videos in copies for key in keys if key in videos), _ABSENT)
        items.append(VideoItem(f"{film}_{start:06d}_{end:06d}", path, index[label], group=film))
    return _dataset(names, items, None, subset, unreadable)


def _kinetics_rows(annotations: Path, part: str) -> Iterator[tuple[str, _Clip]]:
    """Label and clip of each row of the list of a part: `train.csv`, or a longer name as `kinetics-400_train.csv`."""
    lists = sorted(_require(annotations, "the folder of the Kinetics lists").glob("[!.]*.csv"))
    named = [path for path in lists if re.search(rf"(^|[-_]){part}(idate)?$", path.stem)]
    path = _require(named[0] if named else annotations / f"{part}.csv", f"the Kinetics list of {part}")
    lines = read_list(path)
    header = [name.strip() for name in next(csv.reader(lines[:1]), ())]
    if lacking := ", ".join(name for name in _KINETICS_COLUMNS if name not in header):
        found = ", ".join(header) or "nothing"
        raise ValueError(f"{path}, line 1: no column {lacking}, found {found}; restore the official list.")
    columns = [header.index(name) for name in _KINETICS_COLUMNS]
    for number, line in enumerate(lines[1:], start=2):
        if cells := next(csv.reader([line]), ()):  # line by line: a quote left open must not swallow the rows below
            values = [cells[column].strip() if column < len(cells) else "" for column in columns]
            yield _kinetics_row(f"{path}, line {number}", values)


def _kinetics_row(where: str, values: list[str]) -> tuple[str, _Clip]:
    label, film, start, end = *values[:2], *(re.fullmatch(_SECONDS, value) for value in values[2:])
    for column, value, good in zip(_KINETICS_COLUMNS, values, (label, film, start, end), strict=True):
        if not good:
            raise _fault(where, column, "whole seconds" if column.startswith("time") else "a text", value)
    return unicodedata.normalize("NFC", label), (film, int(start[1]), int(end[1]))


def _kinetics_videos(root: Path, unreadable: dict[str, str]) -> tuple[dict[tuple, str], dict[tuple, str]]:
    """(id, start, end) or (id,) -> video, for all of the folders that copies of Kinetics use.

    What lies in a folder of replacements comes first: the clips that it replaces are corrupt.
    """
    replacements, videos = {}, {}
    for parts, stem, path in _videos_below(root, unreadable):
        if match := _KINETICS_NAME.fullmatch(stem):
            film, *times = match.groups()
            known = replacements if any(part.lower().startswith("replacement") for part in parts) else videos
            known.setdefault((film, *map(int, filter(None, times))), path)
    return replacements, videos


# ------------------------------------------------------------------ UCF-101
def _ucf(root: Path, split: int, subset: str) -> VideoDataset:
    lists = _require(root / "ucfTrainTestlist", "the folder of the official UCF-101 lists")
    names = [name for _, _, name in _rows(lists / "classInd.txt", "the class list", "a class")]
    index, items, unreadable = {name.lower(): i for i, name in enumerate(names)}, [], {}
    videos = _by_name(root / "UCF-101", unreadable)
    for part in _parts_of(subset, ("train", "test")):
        path = lists / f"{part}list{split:02d}.txt"
        for where, entry, _ in _rows(path, f"the official list of {part}, split {split}"):
            # "Class/v_Class_g01_c01.avi" or, in training lists, the same and an id, which is not used.
            *_, folder, name = ("", *entry.replace("\\", "/").split("/"))
            if (label := index.get(folder.lower())) is None:
                what = f"class {folder or '(none)'} is not in classInd.txt"
                raise ValueError(f"{where}, column 1: {entry!r}: {what}; restore the official lists.")
            video = videos.get(_spelling(_stem(name)), _ABSENT)
            items.append(VideoItem(_stem(name), video, label, _group_of(name, folder) or name))
    return _dataset(names, items, split, subset, unreadable)


# ------------------------------------------------------------------ HMDB-51
_HMDB_FLAGS = {"train": ("1",), "test": ("2",), "all": ("0", "1", "2")}  # 0: in neither part of this split


def _hmdb(root: Path, split: int, subset: str) -> VideoDataset:
    _parts_of(subset, ("train", "test"))
    lists = _require(root / "testTrainMulti_7030_splits", "the folder of the official HMDB-51 lists")
    suffix = f"_test_split{split}.txt"
    names = sorted(path.name.removesuffix(suffix) for path in lists.glob(f"[!.]*{suffix}"))
    if not names:
        raise FileNotFoundError(f"{lists}: no list <class>{suffix}; HMDB-51 has splits 1, 2 and 3.")
    items, unreadable = [], {}
    videos = _by_name(root / "videos", unreadable)
    for label, class_name in enumerate(names):
        for where, entry, flag in _rows(lists / f"{class_name}{suffix}", "the list of a class", "0, 1 or 2"):
            if flag not in _HMDB_FLAGS["all"]:
                raise _fault(where, 2, "0, 1 or 2", flag)
            if flag in _HMDB_FLAGS[subset]:
                name = entry.replace("\\", "/").rpartition("/")[2]
                video = videos.get(_spelling(_stem(name)), _ABSENT)
                items.append(VideoItem(_stem(name), video, label, _group_of(name, class_name) or name))
    return _dataset([name.replace("_", " ") for name in names], items, split, subset, unreadable)


# ------------------------------------------------------------------ any folder of class folders
_PARTS = re.compile(r"(train|val|valid|validate|validation|test)(ing)?[ -]?\d*")  # of a data set: no classes
_NOT_UTF8 = re.compile("[\udc80-\udcff]")  # how Python spells such bytes of a file name
_Place = tuple[str, ...]  # of a file or folder: names from root down


def _folder(root: Path, split: int, subset: str) -> VideoDataset:
    """Each folder in `root` with videos anywhere below it is a class; folders whose names compare equal are one."""
    videos: dict[_Place, list[_Place]] = {}  # of each folder in root, and of () those that lie in root itself
    others, hidden, unreadable = [], [], {}
    for parts, files, of_system in walk(_require(root, "the folder of class folders"), unreadable):
        found = videos.setdefault(parts[:1], [])
        for name in files:
            (others if _stem(name) == name else found).append((*parts, name))
        hidden += [(*parts, name) for name in of_system]
    loose = videos.pop((), [])
    tops = sorted(top for top, places in videos.items() if places or shown_path(*top, "") in unreadable)
    ignored = [*loose, *((*top, "") for top in sorted(videos.keys() - set(tops))), *others, *hidden]
    _check_folder(root, tops, [place for top in tops for place in videos[top]], [shown_path(*p) for p in ignored])
    classes: dict[str, list[_Place]] = {}
    for top in tops:
        classes.setdefault(_spelling(shown_path(*top)), []).append(top)
    items = []
    for label, same in enumerate(classes.values()):
        for place in sorted(place for top in same for place in videos[top]):
            path, video_id = root.joinpath(*place), shown_path(*place)  # two classes may each hold a "clip_1.mp4"
            if _NOT_UTF8.search(str(path)):
                unreadable[video_id] = "its name is not UTF-8, which decoders ask for; rename it"
            else:
                items.append(VideoItem(video_id, path, label, _group_of(place[-1], *same[0]) or video_id))
    names = [shown_path(*first).replace("_", " ") for first, *_ in classes.values()]
    dataset = _dataset(names, items, None, "all", unreadable)
    return replace(dataset, ignored=(*dataset.ignored, *(shown_path(*place) for place in ignored)))


def _check_folder(root: Path, tops: list[_Place], videos: list[_Place], ignored: list[str]) -> None:
    """Refuse what is laid out in another way, where every class would be a wrong one."""
    if not tops:
        others = _examples(ignored, "are passed over")
        raise FileNotFoundError(
            f"{root}: no folder in it holds a video{others}. Put each video into a folder named after its class, and "
            "open the folder that holds those folders."
        )
    names, below = [shown_path(*top) for top in tops], sorted({place[1:-1][:1] for place in videos})
    if all(_PARTS.fullmatch(_spelling(name)) for name in names):
        found = f"parts of a data set ({', '.join(names)})"
    elif len(names) == 1 and len(below) > 1 and () not in below:
        found = f"one folder, {names[0]}, of folders ({', '.join(shown_path(*place) for place in below[:3])})"
    else:
        return
    raise ValueError(f"{root}: expected a folder for each class, found {found}; open {root / names[0]}.")


_LAYOUTS: dict[str, Callable[[Path, int, str], VideoDataset]] = {
    "kinetics400": _kinetics, "ucf101": _ucf, "hmdb51": _hmdb, "folder": _folder,
}  # fmt: skip

# ------------------------------------------------------------------ lists and folders
_ABSENT = Path()


def _dataset(
    class_names: list[str], listed: list[VideoItem], split: int | None, subset: str, unreadable: dict[str, str]
) -> VideoDataset:
    """The listed videos, each once; those set apart whose path is absent."""
    first: dict[str, VideoItem] = {}
    again = [item for item in listed if first.setdefault(item.video_id, item) is not item]
    present = tuple(item for item in first.values() if item.path != _ABSENT)
    missing = tuple(item.video_id for item in first.values() if item.path == _ABSENT)
    ignored = tuple(f"{item.video_id} (listed again as {class_names[item.label]})" for item in again)
    return VideoDataset("", tuple(class_names), present, split, subset, missing, ignored, unreadable)


def _parts_of(subset: str, parts: tuple[str, ...]) -> tuple[str, ...]:
    """The official parts that make up a subset."""
    if subset not in (*parts, "all"):
        raise ValueError(f"subset {subset!r}: expected one of {', '.join(parts)}, all.")
    return parts if subset == "all" else (subset,)


def _require(path: Path, what: str) -> Path:
    if not path.exists():
        raise FileNotFoundError(f"{path}: {what} is missing. See the data layout in README.md.")
    return path


def _rows(path: Path, what: str, wanted: str = "") -> Iterator[tuple[str, str, str]]:
    """("file, line n", two columns) of each line that is not blank; the second may be absent if none is `wanted`."""
    for number, line in enumerate(read_list(_require(path, what)), start=1):
        first, *second = line.rsplit(maxsplit=1) or [""]
        if first and wanted and not second:
            raise _fault(f"{path}, line {number}", 2, wanted, "")
        if first:
            yield f"{path}, line {number}", first.strip(), "".join(second)


def _fault(where: str, column: int | str, wanted: str, found: str) -> ValueError:
    return ValueError(f"{where}, column {column}: expected {wanted}, found {found!r}; repair or restore the list.")


_UCF_NAME = re.compile(r"v_\w+_g(\d+)_c\d+")
_HMDB_NAME = re.compile(r"(.+)_[fhlu]_[cn]m_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+")


def _group_of(name: str, folder: str) -> str | None:
    """The place or film that a clip was cut from, as an official name tells it beside its class; None from others.

    Clips of one group are no independent trials: an interval that takes them for such is too narrow. The class is
    looked for from the end: a film's own title may hold it ("The_wave_..._wave_f_cm_np1_fr_med_0").
    """
    stem = _stem(name)
    if match := _UCF_NAME.fullmatch(stem):
        return f"{folder}_g{match[1]}"
    if match := _HMDB_NAME.fullmatch(stem):
        return match[1].removesuffix(f"_{folder.replace(' ', '_')}")
    match = _KINETICS_NAME.fullmatch(stem)
    return match[1] if match and len(match[2] or "") == 6 else None


def _videos_below(root: Path, unreadable: dict[str, str]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """(folders from root down, name without suffix, path) of each video."""
    for parts, files, _ in walk(root, unreadable):
        place = "/".join((str(root), *parts))
        yield from ((parts, stem, f"{place}/{name}") for name in files if (stem := _stem(name)) != name)


def _by_name(root: Path, unreadable: dict[str, str]) -> dict[str, Path]:
    """Videos by what their names spell, which holds their class, whatever the capitals, the suffix and the folders."""
    videos = {}
    for _, stem, path in _videos_below(root, unreadable):
        videos.setdefault(_spelling(stem), Path(path))
    return videos


def _stem(name: str) -> str:
    """The name of a video without suffix, or suffixes as in "clip.mp4.mkv"; any other name as it is."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  as fast as it gets: there are 240,000
    return _stem(stem) if suffix.lower() in VIDEO_SUFFIXES else name


def _spelling(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().replace("_", " ")


def _examples(names: Collection[str], what: str) -> str:
    """How many, and which the first are; with the reasons, where there are some."""
    names = [f"{name} ({reason})" for name, reason in names.items()] if isinstance(names, Mapping) else list(names)
    return f"; {len(names)} {what}, e.g. {', '.join(names[:3])}" if names else ""
