"""Resizing, cropping and normalising as the models' authors do."""

import golden
import numpy as np
import pytest
import torch

from motion_lib.data.preprocessing import (
    CLIP_MEAN,
    CLIP_STD,
    Normalise,
    Preprocess,
    resize_and_crop,
    resized_size,
)

REFERENCES = {
    "preprocess_openai_clip_224bicubic_center224": Preprocess(short_side=224),
    "preprocess_text4vis_val_256bicubic_center224": Preprocess(short_side=256),
}


@pytest.fixture(scope="module")
def extras():
    return golden.read()["extras"]


def prepare(picture, preprocess):
    """(H, W, 3) uint8 -> (3, S, S) float."""
    frames = resize_and_crop(picture[None], preprocess)
    return Normalise(preprocess)(torch.from_numpy(frames.transpose(0, 3, 1, 2)))[0]


# --- references ---


def test_golden_input_picture(extras):
    picture, checksum = golden.picture(), extras["preprocess_input_checksum"]
    assert int(picture.sum()) == checksum["sum"]
    assert picture[0, 0].tolist() == checksum["first"]
    assert picture[-1, -1].tolist() == checksum["last"]


def assert_reference(found, expected):
    """Tolerances: float32 against float32 of the same uint8 pixels; one grey level is 0.014."""
    assert list(found.shape) == expected["shape"]
    assert found[:, 0, :4].tolist() == [pytest.approx(row, abs=1e-5) for row in expected["pix[c,0,0:4]"]]
    assert found[:, 112, 112].tolist() == pytest.approx(expected["pix[c,112,112]"], abs=1e-5)
    found = found.double()
    assert found.mean(dim=(1, 2)).tolist() == pytest.approx(expected["mean_per_channel"], abs=1e-5)
    deviations = found.std(dim=(1, 2), correction=0).tolist()
    assert deviations == pytest.approx(expected["std_per_channel"], abs=5e-5)  # n or n - 1: 1e-5 apart


@pytest.mark.parametrize("name", REFERENCES)
def test_golden_preprocessing(extras, name):
    assert_reference(prepare(golden.picture(), REFERENCES[name]), extras[name])


@pytest.mark.parametrize("name", REFERENCES)
def test_golden_preprocessing_notices_another_one(extras, name):
    other = Preprocess(short_side=REFERENCES[name].short_side, interpolation="bilinear")
    with pytest.raises(AssertionError):
        assert_reference(prepare(golden.picture(), other), extras[name])


# --- sizes and offsets, by hand ---


@pytest.mark.parametrize(
    ("height", "width", "short_side", "expected"),
    [
        (240, 320, 256, (256, 341)),  # 341.33 is truncated
        (320, 240, 256, (341, 256)),
        (256, 340, 224, (224, 297)),  # 297.5 is truncated, not rounded
        (100, 100, 224, (224, 224)),
        (256, 340, 256, (256, 340)),
        (480, 854, 224, (224, 398)),
    ],
)
def test_long_side_is_truncated(height, width, short_side, expected):
    assert resized_size(height, width, short_side) == expected


@pytest.mark.parametrize(
    ("height", "width", "size", "expected"),
    [
        (256, 341, 224, (16, 58)),  # 58.5 goes to the even neighbour
        (256, 343, 224, (16, 60)),  # 59.5 as well
        (224, 298, 224, (0, 37)),
        (224, 224, 224, (0, 0)),
    ],
)
def test_crop_offsets_round_half_to_even(height, width, size, expected):
    assert Preprocess(crop_size=size, short_side=size).centre(height, width) == (*expected, size, size)


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(240, 320, (256, 341)), (3, 5, (256, 427)), (5, 3, (427, 256))]
)
def test_mmactions_long_side_is_rounded_half_up(height, width, expected):
    assert resized_size(height, width, 256, rounded=True) == expected


def test_mmactions_crop_is_rounded_down():
    assert Preprocess(interpolation="opencv").centre(256, 343) == (16, 59, 224, 224)
    assert Preprocess().centre(256, 343) == (16, 60, 224, 224)


def test_opencv_resize_takes_the_two_nearest_rows_and_does_not_antialias():
    """Reduced by 4, row i lies at 4 i + 1.5 of the original: the mean of rows 4 i + 1 and 4 i + 2."""
    preprocess = Preprocess(short_side=8, crop_size=8, interpolation="opencv")
    rows = np.tile(2 * np.arange(32, dtype=np.uint8)[None, :, None, None], (1, 1, 32, 3))
    found = resize_and_crop(rows, preprocess)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0, :, 0, 0], 8 * np.arange(8) + 3)
    lines = np.zeros((1, 32, 32, 3), np.uint8)
    lines[:, ::4] = 255
    assert resize_and_crop(lines, preprocess).max() == 0
    antialiased = Preprocess(short_side=8, crop_size=8, interpolation="bilinear")
    assert resize_and_crop(lines, antialiased).max() > 0


def test_frame_of_the_right_size_is_not_touched():
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), dtype=np.uint8)
    found = resize_and_crop(frames, Preprocess(short_side=32, crop_size=32))
    np.testing.assert_array_equal(found, frames[:, :, 4:36])


@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (48, 48), (16, 90)])
def test_result_is_a_square_crop_of_every_frame(height, width):
    frames = np.full((3, height, width, 3), (10, 100, 200), dtype=np.uint8)
    found = resize_and_crop(frames, Preprocess(short_side=36, crop_size=32))
    assert found.shape == (3, 32, 32, 3)
    assert (found == (10, 100, 200)).all()  # channels keep their order


def test_normalise_is_clips_own():
    black, white = torch.zeros(3, 2, 2, dtype=torch.uint8), torch.full((3, 2, 2), 255, dtype=torch.uint8)
    mean, std = torch.tensor(CLIP_MEAN).view(3, 1, 1), torch.tensor(CLIP_STD).view(3, 1, 1)
    torch.testing.assert_close(Normalise(Preprocess())(black), (-mean / std).expand(3, 2, 2))
    torch.testing.assert_close(Normalise(Preprocess())(white), ((1 - mean) / std).expand(3, 2, 2))


def test_normalise_keeps_leading_dimensions():
    frames = torch.zeros(2, 5, 3, 4, 4, dtype=torch.uint8)
    assert Normalise(Preprocess())(frames).shape == frames.shape


def test_constants_of_clip():
    assert CLIP_MEAN == (0.48145466, 0.4578275, 0.40821073)
    assert CLIP_STD == (0.26862954, 0.26130258, 0.27577711)


def test_record_holds_every_field():
    preprocess = Preprocess(num_frames=16, sampling="center", short_side=40, crop_size=32, std=(1, 2, 3))
    assert Preprocess(**preprocess.as_dict()) == preprocess


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"interpolation": "nearest"}, "'nearest': expected one of bicubic, bilinear"),
        ({"short_side": 200}, r"crop_size 224: expected 1 to short_side \(200\)"),
        ({"crop_size": 0}, "crop_size 0"),
    ],
)
def test_impossible_preprocessing_is_an_error(fields, message):
    with pytest.raises(ValueError, match=message):
        Preprocess(**fields)
