"""X-CLIP: parity with the official implementation and with transformers', and what the modules promise."""

import pytest
import torch

from motion_lib.data.preprocessing import Preprocess
from motion_lib.models.clip import CLIP, encode_text
from motion_lib.models.weights import official_names
from motion_lib.models.xclip import XClip
from motion_lib.training import Recipe, parameter_groups
from tests import golden, tiny

# --- parity ---------------------------------------------------------------------------------------


@pytest.fixture
def reference() -> dict:
    return golden.read()


def untrained(reference: dict, length: int) -> XClip:
    size = reference["tiny_config"]["image_resolution"]
    preprocess = Preprocess(num_frames=length, short_side=size, crop_size=size)
    return XClip(CLIP(**reference["tiny_config"]), preprocess).eval()


def fill(model: XClip, state: dict) -> XClip:
    """Load official names strictly."""
    own = {name for name in model.state_dict() if not name.startswith("clip.")}
    model.load_state_dict({name if name in own else f"clip.{name}": tensor for name, tensor in state.items()})
    return model


def filled(reference: dict, entry: dict) -> dict:
    return {n: golden.tensor(n, tuple(s), reference["fill_constants"]) for n, s in entry["state_dict_shapes"].items()}


def text_features(model: XClip, entry: dict) -> torch.Tensor:
    return encode_text(model.clip, torch.tensor(entry["tokens"]))


def test_golden_xclip_official(reference):
    entry = reference["models"]["xclip_official"]
    model = fill(untrained(reference, entry["T"]), filled(reference, entry))
    frames = golden.frames(2, entry["T"], reference["fill_constants"]["seed"])
    with torch.inference_mode():
        golden.assert_vectors(model.encode_frames(frames)[0], entry["frame_cls_projected_video0"])
        video, text = model.encode_video(frames), text_features(model, entry)
        golden.assert_vectors(video[:, 0], entry["video_feature_unnormalised"])
        golden.assert_vectors(text, entry["text_features_base"])
        offsets = model.prompts_generator(text, video[:, 1:])
        golden.assert_vectors(offsets[0], entry["prompt_offset_video0"])
        golden.assert_vectors(offsets[1], entry["prompt_offset_video1"])
        golden.assert_logits(model.similarity(video, text), entry["logits"])


def test_golden_xclip_of_transformers(reference):
    entry = reference["models"]["hf_xclip"]
    state, ignored = official_names(filled(reference, entry))
    model = fill(untrained(reference, entry["T"]), state)
    frames = golden.frames(2, entry["T"], reference["fill_constants"]["seed"])
    assert all("no weight" in reason for reason in ignored.values())
    with torch.inference_mode():
        video = model.encode_video(frames)
        golden.assert_vectors(video[:, 0], entry["mit_pooled_unnormalised"])
        golden.assert_logits(model.similarity(video, text_features(model, entry)), entry["logits_per_video"])


# --- what it promises -----------------------------------------------------------------------------

TOWERS = ["transformer", "resnet"]


def model_of(tower: str, length: int = 4, layers: int = 1) -> XClip:
    torch.manual_seed(0)
    model = XClip(
        tiny.clip_model(tower, layers=layers), Preprocess(num_frames=length, short_side=32, crop_size=32)
    ).eval()
    for name, parameter in model.named_parameters():  # large enough for prompts and messages to matter
        if name.endswith((".alpha", "message_fc.weight", "message_attn.in_proj_weight")):
            torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("tower", TOWERS)
def test_texts_depend_on_the_video(tower):
    model, frames = model_of(tower), tiny.frames(3)
    with torch.inference_mode():
        video, text = model.encode_video(frames), model.encode_text(["waving", "clapping", "a kick"])
        logits = model.similarity(video, text)
        swapped = video.clone()
        swapped[:, 1:] = video[[1, 2, 0], 1:]
        of_others, plain = model.similarity(swapped, text), super(XClip, model).similarity(video[:, 0], text)
    assert logits.shape == (3, 3)
    assert not torch.allclose(logits, of_others, atol=1e-4)
    assert not torch.allclose(logits, plain, atol=1e-4)


@pytest.mark.parametrize("tower", TOWERS)
def test_videos_of_a_batch_do_not_see_each_other(tower):
    model, frames = model_of(tower), tiny.frames(3)
    with torch.inference_mode():
        together = model.encode_video(frames)
        alone = torch.cat([model.encode_video(one[None]) for one in frames])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("tower", "layers"), [("transformer", 2), ("resnet", 1)])
def test_frames_of_a_video_see_each_other(tower, layers):
    """In a transformer from the second layer on: the first one's class token has seen no patch yet."""
    model, frames = model_of(tower, layers=layers), tiny.frames(1)
    other = frames.clone()
    other[:, -1] = -other[:, -1]
    with torch.inference_mode():
        before, after = model.encode_frames(frames), model.encode_frames(other)
    assert (before[:, 0] - after[:, 0]).abs().max() > 1e-5


def test_messages_have_no_order_but_the_integration_has():
    model, frames = model_of("transformer"), tiny.frames(1)
    torch.nn.init.normal_(model.mit.positional_embedding)
    order = torch.tensor([2, 0, 3, 1])
    with torch.inference_mode():
        plain, shuffled = model.encode_frames(frames), model.encode_frames(frames[:, order])
        torch.testing.assert_close(plain[:, order], shuffled, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(model.encode_video(frames), model.encode_video(frames[:, order]), atol=1e-4)


def test_chunks_change_no_logit(monkeypatch):
    model, frames = model_of("transformer"), tiny.frames(5)
    with torch.inference_mode():
        video, text = model.encode_video(frames), model.encode_text(["waving", "clapping"])
        whole = model.similarity(video, text)
        monkeypatch.setattr("motion_lib.models.xclip._SCORES_AT_ONCE", 2 * text.numel())
        torch.testing.assert_close(model.similarity(video, text), whole, rtol=1e-5, atol=1e-5)


def test_another_number_of_frames_is_refused():
    with pytest.raises(ValueError, match="is for 4 frames, given 6"):
        model_of("transformer").encode_video(tiny.frames(1, 6))


@pytest.mark.parametrize("tower", TOWERS)
def test_what_trains_and_at_which_rate(tower):
    model = model_of(tower).train()
    pretrained, fresh = (group["params"] for group in parameter_groups(model, Recipe(clip_ratio=0.1)))
    names = {id(p): name for name, p in model.named_parameters()}
    assert {name.split(".")[1] for name in map(names.get, map(id, pretrained))} == {"visual"}
    kinds = {"message" if ".message_" in n else n.split(".")[0] for n in map(names.get, map(id, fresh))}
    assert kinds == {"message", "mit", "prompts_visual_ln", "prompts_visual_proj", "prompts_generator"}
    assert not model.clip.logit_scale.requires_grad
    model(tiny.frames(2), model.encode_text(["waving", "clapping"])).sum().backward()
    assert [names[id(p)] for p in (*pretrained, *fresh) if p.grad is None] == []
    assert all(p.grad is None for p in model.clip.transformer.parameters())
