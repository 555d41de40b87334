"""Training as processes: killed at random moments, several at once, started from a notebook."""

import hashlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from motion_lib import __main__ as command
from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.experiment import experiment as experiment_module
from motion_lib.experiment import launch as launching
from motion_lib.experiment.experiment import Experiment
from motion_lib.methods import METHODS
from motion_lib.storage import read_lines
from tests import train_in_group
from tests.conftest import SMOKE

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MOTION_KILLS", "2"))  # more of them prove more and take longer
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def overrides(**values):
    return [text for name, value in values.items() for text in ("-p", name, str(value))]


def weights_hash(path):
    digest = hashlib.sha256()
    for name, tensor in sorted(torch.load(path, weights_only=True)["model"].items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


# --- kill -9 ---


@pytest.mark.usefixtures("one_thread")
def test_killed_at_random_moments_it_ends_where_an_undisturbed_run_ends(smoke, tmp_path, monkeypatch):
    """The process is the command line's, with the profile's YAML; a state is due after every step."""
    smoke.data.paths  # noqa: B018, the world is built once, before anything is killed
    options = {**SMOKE, "validate": "[]", "epochs": 4, "device": "cpu"}
    command = [sys.executable, "-m", "motion_lib", "train", "names", "--profile", "miniature"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}

    def start(results, **more):
        arguments = [*command, *overrides(**options, **more)]
        run = {**environment, "MOTION_RESULTS": str(results)}
        return subprocess.Popen(arguments, cwd=REPOSITORY, env=run, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def finish(process):
        output = process.communicate()[0].decode()
        assert process.returncode == 0, output
        return output

    with monkeypatch.context() as patched:
        patched.setenv("MOTION_RESULTS", str(tmp_path / "straight"))
        Experiment(RunConfig.load("miniature", **SMOKE | {"validate": [], "epochs": 4, "device": "cpu"})).train("names")
    draw, kills, in_training = random.Random(5), 0, 0
    for _ in range(KILLS):
        process = start(tmp_path / "killed", checkpoint_minutes=0)
        wait_for_state(tmp_path / "killed", process)
        time.sleep(draw.uniform(0, 2 / KILLS))  # seconds; the whole training takes about three
        in_training += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
    output = finish(start(tmp_path / "killed", checkpoint_minutes=0))
    assert "is damaged" not in output
    (straight,), (killed,) = (list((tmp_path / name).glob("miniature/runs/names-*")) for name in ("straight", "killed"))
    assert straight.name == killed.name
    for epoch in (1, 2, 3, 4):
        assert weights_hash(straight / f"epoch_{epoch:02d}.pt") == weights_hash(killed / f"epoch_{epoch:02d}.pt")
    print(f"{kills} kills, {in_training} of them in a training under way; equal weights after every epoch")
    assert in_training >= 1
    assert not [path for path in killed.iterdir() if path.name.startswith((".epoch", ".resume", "resume"))]


def wait_for_state(results: Path, process: subprocess.Popen) -> None:
    """Until the process has written a state of its own, or has ended."""
    before = set(results.glob("miniature/runs/*/resume-*.json"))
    while process.poll() is None and set(results.glob("miniature/runs/*/resume-*.json")) <= before:
        time.sleep(0.02)


# --- several devices ---


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def groups(kind):
    """The commands that together are one training: two processes of a machine, or two machines of one each."""
    if kind == "one machine":
        return [list(TORCHRUN)]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    place = ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    return [[*torchrun, *place, "--node-rank", rank] for rank in "01"]


def train_in(kind, folder, text):
    """What `train_in_group.py` saw; "alone" is this process."""
    folder.mkdir()
    if kind == "alone":
        train_in_group.main(folder, text == "trained")
        return torch.load(folder / "seen.pt", weights_only=True)
    script = REPOSITORY / "tests" / "train_in_group.py"
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([*group, str(script), str(folder), text], env=environment, stderr=subprocess.PIPE, text=True)
        for group in groups(kind)
    ]
    for process in started:
        errors = process.communicate()[1]
        assert process.returncode == 0, errors[-3000:]
    return torch.load(folder / "seen.pt", weights_only=True)


@pytest.mark.parametrize(
    ("kind", "text"), [("one machine", "frozen"), ("one machine", "trained"), ("two machines", "frozen")]
)
@pytest.mark.usefixtures("one_thread")
def test_two_processes_give_the_gradients_and_metrics_of_one(tmp_path, kind, text):
    """Uneven batches, one video that cannot be read, random views of whole frames; gloo."""
    one, two = (train_in(name, tmp_path / name.replace(" ", "_"), text) for name in ("alone", kind))
    assert len(one["gradients"]) == len(two["gradients"]) == 6
    for expected, found in zip(one["gradients"], two["gradients"], strict=True):
        assert max(gradient.abs().max() for gradient in expected) > 1e-3
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for expected, found in zip(one["rows"], two["rows"], strict=True):
        assert found["clips"] == expected["clips"] == 8  # none counted twice, none lost but the broken one
        assert found["train_acc1"] == expected["train_acc1"]
        assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-6)
    assert one["failed"] == two["failed"] == {"clip_4": "broken"}


SLURM = {  # of the commands, what the scripts of notebooks/cluster.md ask of Slurm
    "scontrol": "echo 127.0.0.1",
    "srun": 'while [[ $1 == --* ]]; do shift; done; "$@" & one=$!; "$@" & two=$!; wait $one && wait $two',
    "CPUS_PER_TASK": "1",
    "JOB_ID": "7",
    "JOB_NODELIST": "node[1-2]",
    "NNODES": "2",
    "GPUS_ON_NODE": "1",
}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The scripts of cluster.md, ready to run where two agents on this machine stand for two nodes."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    places = [tmp_path / "slurm", Path(sys.executable).parent, os.environ["PATH"]]
    monkeypatch.setenv("PATH", ":".join(map(str, places)))
    places[0].mkdir()
    for name, value in SLURM.items():
        if name.isupper():
            monkeypatch.setenv(f"SLURM_{name}", value)
        else:
            (places[0] / name).write_text(f"#!/bin/bash\n{value}\n")
            (places[0] / name).chmod(0o755)
    scripts = re.findall(r"```bash\n(#!.*?)```", (REPOSITORY / "notebooks" / "cluster.md").read_text(), re.DOTALL)

    def start(number, *arguments):
        script = scripts[number].replace("29500", str(free_port()))
        command = ["bash", "-c", script, "job.sbatch", *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return start


def test_the_commands_for_a_cluster_pack_and_train(paper, cluster, monkeypatch):
    """Two tasks of the job array, then two agents of torchrun that validate, pack nothing and speak once."""
    cfg, preprocess = paper.cfg, paper.runs.load(METHODS["motion"]).preprocess
    tasks = [cluster(0, "--frames", cfg.num_frames, "--short-side", preprocess.short_side) for _ in "01"]
    said = [task.communicate()[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    (packed,) = (cfg.data_root / "frames").glob("*-packed-*")
    names = ("backbone", "baselines", "num_frames", "num_workers", "epochs", "warmup_epochs", "lr", "seed", "compiled")
    training = cluster(1, *overrides(**{name: getattr(cfg, name) for name in names}))
    said = training.communicate()[0]
    assert training.returncode == 0, said
    assert said.count("epoch 1: loss") == said.count("epoch 1: source") == 1, said
    assert list((cfg.data_root / "frames").glob("*-packed-*")) == [packed]
    monkeypatch.setattr(experiment_module, "fine_tune", lambda *_, **__: pytest.fail("trained again"))
    history = paper.train("motion")  # the same folder as here
    assert history.rows[0]["clips"] == len(paper.data.dataset("kinetics400", "train"))


def test_a_notebook_starts_the_group_and_shows_its_log(smoke, tmp_path, monkeypatch, capsys):
    smoke.data.paths  # noqa: B018
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cfg = RunConfig.load("miniature", **SMOKE | {"devices": 2, "epochs": 1, "validate": ["names"], "device": "cpu"})
    history = Experiment(cfg).train("names")
    shown, bar = capsys.readouterr()
    assert "torchrun --nproc-per-node 2 -m motion_lib train names --config config.yaml" in shown
    assert shown.count("epoch 1: loss") == 1  # one of the two speaks
    assert "fine-tuning: 100%" not in shown  # (a warning may end the line of a state)
    assert "fine-tuning: 100%" in bar.rsplit("\r", 1)[-1]
    assert history.last_checkpoint.is_file()
    assert history.rows[0]["clips"] == len(smoke.data.dataset("miniature-source", "train"))
    validated = read_lines(history.run_dir / "metrics.jsonl")[-1]  # by both, told once
    assert shown.count("epoch 1: source ") == 1
    assert validated["source"] == Experiment(cfg).source_validation("names").accuracy()
    for (target, kind), found in Experiment(cfg).measure("names").items():
        assert validated[f"{target}/{kind}"] == found.accuracy()


def test_a_group_that_fails_is_an_error_with_its_log(smoke, tmp_path):
    cfg = RunConfig.load("miniature", **SMOKE | {"devices": 1})
    said = []
    with pytest.raises(RuntimeError, match=r"(?s)training on 1 devices failed \(exit 1\).*invalid choice: 'nothing'"):
        launching.launch(cfg, "nothing", tmp_path, said.append)
    assert any("invalid choice" in line for line in said)


# --- the command line ---


def test_wrong_arguments_are_named(capsys):
    assert command.main(["train", "motion", "-p", "epoch", "3"]) == 2
    assert "did you mean epochs" in capsys.readouterr().err
    assert command.main(["train", "motion", "--config", "absent.yaml"]) == 2
    assert "absent.yaml" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["train", "clip"])  # is not trained


def test_a_configuration_survives_its_file(tmp_path):
    cfg = RunConfig.load("miniature", **SMOKE | {"seed": 5})
    path = launching.write_config(cfg, tmp_path)
    assert command.train_config(command.make_parser().parse_args(["train", "motion", "--config", str(path)])) == cfg


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for the refusal of a CPU")
def test_the_largest_batch_is_not_looked_for_on_a_cpu(smoke, capsys):
    assert command.main(["train", "motion", "--largest"]) == 1
    assert "--largest needs a GPU" in capsys.readouterr().err


def test_a_failing_training_says_why(smoke, capsys, monkeypatch):
    monkeypatch.setattr(Experiment, "train", lambda *_: (_ for _ in ()).throw(RuntimeError("no memory")))
    assert command.main(["train", "motion", *overrides(**SMOKE)]) == 1
    assert capsys.readouterr().err == "motion train: no memory\n"
    monkeypatch.setattr(Experiment, "train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert command.main(["train", "motion", *overrides(**SMOKE)]) == 130


def test_one_device_by_its_number_is_no_group(monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("LOCAL_WORLD_SIZE", "2"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="device = 'cuda:1': torchrun gives each process its device; write 'cuda'"):
        launching.fabric_of(RunConfig.load("miniature", device="cuda:1"))
