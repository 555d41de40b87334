"""Recipe, schedule, and one loop: it learns, resumes, refuses and explains."""

import errno
import fcntl
import json
import os
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import golden
import pytest
import tiny
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from motion_lib.data.batches import training_batches
from motion_lib.data.clips import open_clips
from motion_lib.evaluation.retrieval import evaluate
from motion_lib.experiment import largest
from motion_lib.models.xclip import XClip
from motion_lib.storage import read_lines
from motion_lib.training import (
    Execution,
    Recipe,
    checkpoints,
    fine_tune,
    learning_rate,
    loop,
    parameter_groups,
)
from motion_lib.training.state import Step

# Tiny models learn with far larger steps than CLIP; all else is the paper's recipe.
QUICK = Recipe(epochs=4, batch_size=4, lr=1e-3, clip_ratio=1.0, warmup_epochs=1, augmentation="flip", seed=3)


class Interruption(Exception):
    """What a power cut is to a test."""


pytestmark = pytest.mark.usefixtures("one_thread")


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
        ({"augmentation": "strong"}, "'strong': expected one of text4vis, multi_scale, flip, none"),
        ({"precision": "fp8"}, "'fp8': expected one of fp32, bf16"),
        ({"batch_size": 0}, "10 epochs of batches of 0: expected at least 1 of each"),
    ],
)
def test_impossible_recipe_is_an_error(fields, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**fields)


# --- learning ---


def test_eight_clips_overfit_in_fifty_steps(tmp_path):
    recipe = replace(QUICK, epochs=25, augmentation="none")  # two steps an epoch
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
    encode = model.encode_tokens
    monkeypatch.setattr(model, "encode_tokens", lambda *tokens: seen.append(tokens) or encode(*tokens))
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


@pytest.mark.parametrize("moment", ["save_epoch", "save_state", "write_json"])
def test_run_killed_at_the_end_of_an_epoch_goes_on(tmp_path, straight, monkeypatch, moment):
    with pytest.raises(Interruption):
        train(tmp_path, after_epoch=interrupt_after(1))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, moment, lambda *arguments: (_ for _ in ()).throw(Interruption))
        with pytest.raises(Interruption):
            train(tmp_path)
    assert_equals_straight_run(straight, *train(tmp_path))


ALWAYS = Execution(checkpoint_minutes=0)  # a state after every step


def interrupt_at_state(monkeypatch, number):
    """Stop right after this many states were written, in the middle of an epoch."""
    written, save = [], checkpoints.save_state

    def saved(run_dir, state):
        save(run_dir, state)
        written.append(state["step"])
        if len(written) == number:
            raise Interruption

    monkeypatch.setattr(checkpoints, "save_state", saved)
    return written


@pytest.mark.parametrize("number", [1, 3, 5])
def test_run_goes_on_in_the_middle_of_an_epoch(tmp_path, straight, monkeypatch, number):
    with monkeypatch.context() as patch:
        steps = interrupt_at_state(patch, number)
        with pytest.raises(Interruption):
            train(tmp_path, execution=ALWAYS)
    assert steps[-1] == 1  # of two steps an epoch
    trained = []
    accumulate = loop.accumulate
    monkeypatch.setattr(loop, "accumulate", lambda *step: trained.append(1) or accumulate(*step))
    assert_equals_straight_run(straight, *train(tmp_path))
    assert len(trained) == 2 * QUICK.epochs - number  # steps that were done are not done again


@pytest.mark.parametrize("epoch", [1, 4])
def test_run_cut_off_between_state_and_history_loses_nothing(tmp_path, straight, monkeypatch, epoch):
    write = checkpoints.History.write

    def cut_off(history, recipe):
        if len(history.rows) == epoch:
            raise Interruption
        write(history, recipe)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.History, "write", cut_off)
        with pytest.raises(Interruption):
            train(tmp_path)
    assert_equals_straight_run(straight, *train(tmp_path))
    trained = []
    monkeypatch.setattr(loop, "accumulate", lambda *_: trained.append(1))
    assert_equals_straight_run(straight, *train(tmp_path))  # is read
    assert trained == []


@pytest.mark.parametrize("epoch", [1, 4])
def test_what_was_cut_off_while_it_measured_an_epoch_measures_it_again(tmp_path, epoch):
    with pytest.raises(Interruption):
        train(tmp_path, after_epoch=interrupt_after(epoch))
    seen = []
    train(tmp_path, after_epoch=lambda done: seen.append(done) or {"target": done / 10})
    assert seen == list(range(epoch, 5))
    reported = [line["epoch"] for line in read_lines(tmp_path / "metrics.jsonl") if "train_loss" in line]
    assert reported == [1, 2, 3, 4]
    assert not list(tmp_path.glob("resume-*"))


def test_another_recipe_is_refused_in_the_first_epoch_too(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at_state(patch, 1)
        with pytest.raises(Interruption):
            train(tmp_path, execution=ALWAYS)
    with pytest.raises(ValueError, match="holds a run of another recipe"):
        train(tmp_path, replace(QUICK, lr=2e-3))


def test_weights_that_are_not_finite_reach_no_file(tmp_path):
    """A finite loss whose gradient is not: in the very last step no later loss would tell."""
    steps = []

    def spoil(optimizer, *_):
        steps.append(1)
        if len(steps) == 8:
            optimizer.param_groups[0]["params"][0].grad.fill_(float("nan"))

    handle = register_optimizer_step_pre_hook(spoil)
    try:
        with pytest.raises(ValueError, match=r"not finite after epoch 4, step 2 .*batch: clip_"):
            train(tmp_path)
    finally:
        handle.remove()
    assert not (tmp_path / "epoch_04.pt").exists()
    assert all(t.isfinite().all() for t in torch.load(tmp_path / "epoch_03.pt", weights_only=True)["model"].values())


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_damaged_state_falls_back_to_the_one_before(tmp_path, straight, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_at_state(patch, 5)
        with pytest.raises(Interruption):
            train(tmp_path, execution=ALWAYS)
    older, newer = sorted(tmp_path.glob("resume-*.pt"))
    damage(newer)
    assert_equals_straight_run(straight, *train(tmp_path))
    assert f"{newer.name} is damaged (its SHA-256 is not the one that was noted); going on" in capsys.readouterr().out
    assert older.name != newer.name


def test_without_a_whole_state_a_run_begins_anew(tmp_path, straight, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_at_state(patch, 5)
        with pytest.raises(Interruption):
            train(tmp_path, execution=ALWAYS)
    for path in tmp_path.glob("resume-*.pt"):
        truncate(path)
    assert_equals_straight_run(straight, *train(tmp_path))
    said = capsys.readouterr().out
    assert said.count("is damaged") == 2
    assert said.count("none is left, training begins anew") == 1


def test_what_a_killed_process_left_half_written_is_cleared(tmp_path, straight):
    litter = [tmp_path / name for name in (".epoch_01.pt.a.pt", ".resume-0001-000001.pt.x.pt", "resume-0009-000000.pt")]
    for path in litter:
        path.write_bytes(b"half")
    assert_equals_straight_run(straight, *train(tmp_path))
    assert not any(path.exists() for path in litter)


def without_one(clips, listed):
    """The clips without the last; whether its video is still listed, as missing, or forgotten altogether."""
    *items, last = clips.dataset.items
    clips.dataset = replace(clips.dataset, items=tuple(items), missing=(last.video_id,) if listed else ())
    return clips


def test_a_finished_run_is_read_though_a_video_was_lost(tmp_path, straight):
    train(tmp_path)
    fewer = without_one(tiny.clips_in_memory(), listed=True)
    assert_equals_straight_run(straight, *train(tmp_path, clips=fewer))
    with pytest.raises(ValueError, match="holds a run with other texts or another list of videos"):
        train(tmp_path, clips=without_one(tiny.clips_in_memory(), listed=False))


def test_an_unfinished_run_needs_the_videos_that_it_began_with(tmp_path):
    with pytest.raises(Interruption):
        train(tmp_path, after_epoch=interrupt_after(1))
    with pytest.raises(ValueError, match="that began when other videos of its list could be read: bring them back"):
        train(tmp_path, clips=without_one(tiny.clips_in_memory(), listed=True))


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_a_file_system_without_locks_trains_and_says_so(tmp_path, straight, monkeypatch, capsys, code):
    litter = tmp_path / ".resume-0001-000001.pt.x.pt"
    litter.write_bytes(b"half")

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert_equals_straight_run(straight, *train(tmp_path))
    assert "no locks here; let one process alone train" in capsys.readouterr().out
    assert litter.exists()  # another process may be writing it


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    with checkpoints.sole_writer(tmp_path), pytest.raises(RuntimeError, match="another process is training in"):
        train(tmp_path)


def test_finished_run_is_read_not_repeated(tmp_path, straight):
    train(tmp_path)
    trained = []
    model, history = train(tmp_path, after_epoch=trained.append)
    assert trained == []
    assert_equals_straight_run(straight, model, history)


def test_finished_run_leaves_no_states(tmp_path):
    train(tmp_path, execution=ALWAYS)
    found = sorted(path.name for path in tmp_path.iterdir())
    epochs = [f"epoch_{epoch:02d}.pt" for epoch in range(1, 5)]
    assert found == [".lock", *epochs, "history.json", "metrics.jsonl"]


# --- pieces of a batch, precision, reports ---


def gradients_of(train_it):
    """Gradients of every step, {parameter index: tensor} each."""
    seen = []

    def keep(optimizer, *_):
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        seen.append([p.grad.clone() for p in parameters])

    handle = register_optimizer_step_pre_hook(keep)
    try:
        train_it()
    finally:
        handle.remove()
    return seen


@pytest.mark.parametrize("at_once", [1, 3])
def test_pieces_of_a_batch_give_the_gradients_of_the_whole(tmp_path, at_once):
    """Without a learning rate, so that every step can be compared: AdamW blows up the rounding of a zero."""
    recipe, histories = replace(QUICK, lr=0.0, batch_size=5), []

    def run(name, pieces):
        histories.append(train(tmp_path / name, recipe, execution=Execution(at_once=pieces))[1])

    whole = gradients_of(lambda: run("whole", None))
    pieces = gradients_of(lambda: run("pieces", at_once))
    assert len(whole) == len(pieces) == 2 * recipe.epochs
    for expected, found in zip(whole, pieces, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    for expected, found in zip(*(history.rows for history in histories), strict=True):
        assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-6)
        assert found["train_acc1"] == expected["train_acc1"]


def test_recomputing_changes_nothing(tmp_path, straight):
    assert_equals_straight_run(straight, *train(tmp_path, execution=Execution(recompute=True)))


def test_bfloat16_trains_close_to_float32(tmp_path, straight):
    model, history = train(tmp_path, replace(QUICK, precision="bf16"))
    assert all(tensor.dtype != torch.bfloat16 for tensor in model.trained_state().values())
    losses = [[row["train_loss"] for row in rows] for rows in (history.rows, straight[1].rows)]
    assert losses[0] == pytest.approx(losses[1], rel=0.03)
    assert losses[0] != losses[1]


def test_metrics_are_written_once_for_each_step(tmp_path, monkeypatch):
    recipe = replace(QUICK, batch_size=1, epochs=3)  # eight steps an epoch
    with monkeypatch.context() as patch:
        interrupt_at_state(patch, 18)
        with pytest.raises(Interruption):
            train(tmp_path, recipe, execution=ALWAYS)
    train(tmp_path, recipe, after_epoch=lambda epoch: {"target/masked": epoch / 10})
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [8, 10, 16, 20, 24]
    assert [line["step"] for line in lines if "loss" in line] == [10, 20]
    assert {"lr", "clips_per_sec", "data_wait"} <= lines[1].keys()
    assert 0 <= lines[1]["data_wait"] <= 1
    assert lines[-1]["target/masked"] == 0.3
    assert lines[-1]["train_acc1"] >= 0


def test_tensorboard_reads_what_was_asked_for(tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(tmp_path, execution=Execution(tensorboard=True))
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    lines = read_lines(tmp_path / "metrics.jsonl")
    losses = [line["train_loss"] for line in lines if "train_loss" in line]
    assert [event.value for event in events.Scalars("train_loss")] == pytest.approx(losses)


# --- a step on a GPU, and what a CPU can tell of it ---

MODELS = {
    "mean": tiny.classifier,
    "temporal": lambda: tiny.classifier(head="temporal"),
    "train_text": lambda: tiny.classifier(train_text=True),
    "resnet": lambda: tiny.classifier("resnet"),
    "xclip": lambda: XClip(tiny.clip_model(), tiny.PREPROCESS),
}


class BlockingCopies(TorchDispatchMode):
    """Notes the copies between devices for which a host would wait."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        sources = [argument for argument in args if isinstance(argument, torch.Tensor)]
        if "copy" in str(function) and any(source.device != result.device for source in sources):
            blocking = not ((kwargs or {}).get("non_blocking") or (len(args) > 2 and args[2]))
            self.seen += [str(function)] * blocking
        return result


@pytest.mark.parametrize("name", MODELS)
def test_a_step_reads_nothing_from_its_device_and_never_waits_for_a_copy(monkeypatch, name):
    """On the device "meta", from which every read is an error."""
    made, tensor = [], torch.tensor  # which copies below the dispatcher, where it is given a device

    def noted(*data, **how):
        made.extend([how["device"]] if how.get("device") else [])
        return tensor(*data, **how)

    monkeypatch.setattr(torch, "tensor", noted)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # "meta" knows none
    model = MODELS[name]().train()
    classifier = loop.ClassifierWithTexts(model, tiny.DESCRIPTIONS.texts).to("meta")
    optimizer = torch.optim.AdamW(parameter_groups(model, QUICK), foreach=True)
    backward = lambda loss: loss.backward()  # noqa: E731
    fabric = SimpleNamespace(
        device=torch.device("meta"), world_size=1, backward=backward, no_backward_sync=lambda *_, **__: nullcontext()
    )
    pieces = list(training_batches(tiny.clips_in_memory(6), [[0, 1, 2, 3], [4, 5]], seed=0, epoch=0))
    made.clear()
    with BlockingCopies() as copies:
        sums = loop.accumulate(fabric, classifier, pieces, count=6)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert sums.device.type == "meta"
    assert all(p.grad.device.type == "meta" for group in optimizer.param_groups for p in group["params"])
    assert (made, copies.seen) == ([], [])
    with BlockingCopies() as copies:
        torch.ones(2).to("meta")
    assert copies.seen  # the test can fail


def test_a_step_is_read_once_after_the_next_one_was_handed_over(tmp_path, monkeypatch):
    """Whatever in training asks a tensor for its value; weights are looked at when an epoch is saved."""
    happened = []

    def noted(method):
        def ask(tensor, *arguments, **options):
            caller = sys._getframe(1)
            if caller.f_globals["__name__"].startswith("motion_lib.training"):
                happened.append(caller.f_code.co_qualname)
            return method(tensor, *arguments, **options)

        return ask

    for name in ("item", "tolist", "numpy", "__bool__", "__int__", "__float__"):
        monkeypatch.setattr(torch.Tensor, name, noted(getattr(torch.Tensor, name)))
    accumulate = loop.accumulate
    monkeypatch.setattr(loop, "accumulate", lambda *step: happened.append("accumulate") or accumulate(*step))
    train(tmp_path, replace(QUICK, batch_size=3))
    asked = [name for name in happened if not name.startswith("State.require_finite")]
    epoch = ["accumulate", "accumulate", "Step.read", "accumulate", "Step.read", "Step.read"]
    assert asked == epoch * QUICK.epochs


def test_a_gpu_is_waited_for_no_further_than_the_step_that_is_read(monkeypatch):
    happened = []
    event = SimpleNamespace(synchronize=lambda: happened.append("waited"))
    stream = SimpleNamespace(record_event=lambda: happened.append("recorded") or event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)

    class OnGpu:
        is_cuda, device = True, torch.device("cuda:1")

        def to(self, device, non_blocking):
            assert (device, non_blocking) == ("cpu", True)
            happened.append("copied")
            return torch.tensor([3.0, 1.0])

    step = Step(0, 0, 1e-3, 2, 0.0, ["a", "b"], OnGpu())
    assert happened == ["copied", "recorded"]
    assert step.read() == (3.0, 1.0)
    assert happened == ["copied", "recorded", "waited"]


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("pieces", [None, 2])
def test_no_step_synchronises_the_host_with_a_gpu(tmp_path, monkeypatch, name, pieces):
    """torch itself objects from the second step of an epoch on, until the epoch is saved."""
    accumulate, end_epoch, launched = loop.accumulate, loop.end_epoch, []

    def watched(*step):
        launched.append(torch.cuda.get_sync_debug_mode())
        sums = accumulate(*step)
        torch.cuda.set_sync_debug_mode("error")
        return sums

    def unwatched(*epoch):
        torch.cuda.set_sync_debug_mode("default")
        end_epoch(*epoch)

    monkeypatch.setattr(loop, "accumulate", watched)
    monkeypatch.setattr(loop, "end_epoch", unwatched)
    recipe = replace(QUICK, batch_size=3, precision="bf16", clip_ratio_reading="gradient_norm", clip_ratio=1.0)
    try:
        train(tmp_path, recipe, MODELS[name]().to("cuda"), execution=Execution(at_once=pieces))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert launched == [0, 2, 2] * recipe.epochs


@pytest.mark.parametrize(
    ("clips", "pieces", "of_an_epoch"),
    [(10, None, {4: 2, 2: 1}), (10, 3, {3: 2, 1: 2, 2: 1}), (8, None, {4: 2})],
)
def test_compiled_a_batch_of_another_size_changes_no_graph_of_the_others(
    tmp_path, monkeypatch, clips, pieces, of_an_epoch
):
    runs, compile_model = [], torch.compile

    def backend(graph, inputs):
        frames = [x for x in inputs if isinstance(x, torch.Tensor) and x.dtype == torch.uint8]
        dynamic = any(isinstance(x, int | torch.SymInt) for x in inputs)
        size = "any" if dynamic else len(frames[0])
        return lambda *arguments: runs.append(size) or graph.forward(*arguments)

    monkeypatch.setattr(torch, "compile", lambda model, **how: compile_model(model, **how | {"backend": backend}))
    torch._dynamo.reset()
    recipe = replace(QUICK, epochs=3)
    model, _ = train(
        tmp_path / "c", recipe, clips=tiny.clips_in_memory(clips), execution=Execution(compiled=True, at_once=pieces)
    )
    assert Counter(runs) == {size: recipe.epochs * number for size, number in of_an_epoch.items()}
    other, _ = train(tmp_path / "e", recipe, clips=tiny.clips_in_memory(clips), execution=Execution(at_once=pieces))
    assert_same_weights(model, other)


# --- memory ---


def test_out_of_memory_says_what_to_try(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    model = tiny.classifier()
    monkeypatch.setattr(model, "encode_video", full)
    with pytest.raises(RuntimeError, match=r"out of memory with 4 clips at once .*Try at_once=2 .*recompute=True"):
        train(tmp_path, model=model)


@pytest.mark.parametrize("fitting", [0, 1, 2, 3, 20, 63, 64, 100])
def test_largest_at_once_is_found(fitting):
    asked = []
    assert largest.largest_at_once(lambda clips: asked.append(clips) or clips <= fitting, limit=100) == fitting
    assert len(asked) <= 16
    assert max(asked) <= 100


class DoublesWithEveryClip(loop.ClassifierWithTexts):
    """Asks the allocator for twice as much with every clip: refused at a number that depends on nothing else."""

    def forward(self, frames):
        torch.empty(2 ** min(len(frames), 60), dtype=torch.uint8)  # never written, so it costs nothing
        return super().forward(frames)


def test_the_largest_number_of_clips_is_found_by_running_out_of_memory():
    classifier = DoublesWithEveryClip(tiny.classifier().train(), tiny.DESCRIPTIONS.texts)
    found = largest.largest_at_once(lambda clips: largest.dry_run(classifier, clips))
    assert 20 < found < 60  # from a megabyte to what no address space holds
    assert largest.dry_run(classifier, found)
    assert not largest.dry_run(classifier, found + 1)
    assert all(parameter.grad is not None for parameter in classifier.model.clip.visual.parameters())  # backwards, too


def test_dry_run_tells_memory_from_other_errors(monkeypatch):
    classifier = loop.ClassifierWithTexts(tiny.classifier(), tiny.DESCRIPTIONS.texts)
    assert largest.dry_run(classifier, 2)
    for error in (torch.OutOfMemoryError("full"), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        monkeypatch.setattr(classifier.model, "encode_video", lambda *_, error=error: (_ for _ in ()).throw(error))
        assert not largest.dry_run(classifier, 2)
    monkeypatch.setattr(classifier.model, "encode_video", lambda *_: (_ for _ in ()).throw(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        largest.dry_run(classifier, 2)


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
        (truncate, "epoch_04.pt", ValueError, r"epoch_04\.pt is half a file"),
        ("unlink", "epoch_04.pt", FileNotFoundError, r"epoch_04\.pt: no such checkpoint"),
    ],
)
def test_corrupt_run_is_explained(tmp_path, damage, name, error, message):
    train(tmp_path)
    damage(tmp_path / name) if callable(damage) else (tmp_path / name).unlink()
    with pytest.raises(error, match=message):
        train(tmp_path)


def test_loss_that_is_not_finite_names_the_batch(tmp_path):
    model = tiny.classifier()
    model.clip.visual.proj.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"not finite in epoch 1, step 1 .*clip_\d, clip_\d.*Lower lr"):
        train(tmp_path, model=model)
    assert list(tmp_path.glob("*.pt")) == []  # no checkpoint of a broken model


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
