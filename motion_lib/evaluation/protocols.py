"""One set of answers scored in every way that papers of this field score it.

All protocols are made from the scores of one encoding pass over all videos of a data set. "full set" is every
video; the splits are the official test lists; "half of the classes" is Text4Vis's and ViFi-CLIP's zero-shot
protocol (ten random halves, videos and candidates of these classes only). The others keep all candidates and
count the videos of some classes: those whose description the source holds word for word, or does not; those
without a counterpart in the source by three rules (`texts.overlap`); those whose description masking changes.
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
    """The classes of one random half, rounded down, as Text4Vis (commit d61b34d) draws them."""
    order = np.random.RandomState(draw).permutation(num_classes)  # the legacy generator is part of the protocol
    return tuple(int(c) for c in order[: num_classes // 2])


def protocol_results(result: RetrievalResult, lists: ProtocolLists, resamples: int = 10_000) -> dict[str, dict]:
    """Top-1 of one result by every protocol.

    Args:
        result: of all videos of the data set.
        resamples: of the intervals over groups of clips.

    Returns:
        {protocol: {acc1, videos, classes (candidates), ...}}, fractions; acc1_low and acc1_high where the videos have
        two groups or more; sd where it is a mean over splits or draws (the population's, as the field prints it). A
        protocol that was not run has videos 0, no acc1 and under `why` the reason.
    """
    results = {FULL: _scored(result, resamples)}
    for split, listed in lists.splits.items():
        if listed is None:
            results[f"split {split}"] = _not_run(result, "not run: its list is not at hand")
        else:
            results[f"split {split}"] = _scored_part(result, np.isin(result.video_ids, list(listed)), resamples)
    splits = [results[f"split {split}"] for split in lists.splits]
    complete = len(splits) == len(SPLITS) and all("acc1" in split for split in splits)
    results[MEAN_OF_SPLITS] = _mean(splits) if complete else _not_run(result, "not run: not all three splits were")
    classes = result.scores.shape[1]
    if classes <= 3:  # a half may be one class
        results[HALF] = _not_run(result, "not run: too few classes")
    elif len(np.unique(result.labels)) < classes:  # a half may hold no video
        results[HALF] = _not_run(result, "not run: some classes have no videos")
    else:
        halves = (half_classes(classes, draw) for draw in range(HALVES))
        results[HALF] = _mean([_scored(result.among(classes=half), 0) for half in halves])
    for name, counted in lists.classes.items():
        results[name] = _scored_part(result, np.isin(result.labels, counted), resamples)
    return results


def _scored(result: RetrievalResult, resamples: int) -> dict:
    scored = {
        "acc1": result.accuracy(),
        "videos": len(result.labels),
        "classes": result.scores.shape[1],
        "classes_with_videos": len(np.unique(result.labels)),
    }
    if resamples and len(set(result.groups)) > 1:
        interval = bootstrap_accuracy(result.correct, result.groups, resamples=resamples)
        scored |= {"acc1_low": interval.low, "acc1_high": interval.high}
    return scored


def _scored_part(result: RetrievalResult, videos: np.ndarray, resamples: int) -> dict:
    return _scored(result.among(videos), resamples) if videos.any() else _not_run(result, "no such videos")


def _not_run(result: RetrievalResult, why: str) -> dict:
    return {"videos": 0, "classes": result.scores.shape[1], "classes_with_videos": 0, "why": why}


def _mean(parts: list[dict]) -> dict:
    values = [part["acc1"] for part in parts]
    return {
        "acc1": float(np.mean(values)),
        "sd": float(np.std(values)),
        "videos": round(float(np.mean([part["videos"] for part in parts]))),
        "classes": parts[0]["classes"],
        "classes_with_videos": round(float(np.mean([part["classes_with_videos"] for part in parts]))),
    }
