"""The card of a model: what it scores, what it goes by, what it costs, and what was not run.

`card.json` holds every number and every answer; the page and the board are drawn from it alone. What the model makes
of each video is kept beside it, so that a card with other texts takes seconds.
"""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.special import softmax

from motion_lib.config import RunConfig
from motion_lib.data.catalogue import DATASETS
from motion_lib.data.clips import open_clips
from motion_lib.data.datasets import VideoDataset, check_missing, open_dataset
from motion_lib.data.preprocessing import Normalise
from motion_lib.evaluation.features import VideoFeatures, encode_videos
from motion_lib.evaluation.intervals import Interval, bootstrap_mean, paired_difference
from motion_lib.evaluation.metrics import ranks_of_texts
from motion_lib.evaluation.protocols import protocol_results
from motion_lib.evaluation.retrieval import RetrievalResult, score_all
from motion_lib.experiment.experiment import Experiment
from motion_lib.experiment.records import environment
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.probes import text_controls
from motion_lib.probes.video_controls import FILMED, FROZEN, REVERSED, SHUFFLED, SHUFFLES, Control, score_controls
from motion_lib.scores.names import Named
from motion_lib.storage import atomic_path, content_hash, write_json
from motion_lib.texts.descriptions import DescriptionSet, changed_by_masking, read_descriptions

SCHEMA = 1  # of card.json
_ENDS = 5  # classes that are best and worst told
_BEST, _FRAMES = 3, 4


def slug(name: str) -> str:
    """A name as that of a folder."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-")


@dataclass(frozen=True)
class Target:
    """Videos and the texts to choose from.

    Attributes:
        name: of the data set.
        label: as tables say it.
        videos: all of them.
        sets: {kind: descriptions}, "object" at least.
        others: further texts of the same classes; None for one that is not at hand.
    """

    name: str
    label: str
    videos: VideoDataset
    sets: Mapping[str, DescriptionSet]
    others: Mapping[str, DescriptionSet | None]


def targets_of(experiment: Experiment, names: Sequence[str] = ()) -> list[Target]:
    """Targets of a profile, all without names; `names` may be the paper's ("ucf101") in the miniature too."""
    cfg, data = experiment.cfg, experiment.data
    by_name = {key: t for t in cfg.targets for key in (t, DATASETS[t].paper)}
    if unknown := [name for name in names if name not in by_name]:
        raise ValueError(f"data set {unknown[0]!r}: the profile {cfg.profile!r} has {', '.join(by_name)}.")
    chosen = dict.fromkeys(by_name[name] for name in names) or cfg.targets
    return [
        Target(
            name, DATASETS[name].label, data.dataset(name, cfg.target_subset),
            {kind: data.descriptions(name, kind) for kind in DESCRIPTION_KINDS}, data.other_texts(name),
        )
        for name in chosen
    ]  # fmt: skip


def own_target(videos: Path, descriptions: Path, masked: Path | None = None) -> Target:
    """A folder of class folders, and a CSV with a class and its description a row."""
    sets = {"object": read_descriptions(descriptions)} | ({"masked": read_descriptions(masked)} if masked else {})
    return Target(videos.name, videos.name, open_dataset("folder", videos), sets, {})


# ------------------------------------------------------------------ the card
def make_card(named: Named, cfg: RunConfig, targets: Sequence[Target], folder: Path, quick: bool = False) -> dict:
    """Measure a model and write `card.json`.

    Args:
        folder: of the card; features are kept below it.
        quick: the cells of Tables 2 and 3 alone.

    Returns:
        What was written.

    Raises:
        TooManyMissing: above the share `max_missing`.
    """
    what = {"quick": "left out: --quick"} if quick else {}
    card = {
        "schema": SCHEMA,
        "model": named.name,
        "profile": cfg.profile,
        "preprocess": asdict(named.model.preprocess),
        "text_tokens": named.reads,
        "facts": named.facts,
        "environment": environment(cfg, encoded=False),
        "targets": [_target(named, cfg, target, folder, quick) for target in targets],
        "not_run": what,
    }
    return json.loads(write_json(folder / "card.json", card).read_text(encoding="utf-8"))


def _target(named: Named, cfg: RunConfig, target: Target, folder: Path, quick: bool) -> dict:
    videos = _encoded(named, cfg, target, folder)
    kinds = list(target.sets)
    results = dict(zip(kinds, score_all(named.model, videos, list(target.sets.values())), strict=True))
    right = results["object"]
    texts = target.sets["object"].select(videos.dataset.class_names)
    part = {
        "name": target.name,
        "label": target.label,
        "videos": content_hash(list(right.video_ids)),
        "classes": texts.class_names,
        "labels": right.labels.tolist(),
        "groups": np.unique(right.groups, return_inverse=True)[1].tolist(),
        "unreadable": videos.failed,
        "missing": len(videos.dataset.missing),
        "clips_per_sec": len(right.labels) / videos.wall_time_sec,
        "results": {kind: _cells(named, target.sets[kind], result, cfg) for kind, result in results.items()},
        "noun_reliance": _reliance(target, results, cfg),
    }
    if quick:
        return part
    return part | {
        "protocols": _protocols(results, target, cfg),
        "texts": _texts(named, videos, target, texts, cfg),
        "rivals": _rivals(named, right, texts),
        "frames": _frames(named, videos.dataset, texts, cfg),
        "by_class": _by_class(right, texts),
        "clips": _clips(named, videos.dataset, right, texts),
    }


def _encoded(named: Named, cfg: RunConfig, target: Target, folder: Path) -> VideoFeatures:
    """Features of the videos, kept under what the model makes of a picture of noise, whatever its weights are."""
    model, size = named.model, named.model.preprocess.crop_size
    noise = torch.rand(1, model.preprocess.num_frames, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        seen = model.encode_video(noise.to(getattr(model, "device", "cpu"))).float().cpu().numpy().round(4)
    made_from = (seen.tolist(), asdict(model.preprocess), target.videos.stamps())
    path = folder / "features" / f"{slug(target.name)}-{content_hash(*made_from)}.pt"
    if path.is_file():
        kept = torch.load(path, weights_only=True)
        items = {item.video_id: item for item in target.videos.items}
        shown = replace(target.videos, items=tuple(items[video_id] for video_id in kept["videos"]))
        return VideoFeatures(kept["features"], shown, kept["failed"], kept["wall_time_sec"])
    videos = encode_videos(model, target.videos, num_workers=cfg.num_workers)
    check_missing(videos.dataset, cfg.max_missing, videos.failed)
    kept = {"features": videos.features, "failed": videos.failed, "wall_time_sec": videos.wall_time_sec}
    with atomic_path(path) as temporary:
        torch.save(kept | {"videos": [item.video_id for item in videos.dataset.items]}, temporary)
    return videos


def _cells(named: Named, descriptions: DescriptionSet, result: RetrievalResult, cfg: RunConfig) -> dict:
    """One cell of Tables 2 and 3, with all answers."""
    cut = [text for text in descriptions.texts if named.cuts(text)]
    return {
        "descriptions": descriptions.sha256,
        "top1": _percent(result.interval(cfg.bootstrap_resamples)),
        "top5": 100 * result.accuracy(5),
        "mean_per_class": 100 * result.mean_per_class_acc,
        "chance": 100 / result.scores.shape[1],
        "answers": result.scores.argmax(axis=1).tolist(),
        "correct": result.correct.astype(int).tolist(),
        "texts_cut": len(cut),
        "cut": cut[:3],
    }


def _percent(interval: Interval) -> list[float]:
    """Estimate, low and high in percent or points."""
    return [100 * value for value in interval]


def _reliance(target: Target, results: Mapping[str, RetrievalResult], cfg: RunConfig) -> dict:
    """Top-1 with objects named less masked, over the videos of classes that masking changes; resampled by class."""
    if "masked" not in results:
        return {"why": "not run: no masked descriptions"}
    named, masked = (results[kind] for kind in DESCRIPTION_KINDS)
    names = target.videos.class_names
    changed = changed_by_masking(*(target.sets[kind].select(names) for kind in DESCRIPTION_KINDS))
    counted = np.isin(named.labels, changed)
    if len(np.unique(named.labels[counted])) < 2:
        return {"why": f"not run: masking changes {len(changed)} descriptions, two are needed"}
    lost = paired_difference(named.correct[counted], masked.correct[counted])
    interval = bootstrap_mean(lost, named.labels[counted], resamples=cfg.bootstrap_resamples)
    return {"points": _percent(interval), "videos": int(counted.sum())}


# ------------------------------------------------------------------ beyond the tables
def _protocols(results: Mapping[str, RetrievalResult], target: Target, cfg: RunConfig) -> dict:
    """Top-1 by every protocol of the field, which needs the videos of all splits."""
    if target.name not in DATASETS:
        return {"why": "not run: no lists of splits"}
    if cfg.target_subset != "all":
        return {"why": f"not run: the videos of {cfg.target_subset} alone; -p target_subset all"}
    data = Experiment(cfg, models=False).data
    found = {kind: protocol_results(r, data.protocol_lists(target.name, kind), 1000) for kind, r in results.items()}
    return {kind: {name: p for name, p in protocols.items() if p["videos"]} for kind, protocols in found.items()}


def _texts(named: Named, videos: VideoFeatures, target: Target, texts: DescriptionSet, cfg: RunConfig) -> dict:
    """Top-1 with other words, nouns alone, verbs alone; the mean over draws of what is random."""
    controls = text_controls.text_controls(texts, target.others)
    found: dict[str, object] = {name: "not run: not at hand" for name, draws in controls.items() if not draws}
    for name, draws in controls.items():
        if draws:
            results = score_all(named.model, videos, draws)
            right = np.mean([result.correct for result in results], axis=0)
            interval = bootstrap_mean(right, results[0].labels, resamples=cfg.bootstrap_resamples)
            found[name] = {"top1": _percent(interval), "own_texts": text_controls.num_own_texts(draws[0])}
    return found


def _rivals(named: Named, result: RetrievalResult, texts: DescriptionSet) -> dict:
    """Top-1 of the right description among five others: those that the model's own text tower finds nearest."""
    count = text_controls.RIVALS
    if len(texts) <= count:
        return {"why": f"not run: there are only {len(texts)} descriptions"}
    with torch.inference_mode():
        features = named.model.encode_text(texts.texts).float().cpu().numpy()
    if features.ndim != 2:
        return {"why": "not run: its texts are no single vectors"}
    sets = [text_controls.nearest_texts(features, count)]
    sets += [text_controls.random_rivals(len(texts), count, draw) for draw in range(text_controls.DRAWS)]
    near, *drawn = (100 * text_controls.right_among(result.scores, result.labels, s).mean() for s in sets)
    return {"nearest": float(near), "random": float(np.mean(drawn)), "chance": 100 / (count + 1)}


class _WholeClips:
    """A model that sees every control from its frames on, since nothing is known of what it does with them."""

    independent_frames = False

    def __init__(self, named: Named):
        model = self.model = named.model
        self.preprocess, self.encode_text, self.similarity = model.preprocess, model.encode_text, model.similarity
        self.encode_video, self.device = model.encode_video, torch.device(getattr(model, "device", "cpu"))
        self.normalise = Normalise(model.preprocess).to(self.device)


def _frames(named: Named, videos: VideoDataset, texts: DescriptionSet, cfg: RunConfig) -> dict:
    """Top-1 and changed first answers when the same frames are reversed, shuffled, or all the middle one."""
    count = named.model.preprocess.num_frames
    if count == 1:
        return {"why": "not run: it sees one frame"}
    controls = [Control(name, count) for name in (FILMED, REVERSED, FROZEN)]
    controls += [Control(SHUFFLED, count, draw) for draw in range(SHUFFLES)]
    clips = open_clips(videos, named.model.preprocess)
    scores, shown, _ = score_controls(_WholeClips(named), clips, controls, [texts], cfg.max_missing, cfg.num_workers)
    labels, answers = np.array([item.label for item in shown]), scores[:, 0].argmax(axis=-1)
    correct = np.stack([ranks_of_texts(of_control, labels) == 0 for of_control in scores[:, 0]])
    found = {}
    for name in dict.fromkeys(control.name for control in controls):
        of_name = [number for number, control in enumerate(controls) if control.name == name]
        moved = 100 * float((answers[of_name] != answers[0]).mean())
        found[name] = {"top1": 100 * float(correct[of_name].mean()), "other_first_answer": moved}
    return found


def _by_class(result: RetrievalResult, texts: DescriptionSet) -> dict:
    """The classes that are told best and worst, in percent of their videos."""
    present = np.unique(result.labels)
    shares = {texts.class_names[c]: 100 * float(result.correct[result.labels == c].mean()) for c in present}
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    return {"best": ordered[:_ENDS], "worst": ordered[::-1][:_ENDS]}


def _clips(named: Named, videos: VideoDataset, result: RetrievalResult, texts: DescriptionSet) -> list[dict]:
    """Six clips of six classes: two told most surely, two mistaken most surely, two least sure; with their frames."""
    of_classes = softmax(result.scores, axis=1)
    first, correct = of_classes.max(axis=1), result.correct
    rules = [("right, most surely", np.where(correct, first, -np.inf))] * 2
    rules += [("wrong, most surely", np.where(correct, -np.inf, first))] * 2 + [("least sure", -first)] * 2
    clips, place = open_clips(videos, named.model.preprocess), {v: n for n, v in enumerate(result.video_ids)}
    chosen: list[dict] = []
    taken = np.zeros(len(correct), dtype=bool)
    for why, merit in rules:
        left = np.where(taken, -np.inf, merit)
        if left.max() == -np.inf:
            continue
        number = int(left.argmax())
        taken |= result.labels == result.labels[number]
        best = np.argsort(-of_classes[number], kind="stable")[:_BEST]
        frames = clips[place[result.video_ids[number]]].transpose(0, 2, 3, 1)
        shown = frames[np.linspace(0, len(frames) - 1, _FRAMES).round().astype(int)]
        chosen.append(
            {
                "video": result.video_ids[number],
                "chosen": why,
                "right": texts.class_names[result.labels[number]],
                "best": [[texts.class_names[c], texts.texts[c], float(of_classes[number, c])] for c in best],
                "frames": [_jpeg(frame) for frame in shown],
            }
        )
    return chosen


def _jpeg(frame: np.ndarray) -> str:
    """(S, S, 3) uint8 as the address of a picture that a page holds."""
    data = io.BytesIO()
    Image.fromarray(frame).resize((96, 96)).save(data, "jpeg", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
