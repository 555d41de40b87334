"""Retrieval metrics of a score matrix, in both directions.

`scores` is (N, K), higher is closer, and `labels` (N,) names each video's own description. From video to
description every video has one right answer, so recall at k is top-k accuracy. From description to video a
description has many right answers; its rank is that of the best of them. Ranks count from 0; the median and
mean ranks that are reported count from 1, as the field does. A tie counts against the model, in either
direction, and so does NaN: a constant score is never right.
"""

import numpy as np

RECALLS = (1, 5, 10)


def ranks_of_texts(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(N,) how many other descriptions score at least as high as the right one of each video."""
    right = scores[np.arange(len(labels)), labels][:, None]
    return (~(scores < right)).sum(axis=1) - 1  # "not less" also counts NaN against the model


def ranks_of_videos(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(K,) how many videos of other classes score at least as high as the best own video of each description.

    -1 for a description that has no video here.
    """
    own = labels[:, None] == np.arange(scores.shape[1])
    known = np.where(np.isnan(scores), -np.inf, scores)
    best = np.where(own, known, -np.inf).max(axis=0)
    ranks = (~(scores < best) & ~own).sum(axis=0)
    return np.where(own.any(axis=0), ranks, -1)


def mean_per_class(values: np.ndarray, labels: np.ndarray) -> float:
    """Mean over classes of the mean of `values` (N,) over each class's videos."""
    counts = np.bincount(labels)
    sums = np.bincount(labels, weights=values)
    return float((sums[counts > 0] / counts[counts > 0]).mean())


def retrieval_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """All metrics of both directions.

    Returns:
        acc1, acc5, mean_per_class_acc, recall_at_k, median_rank, mean_rank (video to description); the last three
        with the prefix text_to_video_ (description to video). Shares are fractions in [0, 1], ranks count from 1.
    """
    to_text, to_video = ranks_of_texts(scores, labels), ranks_of_videos(scores, labels)
    return {
        "acc1": float((to_text < 1).mean()),
        "acc5": float((to_text < 5).mean()),
        "mean_per_class_acc": mean_per_class(to_text == 0, labels),
        **_of_ranks("", to_text),
        **_of_ranks("text_to_video_", to_video[to_video >= 0]),
    }


def _of_ranks(prefix: str, ranks: np.ndarray) -> dict[str, float]:
    return {
        **{f"{prefix}recall_at_{k}": float((ranks < k).mean()) for k in RECALLS},
        f"{prefix}median_rank": float(np.median(ranks) + 1),
        f"{prefix}mean_rank": float(ranks.mean() + 1),
    }


def confusion_pairs(
    labels: np.ndarray, answers: np.ndarray, num_classes: int, most: int = 10
) -> list[tuple[int, int, int]]:
    """The most frequent wrong answers, most frequent first.

    Args:
        labels: (N,) right class of each video.
        answers: (N,) the class that came first.

    Returns:
        (class, answer, videos) of at most `most` of them.
    """
    counts = np.bincount(labels * num_classes + answers, minlength=num_classes**2).reshape(num_classes, num_classes)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    pairs = [(int(i // num_classes), int(i % num_classes)) for i in order]
    return [(right, answer, int(counts[right, answer])) for right, answer in pairs if counts[right, answer]]
