"""A user's own model on the benchmark: every target, both kinds of descriptions, beside what is recorded here."""

from dataclasses import replace

import numpy as np
import pandas as pd

from motion_lib.data.catalogue import DATASETS
from motion_lib.data.datasets import check_missing
from motion_lib.evaluation.features import encode_videos
from motion_lib.evaluation.protocols import FULL, HALF, MEAN_OF_SPLITS, protocol_results
from motion_lib.evaluation.retrieval import RetrievalResult, score_all
from motion_lib.experiment.experiment import Experiment
from motion_lib.experiment.records import answers_of, read_records
from motion_lib.methods import DESCRIPTION_KINDS, METHODS
from motion_lib.models.prototype import VideoTextModel
from motion_lib.report.tables import KIND_LABEL, NOT_RUN, Percent, Points, select
from motion_lib.storage import content_hash


def evaluate_own_model(model: VideoTextModel, experiment: Experiment, against: str = "motion") -> pd.DataFrame:
    """Top-1 percent and the other protocols of any model that follows `VideoTextModel`.

    Each video is encoded once, with the model's own preprocessing and number of frames; nothing is written. Top-1,
    Top-5, Mean per class and Unreadable are of the videos that records are of (`target_subset`); the protocols say of
    which.

    Args:
        model: any.
        experiment: `Experiment(cfg, models=False)` asks for no weights of this project's models.
        against: method whose records the model is paired with, over the same videos and all their seeds.

    Raises:
        TypeError: naming what the model lacks of the protocol.
        TooManyMissing: above the share `max_missing`.
    """
    lacking = [n for n in ("preprocess", "encode_video", "encode_text", "similarity") if not hasattr(model, n)]
    if lacking:
        raise TypeError(f"{type(model).__name__} has no {', '.join(lacking)}: see motion_lib.VideoTextModel.")
    records, cfg, rows = read_records(experiment.cfg), experiment.cfg, []
    subset = "all" if cfg.target_subset == "all" else f"{cfg.target_subset}, split {cfg.split}"
    for target in cfg.targets:
        videos = encode_videos(model, experiment.data.dataset(target, "all"), num_workers=cfg.num_workers)
        check_missing(videos.dataset, cfg.max_missing, videos.failed)
        sets = [experiment.data.descriptions(target, kind) for kind in DESCRIPTION_KINDS]
        part = videos.of(experiment.data.dataset(target, cfg.target_subset))
        listed = [item.video_id for item in part.dataset.items]
        counted = np.isin([item.video_id for item in videos.dataset.items], listed)
        for kind, everything in zip(DESCRIPTION_KINDS, score_all(model, videos, sets), strict=True):
            recorded = select(records, dataset=target, method=against, descriptions=kind, epoch=None)
            result = replace(everything.among(counted), failed=part.failed, missing=part.dataset.missing)
            lists = experiment.data.protocol_lists(target, kind)
            protocols = protocol_results(everything, lists, cfg.bootstrap_resamples)
            row = {"Target": DATASETS[target].label, "Descriptions": KIND_LABEL[kind]}
            row["Videos"] = f"{len(result.labels)} ({subset})"
            row["Top-1"] = Percent(*result.interval(cfg.bootstrap_resamples))
            row |= {"Top-5": Percent(result.accuracy(5)), "Mean per class": Percent(result.mean_per_class_acc)}
            for name in (FULL, MEAN_OF_SPLITS, HALF):
                row[name.capitalize()] = Percent(protocols[name]["acc1"]) if "acc1" in protocols[name] else NOT_RUN
            row |= {"Chance": Percent(1 / result.scores.shape[1]), "Unreadable": len(result.failed)}
            row["Not on disk"] = len(result.missing)
            rows.append(row | {f"Less {METHODS[against].label}, points": _gap(result, recorded)})
    return pd.DataFrame(rows)


def _gap(result: RetrievalResult, recorded: list[dict]) -> Points | str:
    """To a recorded method over the same videos, resampled over classes with all its seeds."""
    videos = content_hash(list(result.video_ids))
    same = [record for record in recorded if record["video_list_hash"] == videos]
    if not same:
        return "its records are of other videos" if recorded else NOT_RUN
    theirs = answers_of(same)
    ours = replace(theirs, right=np.tile(result.correct.astype(float), len(same)))
    return Points(*ours.less(theirs).interval())
