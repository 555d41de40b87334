"""Files of weights: in every wrapping, as something else, and CLIPs with another activation."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

from motion_lib.data.download import DownloadError
from motion_lib.models import clip, weights
from motion_lib.models.clip import load_clip
from motion_lib.models.weights import fetch_weights, read_tensors
from motion_lib.storage import fault_of

HTML = b"<!DOCTYPE html><html><head><title>Virus scan warning</title></head></html>"


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return tiny.clip_model().state_dict()


def under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


# --- wrappings ------------------------------------------------------------------------------------

WRAPPINGS = {
    "plain": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1}]},
    },
    "model_state_dict": lambda s: {"epoch": torch.tensor(3), "model_state_dict": s},
    "a name of their own": lambda s: {"net": s, "epoch": 3},
    "nested": lambda s: {"checkpoint": {"state_dict": under("model.clip.", s)}},
    "module.": lambda s: {"state_dict": under("module.", s)},
    "_orig_mod.": lambda s: under("_orig_mod.module.", s),
    "one tower compiled": lambda s: {name.replace("visual.", "visual._orig_mod."): t for name, t in s.items()},
    "clip.": lambda s: under("clip.", s),
    "averaged": lambda s: {"n_averaged": torch.tensor(5), **under("module.", s)},
    "parameters": lambda s: {name: torch.nn.Parameter(tensor) for name, tensor in s.items()},
    "numbers of numpy": lambda s: {"state_dict": s, "best": np.float64(0.7), "epoch": np.int64(3), "all": np.ones(3)},
    "numbers among the tensors": lambda s: {
        **s,
        "epoch": 3,
        "best": np.float32(0.7),
        "input_resolution": torch.tensor(32),
    },
    "arguments": lambda s: {"model": s, "args": argparse.Namespace(lr=0.1)},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_clip_is_read_in_every_wrapping(state, tmp_path, wrapping):
    torch.save(WRAPPINGS[wrapping](state), tmp_path / "c.pt")
    found = load_clip(tmp_path / "c.pt").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize(
    "form", ["half precision", "torch's older form", "safetensors", "safetensors under another name"]
)
def test_a_clip_is_read_in_every_form(state, tmp_path, form):
    path = tmp_path / ("c.safetensors" if form == "safetensors" else "c.pt")
    if form.startswith("safetensors"):
        save_file(under("module.", state), path)
    elif form == "half precision":
        torch.save({name: tensor.half() for name, tensor in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=False)
    found = load_clip(path).state_dict()
    expected = {name: tensor.half().float() if form == "half precision" else tensor for name, tensor in state.items()}
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_transformers_clip_gives_the_same_features(tmp_path):
    transformers = pytest.importorskip("transformers")
    tower = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1}
    vision = tower | {"image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(text_config=tower | {"vocab_size": 49408}, vision_config=vision, projection_dim=64)
    theirs = transformers.CLIPModel(config).eval()
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict(), default=str))
    frames, tokens = tiny.frames()[0], clip.tokenize(["a person waving"])
    with torch.inference_mode():
        expected = theirs(input_ids=tokens, pixel_values=frames)
        images, texts = load_clip(tmp_path / "pytorch_model.bin")(frames, tokens)
    torch.testing.assert_close(images, expected.logits_per_image, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(texts, expected.logits_per_text, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda s: {"student": s, "teacher": s}, "holds several state dicts, student, teacher. Save alone"),
        (lambda s: {**s, "module.logit_scale": s["logit_scale"]}, "holds tensors twice"),
        (lambda s: {**s, "head.weight": torch.ones(2)}, r'holds no whole CLIP.*Unexpected key.*"head.weight"'),
        (
            lambda s: {n: t for n, t in s.items() if n != "ln_final.bias"},
            r'holds no whole CLIP.*Missing.*"ln_final.bias"',
        ),
        (lambda s: torch.nn.Linear(2, 2), r"refused, it asks for torch\.nn\.\S+, .*save the tensors alone"),
        (lambda s: {"epoch": 3}, "holds no state dict"),
    ],
)
def test_what_is_no_clip_is_named_and_nothing_unsafe_is_suggested(state, tmp_path, made, message):
    torch.save(made(state), tmp_path / "c.pt")
    with pytest.raises(ValueError, match=rf"c\.pt:? {message}") as caught:
        load_clip(tmp_path / "c.pt")
    assert "weights_only" not in str(caught.value)


def test_what_stands_beside_the_weights_is_named(state, tmp_path):
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "c.pt")
    assert read_tensors(tmp_path / "c.pt")[1] == {"epoch": "beside the weights, not needed"}


# --- something else in their place ----------------------------------------------------------------


def parts_of(name: str, state: dict[str, Tensor], folder: Path) -> bytes:
    """A whole file, cut."""
    if name != "torch":
        save_file(state, folder / "whole")
    else:
        torch.save(state, folder / "whole")
    data = (folder / "whole").read_bytes()
    return data[: -len(data) // 3] if name != "header" else data[:60]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 42\n", "is a Git LFS pointer"),
        (HTML, "is a web page"),
        (b"\xef\xbb\xbf\r\n <html>", "is a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
        (b'{"message": "Not Found"}', "is no file of weights"),
        (b"Not Found", "is no file of weights"),
        (bytes(1000), "is half a file, it begins with zeros"),
        (b"\x1f\x8b\x08\x00", "is a gzip archive"),
        ("torch", "is half a file"),
        ("safetensors", "is half a file"),
        ("header", "is half a file"),
    ],
)
def test_something_else_is_named_by_its_first_bytes(state, tmp_path, content, fault):
    path = tmp_path / "w.pt"
    path.write_bytes(parts_of(content, state, tmp_path) if isinstance(content, str) else content)
    assert fault_of(path).startswith(fault)
    for read in (load_clip, read_tensors, weights.read_file):
        with pytest.raises(ValueError, match=rf"w\.pt {fault}.*, no checkpoint"):
            read(path)


def test_whole_files_have_no_fault(state, tmp_path):
    assert fault_of(tmp_path / "absent") == "is missing"
    save_file(state, tmp_path / "a")
    torch.save(state, tmp_path / "b")
    torch.save(state, tmp_path / "c", _use_new_zipfile_serialization=False)
    assert [fault_of(tmp_path / name) for name in "abc"] == [""] * 3


# --- downloads ------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch):
    """Sets what arrives in place of a download."""

    def serves(content: bytes | Exception) -> None:
        def fetch(url: str, path: Path, sha256: str, progress: bool) -> Path:
            if isinstance(content, Exception):
                raise content
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            return path

        monkeypatch.setattr(weights, "fetch", fetch)

    return serves


@pytest.mark.parametrize("there", [None, b"PK\x03\x04 half"])
def test_what_arrives_and_is_no_weights_is_not_kept(server, state, tmp_path, there):
    path = tmp_path / "zero.pth"
    if there:
        path.write_bytes(there)
    server(HTML)
    with pytest.raises(DownloadError, match=rf"what arrives is a web page; nothing was kept\. Or bring .* at {path}\."):
        fetch_weights("https://a.org/zero.pth", path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([there] if there else [])
    torch.save(state, tmp_path / "whole")
    server((tmp_path / "whole").read_bytes())
    fetch_weights("https://a.org/zero.pth", path)
    assert fault_of(path) == ""
    server(AssertionError("asked though it is there"))
    fetch_weights("https://a.org/zero.pth", path)


@pytest.mark.parametrize("half", [False, True])
def test_without_a_network_it_says_where_the_file_belongs(server, tmp_path, monkeypatch, half):
    monkeypatch.setattr(clip, "CLIP_CACHE", tmp_path)
    if half:
        (tmp_path / "ViT-B-16.pt").write_bytes(bytes(1000))
    server(DownloadError("no transfer. Is there a network?"))
    place = tmp_path / "ViT-B-16.pt"
    message = (
        rf"CLIP ViT-B/16 weights: no transfer\. Is there a network\? Or bring the file .*, and put it at {place}\."
    )
    with pytest.raises(FileNotFoundError, match=message):
        load_clip("ViT-B/16")


# --- activations ----------------------------------------------------------------------------------

OPEN_CLIP = {"model_cfg": {"embed_dim": 512, "vision_cfg": {"layers": 12}}}
QUICK_OPEN_CLIP = {"model_cfg": {"quick_gelu": True, "vision_cfg": {"layers": 12}}}
TRANSFORMERS = {"text_config": {"hidden_act": "quick_gelu"}, "vision_config": {"hidden_act": "quick_gelu"}}


@pytest.mark.parametrize(
    ("name", "beside", "refused"),
    [
        ("mine.pt", {}, ""),
        ("mine.pt", {"config.json": {"lr": 0.1}}, ""),
        ("open_clip_pytorch_model.bin", {}, "'open_clip' in its name"),
        ("vit_b_16-laion400m_e32-55e67d44.pt", {}, "'laion' in its name"),
        ("vit_b_32-quickgelu-laion400m_e32-46683a32.pt", {}, ""),
        ("mine.pt", {"open_clip_config.json": OPEN_CLIP}, "open_clip_config.json beside it"),
        ("open_clip_pytorch_model.bin", {"open_clip_config.json": QUICK_OPEN_CLIP}, ""),
        ("pytorch_model.bin", {"config.json": TRANSFORMERS}, ""),
        ("pytorch_model.bin", {"config.json": TRANSFORMERS | {"text_config": {"hidden_act": "gelu"}}}, "config.json"),
    ],
)
def test_a_clip_without_quick_gelu_is_refused_where_that_can_be_known(state, tmp_path, name, beside, refused):
    for file, content in beside.items():
        (tmp_path / file).write_text(json.dumps(content, indent=2))
    torch.save(state, tmp_path / name)
    if not refused:
        assert load_clip(tmp_path / name).state_dict().keys() == state.keys()
        return
    with pytest.raises(ValueError, match=f"weights of a CLIP without QuickGELU, by {refused}"):
        load_clip(tmp_path / name)


def test_a_checkpoint_of_open_clips_trainer_is_refused(state, tmp_path):
    saved = {"epoch": 32, "name": "a run", "state_dict": under("module.", state), "optimizer": {}}
    torch.save(saved, tmp_path / "epoch_32.pt")
    with pytest.raises(ValueError, match="by the entries of open_clip's trainer"):
        load_clip(tmp_path / "epoch_32.pt")
