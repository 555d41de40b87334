"""The prototype classifier against reference outputs, and what must move, stay or fail."""

from dataclasses import replace
from pathlib import Path

import golden
import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F

from motion_lib.data.preprocessing import Normalise
from motion_lib.evaluation.retrieval import evaluate
from motion_lib.models.clip import encode_text, tokenize
from motion_lib.models.loading import default_preprocess, load_model
from motion_lib.models.prototype import PrototypeClassifier, TemporalTransformer, VideoTextModel, build_head

pytestmark = pytest.mark.usefixtures("one_thread")


# --- references ---


@pytest.fixture(scope="module")
def reference():
    return golden.read()


@pytest.fixture(scope="module")
def openai(reference):
    return reference["models"]["openai_clip"]


@pytest.fixture(scope="module")
def golden_clip(reference):
    return golden.clip_model(reference)


@pytest.fixture(scope="module")
def mean_model(golden_clip):
    return PrototypeClassifier(golden_clip, tiny.PREPROCESS, head="mean").eval()


@pytest.fixture(scope="module")
def temporal_model(golden_clip, reference):
    model = PrototypeClassifier(golden_clip, tiny.PREPROCESS, head="temporal").eval()
    golden.fill_head(model.head, reference)
    return model


@pytest.fixture(scope="module")
def frames(reference, openai):
    batch, length = openai["input"]["shape"][:2]
    return golden.frames(batch, length, reference["fill_constants"]["seed"])


def logits_of(model, frames, texts):
    with torch.inference_mode():
        return model(frames, model.encode_text(texts))


def test_golden_input(openai, frames):
    golden.assert_vectors(frames.reshape(1, -1), [openai["input"]], tolerance=1e-6)
    assert list(frames.shape) == openai["input"]["shape"]


def test_golden_weights_have_the_listed_names_and_shapes(openai, golden_clip, temporal_model, reference):
    shapes = {name: list(value.shape) for name, value in golden_clip.state_dict().items()}
    assert shapes == openai["state_dict_shapes"]
    head = {f"fusion_model.{name}": list(v.shape) for name, v in temporal_model.head.state_dict().items()}
    listed = reference["models"]["text4vis"]["Transf"]["state_dict_shapes"]
    assert head == {name: shape for name, shape in listed.items() if name.startswith("fusion_model.")}


def test_golden_tokens(reference, openai):
    assert tokenize(reference["texts"]).tolist() == openai["tokens"]


def test_golden_frame_embeddings(openai, mean_model, frames):
    with torch.inference_mode():
        embeddings = mean_model.encode_frames(frames)
    for video in (0, 1):
        golden.assert_vectors(embeddings[video], openai[f"frame_embeddings_video{video}"])


def test_golden_text_features(reference, openai, mean_model):
    golden.assert_vectors(mean_model.encode_text(reference["texts"]), openai["text_features"])


def test_golden_mean_feature_and_logits(reference, openai, mean_model, frames):
    with torch.inference_mode():
        video = F.normalize(mean_model.encode_video(frames), dim=-1)
    golden.assert_vectors(video, openai["video_feature_mean_then_norm"])
    logits = logits_of(mean_model, frames, reference["texts"])
    golden.assert_logits(logits, openai["logits_mean_then_norm"])
    golden.assert_logits(logits, reference["models"]["text4vis"]["None"]["logits_train_forward"])


def test_golden_logits_notice_normalising_each_frame_first(reference, openai, mean_model, frames):
    with torch.inference_mode():
        each = F.normalize(mean_model.encode_frames(frames), dim=-1).mean(dim=1)
        logits = mean_model.similarity(each, mean_model.encode_text(reference["texts"]))
    golden.assert_logits(logits, openai["logits_norm_each_frame_then_mean_then_norm"])
    with pytest.raises(AssertionError):
        golden.assert_logits(logits, openai["logits_mean_then_norm"])


def test_golden_one_frame_equals_clips_own_forward(reference, openai, mean_model, frames):
    logits = logits_of(mean_model, frames[:, :1], reference["texts"])
    golden.assert_logits(logits, openai["image_logits_frame0_official_forward"])


def test_golden_temporal_feature_and_logits(reference, temporal_model, frames):
    expected = reference["models"]["text4vis"]["Transf"]
    with torch.inference_mode():
        video = temporal_model.encode_video(frames)
    golden.assert_vectors(video, expected["video_feature_unnormalised"], tolerance=1e-3)  # values up to 18
    golden.assert_logits(logits_of(temporal_model, frames, reference["texts"]), expected["logits_train_forward"])


def test_golden_temporal_head_on_tiny_activations(reference, temporal_model, frames):
    """Only here does the LayerNorm epsilon of Text4Vis (1e-12 instead of 1e-5) show."""
    name = "fusion_output_on_frame_embeddings_times_1e-3"
    expected = reference["models"]["text4vis"]["Transf"][name]
    with torch.inference_mode():
        embeddings = temporal_model.encode_frames(frames) * 1e-3
        golden.assert_vectors(temporal_model.head(embeddings), expected, tolerance=1e-3)
        other = TemporalTransformer(embeddings.shape[-1], heads=2).eval()
        golden.fill_head(other, reference)
        for module in other.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = 1e-5
        with pytest.raises(AssertionError):
            golden.assert_vectors(other(embeddings), expected, tolerance=1e-3)


def test_golden_temporal_logits_notice_the_number_of_heads(reference, temporal_model, frames):
    """Text4Vis takes the heads of the text tower (2 here), not embedding size // 64 (4)."""
    expected = reference["models"]["text4vis"]["Transf"]
    wrong = TemporalTransformer(256, heads=4).eval()
    golden.fill_head(wrong, reference)
    with torch.inference_mode():
        video = wrong(temporal_model.encode_frames(frames))
        logits = temporal_model.similarity(video, temporal_model.encode_text(reference["texts"]))
    with pytest.raises(AssertionError):
        golden.assert_logits(logits, expected["logits_train_forward"])


def test_golden_logits_survive_saving_and_load_model(reference, openai, golden_clip, frames, tmp_path):
    """A float32 state dict is not rounded to half precision, which clip.load alone would do."""
    torch.save(golden_clip.state_dict(), tmp_path / "clip.pt")
    model = load_model("clip", backbone=tmp_path / "clip.pt")
    golden.assert_logits(logits_of(model, frames, reference["texts"]), openai["logits_mean_then_norm"])
    for name, value in golden_clip.state_dict().items():
        assert torch.equal(model.clip.state_dict()[name], value), name


# --- text tower ---

SHORT, LONG = "a dog", "swinging both arms " * 24 + "again"  # 4 and 75 tokens


@pytest.mark.parametrize("texts", [[SHORT], [LONG], [SHORT, LONG], list(tiny.MOTIONS.values())])
def test_leaving_out_the_padding_changes_nothing(texts):
    model, tokens = tiny.clip_model(), tokenize(texts)
    with torch.inference_mode():
        torch.testing.assert_close(encode_text(model, tokens), model.encode_text(tokens), rtol=1e-5, atol=1e-5)


def test_other_texts_have_other_features():
    features = tiny.classifier().encode_text([SHORT, LONG])
    assert not torch.allclose(features[0], features[1], atol=1e-2)


def test_too_long_text_is_quoted():
    with pytest.raises(ValueError, match=r"does not fit CLIP's 77 tokens.*again.*Shorten it"):
        tokenize([LONG + " and again and again"])


# --- what moves and what stays ---


def one_step(model):
    """One step with weight decay on everything that is trained; returns the names of tensors that changed."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    prototypes = model.encode_text(list(tiny.MOTIONS.values()))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.2)
    F.cross_entropy(model(tiny.frames(), prototypes), torch.tensor([0, 1])).backward()
    optimizer.step()
    return prototypes, {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def is_text(name):
    return name.startswith("clip.") and not name.startswith("clip.visual.") and name != "clip.logit_scale"


def parameter_names(model, text):
    return {name for name, _ in model.named_parameters() if is_text(name) == text}


@pytest.mark.parametrize("head", ["mean", "temporal"])
def test_frozen_text_tower_stays_and_everything_else_moves(head):
    model = tiny.classifier(head=head)
    prototypes, moved = one_step(model)
    assert prototypes.grad_fn is None
    assert not prototypes.requires_grad
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if is_text(name))
    assert moved == parameter_names(model, text=False)


def test_vificlip_moves_both_towers():
    model = tiny.classifier(train_text=True)
    prototypes, moved = one_step(model)
    assert prototypes.requires_grad
    assert moved == parameter_names(model, text=True) | parameter_names(model, text=False)


def test_mean_and_std_move_with_the_model_and_are_no_weights():
    preprocess = replace(tiny.PREPROCESS, mean=(0.5, 0.25, 0.125), std=(0.5, 1.0, 2.0))
    model, plain = PrototypeClassifier(tiny.clip_model(), preprocess), tiny.classifier()
    frames = torch.randint(256, (2, 4, 3, 32, 32), dtype=torch.uint8)
    assert torch.equal(model.normalise(frames), Normalise(preprocess)(frames))
    assert not torch.equal(model.normalise(frames), plain.normalise(frames))
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert not any("normalise" in name or "mean" in name for name in model.state_dict())
    assert model.to("meta").normalise(frames.to("meta")).device.type == "meta"


def test_trained_state_is_what_can_move():
    frozen, trained = tiny.classifier(), tiny.classifier(train_text=True)
    assert frozen.trained_state().keys() == parameter_names(frozen, text=False)
    assert trained.trained_state().keys() == trained.state_dict().keys()


def test_batch_norm_learns_its_statistics_in_training_and_keeps_them_in_evaluation():
    model = tiny.classifier("resnet")
    _, moved = one_step(model)
    assert "clip.visual.bn1.running_mean" in moved
    before = model.eval().clip.visual.bn1.running_mean.clone()
    with torch.no_grad():
        model.encode_video(torch.randn(2, 3, 3, model.preprocess.crop_size, model.preprocess.crop_size))
    assert torch.equal(model.clip.visual.bn1.running_mean, before)


# --- order of frames ---


def shuffling_changes(model):
    """Largest change of a logit when frames are permuted; logits are cosines x 14."""
    texts = list(tiny.MOTIONS.values())
    frames = tiny.frames(length=8)
    order = torch.tensor([3, 0, 7, 1, 6, 2, 5, 4])
    return (logits_of(model, frames, texts) - logits_of(model, frames[:, order], texts)).abs().max().item()


def test_mean_pooling_is_blind_to_order():
    # A sum of 8 float32 numbers in another order: a few units of the last place, 1e-7 x 14.
    assert shuffling_changes(tiny.classifier()) < 1e-5


def test_temporal_head_sees_order():
    model = tiny.classifier(head="temporal").eval()
    assert shuffling_changes(model) > 1e-4  # a fresh head: its position embeddings are small yet
    model.head.frame_position_embeddings.weight.data *= 50
    assert shuffling_changes(model) > 1e-3


def test_one_frame_equals_the_image_path():
    model, frames = tiny.classifier().eval(), tiny.frames(length=1)
    tokens = tokenize(list(tiny.MOTIONS.values()))
    with torch.inference_mode():
        expected, _ = model.clip(frames[:, 0], tokens)
        logits = logits_of(model, frames, list(tiny.MOTIONS.values()))
        torch.testing.assert_close(model.encode_video(frames), model.clip.encode_image(frames[:, 0]))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)


def test_unknown_head_is_an_error():
    with pytest.raises(ValueError, match="'max': expected one of mean, temporal"):
        build_head("max", 64, 1)


# --- loading ---


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "clip.pt"
    torch.save(tiny.clip_model().state_dict(), path)
    return path


@pytest.mark.parametrize("name", ["clip", "motion", "text4vis", "vificlip"])
def test_plain_state_dict_round_trip(backbone, name):
    model, source = load_model(name, backbone=backbone), tiny.clip_model()
    assert isinstance(model, VideoTextModel)
    assert not model.training
    assert model.preprocess.crop_size == 32
    for key, value in source.state_dict().items():
        assert torch.equal(model.clip.state_dict()[key], value), key


def test_resnet_state_dict_round_trip(tmp_path):
    source = tiny.clip_model("resnet")
    torch.save(source.state_dict(), tmp_path / "clip.pt")
    model = load_model("clip", backbone=tmp_path / "clip.pt")
    torch.testing.assert_close(model.clip.visual(tiny.frames()[0]), source.visual(tiny.frames()[0]))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of clip's own asserts, while it is traced
def test_torchscript_archive_is_read(tmp_path):
    """The form of OpenAI's own files, with numbers beside the weights."""
    source = tiny.clip_model()
    tokens, expected = tokenize([SHORT]), source.state_dict()
    source.register_buffer("input_resolution", torch.tensor(32))
    torch.jit.trace(source, (tiny.frames()[0, :1], tokens), check_trace=False).save(str(tmp_path / "clip.pt"))
    found = load_model("clip", backbone=tmp_path / "clip.pt").clip.state_dict()
    assert found.keys() == expected.keys()
    assert all(value.dtype == torch.float32 for value in found.values())
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["motion", "text4vis", "vificlip"])
def test_checkpoint_round_trip(backbone, tmp_path, name):
    trained = load_model(name, backbone=backbone)
    one_step(trained)
    torch.save({"model": trained.trained_state()}, tmp_path / "epoch_01.pt")
    again = load_model(name, tmp_path / "epoch_01.pt", backbone=backbone)
    for key, value in trained.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def foreign(kind):
    """Checkpoint content that is not of the "motion" model."""
    state = tiny.classifier().trained_state()
    scale = "clip.logit_scale"
    return {
        "lacks": {"model": {name: value for name, value in state.items() if name != scale}},
        "has unknown": {"model": tiny.classifier(head="temporal").trained_state()},
        "has other shapes": {"model": {**state, scale: torch.zeros(2)}},
        "no entry 'model'": state,
        "no checkpoint": [1, 2],
        "refused, it asks for pathlib": Path("an object that is not data"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "lacks",
        "has unknown",
        "has other shapes",
        "no entry 'model'",
        "no checkpoint",
        "refused, it asks for pathlib",
    ],
)
def test_foreign_checkpoint_is_an_error_that_names_it(backbone, tmp_path, kind):
    torch.save(foreign(kind), tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match=rf"foreign\.pt.*{kind}"):
        load_model("motion", tmp_path / "foreign.pt", backbone=backbone)


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"", "is empty"), (b"epoch 3", "is no file of weights"), (b"PK\x03\x04 cut off", "is half a file")],
)
def test_broken_checkpoint_is_an_error_that_names_it(backbone, tmp_path, content, fault):
    (tmp_path / "broken.pt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\.pt {fault}, no checkpoint"):
        load_model("motion", tmp_path / "broken.pt", backbone=backbone)


def test_absent_checkpoint_is_an_error(backbone, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"epoch_09\.pt: no such checkpoint"):
        load_model("motion", tmp_path / "epoch_09.pt", backbone=backbone)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"weight": torch.ones(2)}, "holds no whole CLIP"),
        ({"visual.proj": torch.ones(2, 2)}, "holds no whole CLIP"),
        ([1], "holds no state dict"),
        (Path("object"), "refused, it asks for pathlib"),
        (None, "is no file of weights"),
    ],
    ids=["other model", "part of a CLIP", "list", "object", "text"],
)
def test_foreign_backbone_is_an_error_that_names_it(tmp_path, content, fault):
    path = tmp_path / "backbone.pt"
    if content is None:
        path.write_text("hello")
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=rf"backbone\.pt:? {fault}"):
        load_model("clip", backbone=path)


def test_unknown_names_are_errors(backbone):
    with pytest.raises(ValueError, match="'clipp': expected one of clip, motion, text4vis, vificlip"):
        load_model("clipp", backbone=backbone)
    with pytest.raises(FileNotFoundError, match=r"ViT-B/61: neither a file nor one of .*ViT-B/16"):
        load_model("clip", backbone="ViT-B/61")


@pytest.mark.parametrize(
    ("name", "resolution", "short_side"),
    [
        ("clip", 224, 224),
        ("motion", 224, 256),
        ("text4vis", 224, 256),
        ("text4vis", 336, 336),
        ("motion", 32, 32),
    ],
)
def test_preprocessing_belongs_to_the_model(name, resolution, short_side):
    found = default_preprocess(name, resolution, num_frames=16)
    assert (found.short_side, found.crop_size, found.num_frames) == (short_side, resolution, 16)
    assert (found.sampling, found.interpolation) == ("text4vis", "bicubic")


# --- class order ---


def permuted(clips, order, labels_too=True):
    """The same clips with their classes listed in another order."""
    names = tuple(clips.dataset.class_names[i] for i in order)
    place = np.argsort(order)
    items = [
        tiny.VideoItem(item.video_id, item.path, int(place[item.label]) if labels_too else item.label, item.group)
        for item in clips.dataset.items
    ]
    dataset = tiny.VideoDataset("permuted", names, tuple(items), 1, "test")
    return tiny.Clips(dataset, clips.preprocess, {}, clips.source)


def half_right(model):
    """Eight clips of which a random model gets four right: the labels of the others are wrong on purpose."""
    clips = tiny.clips_in_memory()
    best = evaluate(model, clips, tiny.DESCRIPTIONS).scores.argmax(axis=1)
    labels = [int(best[i] + i % 2) % 8 for i in range(8)]
    items = [
        tiny.VideoItem(item.video_id, item.path, label, item.group)
        for item, label in zip(clips.dataset.items, labels, strict=True)
    ]
    dataset = tiny.VideoDataset("tiny", clips.dataset.class_names, tuple(items), 1, "test")
    return tiny.Clips(dataset, clips.preprocess, {}, clips.source)


def test_order_of_classes_does_not_matter():
    model, order = tiny.classifier(), [5, 2, 7, 0, 1, 6, 3, 4]
    clips = half_right(model)
    plain = evaluate(model, clips, tiny.DESCRIPTIONS)
    again = evaluate(model, permuted(clips, order), tiny.DESCRIPTIONS)
    assert plain.accuracy() == 0.5
    assert again.correct.tolist() == plain.correct.tolist()
    wrong = evaluate(model, permuted(clips, order, labels_too=False), tiny.DESCRIPTIONS)
    assert wrong.correct.tolist() != plain.correct.tolist()
