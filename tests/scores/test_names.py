"""Models by name: each gives its own library's logits, from a folder, without a network."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessor,
    Siglip2Model,
    SiglipConfig,
    SiglipModel,
    XCLIPConfig,
    XCLIPModel,
)

from motion_lib.config import RunConfig
from motion_lib.data.preprocessing import CLIP_MEAN, CLIP_STD, Normalise, Preprocess
from motion_lib.experiment.data import data_of
from motion_lib.experiment.runs import Runs
from motion_lib.methods import get_method
from motion_lib.models.clip import tokenize
from motion_lib.models.loading import load_model
from motion_lib.models.released import RELEASES
from motion_lib.models.xclip import XClip
from motion_lib.scores.names import named_model
from tests import tiny
from tests.conftest import SMOKE

TEXTS = ("swinging both arms with the ball", "sitting down slowly", "a kick")
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
PICTURES = {"image_size": 32, "patch_size": 8}


@pytest.fixture
def cfg() -> RunConfig:
    return RunConfig.load("miniature", **SMOKE | {"num_frames": 1})


def frames(count: int, side: int = 32) -> torch.Tensor:
    """(2, T, 3, S, S)."""
    return torch.randn(2, count, 3, side, side, generator=torch.Generator().manual_seed(0))


def logits(named, shown: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return named.model.similarity(named.model.encode_video(shown), named.model.encode_text(TEXTS))


def save_tokenizer(folder, length: int) -> PreTrainedTokenizerFast:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = sorted({word for text in TEXTS for word in text.split()})
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", "<s>", *words, "</s>"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [(mark, vocabulary[mark]) for mark in ("<s>", "</s>")]
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=marks)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=length, **special)
    tokenizer.save_pretrained(folder)
    return tokenizer


# ------------------------------------------------------------------ transformers
def test_transformers_clip_gives_its_own_logits(cfg, tmp_path):
    torch.manual_seed(0)
    tokenizer = save_tokenizer(tmp_path, 12)
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": 12, "eos_token_id": tokenizer.eos_token_id}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=TOWER | PICTURES, projection_dim=16)).eval()
    model.save_pretrained(tmp_path)
    named = named_model(f"transformers:{tmp_path}", cfg)
    tokens = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
    with torch.inference_mode():
        own = model(**{k: tokens[k] for k in ("input_ids", "attention_mask")}, pixel_values=frames(1)[:, 0])
    torch.testing.assert_close(logits(named, frames(1)), own.logits_per_image)
    assert (named.reads, named.model.preprocess.crop_size) == (12, 32)
    assert [named.cuts(text) for text in ("a kick", "a " * 11)] == [False, True]


def test_siglip_keeps_its_bias_its_padding_and_its_squares(cfg, tmp_path):
    torch.manual_seed(0)
    tokenizer = save_tokenizer(tmp_path, 10)
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": 10, "projection_size": 32}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=TOWER | PICTURES)).eval()
    model.logit_bias.data.fill_(-2.0)
    model.save_pretrained(tmp_path)
    asked = {"size": {"height": 32, "width": 32}, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(asked))
    named = named_model(f"transformers:{tmp_path}", cfg)
    tokens = tokenizer(list(TEXTS), padding="max_length", max_length=10, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        own = model(input_ids=tokens, pixel_values=frames(1)[:, 0]).logits_per_image
    torch.testing.assert_close(logits(named, frames(1)), own)
    assert named.facts["bias"] == -2.0
    wanted = Preprocess(1, short_side=32, crop_size=32, mean=(0.5,) * 3, std=(0.5,) * 3, square=True)
    assert named.model.preprocess == wanted
    picture = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    squeezed = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC))
    assert (wanted.resized(picture[None])[0] == squeezed).all()


def test_siglip2_of_any_shape_is_shown_a_square_of_its_patches(cfg, tmp_path):
    torch.manual_seed(0)
    tokenizer = save_tokenizer(tmp_path, 10)
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": 10, "projection_size": 32}
    vision = TOWER | {"patch_size": 8, "num_patches": 16}
    model = Siglip2Model(Siglip2Config(text_config=text, vision_config=vision)).eval()
    model.save_pretrained(tmp_path)
    processor = Siglip2ImageProcessor(patch_size=8, max_num_patches=16)
    processor.save_pretrained(tmp_path)
    named = named_model(f"transformers:{tmp_path}", cfg)
    wanted = named.model.preprocess
    assert (wanted.crop_size, wanted.square, wanted.interpolation) == (32, False, "bilinear")
    picture = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)  # the class of the model's own kind
    tokens = tokenizer(list(TEXTS), padding="max_length", max_length=10, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        own = model(input_ids=tokens, **processor(picture, return_tensors="pt")).logits_per_image
    torch.testing.assert_close(logits(named, Normalise(wanted)(picture[None, None])), own)


def test_transformers_xclip_gives_its_own_logits(cfg, tmp_path):
    torch.manual_seed(0)
    own = {"projection_dim": 64, "prompt_num_attention_heads": 1, "mit_hidden_size": 64, "mit_num_attention_heads": 1}
    tower = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1}
    vision = tower | PICTURES | {"num_frames": 4, "mit_hidden_size": 64, "mit_intermediate_size": 256}
    vision |= {"mit_num_attention_heads": 1, "mit_num_hidden_layers": 1}
    model = XCLIPModel(XCLIPConfig(text_config=tower, vision_config=vision, **own)).eval()
    model.save_pretrained(tmp_path)
    named = named_model(f"transformers:{tmp_path}", cfg)
    assert named.model.preprocess.num_frames == 4
    tokens = tokenize(list(TEXTS)).long()
    with torch.inference_mode():
        expected = model(input_ids=tokens, pixel_values=frames(4)).logits_per_video
    torch.testing.assert_close(logits(named, frames(4)), expected, rtol=1e-4, atol=1e-4)


def test_a_kind_of_model_that_is_none_of_these_is_named(cfg, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="of the type 'bert': expected clip, siglip, siglip2, xclip"):
        named_model(f"transformers:{tmp_path}", cfg)


# ------------------------------------------------------------------ open_clip
@pytest.mark.parametrize("quick", [False, True])
def test_open_clip_gives_its_own_logits(cfg, tmp_path, quick):
    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32}
    text = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    architecture = {"embed_dim": 16, "quick_gelu": quick, "vision_cfg": vision, "text_cfg": text}
    model = open_clip.CLIP(**architecture).eval()
    seen = {"mean": CLIP_MEAN, "std": CLIP_STD, "interpolation": "bicubic", "resize_mode": "shortest", "size": [32, 32]}
    config = {"model_cfg": architecture, "preprocess_cfg": seen}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    named = named_model(f"open_clip:{tmp_path}", cfg)
    with torch.inference_mode():
        image = normalize(model.encode_image(frames(1)[:, 0]), dim=-1)
        words = normalize(model.encode_text(open_clip.SimpleTokenizer(context_length=16)(list(TEXTS))), dim=-1)
        expected = model.logit_scale.exp() * image @ words.T
    torch.testing.assert_close(logits(named, frames(1)), expected)
    assert named.model.preprocess == Preprocess(1, short_side=32, crop_size=32)
    assert [named.cuts(text) for text in ("a kick", "a " * 15)] == [False, True]


def test_an_unknown_tag_lists_those_that_are_there(cfg):
    with pytest.raises(ValueError, match=r"open_clip has no 'ViT-B-32/none'.*laion2b_s34b_b79k"):
        named_model("open_clip:ViT-B-32/none", cfg)


# ------------------------------------------------------------------ this project's own
def test_clip_is_what_load_model_gives(cfg, smoke_world, monkeypatch):
    monkeypatch.setenv("MOTION_DATA", str(smoke_world))
    named = named_model("clip:miniature", cfg)
    model = load_model("clip", None, data_of(cfg).backbone, num_frames=1)
    with torch.inference_mode():
        expected = model(frames(1, 64), model.encode_text(TEXTS))
    assert torch.equal(logits(named, frames(1, 64)), expected)
    assert named.facts["scale"] == pytest.approx(float(model.clip.logit_scale.detach().exp()))


def test_a_python_name_gives_what_its_factory_makes(cfg):
    named = named_model("python:tests.tiny:classifier", cfg)
    with torch.inference_mode():
        expected = tiny.classifier()(frames(4), named.model.encode_text(TEXTS))
    torch.testing.assert_close(logits(named, frames(4)), expected)
    assert named.name == "python:tests.tiny:classifier"


def test_a_python_name_needs_the_four_members(cfg):
    with pytest.raises(ValueError, match="without preprocess, encode_video, encode_text, similarity"):
        named_model("python:builtins:object", cfg)
    with pytest.raises(ValueError, match="builtins has no nothing"):
        named_model("python:builtins:nothing", cfg)
    with pytest.raises(ValueError, match=r"expected python:package\.module:Factory"):
        named_model("python:builtins", cfg)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vit", "expected clip:…, open_clip:…, transformers:…, text4vis"),
        ("clip", "expected clip:…"),
        ("text4vis:x", "expected text4vis"),
    ],
)
def test_a_name_of_no_family_lists_them(cfg, name, said):
    with pytest.raises(ValueError, match=said):
        named_model(name, cfg)


def release_of(key: str, model) -> dict[str, torch.Tensor]:
    """A model's weights under the names of the release."""
    state = dict(model.state_dict())
    if key == "text4vis":
        trained = model.trained_state().items()
        return {n.replace("clip.", "", 1).replace("head.", "fusion_model."): t for n, t in trained}
    if key == "xclip":
        return {name.removeprefix("clip."): tensor for name, tensor in state.items()}
    names = {
        name: name.replace("clip.visual.", "image_encoder.").replace("clip.logit_scale", "logit_scale")
        for name in state
        if name != "clip.token_embedding.weight"
    }
    return {re.sub("^clip\\.", "text_encoder.", new): state[old] for old, new in names.items()}


def test_a_path_that_is_not_there_is_said_to_be_none(cfg, tmp_path):
    for family in ("clip", "open_clip", "transformers", "motion"):
        with pytest.raises(FileNotFoundError, match="no such file or folder"):
            named_model(f"{family}:{tmp_path / 'absent'}", cfg)


@pytest.mark.parametrize("key", ["text4vis", "vificlip", "xclip"])
def test_a_release_is_read_with_its_authors_preprocessing(key, tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    backbone = tmp_path / "tiny.pt"
    torch.save(tiny.clip_model().state_dict(), backbone)
    if key == "xclip":
        model = XClip(tiny.clip_model(), replace(tiny.PREPROCESS, num_frames=8)).eval()
    else:
        model = tiny.classifier(**{"head": "temporal"} if key == "text4vis" else {"train_text": True}).eval()
    with torch.no_grad():  # other weights than the backbone's
        for tensor in model.clip.visual.parameters():
            tensor.add_(0.02 * torch.randn(tensor.shape))
    path = RELEASES[key].path(tmp_path)
    path.parent.mkdir()
    torch.save(release_of(key, model), path)
    named = named_model(key, RunConfig.load("paper", backbone=str(backbone)))
    assert named.model.preprocess.num_frames == (32 if key == "vificlip" else 8)
    assert named.facts["released"]
    torch.testing.assert_close(logits(named, frames(8)), logits(SimpleNamespace(model=model), frames(8)))


def test_a_run_is_its_last_weights_on_its_own_backbone(cfg, smoke_world, tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_DATA", str(smoke_world))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path))
    runs, method = Runs(cfg, data_of(cfg)), get_method("motion")
    runs.note_identity(method)
    model = runs.load(method)
    for epoch in (1, 2):
        model.clip.logit_scale.data.fill_(epoch)
        torch.save({"model": model.trained_state()}, runs.folder(method) / f"epoch_{epoch:02d}.pt")
    named = named_model(f"motion:{runs.folder(method)}", cfg)
    assert named.name == f"motion:{runs.folder(method).name}"  # and not where it lies
    assert named.facts["scale"] == pytest.approx(np.exp(2))
    first = named_model(f"motion:{runs.folder(method) / 'epoch_01.pt'}", cfg)
    assert first.facts["scale"] == pytest.approx(np.exp(1))
    other = tmp_path / "other.pt"
    torch.save(tiny.clip_model().state_dict(), other)
    with pytest.raises(ValueError, match=r"trained from another backbone than other\.pt"):
        named_model(f"motion:{runs.folder(method)}", replace(cfg, backbone=str(other)))


def test_a_folder_that_is_no_run_is_said_to_be_none(cfg, tmp_path):
    with pytest.raises(FileNotFoundError, match="is no run of this project"):
        named_model(f"motion:{tmp_path}", cfg)
