"""Fixtures shared by all tests."""

import os
import shutil
from pathlib import Path

import av
import matplotlib as mpl
import pytest
from filelock import FileLock

mpl.use("Agg")
# A miniature that takes seconds: what it measures means nothing, but every step is the real one.
SMOKE = {
    "source_classes": 24,
    "ucf_classes": 14,
    "hmdb_classes": 12,
    "source_clips": 5,  # one of them held out
    "target_clips": 4,
    "pairs": 3,
    "action_clips": 3,
    "order_steps": 3,
    "num_frames": 4,
    "epochs": 2,
    "warmup_epochs": 1,
    "bootstrap_resamples": 500,
}


# What takes minutes goes first, in three parts that workers take side by side; all other files are a part each.
LONG = {
    "batch/test_notebooks": "notebooks",
    "report/test_own_model": "experiment",
    "report/test_gallery": "experiment",
    "experiment/test_experiment": "experiment",
    "probes/test_probes": "experiment",
    "training/test_processes": "experiment",
}


def part_of(nodeid: str) -> str:
    """The part of a test: all of it runs in one worker, one after the other."""
    file, _, test = nodeid.removeprefix("tests/").partition(".py::")
    return "paper" if "with_the_papers_profile" in test else LONG.get(file, file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long parts first, each in one piece."""
    order = [*dict.fromkeys(LONG.values()), "paper"]
    items.sort(key=lambda item: order.index(part) if (part := part_of(item.nodeid)) in order else len(order))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hand out whole parts; xdist's own groups do nothing under this pytest."""
    from xdist.scheduler import LoadScopeScheduling

    class Parts(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return part_of(nodeid)

    config.option.loadscopereorder = False  # as collected: long parts first
    return Parts(config, log)


@pytest.fixture(scope="module")
def one_thread():
    """Tiny models gain nothing from a second thread, and two such jobs on two cores nearly stop."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def impatient():
    """Torch gives a broken loader's processes a fifth of a second to end, for its five."""
    import torch

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)
        yield


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with the authors' files and the lists; MOTION_SHARED overrides the place beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("MOTION_SHARED", beside))
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: set MOTION_SHARED to the folder with the shared data")
    return folder


@pytest.fixture(scope="session")
def smoke_world(tmp_path_factory) -> Path:
    """MOTION_DATA with the one smoke-size miniature of the session, built once for all workers."""
    from motion_lib.config import RunConfig
    from motion_lib.experiment.data import MiniatureData

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke-data"
    with FileLock(f"{folder}.lock"), pytest.MonkeyPatch.context() as patched:
        patched.setenv("MOTION_DATA", str(folder))
        data = MiniatureData(RunConfig.load("miniature", **SMOKE))
        assert data.paths.root.is_dir()
        assert data.minimal_pairs.root.is_dir()
    return folder


@pytest.fixture(scope="session")
def smoke_dir(tmp_path_factory) -> Path:
    """Where the smoke-size tests of a worker share runs and results."""
    return tmp_path_factory.mktemp("smoke")


@pytest.fixture
def smoke_env(smoke_world, smoke_dir, monkeypatch) -> Path:
    """MOTION_DATA and MOTION_RESULTS of the smoke-size miniature, for this process and what it starts."""
    monkeypatch.setenv("MOTION_DATA", str(smoke_world))
    monkeypatch.setenv("MOTION_RESULTS", str(smoke_dir / "results"))
    return smoke_dir


@pytest.fixture
def smoke(smoke_env):
    """The smoke-size experiment."""
    from motion_lib.config import RunConfig
    from motion_lib.experiment.experiment import Experiment

    return Experiment(RunConfig.load("miniature", **SMOKE))


@pytest.fixture(scope="session")
def official_layouts(smoke_world, tmp_path_factory) -> Path:
    """The smoke-size miniature where the paper's data belong, as mp4 and as MPEG-4 in AVI; to be copied."""
    from motion_lib.config import RunConfig
    from motion_lib.data.catalogue import DATASETS
    from motion_lib.experiment.data import MiniatureData

    root = tmp_path_factory.mktemp("official") / "data"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MOTION_DATA", str(smoke_world))
        paths = MiniatureData(RunConfig.load("miniature", **SMOKE)).paths
    shutil.copytree(paths.root, root, ignore=shutil.ignore_patterns("frames", "descriptions"))
    for path in (*root.glob("ucf101/UCF-101/*/*.mp4"), *root.glob("hmdb51/videos/*/*.mp4")):
        with av.open(str(path)) as old, av.open(str(path.with_suffix(".avi")), "w") as new:
            picture, stream = old.streams.video[0], new.add_stream("mpeg4", rate=25)
            stream.height, stream.width, stream.pix_fmt = picture.height, picture.width, "yuv420p"
            for frame in old.decode(video=0):
                new.mux(
                    stream.encode(
                        av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24", threads=1), format="rgb24")
                    )
                )
            new.mux(stream.encode())
        path.unlink()
    (root / "descriptions").mkdir()
    layouts = {"kinetics400": "source", "ucf101": "ucf", "hmdb51": "hmdb"}
    for name, key in layouts.items():
        for kind in {"object", "masked"} & DATASETS[name].texts.keys():
            shutil.copy(paths.descriptions(key, kind), root / "descriptions" / DATASETS[name].texts[kind])
    return root


@pytest.fixture
def paper_data(smoke, official_layouts, tmp_path, monkeypatch) -> Path:
    """MOTION_DATA with a copy of those layouts."""
    assert smoke.data.root.is_dir()  # looked up while MOTION_DATA is the miniature's
    root = tmp_path / "data"
    shutil.copytree(official_layouts, root)
    monkeypatch.setenv("MOTION_DATA", str(root))
    monkeypatch.setenv("MOTION_RESULTS", str(tmp_path / "results"))
    return root


@pytest.fixture
def paper(smoke, paper_data):
    """The experiment of the profile `paper` on the miniature's files, put where the real ones belong."""
    from motion_lib.config import RunConfig
    from motion_lib.experiment.experiment import Experiment

    size = {"epochs": 1, "warmup_epochs": 0, "lr": 1e-3, "num_frames": 2, "num_workers": 0, "bootstrap_resamples": 200}
    size["baselines"] = "retrained"  # no released checkpoint is at hand
    size["compiled"] = False  # a tiny model is trained sooner than compiled
    return Experiment(RunConfig.load("paper", backbone=smoke.data.backbone, **size))


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    if plt := __import__("sys").modules.get("matplotlib.pyplot"):
        plt.close("all")
