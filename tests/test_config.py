"""Parameters: two profiles, overrides, and what is refused."""

import contextlib
import math
import re
from dataclasses import MISSING, asdict, fields
from pathlib import Path

import pytest
import torch
import yaml

from motion_lib import config
from motion_lib.config import PROFILES_DIR, REPOSITORY, RunConfig

PROFILES = [path.stem for path in sorted(PROFILES_DIR.glob("*.yaml"))]


def test_both_profiles_are_there():
    assert {"miniature", "paper"} <= set(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_gives_every_parameter_a_value_in_the_fields_order(profile):
    values = yaml.safe_load((PROFILES_DIR / f"{profile}.yaml").read_text())
    wanted = [field.name for field in fields(RunConfig) if profile == "miniature" or field.default is MISSING]
    assert list(values) == wanted
    assert values["profile"] == profile
    assert RunConfig.load(profile).profile == profile


def test_the_papers_recipe_is_the_paper_profile():
    cfg = RunConfig.load("paper")
    assert (cfg.backbone, cfg.num_frames, cfg.epochs, cfg.lr) == ("ViT-B/16", 8, 10, 5e-5)
    assert cfg.logit_scale is None


def test_the_world_has_parameters_in_the_miniature_alone():
    with pytest.raises(ValueError, match="parameter pairs: of the profile miniature alone; profile 'paper' has none"):
        RunConfig.load("paper", pairs=100)
    assert RunConfig.load(**asdict(RunConfig.load("paper"))) == RunConfig.load("paper")  # as a run writes it
    assert RunConfig.load("miniature").pairs > 0


def test_overrides_and_none():
    cfg = RunConfig.load("miniature", seed=4, lr=1, targets=["a"], logit_scale=None)
    assert (cfg.seed, cfg.targets, cfg.logit_scale) == (4, ("a",), None)
    assert isinstance(cfg.lr, float)
    with pytest.raises(ValueError, match="parameter epochs = None: expected a whole number"):
        RunConfig.load("miniature", epochs=None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"epoch": 3}, "unknown parameter 'epoch' (did you mean epochs"),
        ({"xyzzy": 3}, "unknown parameter 'xyzzy'. The parameters are: profile, seed"),
        ({"epochs": 3.0}, "parameter epochs = 3.0: expected a whole number."),
        ({"epochs": True}, "parameter epochs = True: expected a whole number."),
        ({"lr": "1e-3"}, "parameter lr = '1e-3': expected a number."),
        ({"logit_scale": "clip"}, "parameter logit_scale = 'clip': expected a number or null."),
        ({"regenerate": 1}, "parameter regenerate = 1: expected true or false."),
        ({"frame_cache": "all"}, "parameter frame_cache = 'all': expected 'cropped' or 'packed' or 'none'."),
        ({"targets": "ucf101"}, "parameter targets = 'ucf101': expected a list of texts"),
        ({"targets": [1]}, "parameter targets = [1]: expected a list of texts"),
        ({"source": ["a"]}, "parameter source = ['a']: expected text."),
        (
            {"eval_precision": "fp16"},
            "parameter eval_precision = 'fp16': expected 'auto' or 'fp32' or 'tf32' or 'bf16'.",
        ),
        ({"target_subset": "train"}, "parameter target_subset = 'train': expected 'test' or 'all'."),
        ({"epochs": "8"}, "with papermill by -p, not -r."),
        ({"tensorboard": "true"}, "In a notebook and with papermill's -p that is True or False"),
        ({"targets": "[ucf101]"}, 'With papermill by -y "targets: [a, b]", not -p.'),
        ({"rater": 7}, "It is written in quotes; with papermill by -r, not -p."),
    ],
)
def test_wrong_names_and_types_are_refused(override, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        RunConfig.load("miniature", **override)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("seed", (-1, 2**32), "0 to 4294967295"),
        ("num_frames", (0, -8, 78), "1 to 77"),
        ("batch_size", (0, -1), "1 or more"),
        ("epochs", (0,), "1 or more"),
        ("devices", (0,), "1 or more"),
        ("at_once", (-1,), "0 or more"),
        ("split", (0, 4), "1, 2 or 3"),
        ("lr", (0, -1e-3, math.nan, math.inf), "more than 0, and finite"),
        ("logit_scale", (0.0, -1.0, math.nan), "more than 0, and finite"),
        ("weight_decay", (-0.1, math.nan, math.inf), "0 or more, and finite"),
        ("clip_ratio", (-0.1, math.nan), "0 or more, and finite"),
        ("checkpoint_minutes", (-1, math.inf), "0 or more, and finite"),
        ("max_missing", (-0.1, 1.5, math.nan), "a share from 0 to 1"),
        ("warmup_epochs", (5, -1), "0"),
        ("bootstrap_resamples", (1,), "2 or more"),
        ("target_clips", (0,), "2 or more"),
        ("targets", ([], ["a", "a"]), "one data set or more, each once"),
        ("device", ("mps", "gpu", "0", "cuda:", "cuda:x", "CUDA", "cpu:1", ""), "'auto', 'cpu', 'cuda' or"),
    ],
)
def test_values_that_no_run_can_have_are_refused_by_name(name, values, expected):
    for value in values:
        with pytest.raises(ValueError, match=re.escape(f"parameter {name} = ")) as caught:
            RunConfig.load("miniature", **{name: value})
        assert f"expected {expected}" in str(caught.value)


def test_every_number_has_a_range():
    numbers = {field.name for field in fields(RunConfig) if field.type in (int, float, float | None)}
    assert {name for names in config._RANGES for name in names.split()} == numbers


def test_unknown_profile_names_the_known_ones():
    with pytest.raises(ValueError, match="profile 'papers': expected one of miniature, paper"):
        RunConfig.load("papers")


def test_a_profile_with_a_missing_or_a_strange_key_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "PROFILES_DIR", tmp_path)
    text = (PROFILES_DIR / "miniature.yaml").read_text()
    (tmp_path / "strange.yaml").write_text(text + "momentum: 0.9\n")
    with pytest.raises(ValueError, match="unknown parameter 'momentum'"):
        RunConfig.load("strange")
    (tmp_path / "short.yaml").write_text(text.replace("\nseed: 0", "\n# seed: 0"))
    with pytest.raises(ValueError, match=r"short\.yaml: gives no value to seed\."):
        RunConfig.load("short")


def test_a_notebooks_namespace():
    namespace = {
        "__name__": "__main__",
        "_i1": "typed text",
        "Path": Path,
        "profile": "paper",
        "seed": 2,
        "logit_scale": None,
        "targets": ["ucf101"],
    }
    cfg = RunConfig.from_namespace(namespace)
    assert cfg == RunConfig.load("paper", seed=2, targets=["ucf101"])
    assert RunConfig.from_namespace({}) == RunConfig.load("miniature")
    with pytest.raises(ValueError, match="did you mean seed"):
        RunConfig.from_namespace({"sed": 3})


PARAMETERS, INJECTED, BEGIN = (
    "profile = 'paper'\nseed = 1",
    "# Parameters\nprofile = 'miniature'\nlr = 0.5\n",
    "cfg = f(globals())",
)


@pytest.mark.parametrize(
    ("cells", "changed"),
    [
        ([PARAMETERS, BEGIN], {"profile": "paper", "seed": 1}),
        ([PARAMETERS, INJECTED, BEGIN], {"profile": "miniature", "seed": 1, "lr": 0.5}),
        ([PARAMETERS, "# Parameters\nlogit_scale = None", BEGIN], {"profile": "paper", "seed": 1, "logit_scale": None}),
        ([f"{PARAMETERS}\nepochs = 8", BEGIN, "x = 3", PARAMETERS, BEGIN], {"profile": "paper", "seed": 1}),
        ([f"{PARAMETERS}\nepoch = 8", BEGIN, PARAMETERS, BEGIN], {"profile": "paper", "seed": 1}),
        ([PARAMETERS, "epochs = 8", BEGIN, "names = 'a b'", "split ="], {"profile": "paper", "seed": 1, "epochs": 8}),
        ([PARAMETERS, BEGIN, "rows = [1]", "import os\nseed = 4", BEGIN], {"profile": "paper", "seed": 4}),
        (["x = 3", "text = ''", PARAMETERS, BEGIN], {"profile": "paper", "seed": 1}),
        (["", "seed = 3", BEGIN], {"profile": "miniature", "seed": 3}),
        ([f"{PARAMETERS}\n{BEGIN}", "k = 5", BEGIN], {"profile": "paper", "seed": 1}),
    ],
)
def test_in_a_used_kernel_the_newest_parameter_cells_count(cells, changed):
    assert RunConfig.from_namespace(kernel(cells)) == RunConfig.load(**changed)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([f"{PARAMETERS}\nepoch = 8", BEGIN], "unknown parameter 'epoch' (did you mean epochs"),
        ([PARAMETERS, "# Parameters\nepoch = None", BEGIN], "unknown parameter 'epoch' (did you mean epochs"),
        ([PARAMETERS, "epoch = 8", BEGIN], "unknown parameter 'epoch' (did you mean epochs"),
        ([f"{PARAMETERS}\nlr = None", BEGIN], "parameter lr = None: expected a number."),
        ([f"{PARAMETERS}\ntargets = {{'ucf101'}}", BEGIN], "parameter targets = {'ucf101'}: expected a list"),
    ],
)
def test_a_used_kernel_is_judged_by_its_parameter_cells(cells, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        RunConfig.from_namespace(kernel(cells))


def kernel(cells: list[str]) -> dict[str, object]:
    """The globals of an IPython kernel that has run these cells."""
    namespace: dict[str, object] = {"f": lambda _: Path("the configuration"), "In": cells}
    for source in cells:
        with contextlib.suppress(SyntaxError):
            exec(source, namespace)
    return namespace


def test_experiment_id_ignores_seed_and_speed_only():
    base = RunConfig.load("miniature")
    for same in ({"seed": 5}, {"device": "cpu"}, {"num_workers": 2}):
        assert RunConfig.load("miniature", **same).experiment_id == base.experiment_id
    for other in ({"lr": 0.5}, {"targets": ["miniature-ucf"]}, {"world_seed": 1}, {"logit_scale": 14.0}):
        assert RunConfig.load("miniature", **other).experiment_id != base.experiment_id


def test_the_precision_of_encoding_follows_the_device(gpus):
    gpus(1)
    precision = {d: RunConfig.load("paper", device=d).encoding_precision for d in ("cpu", "cuda")}
    assert precision == {"cpu": "fp32", "cuda": "bf16"}
    assert RunConfig.load("paper", device="cuda", eval_precision="tf32").encoding_precision == "tf32"


def test_folders_follow_the_environment_and_never_the_working_directory(tmp_path, monkeypatch):
    cfg = RunConfig.load("miniature")
    monkeypatch.chdir(tmp_path)
    for variable in ("MOTION_DATA", "MOTION_RESULTS"):
        monkeypatch.delenv(variable, raising=False)
    found = (cfg.data_root, cfg.results_dir, cfg.figures_dir)
    expected = ("data", "results/miniature", "figures/miniature")
    assert found == tuple(REPOSITORY / name for name in expected)
    monkeypatch.setenv("MOTION_DATA", str(tmp_path))
    monkeypatch.setenv("MOTION_RESULTS", "elsewhere")
    assert cfg.data_root == tmp_path
    assert cfg.results_dir == REPOSITORY / "elsewhere" / "miniature"
    assert cfg.figures_dir == REPOSITORY / "elsewhere" / "figures" / "miniature"


@pytest.fixture
def gpus(monkeypatch):
    """Sets how many GPUs torch finds."""

    def found(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return found


def test_device(gpus):
    gpus(2)
    assert str(RunConfig.load("miniature", device="cuda:1").torch_device) == "cuda:1"
    assert RunConfig.load("miniature", device="cuda", devices=2).torch_device.type == "cuda"
    assert RunConfig.load("miniature").torch_device.type == "cuda"
    gpus(0)
    assert RunConfig.load("miniature", devices=3).torch_device.type == "cpu"


@pytest.mark.parametrize(
    ("count", "change", "message"),
    [
        (
            0,
            {"device": "cuda"},
            r"device = 'cuda': of CUDA's devices torch \S+ finds here none; write 'auto' or 'cpu'\.",
        ),
        (0, {"device": "cuda:0"}, "finds here none"),
        (2, {"device": "cuda:2"}, r"finds here cuda:0 to cuda:1\."),
        (2, {"device": "cuda:1", "devices": 2}, "names one, and devices = 2 asks for several: write 'cuda'"),
        (2, {"devices": 4}, "devices = 4: expected at most 2, the CUDA devices found here"),
    ],
)
def test_devices_that_are_not_there_are_refused_at_once(gpus, count, change, message):
    gpus(count)
    with pytest.raises(ValueError, match=message):
        RunConfig.load("miniature", **change)
