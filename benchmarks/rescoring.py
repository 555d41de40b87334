"""Scoring many description sets against stored features, and resampling all of them, against the plain way.

    python -m benchmarks.rescoring

Generated features of the size of UCF-101 in full: 13,320 videos of 101 classes in 2,525 groups, 10 description
sets, 6 models with features of 512 numbers, kept on disk as float16. Ours reads them, scores all sets of a model
in one product and computes every metric in both directions; then 10,000 bootstrap resamples of all 60 results,
the same groups for all. The reference scores one set at a time and sorts, and resamples one result at a time
by drawing group after group; its bootstrap is timed on 100 resamples and multiplied, which the file says.
Both must give the same accuracies, and the same intervals up to resampling.
X-CLIP is no such model: its texts move with every video, so that each pair goes through two layers of a transformer.
It is timed on a few videos, with weights drawn at random, and multiplied.
Writes results/benchmarks/rescoring.json.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.machine import write_result
from motion_lib.data.datasets import VideoDataset, VideoItem
from motion_lib.data.preprocessing import Preprocess
from motion_lib.evaluation.features import VideoFeatures
from motion_lib.evaluation.intervals import joint_means
from motion_lib.evaluation.retrieval import score_all
from motion_lib.experiment.cache import features_kept
from motion_lib.models.xclip import VideoSpecificPrompts
from motion_lib.texts.descriptions import DescriptionSet

VIDEOS, CLASSES, GROUPS_PER_CLASS, SETS, MODELS, WIDTH = 13_320, 101, 25, 10, 6, 512
RESAMPLES, RESAMPLED_PLAINLY = 10_000, 100
XCLIP_VIDEOS = 4


class Stored:
    """A model whose text features are there already, as those of a frozen text tower are."""

    preprocess = Preprocess()

    def __init__(self, texts: dict[str, torch.Tensor]):
        self.texts = texts

    def encode_text(self, texts: tuple[str, ...]) -> torch.Tensor:
        return torch.stack([self.texts[text] for text in texts])

    def similarity(self, video: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return 100 * F.normalize(video, dim=-1) @ F.normalize(text, dim=-1).T


def generated() -> tuple[VideoDataset, list[DescriptionSet], list[Stored], list[torch.Tensor]]:
    """Videos in groups, sets of texts, and features that agree with their class's text now and then."""
    labels = np.arange(VIDEOS) % CLASSES
    groups = [f"{c}_g{(n // CLASSES) % GROUPS_PER_CLASS}" for n, c in enumerate(labels)]
    items = tuple(VideoItem(f"v{n}", Path(), int(c), g) for n, (c, g) in enumerate(zip(labels, groups, strict=True)))
    names = tuple(f"class {c}" for c in range(CLASSES))
    sets = [DescriptionSet(f"set {s}", names, tuple(f"text {s} of {c}" for c in range(CLASSES))) for s in range(SETS)]
    models, features = [], []
    for m in range(MODELS):
        generator = torch.Generator().manual_seed(m)
        base = torch.randn(CLASSES, WIDTH, generator=generator)
        texts = {}
        for only in sets:
            spread = 0.5 * torch.randn(base.shape, generator=generator)
            texts.update(zip(only.texts, base + spread, strict=True))
        models.append(Stored(texts))
        features.append(base[labels] + (8 + m) * torch.randn(VIDEOS, WIDTH, generator=generator))
    return VideoDataset("generated", names, items, None, "all"), sets, models, features


def ours(
    folder: Path, dataset: VideoDataset, sets: list[DescriptionSet], models: list[Stored]
) -> tuple[list[dict], np.ndarray]:
    """Metrics of every model and set, and (N, models x sets) who was right."""
    found, right = [], []
    for number, model in enumerate(models):
        videos = features_kept(folder / f"{number}.pt", dataset, never)
        for result in score_all(model, videos, sets):
            found.append(result.metrics())
            right.append(result.correct)
    return found, np.stack(right, axis=1)


def never() -> VideoFeatures:
    raise RuntimeError("the features are there: nothing is to be encoded.")


def plainly(
    folder: Path, dataset: VideoDataset, sets: list[DescriptionSet], models: list[Stored]
) -> tuple[list[dict], np.ndarray]:
    """The same, one set at a time and by sorting."""
    found, right = [], []
    labels = np.array(dataset.labels)
    for number, model in enumerate(models):
        for only in sets:
            features = torch.load(folder / f"{number}.pt", weights_only=True)["features"].float()
            scores = model.similarity(features, model.encode_text(only.texts)).numpy()
            order = np.argsort(-scores, axis=1)
            ranks = np.argmax(order == labels[:, None], axis=1)
            by_text = np.argsort(-scores.T, axis=1)
            own = labels[by_text] == np.arange(CLASSES)[:, None]
            first = own.argmax(axis=1)
            found.append(
                {
                    "acc1": float((ranks == 0).mean()),
                    "median_rank": float(np.median(ranks) + 1),
                    "text_to_video_recall_at_1": float((first == 0).mean()),
                    "text_to_video_mean_rank": float(first.mean() + 1),
                }
            )
            right.append(ranks == 0)
    return found, np.stack(right, axis=1)


def resample_plainly(right: np.ndarray, groups: list[str], resamples: int) -> np.ndarray:
    """(resamples, M): groups drawn one by one, their clips put together."""
    rng, members = np.random.default_rng(0), {}
    for n, group in enumerate(groups):
        members.setdefault(group, []).append(n)
    lists = [np.array(clips) for clips in members.values()]
    means = np.empty((resamples, right.shape[1]))
    for column in range(right.shape[1]):
        for r in range(resamples):
            clips = np.concatenate([lists[g] for g in rng.integers(len(lists), size=len(lists))])
            means[r, column] = right[clips, column].mean()
    return means


def xclip_minutes() -> float:
    """Minutes for X-CLIP's scores of all videos and texts, at its real size: 512 numbers, 196 patches."""
    generator = torch.Generator().manual_seed(0)
    prompts, texts = VideoSpecificPrompts(WIDTH).eval(), torch.randn(SETS * CLASSES, WIDTH, generator=generator)
    videos = torch.randn(XCLIP_VIDEOS, 1 + 196, WIDTH, generator=generator)

    def scores() -> torch.Tensor:
        with torch.inference_mode():
            moved = texts + prompts(texts, videos[:, 1:])
            return torch.einsum("bd,bkd->bk", F.normalize(videos[:, 0], dim=-1), F.normalize(moved, dim=-1))

    return min(seconds(scores)[0] for _ in range(2)) * VIDEOS / XCLIP_VIDEOS / 60


def seconds(function, *arguments) -> tuple[float, object]:
    start = time.perf_counter()
    found = function(*arguments)
    return time.perf_counter() - start, found


def main() -> None:
    """Run everything, compare, write the file."""
    dataset, sets, models, features = generated()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, values in enumerate(features):
            features_kept(folder / f"{number}.pt", dataset, lambda v=values: VideoFeatures(v, dataset, {}, 0.0))
        bytes_a_model = (folder / "0.pt").stat().st_size
        our_sec, (found, right) = min(
            (seconds(ours, folder, dataset, sets, models) for _ in range(2)), key=lambda p: p[0]
        )
        plain_sec, (expected, plain_right) = seconds(plainly, folder, dataset, sets, models)
    # A product over other columns rounds otherwise: a score may pass another that is equal to it but for that.
    differing = float((right != plain_right).mean())
    largest = max(abs(a[k] - b[k]) / max(abs(b[k]), 1e-9) for a, b in zip(found, expected, strict=True) for k in b)
    joint_sec, means = seconds(lambda: joint_means(right, dataset.groups, resamples=RESAMPLES))
    few_sec, few = seconds(resample_plainly, right, dataset.groups, RESAMPLED_PLAINLY)
    accuracies = [metrics["acc1"] for metrics in found]
    spread = float(np.median(few.std(axis=0) / means.std(axis=0)))
    print(
        write_result(
            "rescoring",
            {
                "videos": VIDEOS,
                "classes": CLASSES,
                "groups": len(set(dataset.groups)),
                "description_sets": SETS,
                "models": MODELS,
                "feature_width": WIDTH,
                "megabytes_a_model": round(bytes_a_model / 1e6, 1),
                "lowest_and_highest_accuracy": [round(min(accuracies), 3), round(max(accuracies), 3)],
                "scoring": {
                    "ours_sec": round(our_sec, 2),
                    "plain_sec": round(plain_sec, 2),
                    "ratio": round(plain_sec / our_sec, 2),
                    "share_of_other_answers": differing,
                    "largest_relative_difference_of_a_metric": largest,
                },
                "bootstrap": {
                    "resamples": RESAMPLES,
                    "ours_sec": round(joint_sec, 2),
                    "plain_sec": round(few_sec * RESAMPLES / RESAMPLED_PLAINLY, 1),
                    "plain_is": f"{RESAMPLED_PLAINLY} resamples timed, multiplied by {RESAMPLES // RESAMPLED_PLAINLY}",
                    "ratio": round(few_sec * RESAMPLES / RESAMPLED_PLAINLY / joint_sec, 1),
                    "plain_standard_error_over_ours": round(spread, 3),
                },
                "xclip": {
                    "models": 1,
                    "minutes": round(xclip_minutes(), 1),
                    "is": f"{XCLIP_VIDEOS} videos timed, multiplied by {VIDEOS // XCLIP_VIDEOS}",
                },
            },
        )
    )


if __name__ == "__main__":
    main()
