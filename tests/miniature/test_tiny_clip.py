"""The tiny CLIP: how it is pretrained, the file that ships, and how it comes back as a CLIP."""

import json
import re
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import backbone
from motion_lib.config import RunConfig
from motion_lib.experiment.data import MiniatureData
from motion_lib.miniature import build, drawing, pretrain, sentences, tiny_clip
from motion_lib.miniature.pretrain import Pretraining
from motion_lib.miniature.tiny_clip import SHIPPED, TinyClip
from motion_lib.models.clip import CLIP, VisionTransformer, build_clip, encode_text, load_clip, tokenize
from motion_lib.storage import file_sha256

RECIPE = Pretraining(num_stills=96, epochs=4, batch_size=32, text_warmup_steps=4, text_stills=64, text_epochs=3)
VERBS = "|".join(sentences.VERBS.values())


@pytest.fixture(scope="module", autouse=True)
def quick(one_thread) -> Iterator[None]:
    """Stills are drawn in this process, and every step has its row in the log."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretrain, "parallel_map", lambda function, jobs, what: [function(*job) for job in jobs])
        patched.setattr(pretrain, "_LOGGED", 1)
        yield


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> SimpleNamespace:
    """A tiny CLIP after a few steps, with its file, its log and the captions that it saw."""
    stills, captions = pretrain.draw_still, []

    def remember(*job):
        captions.extend((*(still := stills(*job)).things, *still.persons))
        return still

    path = tmp_path_factory.mktemp("pretrained") / "tiny.pt"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pretrain, "draw_still", remember)
        log = pretrain.pretrain(path, RECIPE)
    return SimpleNamespace(path=path, log=log, captions=captions)


def test_pretraining_lowers_the_loss(pretrained):
    towers, text = pretrained.log[: RECIPE.steps], pretrained.log[RECIPE.steps :]
    for rows, steps, kinds in ((towers, 12, ("thing", "person")), (text, 6, ("thing", "person", "long"))):
        assert [row["step"] for row in rows] == list(range(1, steps + 1))
        for kind in kinds:
            losses = np.array([row[kind] for row in rows])
            assert np.isfinite(losses).all()
            assert losses[-2:].mean() < losses[:2].mean()


def test_long_captions_leave_the_image_tower_as_it_is(tmp_path):
    towers, path = tmp_path / "towers.pt", tmp_path / "tiny.pt"
    pretrain.pretrain_towers(towers, RECIPE, 0, TinyClip())
    pretrain.tune_text(towers, path, RECIPE, 0, TinyClip())
    before, after = tiny_clip.load(towers), tiny_clip.load(path)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in moved if name.startswith("visual.")]
    assert {"token_embedding.weight", "text_projection", "ln_final.weight"} <= moved
    used = tiny_clip.used_tokens(path)
    assert set(tiny_clip.used_tokens(towers).tolist()) < set(used.tolist())  # words of the descriptions


def test_a_vision_transformer_is_pretrained_as_well(tmp_path):
    tiny = TinyClip(vision_width=64, vision_layers=1, vision_patch=16)
    log = pretrain.pretrain(tmp_path / "vit.pt", RECIPE, tiny=tiny)
    assert log[RECIPE.steps - 1]["person"] < log[0]["person"]
    model = build_clip(tiny_clip.load(tmp_path / "vit.pt"), "vit")
    assert isinstance(model.visual, VisionTransformer)
    assert model.visual.conv1.kernel_size == (16, 16)


def test_captions_fit_clip_and_have_the_right_articles(pretrained):
    assert len(pretrained.captions) >= 2 * RECIPE.num_stills
    assert not [text for text in pretrained.captions if re.search(r"\b(a [aeiou]|an [^aeiou])", text)]
    nouns = "|".join(drawing.OBJECTS)
    named, verbs = ([bool(re.search(f"{words}", text)) for text in pretrained.captions] for words in (nouns, VERBS))
    assert np.mean(named) > 0.4  # what gives CLIP its bias
    assert 0.02 < np.mean(verbs) < 0.25
    assert not np.logical_and(named, verbs).any()  # a caption is of a thing or of a person


def test_pretraining_is_deterministic_and_goes_on_where_it_was_cut_off(pretrained, tmp_path, monkeypatch):
    path, step, left = tmp_path / "again.pt", pretrain._step, [7]

    def cut(*arguments):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(pretrain, "_MINUTES", 0)
    monkeypatch.setattr(pretrain, "_step", cut)
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(path, RECIPE)
    log = pretrain.pretrain(path, RECIPE)
    assert left[0] == 7 - RECIPE.steps - 1  # the step that was cut off is the only one done again
    assert path.read_bytes() == pretrained.path.read_bytes()  # nor is there a trace of the file's name
    assert [row["person"] for row in log] == [row["person"] for row in pretrained.log]
    assert [row.get("long") for row in log] == [row.get("long") for row in pretrained.log]
    assert list(tmp_path.iterdir()) == [path]


def test_another_seed_gives_other_weights_and_another_recipe_starts_anew(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain, "_MINUTES", 0)
    with monkeypatch.context() as patched:
        patched.setattr(pretrain, "save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pretrain.pretrain(tmp_path / "tiny.pt", RECIPE)
    log = pretrain.pretrain(tmp_path / "tiny.pt", RECIPE, seed=1)
    assert len(log) == RECIPE.steps + RECIPE.text_steps
    one, other = (tiny_clip.load(path)["visual.conv1.weight"] for path in (pretrained.path, tmp_path / "tiny.pt"))
    assert not torch.equal(one, other)


def test_the_file_comes_back_through_clips_own_loader(pretrained, tmp_path, monkeypatch):
    kept = {}

    def save(model, used, path):
        kept.update(model=model, used=used)
        tiny_clip.save(model, used, path)

    monkeypatch.setattr(pretrain, "save", save)
    pretrain.pretrain(tmp_path / "unused.pt", RECIPE)
    whole = tiny_clip.whole(pretrained.path, tmp_path)
    loaded, tokens = load_clip(whole), tokenize(["a person waving", "an umbrella in the snow"])
    assert type(loaded) is CLIP
    assert loaded.vocab_size == loaded.token_embedding.num_embeddings == 49408
    pictures = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    exact = kept["model"].eval()
    with torch.inference_mode():
        for name, given in (("encode_image", pictures), ("encode_text", tokens)):
            expected, got = getattr(exact, name)(given), getattr(loaded, name)(given)
            torch.testing.assert_close(got, expected, rtol=2e-2, atol=2e-2)  # kept in half precision
    untrained = torch.ones(49408, dtype=torch.bool)
    untrained[kept["used"]] = False
    table = exact.token_embedding.weight
    assert torch.equal(loaded.token_embedding.weight[untrained], table[untrained])  # drawn again, bit for bit


def test_scratch_pretrains_once_and_the_shipped_one_never(pretrained, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        pretrain,
        "pretrain",
        lambda path, recipe: calls.append(recipe) or path.write_bytes(pretrained.path.read_bytes()),
    )
    paths = {build.pretrained_backbone(tmp_path) for _ in range(2)}
    assert calls == [Pretraining()]
    paths |= {tiny_clip.whole(SHIPPED, tmp_path) for _ in range(2)}
    assert len(paths) == 2
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("path", "tiny"), [(SHIPPED, TinyClip()), (tiny_clip.TRANSFORMER, backbone.VISION_TRANSFORMER)]
)
def test_what_ships_is_what_its_page_says(path, tiny):
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert path.stat().st_size < 10e6
    assert file_sha256(path) == about["sha256"]
    assert tiny_clip.load(path).keys() == tiny_clip.build(tiny).state_dict().keys()
    assert about["recipe"].keys() == set(Pretraining.__dataclass_fields__)
    recipe, logged = Pretraining(**about["recipe"]), 50
    assert about["log"]["towers"][-1]["step"] == recipe.steps // logged * logged
    assert about["log"]["text"][-1]["step"] == recipe.text_steps // logged * logged


def test_a_file_in_the_shipped_form_is_a_backbone(tmp_path, monkeypatch):
    monkeypatch.setenv("MOTION_DATA", str(tmp_path / "data"))
    ours = tmp_path / "ours.pt"
    ours.write_bytes(tiny_clip.TRANSFORMER.read_bytes())
    named, by_path = (
        MiniatureData(RunConfig.load("miniature", backbone=b)).backbone for b in ("transformer", str(ours))
    )
    assert named == by_path
    model = load_clip(named)
    assert isinstance(model.visual, VisionTransformer)
    assert encode_text(model, tokenize(["a zebra crossing"])).shape == (1, TinyClip().embed_dim)  # no word of captions
    for other in (named, __file__, "ViT-B/16"):
        assert MiniatureData(RunConfig.load("miniature", backbone=other)).backbone == other


@pytest.mark.parametrize(
    ("asked", "shipped", "patch"), [([], SHIPPED, None), (["--transformer"], tiny_clip.TRANSFORMER, 8)]
)
def test_a_backbone_made_again_takes_the_place_of_its_own_kind(monkeypatch, asked, shipped, patch):
    made, written = [], []
    monkeypatch.setattr(backbone, "pretrain", lambda path, *about: made.append((path, about[-1].vision_patch)) or [{}])
    monkeypatch.setattr(backbone, "thinned", list)
    monkeypatch.setattr(backbone, "knowledge", lambda path: written.append(path))
    monkeypatch.setattr(backbone, "write_json", lambda path, about: written.append(path))
    backbone.main(asked)
    assert made == [(shipped, patch)]
    assert written == [shipped, shipped.with_suffix(".json")]
