"""The precision in which videos are encoded, and how far its answers are from those of float32."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch

from motion_lib.evaluation.retrieval import RetrievalResult

DTYPES = {"fp32": "float32", "tf32": "tensorfloat32", "bf16": "bfloat16"}  # by their names in a profile


@contextmanager
def computing_in(precision: str, device: torch.device) -> Iterator[None]:
    """Matrix products and convolutions in one of DTYPES; to a CPU "tf32" is "fp32".

    Weights stay float32, and so do texts and similarities, which are computed outside. float32 is meant: torch itself
    lets a GPU's convolutions use TensorFloat-32.
    """
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, convolution.allow_tf32
    matmul.allow_tf32 = convolution.allow_tf32 = precision == "tf32"
    try:
        with torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext():
            yield
    finally:
        matmul.allow_tf32, convolution.allow_tf32 = before


def agreement(found: RetrievalResult, reference: RetrievalResult) -> dict[str, float]:
    """How far answers are from those of another precision to the same videos.

    Returns:
        videos; answers_changed, for how many of them another text comes first; largest_logit_difference.

    Raises:
        ValueError: if the videos are not the same ones in the same order.
    """
    if found.video_ids != reference.video_ids:
        count, expected = len(found.video_ids), len(reference.video_ids)
        raise ValueError(f"{found.dataset}: answers to {count} videos, expected those to the reference's {expected}.")
    changed = found.scores.argmax(axis=1) != reference.scores.argmax(axis=1)
    largest = np.abs(found.scores - reference.scores).max()
    return {"videos": len(changed), "answers_changed": int(changed.sum()), "largest_logit_difference": float(largest)}
