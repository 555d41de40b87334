"""Precisions of an encoding, and how far their answers are from float32's."""

import numpy as np
import pytest
import tiny
import torch

from motion_lib.evaluation.features import encode_videos
from motion_lib.evaluation.retrieval import RetrievalResult, score
from motion_lib.experiment.precision import DTYPES, agreement, computing_in

CPU = torch.device("cpu")


def answers(model, clips, precision):
    with computing_in(precision, CPU):
        videos = encode_videos(model, clips, 8, dtype=torch.float16)
    return score(model, videos, tiny.DESCRIPTIONS)


def test_bfloat16_is_near_float32_and_says_how_near():
    """On the CPU; features of a real tower, by whose logits some answers may change."""
    model, clips = tiny.classifier("resnet").eval(), tiny.clips_in_memory(24)
    reference, found = (answers(model, clips, name) for name in ("fp32", "bf16"))
    measured = agreement(found, reference)
    print(measured)
    assert measured["videos"] == 24
    assert 0 < measured["largest_logit_difference"] < 0.05 * np.abs(reference.scores).max()
    assert measured["answers_changed"] == (found.scores.argmax(1) != reference.scores.argmax(1)).sum()
    assert agreement(reference, answers(model, clips, "fp32")) == {
        "videos": 24, "answers_changed": 0, "largest_logit_difference": 0.0,
    }  # fmt: skip


def result(scores, ids=("a", "b", "c")):
    labels = np.zeros(len(scores), dtype=int)
    return RetrievalResult("given", "texts", np.array(scores, dtype=np.float32), labels, labels, tuple(ids), {})


def test_agreement_by_hand():
    reference = result([[1.0, 2.0], [3.0, 0.0], [5.0, 4.5]])
    found = result([[1.5, 1.25], [3.25, 0.0], [5.0, 4.75]])
    assert agreement(found, reference) == {"videos": 3, "answers_changed": 1, "largest_logit_difference": 0.75}


@pytest.mark.parametrize("ids", [("a", "c", "b"), ("a", "b")])
def test_answers_to_other_videos_are_refused(ids):
    with pytest.raises(ValueError, match=f"given: answers to {len(ids)} videos, expected those to the reference's 3"):
        agreement(result(np.eye(3)[: len(ids)], ids), result(np.eye(3)))


@pytest.mark.parametrize("name", DTYPES)
def test_settings_of_torch_are_put_back(name):
    """Also where the encoding fails."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
    before, seen = (matmul.allow_tf32, convolution.allow_tf32), []

    def fail():
        with computing_in(name, CPU):
            seen.extend((matmul.allow_tf32, convolution.allow_tf32, torch.is_autocast_enabled("cpu")))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [name == "tf32", name == "tf32", name == "bf16"]
    assert (matmul.allow_tf32, convolution.allow_tf32) == before
    assert not torch.is_autocast_enabled("cpu")
