"""Views: which boxes are drawn, and that the device cuts, resizes and greys as Pillow does."""

from collections import Counter

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from motion_lib.data.augmentation import AUGMENTATIONS, Augmentation, View, make_views
from motion_lib.data.batches import epoch_order, split_batch, training_batches
from motion_lib.data.clips import open_clips

HEIGHT, WIDTH, SIZE = 256, 340, 224


def draws(augmentation, count=2000, height=HEIGHT, width=WIDTH, size=SIZE):
    return [augmentation.draw(np.random.default_rng([7, i]), height, width, size) for i in range(count)]


def clip(height=48, width=64, seed=0):
    """(3, 3, H, W) smooth pictures, so that resizing has something to blend."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    big = [np.asarray(Image.fromarray(picture).resize((width, height))) for picture in small]
    return torch.from_numpy(np.stack(big)).permute(0, 3, 1, 2).contiguous()


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize(("height", "width"), [(256, 340), (340, 256), (256, 256), (256, 1000)])
def test_boxes_lie_within_the_frame(name, height, width):
    for view in draws(AUGMENTATIONS[name], 200, height, width):
        assert 0 <= view.top <= view.top + view.height <= height
        assert 0 <= view.left <= view.left + view.width <= width
        assert min(view.height, view.width) > 0


def test_random_resized_crops_cover_area_and_aspect():
    views = draws(AUGMENTATIONS["text4vis"])
    areas = np.array([view.height * view.width for view in views]) / (HEIGHT * WIDTH)
    aspects = np.array([view.width / view.height for view in views])
    assert 0.075 < areas.min() < 0.12
    assert areas.max() > 0.9
    assert 0.73 < aspects.min() < 0.8
    assert 1.25 < aspects.max() < 1.37
    square = [view.width > view.height for view in draws(AUGMENTATIONS["text4vis"], height=256, width=256)]
    assert abs(np.mean(square) - 0.5) < 0.05


def test_a_frame_too_narrow_for_any_box_gives_its_centre_square():
    (view,) = set(draws(Augmentation(flip=0, grayscale=0), 50, 8, 4000))
    assert (view.top, view.left, view.height, view.width) == (0, 1996, 8, 8)


def test_multi_scale_crops_are_neighbouring_scales_at_five_places():
    views = draws(AUGMENTATIONS["multi_scale"])
    sides = (256, 224, 192, 168)
    pairs = {(view.height, view.width) for view in views}
    assert pairs == {(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    places = Counter((view.top, view.left) for view in views if (view.height, view.width) == (224, 224))
    assert set(places) == {(0, 0), (0, 116), (32, 0), (32, 116), (16, 58)}


@pytest.mark.parametrize(("name", "flip", "grey"), [("text4vis", 0.5, 0.2), ("flip", 0.5, 0.0), ("none", 0.0, 0.0)])
def test_switches_come_up_as_often_as_they_should(name, flip, grey):
    views = draws(AUGMENTATIONS[name])  # standard deviation of a share at most 1.2 points
    assert abs(np.mean([view.flip for view in views]) - flip) < 0.05
    assert abs(np.mean([view.grayscale for view in views]) - grey) < 0.05


def test_a_view_of_the_whole_is_the_clip():
    frames = clip(32, 32)
    view = View(0, 0, 32, 32, flip=False, grayscale=False)
    assert torch.equal(make_views([frames], [view], 32)[0], frames)
    mirrored = make_views([frames], [View(0, 0, 32, 32, flip=True, grayscale=False)], 32)[0]
    assert torch.equal(mirrored, frames.flip(-1))


@pytest.mark.parametrize("box", [(4, 9, 40, 50), (3, 5, 20, 14), (0, 0, 48, 64)])
def test_views_are_pillows(box):
    """Cut and resize within the one grey level that fixed-point rounding leaves; grey exactly."""
    frames, (top, left, height, width) = clip(), box
    ours = make_views([frames], [View(*box, flip=False, grayscale=False)], 32)[0]
    pictures = [Image.fromarray(frame) for frame in frames.permute(0, 2, 3, 1).numpy()]
    cut = [picture.crop((left, top, left + width, top + height)) for picture in pictures]
    expected = np.stack([np.asarray(p.resize((32, 32), Image.Resampling.BILINEAR)) for p in cut])
    off = np.abs(ours.permute(0, 2, 3, 1).numpy().astype(int) - expected)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.25  # Pillow rounds after each of two passes


def test_grey_is_pillows():
    frames = clip(32, 32)
    ours = make_views([frames], [View(0, 0, 32, 32, flip=False, grayscale=True)], 32)[0]
    for frame, picture in zip(frames.permute(0, 2, 3, 1).numpy(), ours, strict=True):
        grey = np.asarray(Image.fromarray(frame).convert("L"))
        assert all(np.array_equal(channel.numpy(), grey) for channel in picture)


def test_clips_of_several_sizes_make_one_batch():
    clips = [clip(48, 64), clip(64, 48), clip(32, 32)]
    views = [AUGMENTATIONS["text4vis"].draw(np.random.default_rng(i), *c.shape[2:], 32) for i, c in enumerate(clips)]
    batch = make_views(clips, views, 32)
    assert batch.shape == (3, 3, 3, 32, 32)
    assert batch.dtype == torch.uint8


# --- through the loader ---


def epoch(clips, pieces, **options):
    batches = training_batches(clips, pieces, seed=1, epoch=0, augmentation=AUGMENTATIONS["text4vis"], **options)
    return {i: f for b in batches for i, f in zip(b.indices, b.on(torch.device("cpu"))[0], strict=True)}


@pytest.mark.parametrize("options", [{"num_workers": 0}, {"num_workers": 1}])
def test_a_view_depends_on_seed_epoch_and_video_alone(options):
    clips = tiny.clips_in_memory(8, length=20)
    order = epoch_order(8, 1, 0)
    whole, cut = epoch(clips, [order]), epoch(clips, [order[3:5], order[:3], order[5:]], **options)
    assert all(torch.equal(whole[i], cut[i]) for i in range(8))


def test_a_cache_of_centres_refuses_random_crops(tmp_path):
    videos = [tiny.write_numbered(tmp_path / f"{i}.mp4", 6) for i in range(2)]
    clips = open_clips(tiny.dataset(videos), tiny.PREPROCESS, tmp_path / "cache")
    with pytest.raises(ValueError, match=r'keeps their centre only\. Use frame_cache "packed" or "none"'):
        training_batches(clips, [[0, 1]], 0, 0, augmentation=AUGMENTATIONS["text4vis"])


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("at_once", [1, 2, 20])
def test_every_clip_of_a_batch_goes_to_one_device(world_size, at_once):
    batch = [5, 3, 8, 1, 9]
    shares = [split_batch(batch, rank, world_size, at_once) for rank in range(world_size)]
    assert [i for share in shares for piece in share for i in piece] == batch
    assert all(len(piece) <= at_once for share in shares for piece in share)
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1
