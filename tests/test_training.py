"""Recipe, schedule, and one loop: it learns, resumes, refuses and explains."""

import json
from dataclasses import replace

import golden
import pytest
import tiny
import torch

from motion_lib import training as module
from motion_lib.evaluation import evaluate
from motion_lib.frames import open_clips
from motion_lib.training import Recipe, fine_tune, learning_rate, parameter_groups

# Tiny models learn with far larger steps than CLIP; all else is the paper's recipe.
QUICK = Recipe(epochs=4, batch_size=4, lr=1e-3, clip_ratio=1.0, warmup_epochs=1, flip=0.5, seed=3)


class Interruption(Exception):
    """What a power cut is to a test."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Tiny models gain nothing from a second thread, and two such jobs on two cores nearly stop."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(run_dir, recipe=QUICK, model=None, clips=None, **options):
    model = model or tiny.classifier()
    return model, fine_tune(model, clips or tiny.clips_in_memory(), tiny.DESCRIPTIONS, recipe, run_dir, **options)


def interrupt_after(epochs):
    def stop(done):
        if done == epochs:
            raise Interruption

    return stop


def assert_same_weights(model, other):
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def without_time(history):
    return [{key: value for key, value in row.items() if key != "wall_time_sec"} for row in history.rows]


# --- schedule and groups ---


@pytest.mark.parametrize("epochs", [10, 30])
def test_golden_learning_rates(epochs):
    name = f"text4vis_lr_total{epochs}_warmup5_base5e-5_clipratio0.1"
    table = golden.read()["extras"][name]
    recipe = Recipe(epochs=epochs)  # everything else is the default
    clip_group, new_group = parameter_groups(tiny.classifier(head="temporal"), recipe)
    for epoch, expected in table.items():
        base = learning_rate(recipe, float(epoch))
        found = [base * clip_group["ratio"], base * new_group["ratio"]]
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-18), epoch


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 0.0), (2.5, 2.5e-5), (5, 5e-5), (7.5, 2.5e-5), (10, 0.0), (11, 0.0)],
)
def test_learning_rate_by_hand(epoch, expected):
    assert learning_rate(Recipe(), epoch) == pytest.approx(expected, abs=1e-20)


def test_learning_rate_without_warm_up_or_without_decay():
    assert learning_rate(Recipe(warmup_epochs=0), 0) == 5e-5
    assert learning_rate(Recipe(epochs=5, warmup_epochs=5), 4.0) == pytest.approx(4e-5)


@pytest.mark.parametrize(
    ("reading", "head", "ratios"),
    [
        ("learning_rate", "mean", [0.1]),
        ("learning_rate", "temporal", [0.1, 1.0]),
        ("gradient_norm", "mean", [1.0]),
        ("gradient_norm", "temporal", [1.0, 1.0]),
    ],
)
def test_parameter_groups_of_both_readings(reading, head, ratios):
    model = tiny.classifier(head=head)
    groups = parameter_groups(model, Recipe(clip_ratio_reading=reading))
    assert [group["ratio"] for group in groups] == ratios
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert id(model.clip.logit_scale) in {id(p) for p in groups[0]["params"]}
    if head == "temporal":
        assert {id(p) for p in groups[1]["params"]} == {id(p) for p in model.head.parameters()}


@pytest.mark.parametrize(("reading", "limits"), [("learning_rate", []), ("gradient_norm", [1.0, 1.0])])
def test_only_one_reading_limits_gradients(tmp_path, monkeypatch, reading, limits):
    seen = []
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, limit: seen.append(limit))
    train(tmp_path, replace(QUICK, epochs=1, clip_ratio_reading=reading))
    assert seen == limits


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"clip_ratio_reading": "both"}, "'both': expected one of learning_rate, gradient_norm"),
        ({"warmup_epochs": 11}, r"warmup_epochs 11: expected 0 to epochs \(10\)"),
        ({"warmup_epochs": -1}, "warmup_epochs -1"),
    ],
)
def test_impossible_recipe_is_an_error(fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**fields)


def test_mirroring_takes_whole_clips():
    frames = torch.randint(0, 256, (64, 3, 3, 4, 4), dtype=torch.uint8)
    assert torch.equal(module._mirrored(frames, Recipe(flip=1), 0, 0), frames.flip(-1))
    assert torch.equal(module._mirrored(frames, Recipe(flip=0), 0, 0), frames)
    some = module._mirrored(frames, Recipe(flip=0.5), 0, 0)
    kept, turned = ((some == other).flatten(1).all(dim=1) for other in (frames, frames.flip(-1)))
    assert (kept ^ turned).all()
    assert 16 < kept.sum() < 48  # 32 expected, standard deviation 4


# --- learning ---


def test_eight_clips_overfit_in_fifty_steps(tmp_path):
    recipe = replace(QUICK, epochs=25, flip=0.0)  # two steps an epoch
    clips, model = tiny.clips_in_memory(), tiny.classifier()
    untrained = evaluate(model, clips, tiny.DESCRIPTIONS).accuracy()
    _, history = train(tmp_path, recipe, model, clips)
    assert untrained < 0.5
    assert history.rows[-1]["train_acc1"] == 1.0
    assert evaluate(model, clips, tiny.DESCRIPTIONS).accuracy() == 1.0


def test_without_a_learning_rate_nothing_is_learned(tmp_path):
    model, history = train(tmp_path, replace(QUICK, lr=0.0))
    assert_same_weights(model, tiny.classifier())
    assert history.rows[-1]["train_acc1"] < 1.0


def test_text_tower_and_prototypes_stay(tmp_path):
    model, _ = train(tmp_path)
    texts, fresh = tiny.DESCRIPTIONS.texts, tiny.classifier()
    assert torch.equal(model.encode_text(texts), fresh.encode_text(texts))
    assert not torch.equal(model.clip.visual.proj, fresh.clip.visual.proj)


@pytest.mark.parametrize(("train_text", "calls"), [(False, 1), (True, 8)])
def test_frozen_prototypes_are_encoded_once(tmp_path, monkeypatch, train_text, calls):
    model, seen = tiny.classifier(train_text=train_text), []
    encode = model.encode_text
    monkeypatch.setattr(model, "encode_text", lambda texts: seen.append(texts) or encode(texts))
    train(tmp_path, model=model)
    assert len(seen) == calls  # two steps in each of four epochs


def test_history_tells_what_happened(tmp_path):
    _, history = train(tmp_path)
    assert [row["epoch"] for row in history.rows] == [1, 2, 3, 4]
    assert all(row["clips"] == 8 for row in history.rows)
    assert history.rows[-1]["lr"] == pytest.approx(learning_rate(QUICK, 3.5))
    assert history.last_checkpoint == tmp_path / "epoch_04.pt"
    assert all(history.checkpoint(epoch).is_file() for epoch in range(1, 5))


def test_seed_decides(tmp_path):
    model, _ = train(tmp_path / "a")
    same, _ = train(tmp_path / "b")
    other, _ = train(tmp_path / "c", replace(QUICK, seed=4))
    assert_same_weights(model, same)
    assert not torch.equal(model.clip.visual.proj, other.clip.visual.proj)


def test_logit_scale_may_start_elsewhere(tmp_path):
    model, _ = train(tmp_path, replace(QUICK, lr=0.0, epochs=1, logit_scale=20.0))
    assert model.clip.logit_scale.exp().item() == pytest.approx(20.0)


def test_missing_description_is_named(tmp_path):
    few = tiny.DESCRIPTIONS.select(["wave", "jump"])
    with pytest.raises(ValueError, match="'turn'"):
        fine_tune(tiny.classifier(), tiny.clips_in_memory(), few, QUICK, tmp_path)


# --- interruptions ---


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return train(tmp_path_factory.mktemp("straight"))


def assert_equals_straight_run(straight, model, history):
    assert_same_weights(straight[0], model)
    assert without_time(history) == without_time(straight[1])


@pytest.mark.parametrize("epochs", [1, 3])
def test_interrupted_run_ends_where_a_straight_run_ends(tmp_path, straight, epochs):
    with pytest.raises(Interruption):
        train(tmp_path, after_epoch=interrupt_after(epochs))
    assert_equals_straight_run(straight, *train(tmp_path))


def test_two_interruptions(tmp_path, straight):
    for epochs in (1, 2):
        with pytest.raises(Interruption):
            train(tmp_path, after_epoch=interrupt_after(epochs))
    assert_equals_straight_run(straight, *train(tmp_path))


@pytest.mark.parametrize("moment", ["mid-epoch", "before the history"])
def test_run_killed_inside_an_epoch_does_that_epoch_again(tmp_path, straight, monkeypatch, moment):
    target = {"mid-epoch": "_save_epoch", "before the history": "write_json"}[moment]
    with pytest.raises(Interruption):
        train(tmp_path, after_epoch=interrupt_after(1))
    with monkeypatch.context() as patch:
        patch.setattr(module, target, lambda *arguments: (_ for _ in ()).throw(Interruption))
        with pytest.raises(Interruption):
            train(tmp_path)
    assert_equals_straight_run(straight, *train(tmp_path))


def test_finished_run_is_read_not_repeated(tmp_path, straight):
    train(tmp_path)
    trained = []
    model, history = train(tmp_path, after_epoch=trained.append)
    assert trained == []
    assert_equals_straight_run(straight, model, history)


def test_run_leaves_one_optimizer(tmp_path):
    train(tmp_path)
    found = sorted(path.name for path in tmp_path.iterdir())
    epochs = [f"epoch_{epoch:02d}.pt" for epoch in range(1, 5)]
    assert found == [*epochs, "history.json", "optimizer_04.pt"]


# --- refusals ---


@pytest.mark.parametrize("change", [{"lr": 2e-3}, {"epochs": 5}, {"seed": 9}])
def test_another_recipe_is_an_error(tmp_path, change):
    train(tmp_path)
    with pytest.raises(ValueError, match="holds a run of another recipe"):
        train(tmp_path, replace(QUICK, **change))


def test_another_architecture_is_an_error(tmp_path):
    train(tmp_path)
    with pytest.raises(ValueError, match=r"epoch_04\.pt lacks"):
        train(tmp_path, model=tiny.classifier(head="temporal"))


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("damage", "name", "error", "message"),
    [
        (truncate, "history.json", ValueError, r"history\.json: broken .*Delete .* to train anew"),
        (truncate, "epoch_02.pt", ValueError, r"epoch_02\.pt: not a readable checkpoint"),
        (truncate, "optimizer_02.pt", ValueError, r"optimizer_02\.pt: not a readable checkpoint"),
        ("unlink", "epoch_02.pt", FileNotFoundError, r"epoch_02\.pt: no such checkpoint"),
        ("unlink", "optimizer_02.pt", FileNotFoundError, r"optimizer_02\.pt: no such checkpoint"),
    ],
)
def test_corrupt_run_is_explained(tmp_path, damage, name, error, message):
    with pytest.raises(Interruption):
        train(tmp_path, after_epoch=interrupt_after(2))
    damage(tmp_path / name) if callable(damage) else (tmp_path / name).unlink()
    with pytest.raises(error, match=message):
        train(tmp_path)


def test_loss_that_is_not_finite_names_the_batch(tmp_path):
    model = tiny.classifier()
    model.clip.visual.proj.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"not finite in epoch 1, step 1 .*clip_\d, clip_\d.*Lower lr"):
        train(tmp_path, model=model)
    assert list(tmp_path.iterdir()) == []  # no checkpoint of a broken model


def with_broken(tmp_path, good):
    """Videos on disk, decoded on the fly; the last one is none."""
    paths = [tiny.write_numbered(tmp_path / f"clip_{i}.mp4", 6) for i in range(good)]
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    return open_clips(tiny.dataset([*paths, tmp_path / "broken.mp4"]), tiny.PREPROCESS)


def test_unreadable_videos_are_counted_and_named(tmp_path):
    _, history = train(tmp_path / "run", replace(QUICK, epochs=1), clips=with_broken(tmp_path, good=3))
    assert list(history.failed) == ["broken"]
    assert history.rows[0]["clips"] == 3
    saved = json.loads((tmp_path / "run" / "history.json").read_text(encoding="utf-8"))
    assert saved["failed"] == history.failed


def test_no_readable_video_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="not one of its 1 videos could be read"):
        train(tmp_path / "run", clips=with_broken(tmp_path, good=0))
