"""The card of a model: what it scores, what it goes by, what it costs, and what was not run.

`card.json` holds every number and every answer; the page and the board are drawn from it alone. What the model makes
of each video and of its frames in other orders is kept beside it, so that a card with other texts takes seconds.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax

from motion_lib.config import RunConfig
from motion_lib.data.preprocessing import Normalise
from motion_lib.evaluation.features import VideoFeatures
from motion_lib.evaluation.intervals import Interval, bootstrap_mean
from motion_lib.evaluation.metrics import ranks_of_texts
from motion_lib.evaluation.protocols import protocol_results
from motion_lib.evaluation.retrieval import RetrievalResult, score_all, similarities
from motion_lib.experiment.records import environment
from motion_lib.methods import DESCRIPTION_KINDS
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.probes import text_controls
from motion_lib.probes.video_controls import (
    FILMED,
    FROZEN,
    REVERSED,
    SHUFFLED,
    SHUFFLES,
    Control,
    encode_controls,
    score_controls,
)
from motion_lib.scores.names import FrameMean, Named
from motion_lib.scores.targets import Target, clips_of, kept_features, kept_path, strip_of
from motion_lib.scores.wordings import score_wording, verb_classes, wordings_of
from motion_lib.storage import atomic_path, content_hash, write_text
from motion_lib.texts.descriptions import DescriptionSet, changed_by_masking

SCHEMA = 2  # of card.json
VERBS = "Kinetics-verb"
_ENDS = 5  # classes that are best and worst told
_BEST, _FRAMES = 3, 4
_MOST_KEPT = 2**14  # numbers a video: all features but those of X-CLIP's patches, six times as many as is kept anyway
_PROTOCOL_RESAMPLES = 1000
_LIST = re.compile(r"\[[^][{}\"]+\]")  # of numbers: on one line


# ------------------------------------------------------------------ the card
def make_card(named: Named, cfg: RunConfig, targets: Sequence[Target], folder: Path, quick: bool = False) -> dict:
    """Measure a model and write `card.json`, target by target; interrupted, it goes on from the features kept.

    Args:
        folder: of the card; features are kept below it.
        quick: the cells of Tables 2 and 3 alone. What a card of the same videos, features and texts holds beyond them
            stays on it.

    Returns:
        What was written.

    Raises:
        TooManyMissing: above the share `max_missing`.
    """
    path = folder / "card.json"
    card = {
        "schema": SCHEMA,
        "model": named.name,
        "profile": cfg.profile,
        "preprocess": asdict(named.model.preprocess),
        "text_tokens": named.reads,
        "facts": named.facts,
        "environment": {},
        "targets": [],
        "not_run": {},
    }
    before = {part["measured_from"]: part for part in _parts_of(path)} if quick else {}
    for target in targets:
        kept = kept_path(named, target, folder)
        videos = kept_features(named, cfg, target, kept)
        results = dict(zip(target.sets, score_all(named.model, videos, list(target.sets.values())), strict=True))
        part = {"measured_from": content_hash(kept.name, [texts.sha256 for texts in target.sets.values()])}
        part |= _tables(named, cfg, target, videos, results)
        if quick:
            part = before.get(part["measured_from"], {}) | part
        else:
            part |= _beyond(named, cfg, target, videos, results, kept)
        card["targets"].append(part)
        if quick and "frames" not in part:
            card["not_run"] = {"all but Tables 2 and 3": "left out: --quick"}
        card["environment"] = environment(cfg, encoded=False)
        write_text(path, _LIST.sub(lambda found: " ".join(found[0].split()), json.dumps(card, indent=1)) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))


def _parts_of(path: Path) -> list[dict]:
    """The targets of a card of this schema, if there is one."""
    card = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return card["targets"] if card.get("schema") == SCHEMA else []


def _tables(
    named: Named, cfg: RunConfig, target: Target, videos: VideoFeatures, results: Mapping[str, RetrievalResult]
) -> dict:
    """The cells of Tables 2 and 3, with what they were measured on."""
    right = results["object"]
    return {
        "name": target.name,
        "label": target.label,
        "videos": content_hash(list(right.video_ids)),
        "classes": target.sets["object"].select(videos.dataset.class_names).class_names,
        "labels": right.labels.tolist(),
        "groups": np.unique(right.groups, return_inverse=True)[1].tolist(),
        "unreadable": videos.failed,
        "missing": len(videos.dataset.missing),
        "clips_per_sec": len(right.labels) / videos.wall_time_sec,
        "results": {kind: _cells(named, target.sets[kind], result, cfg) for kind, result in results.items()},
        "noun_reliance": _reliance(target, results, cfg),
    }


def _beyond(
    named: Named,
    cfg: RunConfig,
    target: Target,
    videos: VideoFeatures,
    results: Mapping[str, RetrievalResult],
    kept: Path,
) -> dict:
    """What the tables do not say; `kept` is the file of the features, beside which those of other orders are kept."""
    texts = target.sets["object"].select(videos.dataset.class_names)
    return {
        "protocols": _protocols(results, target, cfg),
        "texts": _texts(named, videos, target, texts, cfg),
        "rivals": _rivals(named, results["object"], texts),
        "frames": _frames(named, videos, target, texts, cfg, kept),
        "by_class": _by_class(results["object"], texts),
        "clips": _clips(named, target, results["object"], texts),
    }


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
    lost = named.correct[counted] * 1.0 - masked.correct[counted]
    interval = bootstrap_mean(lost, named.labels[counted], resamples=cfg.bootstrap_resamples)
    return {"points": _percent(interval), "videos": int(counted.sum())}


# ------------------------------------------------------------------ beyond the tables
def _protocols(results: Mapping[str, RetrievalResult], target: Target, cfg: RunConfig) -> dict:
    """{protocol: {kind: {acc1, videos, ...}}} by every protocol of the field, or why not.

    Those over official splits need the videos of all splits; those over classes do not.
    """
    if target.data is None:
        return {"why": "not run: no lists of splits"}
    if target.name == cfg.source:
        return _verbs(results["object"], target)
    found: dict[str, dict] = {}
    for kind, result in results.items():
        lists = target.data.protocol_lists(target.name, kind)
        of_all = protocol_results(result, lists, _PROTOCOL_RESAMPLES)
        for name, scored in of_all.items():
            if cfg.target_subset != "all" and name not in lists.classes:
                scored = {"why": f"not run: the videos of {cfg.target_subset} alone; -p target_subset all"}
            found.setdefault(name, {})[kind] = scored
    return found


def _verbs(result: RetrievalResult, target: Target) -> dict:
    """Kinetics-verb: videos and candidates of its classes alone (our reading of Momeni et al. 2023)."""
    classes = verb_classes(target.data, target.videos.class_names)
    if not classes or not np.isin(result.labels, classes).any():
        return {VERBS: {"object": {"why": "not run: its list is not at hand, or no video is of its classes"}}}
    among = result.among(classes=classes)
    low_high = dict(zip(("acc1", "acc1_low", "acc1_high"), among.interval(_PROTOCOL_RESAMPLES), strict=True))
    return {VERBS: {"object": low_high | {"videos": len(among.labels), "classes": len(classes)}}}


def _texts(named: Named, videos: VideoFeatures, target: Target, texts: DescriptionSet, cfg: RunConfig) -> dict:
    """Top-1 with other words, nouns alone, verbs alone, and with what others wrote of the same classes.

    Of what is random it is the mean over draws, of several sentences a class that over the sentences, beside the top-1
    of their mean embedding.
    """
    source = target.name == cfg.source
    others = target.data.other_texts(target.name) if target.data and not source else {}
    controls = text_controls.text_controls(texts, others)
    found: dict[str, object] = {name: "not run: not at hand" for name, draws in controls.items() if not draws}
    for name, draws in controls.items():
        if draws:
            results = score_all(named.model, videos, draws)
            right = np.mean([result.correct for result in results], axis=0)
            interval = bootstrap_mean(right, results[0].labels, resamples=cfg.bootstrap_resamples)
            found[name] = {"top1": _percent(interval), "own_texts": text_controls.num_own_texts(draws[0])}
    wordings = wordings_of(target.data, target.name, texts.class_names) if target.data else {}
    for writer, wording in wordings.items():
        if wording is None:
            found[f"{writer}'s sentences"] = "not run: motion data fetches them"
            continue
        try:
            of_writer = score_wording(named.model, videos, wording, cfg)
        except ValueError as error:
            found[f"{writer}'s sentences"] = f"not run: {error}"
        else:
            found |= {f"{writer}, {how}": cell for how, cell in of_writer.items()}
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
    """A model that is shown every control anew, since nothing is known of what it does with frames."""

    independent_frames = False

    def __init__(self, named: Named):
        model = self.model = named.model
        self.preprocess, self.encode_text, self.similarity = model.preprocess, model.encode_text, model.similarity
        self.encode_video, self.device = model.encode_video, torch.device(getattr(model, "device", "cpu"))
        self.normalise = Normalise(model.preprocess).to(self.device)


def _for_controls(named: Named) -> PrototypeClassifier | FrameMean | _WholeClips:
    return named.model if isinstance(named.model, PrototypeClassifier | FrameMean) else _WholeClips(named)


def _frames(
    named: Named, videos: VideoFeatures, target: Target, texts: DescriptionSet, cfg: RunConfig, kept: Path
) -> dict:
    """Top-1 and changed first answers when the same frames are reversed, shuffled, or all the middle one."""
    count = named.model.preprocess.num_frames
    if count == 1:
        return {"why": "not run: it sees one frame"}
    controls = [Control(name, count) for name in (FILMED, REVERSED, FROZEN)]
    controls += [Control(SHUFFLED, count, draw) for draw in range(SHUFFLES)]
    if videos.features[0].numel() <= _MOST_KEPT:
        scores, labels = _scores_of_kept(named, target, controls, texts, cfg, kept.with_stem(f"{kept.stem}-orders"))
    else:
        model, clips = _for_controls(named), clips_of(named, target)
        of_sets, shown, _ = score_controls(model, clips, controls, [texts], cfg.max_missing, cfg.num_workers)
        scores, labels = of_sets[:, 0], np.array([item.label for item in shown])
    answers = scores.argmax(axis=-1)
    correct = np.stack([ranks_of_texts(of_control, labels) == 0 for of_control in scores])
    found = {}
    for name in dict.fromkeys(control.name for control in controls):
        of_name = [number for number, control in enumerate(controls) if control.name == name]
        moved = 100 * float((answers[of_name] != answers[0]).mean())
        found[name] = {"top1": 100 * float(correct[of_name].mean()), "other_first_answer": moved}
    return found


def _scores_of_kept(
    named: Named, target: Target, controls: Sequence[Control], texts: DescriptionSet, cfg: RunConfig, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """(C, N, K) logits of every control, whose features are kept, and the (N,) labels of the readable videos."""
    if path.is_file():
        kept = torch.load(path, weights_only=True)
    else:
        model, clips, read, parts = _for_controls(named), clips_of(named, target), [], []
        for indices, features, _ in encode_controls(model, clips, controls, num_workers=cfg.num_workers):
            read += indices
            parts += [torch.stack(features).cpu()] if indices else []
        kept = {"features": torch.cat(parts, dim=1), "labels": [clips.dataset.labels[n] for n in read]}
        with atomic_path(path) as temporary:
            torch.save(kept, temporary)
    scores = [similarities(named.model, features, texts.texts).numpy() for features in kept["features"]]
    return np.stack(scores), np.array(kept["labels"])


def _by_class(result: RetrievalResult, texts: DescriptionSet) -> dict:
    """The classes that are told best and worst, in percent of their videos."""
    present = np.unique(result.labels)
    shares = {texts.class_names[c]: 100 * float(result.correct[result.labels == c].mean()) for c in present}
    ordered = sorted(shares.items(), key=lambda pair: -pair[1])
    return {"best": ordered[:_ENDS], "worst": ordered[::-1][:_ENDS]}


def _clips(named: Named, target: Target, result: RetrievalResult, texts: DescriptionSet) -> list[dict]:
    """Six clips of six classes: two told most surely, two mistaken most surely, two least sure; with their frames."""
    of_classes = softmax(result.scores, axis=1)
    first, correct = of_classes.max(axis=1), result.correct
    rules = [("right, most surely", np.where(correct, first, -np.inf))] * 2
    rules += [("wrong, most surely", np.where(correct, -np.inf, first))] * 2 + [("least sure", -first)] * 2
    clips = clips_of(named, target)
    place = {item.video_id: n for n, item in enumerate(clips.dataset.items)}
    chosen: list[dict] = []
    taken = np.zeros(len(correct), dtype=bool)
    for why, merit in rules:
        left = np.where(taken, -np.inf, merit)
        if left.max() == -np.inf:
            continue
        number = int(left.argmax())
        taken |= result.labels == result.labels[number]
        best = np.argsort(-of_classes[number], kind="stable")[:_BEST]
        chosen.append(
            {
                "video": result.video_ids[number],
                "chosen": why,
                "right": texts.class_names[result.labels[number]],
                "best": [[texts.class_names[c], texts.texts[c], float(of_classes[number, c])] for c in best],
                "frames": strip_of(clips[place[result.video_ids[number]]], _FRAMES),
            }
        )
    return chosen
