"""What passes between a notebook and the group that it starts: a log, a bar of one line, time limits, refusals."""

import io
from collections import deque

import pytest
import torch
from nbconvert.preprocessors import CoalesceStreamsPreprocessor
from nbformat.v4 import new_code_cell, new_notebook, new_output

from motion_lib.config import RunConfig
from motion_lib.experiment import launch as launching
from motion_lib.training.recipe import LONGEST_WAIT

BAR = "".join(f"\rfine-tuning: {n:2d}%   " for n in range(50))
LOGS = {
    "lines": ("one\n\n  two\n", ["one", "", "  two"], ""),
    "a bar that ends": (f"begin\n{BAR}\nend\n", ["begin", "end"], "fine-tuning: 49%   \n"),
    "a line beside a bar": (  # as tqdm writes it: the bar is blanked, the line written, the bar drawn anew
        f"{BAR}\r{' ' * 20}\repoch 1: 12 %{chr(10)}{BAR}\n", ["epoch 1: 12 %"], "fine-tuning: 49%   \n",
    ),
    "a bar that is cut off": (f"{BAR}\r", [], "fine-tuning: 49%   \r"),
    "other ends of lines": ("one\r\ntwo\r\n", ["one", "two"], ""),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
def test_a_bar_is_one_line_of_the_executed_copy(name, capsys):
    log, lines, bar = LOGS[name]
    said, last = [], deque(maxlen=40)
    launching.stream(io.TextIOWrapper(io.BytesIO(log.encode()), newline=""), said.append, last)
    assert said == lines
    assert len(last) <= len(lines) + 1  # states of a bar do not push an error's lines out
    outputs = [new_output("stream", name="stderr", text=capsys.readouterr().err)]
    notebook = new_notebook(cells=[new_code_cell(outputs=outputs)])
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    assert notebook.cells[0].outputs[0].text == bar


def test_an_error_that_follows_a_bar_is_kept(capsys):
    last = deque(maxlen=40)
    log = f"{BAR}Traceback (most recent call last):\nRuntimeError: no memory\n"
    launching.stream(io.TextIOWrapper(io.BytesIO(log.encode()), newline=""), lambda line: None, last)
    assert [line.endswith(end) for line, end in zip(last, ("last):", "no memory"), strict=True)] == [True, True]
    capsys.readouterr()


def test_what_this_process_holds_of_a_gpu_is_said(monkeypatch):
    said = []
    for held in (0, 5_000_000, 2_400_000_000):
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda held=held: held)
        launching.free_memory(said.append)
    assert said == ["this process still holds 2.4 GB of its GPU, which the group could use: delete its models first."]


def member(monkeypatch, device="cpu", **world):
    """What `fabric_of` gives to Fabric in a member of a group."""
    given = {}

    class Recorded:
        def __init__(self, **options):
            given.update(options)

        def launch(self):
            pass

    monkeypatch.setattr(launching, "Fabric", Recorded)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", **world}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(RunConfig, "torch_device", torch.device(device))
    launching.fabric_of(RunConfig.load("miniature"))
    return given


def test_a_group_waits_longer_than_the_longest_stage(monkeypatch):
    given = member(monkeypatch)
    assert (given["devices"], given["num_nodes"]) == (4, 2)
    assert given["strategy"]._timeout == LONGEST_WAIT
    assert member(monkeypatch, LOCAL_WORLD_SIZE="1", WORLD_SIZE="1")["strategy"] == "auto"


def test_a_member_of_a_group_may_not_name_its_device(monkeypatch):
    with pytest.raises(ValueError, match="torchrun gives each process its device; write 'cuda'"):
        member(monkeypatch, device="cuda:1")
