"""The image tower computed with less work: the same embeddings and gradients as clip's own."""

import pytest
import tiny
import torch

from motion_lib.models.image_tower import encode_images
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.models.xclip import XClip


def images(count=3):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def gradients(visual, output):
    visual.zero_grad()
    output.square().sum().backward()
    return {name: parameter.grad.clone() for name, parameter in visual.named_parameters()}


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("recompute", [False, True])
def test_transformer_equals_clips_own(layers, recompute):
    visual = tiny.clip_model(layers=layers).visual.train()
    shipped = visual(images())
    expected = gradients(visual, shipped)
    ours = encode_images(visual, images(), recompute)
    torch.testing.assert_close(ours, shipped, rtol=1e-5, atol=1e-6)
    found = gradients(visual, ours)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


def test_recomputing_is_exact_and_keeps_less():
    visual, kept = tiny.clip_model(layers=4).visual.train(), []

    def bytes_kept(recompute):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
            output = encode_images(visual, images(), recompute)
        total = sum(kept)
        return total, gradients(visual, output)

    (all_bytes, plain), (few_bytes, again) = bytes_kept(False), bytes_kept(True)
    assert few_bytes < all_bytes / 3
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def test_xclip_recomputes_too():
    model = XClip(tiny.clip_model(layers=2), tiny.PREPROCESS).train()
    plain = model.encode_video(tiny.frames())
    model.recompute = True
    assert torch.equal(model.encode_video(tiny.frames()), plain)


def resnet():
    """With BatchNorms that have seen something: fresh ones leave nearly everything as it is."""
    visual = tiny.clip_model("resnet").visual.train()
    for _ in range(3):
        visual(2 * images(8) + 1)
    return visual


def test_resnet_in_training_is_clips_own_bit_for_bit():
    ours, theirs = resnet(), resnet()
    found, expected = encode_images(ours, images()), theirs(images().contiguous(memory_format=torch.channels_last))
    assert torch.equal(found, expected)
    expected_gradients = gradients(theirs, expected)
    assert all(torch.equal(grad, expected_gradients[name]) for name, grad in gradients(ours, found).items())
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))  # BatchNorm's counts too


def test_resnet_without_gradients_folds_its_batchnorm():
    visual = resnet().eval()
    shipped = visual(images()).detach()
    with torch.inference_mode():
        torch.testing.assert_close(encode_images(visual, images()), shipped, rtol=1e-4, atol=1e-5)
        assert not torch.equal(encode_images(visual, images()), shipped)  # rounded otherwise, so it was another way


def test_resnet_refuses_to_recompute():
    model = PrototypeClassifier(tiny.clip_model("resnet"), tiny.PREPROCESS)
    model.recompute = True
    with pytest.raises(ValueError, match="activation checkpointing works for vision transformers"):
        model.encode_video(tiny.frames())
