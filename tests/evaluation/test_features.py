"""Encoding: in pieces that fit into memory, into one array, by one process or several."""

import os
import subprocess
import sys

import pytest
import tiny
import torch

from motion_lib.config import REPOSITORY
from motion_lib.evaluation import features as module
from motion_lib.evaluation.features import encode_videos
from motion_lib.evaluation.retrieval import score

# --- memory ---


class Small(torch.nn.Module):
    """A model whose device takes so many videos at once, to encode or to compare."""

    preprocess = tiny.PREPROCESS

    def __init__(self, model, most, error=torch.OutOfMemoryError):
        super().__init__()
        self.model, self.most, self.error, self.asked = model, most, error, []
        self.encode_text = model.encode_text

    def check(self, videos):
        self.asked.append(len(videos))
        if len(videos) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB")

    def encode_video(self, frames):
        self.check(frames)
        return self.model.encode_video(frames)

    def similarity(self, video, text):
        self.check(video)
        return self.model.similarity(video, text)


@pytest.mark.parametrize(
    ("most", "asked"), [(1, [8, 4, 2, *[1] * 13]), (3, [8, 4, *[2] * 6, 1]), (5, [8, 4, 4, 4, 1]), (8, [8, 5])]
)
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_out_of_memory_halves_the_batch_and_goes_on(most, asked, error, capsys):
    """The size that fits is kept: the next batch does not begin at the old one."""
    clips, model = tiny.clips_in_memory(13), tiny.classifier().eval()
    small, whole = Small(model, most, error), encode_videos(model, clips, 8)
    encoded = encode_videos(small, clips, 8)
    assert small.asked == asked
    torch.testing.assert_close(encoded.features, whole.features, rtol=1e-4, atol=1e-5)
    assert encoded.dataset == whole.dataset
    assert ("out of memory with 8 videos at once: going on with 4." in capsys.readouterr().out) is (most < 8)
    found, expected = score(small, encoded, tiny.DESCRIPTIONS), score(model, whole, tiny.DESCRIPTIONS)
    assert found.scores.argmax(1).tolist() == expected.scores.argmax(1).tolist()
    torch.testing.assert_close(torch.tensor(found.scores), torch.tensor(expected.scores), rtol=1e-4, atol=1e-3)


def test_a_video_that_does_not_fit_alone_is_an_error():
    small = Small(tiny.classifier().eval(), 0)
    with pytest.raises(RuntimeError, match=r"out of memory with 1 video at once\. Try fewer frames, or the CPU"):
        encode_videos(small, tiny.clips_in_memory(3))
    assert small.asked == [3, 1]


def test_another_error_of_the_model_is_its_own():
    small = Small(tiny.classifier().eval(), 0, ValueError)
    with pytest.raises(ValueError, match="Tried to allocate"):
        encode_videos(small, tiny.clips_in_memory(3))
    small = Small(tiny.classifier().eval(), 0, lambda said: RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        encode_videos(small, tiny.clips_in_memory(3))
    assert small.asked == [3]


def test_features_are_written_into_one_array(monkeypatch):
    """Neither a second copy of all of them nor a float32 one where float16 is asked for."""
    made, empty = [], torch.empty
    monkeypatch.setattr(module.torch, "empty", lambda *size, **more: made.append((size, more)) or empty(*size, **more))
    found = encode_videos(tiny.classifier().eval(), tiny.clips_in_memory(9), 4, dtype=torch.float16)
    assert ((9, 64), {"dtype": torch.float16}) in made
    assert found.features.untyped_storage().nbytes() == 9 * 64 * 2
    monkeypatch.undo()
    whole = encode_videos(tiny.classifier().eval(), tiny.clips_in_memory(9), 4)
    assert torch.equal(found.features, whole.features.half())
    assert whole.features.dtype == torch.float32


# --- several processes ---


def encoded_in(group, folder, count):
    """What each process of `encode_in_group.py` saw."""
    script = REPOSITORY / "tests" / "encode_in_group.py"
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "OMP_NUM_THREADS": "1"}
    folder.mkdir()
    done = subprocess.run([*group, script, folder, str(count)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [path.name for path in folder.glob("*kept*")] == ["kept.pt"]
    return [torch.load(path, weights_only=True) for path in sorted(folder.glob("seen_*.pt"))]


@pytest.mark.slow
@pytest.mark.parametrize("count", [22, 3])
def test_two_processes_give_the_features_of_one(tmp_path, count):
    """An odd number of batches, one of them broken; or so few videos that the second process has none."""
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    (alone,) = encoded_in([sys.executable], tmp_path / "alone", count)
    assert len(alone["ids"]) == len(alone["features"]) == count - len(alone["failed"])
    assert set(alone["failed"]) == {f"clip_{i}" for i in (2, 8, 9, 10, 11) if i < count}
    together = encoded_in(torchrun, tmp_path / "together", count)
    assert len(together) == 2
    for seen in together:
        assert torch.equal(seen["features"], alone["features"])
        assert (seen["ids"], seen["failed"], seen["calls"]) == (alone["ids"], alone["failed"], 1)
