"""One set of answers scored in every way that papers of this field score it.

All protocols are made from the scores of one encoding pass over all videos of a data set. "full set" is every
video; the splits are the official test lists; "half of the classes" is Text4Vis's and ViFi-CLIP's zero-shot
protocol (ten random halves, videos and candidates of these classes only). The others keep all candidates and
count the videos of some classes: those whose description the source holds word for word, or does not; those
without a counterpart in the source by three rules (`class_overlap`); those whose description masking changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from motion_lib.evaluation.intervals import bootstrap_accuracy
from motion_lib.evaluation.retrieval import RetrievalResult

HALVES = 10
SPLITS = (1, 2, 3)
FULL, MEAN_OF_SPLITS, HALF = "full set", "mean of 3 splits", "half of the classes"


@dataclass(frozen=True)
class ProtocolLists:
    """What the protocols need to know of a data set.

    Attributes:
        splits: {split: ids of the videos of its official test list, or None where the list is not at hand}.
        classes: {name of a protocol: indices of the classes whose videos it counts}.
    """

    splits: Mapping[int, frozenset[str] | None] = field(default_factory=dict)
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def half_classes(num_classes: int, draw: int) -> tuple[int, ...]:
    """The classes of one random half, rounded down, as Text4Vis draws them.

    Source: peers, Text4Vis commit d61b34d: NumPy's legacy generator seeded with the number of the draw.
    """
    order = np.random.RandomState(draw).permutation(num_classes)  # the legacy generator is part of the protocol
    return tuple(int(c) for c in order[: num_classes // 2])


def protocol_results(result: RetrievalResult, lists: ProtocolLists, resamples: int = 10_000) -> dict[str, dict]:
    """Top-1 of one result by every protocol.

    Args: result: of all videos of the data set.   resamples: of the intervals over groups of clips.
    Returns: {protocol: {acc1, videos, classes (candidates), ...}}, fractions; acc1_low and acc1_high where
        the videos have two groups or more; sd where it is a mean over splits or draws (the population's, as
        the field prints it). A protocol that was not run has videos 0, no acc1 and under `why` the reason.
    """
    found = {FULL: _cell(result, resamples)}
    ids = np.array(result.video_ids)
    for split, wanted in lists.splits.items():
        if wanted is None:
            found[f"split {split}"] = _nothing(result, "not run: its list is not at hand")
            continue
        keep = np.isin(ids, list(wanted))
        found[f"split {split}"] = _cell(result.among(keep), resamples) if keep.any() else _nothing(result)
    of_splits = [found[f"split {split}"] for split in lists.splits]
    complete = len(of_splits) == len(SPLITS) and all("acc1" in cell for cell in of_splits)
    found[MEAN_OF_SPLITS] = _mean(of_splits) if complete else _nothing(result, "not run: not all three splits were")
    classes = result.scores.shape[1]
    every_class_has_videos = len(np.unique(result.labels)) == classes
    if classes > 3 and every_class_has_videos:  # else a half may be one class, or hold no video
        halves = (half_classes(classes, draw) for draw in range(HALVES))
        found[HALF] = _mean([_cell(result.among(classes=half), 0) for half in halves])
    else:
        found[HALF] = _nothing(
            result, "not run: some classes have no videos" if classes > 3 else "not run: too few classes"
        )
    for name, counted in lists.classes.items():
        keep = np.isin(result.labels, counted)
        found[name] = _cell(result.among(keep), resamples) if keep.any() else _nothing(result)
    return found


def _cell(result: RetrievalResult, resamples: int) -> dict:
    cell = {
        "acc1": result.accuracy(),
        "videos": len(result.labels),
        "classes": result.scores.shape[1],
        "classes_with_videos": len(np.unique(result.labels)),
    }
    if resamples and len(set(result.groups)) > 1:
        interval = bootstrap_accuracy(result.correct, result.groups, resamples=resamples)
        cell |= {"acc1_low": interval.low, "acc1_high": interval.high}
    return cell


def _nothing(result: RetrievalResult, why: str = "no such videos") -> dict:
    return {"videos": 0, "classes": result.scores.shape[1], "classes_with_videos": 0, "why": why}


def _mean(cells: list[dict]) -> dict:
    values = [cell["acc1"] for cell in cells]
    return {
        "acc1": float(np.mean(values)),
        "sd": float(np.std(values)),
        "videos": round(float(np.mean([cell["videos"] for cell in cells]))),
        "classes": cells[0]["classes"],
        "classes_with_videos": round(float(np.mean([cell["classes_with_videos"] for cell in cells]))),
    }
