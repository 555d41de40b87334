"""The one table of data sets: what each is called, stands for, and where its files belong below MOTION_DATA."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of one data set.

    Attributes:
        label: name in tables and figures.
        layout: whose folders and lists it has: "kinetics400", "ucf101", "hmdb51" or "folder".
        paper: data set of the paper that it is or, if rendered, stands for; "" for none.
        lists: folder of the official lists.
        videos: folder of the videos, as a glob pattern: copies of Kinetics differ in theirs.
        subsets: those that together are all videos.
        classes: how many the official lists have.
        sizes: videos on the lists, of the test part of split 1 and of everything.
        texts: {kind: file of the authors}, "object" and "masked" and what controls use beside them.
        how_to_get: where the videos come from; `{root}` is MOTION_DATA.
    """

    label: str
    layout: str
    paper: str = ""
    lists: str = ""
    videos: str = ""
    subsets: tuple[str, ...] = ()
    classes: int = 0
    sizes: tuple[int, int] = (0, 0)
    texts: Mapping[str, str] = field(default_factory=dict)
    how_to_get: str = ""


DATASETS: dict[str, DatasetFacts] = {
    "kinetics400": DatasetFacts(
        "Kinetics-400",
        "kinetics400",
        "kinetics400",
        lists="kinetics400/annotations",
        videos="kinetics400/*",
        subsets=("train", "val"),
        classes=400,
        texts={"object": "kinetics400_motion_descriptions.csv"},
        how_to_get="about 450 GB: https://github.com/cvdfoundation/kinetics-dataset (k400_downloader.sh, "
        "k400_extractor.sh); put the folders train and val into {root}/kinetics400",
    ),
    "ucf101": DatasetFacts(
        "UCF-101",
        "ucf101",
        "ucf101",
        lists="ucf101/ucfTrainTestlist",
        videos="ucf101/UCF-101",
        subsets=("all",),
        classes=101,
        sizes=(3_783, 13_320),
        texts={
            "object": "uc101_motion.csv",
            "masked": "ucf101_without_objectname.csv",
            "action description": "ucf_descriptions.csv",
            "alternate version": "ucf_motion_alternate_version.csv",
        },
        how_to_get="about 7 GB: https://www.crcv.ucf.edu/data/UCF101/UCF101.rar; `unrar x UCF101.rar` in "
        "{root}/ucf101 makes UCF-101/<Class>/*.avi",
    ),
    "hmdb51": DatasetFacts(
        "HMDB-51",
        "hmdb51",
        "hmdb51",
        lists="hmdb51/testTrainMulti_7030_splits",
        videos="hmdb51/videos",
        subsets=("all",),
        classes=51,
        sizes=(1_530, 6_766),
        texts={
            "object": "hmdb51_motion_with_objectname.csv",
            "masked": "HMDB51_without_objectname.csv",
            "action description": "hmdb_descriptions.csv",
            "alternate version": "hmdb51_motion_alternate_version.csv",
        },
        how_to_get="about 2 GB: https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/ "
        "(hmdb51_org.rar, a rar of one rar a class); unpack those into {root}/hmdb51/videos/<class>/*.avi",
    ),
    "miniature-source": DatasetFacts("miniature source", "kinetics400", "kinetics400"),
    "miniature-ucf": DatasetFacts("miniature UCF-like", "ucf101", "ucf101"),
    "miniature-hmdb": DatasetFacts("miniature HMDB-like", "hmdb51", "hmdb51"),
    "folder": DatasetFacts("folder of class folders", "folder"),
}
OFFICIAL = tuple(name for name, facts in DATASETS.items() if facts.lists)


def facts_of(name: str) -> DatasetFacts:
    """The facts of a data set.

    Raises:
        ValueError: for a name that is not in the table.
    """
    if name not in DATASETS:
        raise ValueError(f"data set {name!r}: expected one of {', '.join(DATASETS)}.")
    return DATASETS[name]
