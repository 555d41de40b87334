"""Parameters: two profiles, overrides, and what is refused."""

import re
from dataclasses import MISSING, asdict, fields
from pathlib import Path

import pytest
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
    with pytest.raises(ValueError, match="parameter stills: of the profile miniature alone; profile 'paper' has none"):
        RunConfig.load("paper", stills=100)
    assert RunConfig.load(**asdict(RunConfig.load("paper"))) == RunConfig.load("paper")  # as a run writes it
    assert RunConfig.load("miniature").stills > 0


def test_overrides_and_none():
    cfg = RunConfig.load("miniature", seed=4, lr=1, targets=["a"], epochs=None)
    assert (cfg.seed, cfg.targets, cfg.epochs) == (4, ("a",), RunConfig.load("miniature").epochs)
    assert isinstance(cfg.lr, float)


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
        ({"target_subset": "train"}, "parameter target_subset = 'train': expected 'test' or 'all'."),
    ],
)
def test_wrong_names_and_types_are_refused(override, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        RunConfig.load("miniature", **override)


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
    with pytest.raises(ValueError, match=r"parameter \w+ = None"):
        RunConfig.load("short")


def test_a_notebooks_namespace():
    namespace = {
        "__name__": "__main__",
        "_i1": "typed text",
        "In": ["", "x"],
        "Out": {},
        "exit": "IPython's",
        "Path": Path,
        "profile": "paper",
        "seed": 2,
        "lr": None,
        "targets": ["ucf101"],
    }
    cfg = RunConfig.from_namespace(namespace)
    assert cfg == RunConfig.load("paper", seed=2, targets=["ucf101"])
    assert RunConfig.from_namespace({}) == RunConfig.load("miniature")
    with pytest.raises(ValueError, match="did you mean seed"):
        RunConfig.from_namespace({"sed": 3})


def test_experiment_id_ignores_seed_and_speed_only():
    base = RunConfig.load("miniature")
    for same in ({"seed": 5}, {"device": "cuda:1"}, {"num_workers": 2}):
        assert RunConfig.load("miniature", **same).experiment_id == base.experiment_id
    for other in ({"lr": 0.5}, {"targets": ["miniature-ucf"]}, {"world_seed": 1}, {"logit_scale": 14.0}):
        assert RunConfig.load("miniature", **other).experiment_id != base.experiment_id


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


def test_device():
    assert str(RunConfig.load("miniature", device="cuda:1").torch_device) == "cuda:1"
    assert RunConfig.load("miniature").torch_device.type in ("cpu", "cuda")
