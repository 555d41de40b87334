"""Released checkpoints: parity with the official implementations, strictness, and files that mean harm.

No released file is at hand: files of their documented formats are made here, from the golden weights.
"""

import pickle
import sys
from types import ModuleType

import pytest
import torch

from motion_lib.data.preprocessing import Preprocess
from motion_lib.models import released, weights
from motion_lib.models.clip import CLIP, encode_text
from motion_lib.models.released import RELEASES, load_official
from motion_lib.models.weights import read_tensors
from motion_lib.models.xclip import XClip
from tests import golden, tiny

# --- files in the authors' formats ----------------------------------------------------------------


class CfgNode(dict):
    """Stands in for yacs's configuration when a file is written; reading must not need it."""

    def __init__(self, *values):
        super().__init__(*values)
        self.__dict__["__immutable__"] = True


@pytest.fixture
def yacs_config(monkeypatch):
    """A configuration as ViFi-CLIP and X-CLIP saved it, pickled under yacs's name."""
    package, module = ModuleType("yacs"), ModuleType("yacs.config")
    module.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, "yacs", package)
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    monkeypatch.setattr(CfgNode, "__module__", "yacs.config")
    return CfgNode({"DATA": CfgNode({"NUM_FRAMES": 32, "NAMES": ["a", "b"]}), "AUG": 0.5})


@pytest.fixture
def reference() -> dict:
    return golden.read()


@pytest.fixture
def backbone(reference, tmp_path) -> str:
    path = tmp_path / "clip.pt"
    torch.save(golden.clip_model(reference).state_dict(), path)
    return str(path)


def filled(reference: dict, shapes: dict) -> dict:
    weights = {n: tuple(s) for n, s in shapes.items() if not n.startswith("prompt_learner.")}
    return {name: golden.tensor(name, shape, reference["fill_constants"]) for name, shape in weights.items()}


def frames_of(reference: dict, length: int) -> torch.Tensor:
    return golden.frames(2, length, reference["fill_constants"]["seed"])


def logits(model, frames: torch.Tensor, tokens: list) -> torch.Tensor:
    with torch.inference_mode():
        return model.similarity(model.encode_video(frames), encode_text(model.clip, torch.tensor(tokens)))


# --- parity ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module."])
def test_golden_text4vis_checkpoint(reference, backbone, tmp_path, prefix):
    models = reference["models"]["text4vis"]
    state = filled(reference, models["Transf"]["state_dict_shapes"])
    path = tmp_path / "k400-vitb-16-f8.pt"
    state = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 29, "model_state_dict": state, "optimizer_state_dict": {"state": {}}}, path)
    model, ignored = load_official("text4vis", path, backbone)
    assert set(ignored) == {"epoch", "optimizer_state_dict"}
    golden.assert_logits(
        logits(model, frames_of(reference, 8), models["tokens"]), models["Transf"]["logits_train_forward"]
    )


@pytest.mark.parametrize("texts", ["names", "sentences"])
def test_golden_vificlip_checkpoint(reference, backbone, tmp_path, yacs_config, texts):
    entry = reference["models"]["vificlip"][texts]
    state = filled(reference, entry["state_dict_shapes"])
    state |= {f"prompt_learner.{part}": torch.ones(3, 77, 8) for part in ("token_prefix", "complete_text_embeddings")}
    path = tmp_path / "vifi.pth"
    saved = {
        "model": {f"module.{n}": t for n, t in state.items()},
        "config": yacs_config,
        "max_accuracy": 71.2,
        "epoch": 9,
    }
    torch.save(saved, path)
    del sys.modules["yacs.config"], sys.modules["yacs"]  # whoever reads the file has no yacs
    model, ignored = load_official("vificlip", path, backbone)
    assert set(ignored) == {
        "config", "max_accuracy", "epoch",
        "prompt_learner.token_prefix", "prompt_learner.complete_text_embeddings",
    }  # fmt: skip
    assert all(ignored.values())
    frames = frames_of(reference, 8)
    with torch.inference_mode():
        golden.assert_vectors(model.encode_frames(frames)[0], entry["frame_embeddings_video0"])
        golden.assert_vectors(model.encode_video(frames), entry["video_feature_unnormalised"])
        golden.assert_vectors(encode_text(model.clip, torch.tensor(entry["tokens"])), entry["text_features"])
        golden.assert_vectors(model.encode_text(entry["prompts"]), entry["text_features"])
    golden.assert_logits(logits(model, frames, entry["tokens"]), entry["logits"])


@pytest.mark.parametrize(
    ("key", "entry", "expected"),
    [("xclip", "xclip_official", "logits"), ("xclip_transformers", "hf_xclip", "logits_per_video")],
)
def test_golden_xclip_checkpoint(reference, tmp_path, yacs_config, key, entry, expected):
    entry = reference["models"][entry]
    state = filled(reference, entry["state_dict_shapes"])
    path = tmp_path / "zero.pth"
    torch.save({"model": state, "config": yacs_config} if key == "xclip" else state, path)
    model, ignored = load_official(key, path, "no backbone is needed")
    assert set(ignored) == ({"config"} if key == "xclip" else {n for n in state if n.endswith("position_ids")})
    assert model.preprocess.num_frames == entry["T"]
    golden.assert_logits(logits(model, frames_of(reference, entry["T"]), entry["tokens"]), entry[expected])


# --- strictness -----------------------------------------------------------------------------------


@pytest.fixture
def tiny_clip(tmp_path) -> str:
    path = tmp_path / "tiny.pt"
    torch.save(tiny.clip_model().state_dict(), path)
    return str(path)


def official_state(key: str) -> dict:
    """A state dict of a tiny model in the authors' names."""
    if key == "xclip":
        model = XClip(tiny.clip_model(), Preprocess(num_frames=4, short_side=32, crop_size=32))
        return {name.removeprefix("clip."): tensor for name, tensor in model.state_dict().items()}
    if key == "text4vis":
        state = tiny.classifier(head="temporal").trained_state()
        return {name.replace("clip.", "", 1).replace("head.", "fusion_model."): t for name, t in state.items()}
    parts = {"visual": "image_encoder", "logit_scale": "logit_scale"}
    names = {n: n.split(".")[0] for n in tiny.clip_model().state_dict() if n != "token_embedding.weight"}
    state = tiny.clip_model().state_dict()
    return {(parts[p] + n[len(p) :] if p in parts else f"text_encoder.{n}"): state[n] for n, p in names.items()}


KEYS = ["text4vis", "vificlip", "xclip"]


@pytest.mark.parametrize("key", KEYS)
def test_a_whole_file_is_loaded_and_nothing_is_ignored(tiny_clip, tmp_path, key):
    path = tmp_path / "whole.pt"
    torch.save(official_state(key), path)
    model, ignored = load_official(key, path, tiny_clip)
    assert ignored == {}
    assert not model.training
    features = model.encode_video(tiny.frames(2))
    assert model.similarity(features, model.encode_text(["waving", "a kick"])).shape == (2, 2)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("change", ["lacks", "has unknown", "has other shapes for"])
def test_a_tensor_too_few_too_many_or_of_another_shape_is_named(tiny_clip, tmp_path, key, change):
    state, path = official_state(key), tmp_path / "changed.pt"
    name = next(n for n in state if n.endswith("ln_post.weight"))
    if change == "lacks":
        del state[name]
    elif change == "has unknown":
        state["surplus.weight"] = torch.zeros(1)
    else:
        state[name] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(ValueError, match=rf"changed\.pt (holds no whole CLIP|{change} 1 tensors)"):
        load_official(key, path, tiny_clip)


def test_weights_of_another_model_are_refused(tiny_clip, tmp_path):
    path = tmp_path / "other.pt"
    torch.save(official_state("vificlip"), path)
    for key, message in (("text4vis", "lacks"), ("xclip", "holds no whole CLIP")):
        with pytest.raises(ValueError, match=message):
            load_official(key, path, tiny_clip)
    with pytest.raises(ValueError, match="'vifi': expected one of text4vis, vificlip, xclip"):
        load_official("vifi", path, tiny_clip)


def test_half_precision_files_are_loaded_as_float32(tiny_clip, tmp_path):
    path = tmp_path / "half.pt"
    torch.save({name: tensor.half() for name, tensor in official_state("vificlip").items()}, path)
    model, _ = load_official("vificlip", path, tiny_clip)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


# --- files that are broken or mean harm -----------------------------------------------------------


class Harmful:
    """Unpickled carelessly, it creates a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("place", ["alone", "beside the weights"])
def test_a_malicious_file_is_refused_and_nothing_runs(tmp_path, place):
    path, target = tmp_path / "zero.pth", tmp_path / "harm"
    state = official_state("xclip")
    torch.save(Harmful(target) if place == "alone" else {"model": state, "config": Harmful(target)}, path)
    with pytest.raises(ValueError, match=r"zero\.pth: refused, it asks for \S*open.*Nothing in it was run"):
        read_tensors(path)
    assert not target.exists()


def test_a_plain_malicious_pickle_is_refused(tmp_path):
    path, target = tmp_path / "zero.pth", tmp_path / "harm"
    path.write_bytes(pickle.dumps(Harmful(target)))
    with pytest.raises(ValueError, match="refused"):
        read_tensors(path)
    assert not target.exists()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, share):
    whole, path = tmp_path / "whole.pt", tmp_path / "cut.pt"
    torch.save(official_state("xclip"), whole)
    data = whole.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=r"cut\.pt is (empty|half a file), no checkpoint"):
        read_tensors(path)


@pytest.mark.parametrize("saved", [[1, 2], {"epoch": 3}, {"model": {"a": 1}}, {}, torch.zeros(3)])
def test_a_file_without_a_state_dict_is_named(tmp_path, saved):
    path = tmp_path / "foreign.pt"
    torch.save(saved, path)
    with pytest.raises(ValueError, match=r"foreign\.pt: holds no state dict"):
        read_tensors(path)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        read_tensors(tmp_path / "absent.pt")


# --- the registry ---------------------------------------------------------------------------------


def vit_b16() -> CLIP:
    with torch.device("meta"):
        return CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)


def test_sizes_follow_from_the_architectures():
    def millions(tensors) -> float:
        return sum(tensor.numel() for tensor in tensors) / 1e6

    clip_model = vit_b16()
    with torch.device("meta"):
        header = tiny.PrototypeClassifier(vit_b16(), Preprocess(), "temporal").trained_state()
        exchanging = XClip(vit_b16(), Preprocess(num_frames=32)).state_dict()
    table = clip_model.token_embedding.weight
    whole = millions(clip_model.state_dict().values())
    expected = {
        "text4vis": millions(header.values()),
        "vificlip": whole - millions([table]),
        "xclip": millions(exchanging.values()),
        "xclip_transformers": millions(exchanging.values()),
    }
    assert {key: release.million_parameters for key, release in RELEASES.items()} == pytest.approx(expected, abs=0.1)


def test_fetching_says_what_to_do_or_downloads(monkeypatch, tmp_path):
    asked = []

    def fetched(url, path, sha256, progress):
        asked.append(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({}, path)
        return path

    monkeypatch.setattr(weights, "fetch", fetched)
    path = released.fetch_release("text4vis", tmp_path)
    assert path == released.fetch_release("text4vis", tmp_path) == tmp_path / "checkpoints/k400-vitb-16-f8.pt"
    assert asked == [RELEASES["text4vis"].url]
    with pytest.raises(FileNotFoundError, match=r"vifi\S+ is missing: open https://github.com/\S+, follow"):
        released.fetch_release("vificlip", tmp_path)
