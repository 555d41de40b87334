"""A user's own model on the benchmark: every target, both kinds of descriptions, beside what is recorded here."""

import numpy as np
import pandas as pd

from motion_lib.bootstrap import bootstrap_difference
from motion_lib.evaluation import RetrievalResult, encode_videos, score_all
from motion_lib.experiment import Experiment
from motion_lib.frames import open_clips
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.models import VideoTextModel
from motion_lib.protocols import FULL, HALF, MEAN_OF_SPLITS, protocol_results
from motion_lib.records import ranks_of, read_records
from motion_lib.storage import content_hash
from motion_lib.tables import DATASET_LABEL, KIND_LABEL, NOT_RUN, select


def evaluate_own_model(model: VideoTextModel, experiment: Experiment, against: str = "motion") -> pd.DataFrame:
    """Top-1 percent and the other protocols of any model that follows `VideoTextModel`.

    Each video is encoded once, with the model's own preprocessing and number of frames; nothing is written.

    Args:
        against: method whose records the model is paired with, over the same videos and all their seeds.
    Raises: TypeError naming what the model lacks of the protocol; ValueError if no video can be read.
    """
    lacking = [n for n in ("preprocess", "encode_video", "encode_text", "similarity") if not hasattr(model, n)]
    if lacking:
        raise TypeError(f"{type(model).__name__} has no {', '.join(lacking)}: see motion_lib.VideoTextModel.")
    records, cfg, rows = read_records(experiment.cfg), experiment.cfg, []
    for target in cfg.targets:
        clips = open_clips(
            experiment.dataset(target, "all"),
            model.preprocess,
            experiment.data_root / "frames",
            "none" if cfg.frame_cache == "packed" else cfg.frame_cache,  # targets are decoded as they are
        )
        videos = encode_videos(model, clips, num_workers=cfg.num_workers, device=getattr(model, "device", None))
        sets = [experiment.descriptions(target, kind) for kind in DESCRIPTION_KINDS]
        for kind, result in zip(DESCRIPTION_KINDS, score_all(model, videos, sets), strict=True):
            cell = select(records, dataset=target, method=against, descriptions=kind, epoch=None)
            found = protocol_results(result, experiment.protocol_lists(target), cfg.bootstrap_resamples)
            row = {"Target": DATASET_LABEL[target], "Descriptions": KIND_LABEL[kind], "Videos": len(result.labels)}
            rows.append(row | _measured(result, found) | _paired(result, cell, METHODS[against].label))
    return pd.DataFrame(rows)


def _measured(result: RetrievalResult, found: dict[str, dict]) -> dict[str, str]:
    full = found[FULL]
    limits = f" [{100 * full['acc1_low']:.1f}, {100 * full['acc1_high']:.1f}]" if "acc1_low" in full else ""
    row = {"Top-1": f"{100 * full['acc1']:.1f}{limits}", "Top-5": f"{100 * result.accuracy(5):.1f}"}
    row["Mean per class"] = f"{100 * result.mean_per_class_acc:.1f}"
    for name in (MEAN_OF_SPLITS, HALF):
        row[name.capitalize()] = f"{100 * found[name]['acc1']:.1f}" if "acc1" in found[name] else NOT_RUN
    return row | {"Chance": f"{100 / result.scores.shape[1]:.1f}", "Unreadable": str(len(result.failed))}


def _paired(result: RetrievalResult, cell: list[dict], label: str) -> dict[str, str]:
    """The gap to a recorded method over the same videos, resampled over classes with all its seeds."""
    column = f"Less {label}, points"
    same = [record for record in cell if record["video_list_hash"] == content_hash(list(result.video_ids))]
    if not same:
        return {column: NOT_RUN if not cell else "its records are of other videos"}
    theirs = np.concatenate([ranks_of(record) == 0 for record in same])
    ours, classes = (np.tile(values, len(same)) for values in (result.correct, result.labels))
    gap = bootstrap_difference(ours, theirs, classes)
    return {column: "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * value for value in gap))}
