"""Features on disk: encoded once, read back as they were, made again when the file is broken."""

from pathlib import Path

import pytest
import torch

from motion_lib.evaluation.features import VideoFeatures, features_kept
from tests import tiny


@pytest.fixture
def dataset():
    return tiny.dataset([Path(f"clip_{i}.mp4") for i in range(4)])


def encoder(dataset, calls: list):
    """Features of all videos but the second, which cannot be read."""

    def encode() -> VideoFeatures:
        calls.append(1)
        readable = type(dataset)("tiny", dataset.class_names, (dataset.items[0], *dataset.items[2:]), 1, "train")
        return VideoFeatures(torch.arange(6.0).view(3, 2), readable, {"clip_1": "broken"}, 2.5)

    return encode


def same(one: VideoFeatures, other: VideoFeatures) -> bool:
    return torch.equal(one.features, other.features) and (one.dataset.items, one.failed, one.wall_time_sec) == (
        other.dataset.items,
        other.failed,
        other.wall_time_sec,
    )


def test_features_are_encoded_once_and_read_back_as_they_were(dataset, tmp_path):
    calls, path = [], tmp_path / "features" / "a.pt"
    first, second = (features_kept(path, dataset, encoder(dataset, calls)) for _ in range(2))
    assert calls == [1]
    assert same(first, second)
    assert [item.video_id for item in second.dataset.items] == ["clip_0", "clip_2", "clip_3"]


@pytest.mark.parametrize("content", [b"", b"no features"])
def test_a_broken_file_is_made_again(dataset, tmp_path, capsys, content):
    calls, path = [], tmp_path / "a.pt"
    path.write_bytes(content)
    first = features_kept(path, dataset, encoder(dataset, calls))
    assert "a.pt: not readable" in capsys.readouterr().out
    assert same(first, features_kept(path, dataset, encoder(dataset, calls)))
    assert calls == [1]


def test_an_interrupted_encoding_leaves_nothing(dataset, tmp_path):
    with pytest.raises(ZeroDivisionError):
        features_kept(tmp_path / "a.pt", dataset, lambda: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def encoding(values: torch.Tensor, dataset):
    return lambda: VideoFeatures(values, dataset, {}, 1.0)


def test_features_are_kept_as_float16_and_rounded_from_the_start(dataset, tmp_path):
    values = torch.randn(4, 300, generator=torch.Generator().manual_seed(0)) * 7
    first, second = (features_kept(tmp_path / "a.pt", dataset, encoding(values, dataset)) for _ in range(2))
    assert torch.equal(first.features, second.features)
    assert first.features.dtype == torch.float32
    torch.testing.assert_close(first.features, values, rtol=6e-4, atol=1e-6)
    assert (tmp_path / "a.pt").stat().st_size < 4 * 300 * 2 + 4000  # two bytes a number


@pytest.mark.parametrize("bad", [1e6, float("nan"), float("inf")])
def test_what_float16_cannot_hold_is_refused(dataset, tmp_path, bad):
    values = torch.ones(4, 2)
    values[2, 1] = bad
    with pytest.raises(ValueError, match="tiny: the features have values above 65504 or none at all"):
        features_kept(tmp_path / "a.pt", dataset, encoding(values, dataset))
    assert list(tmp_path.iterdir()) == []
