"""One run's parameters: a profile's YAML, then what a notebook or the command line overrides.

Notebooks hold plain literals in the cell tagged `parameters`; `RunConfig.from_namespace(globals())`
reads them. A name that no parameter has is an error here, since papermill only warns about it, and so is a value
that no run can have: it is refused before any work begins.
"""

import ast
import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from motion_lib.storage import content_hash, home

if TYPE_CHECKING:
    import torch  # imported where a device is asked for: reading a profile should take no seconds

_PACKAGE = Path(__file__).resolve().parent
PROFILES_DIR = _PACKAGE / "profiles"
# The checkout; for a copy that was installed without one a folder of the user's, not one among Python's packages.
REPOSITORY = _PACKAGE.parent if (_PACKAGE.parent / "notebooks").is_dir() else home() / "motion_lib"
# Parameters that say where and how fast a run goes, not what it computes.
_NOT_IDENTITY = (
    "seed", "device", "num_workers", "max_missing", "regenerate", "llm", "llm_base_url", "rate", "rate_target", "rater",
    "own_model", "explore_model", "explore_videos", "explore_texts", "devices", "at_once", "checkpoint_minutes",
    "recompute", "compiled", "tensorboard", "validate",
)  # fmt: skip


@dataclass(frozen=True)
class RunConfig:
    """Every parameter of a run; a profile's YAML gives each of them a value."""

    profile: str
    seed: int  # of fine-tuning: order, frames, mirroring, fresh weights
    device: str  # "auto", "cpu", "cuda", "cuda:1", ...
    num_workers: int  # loader processes of each device; 0 decodes in the notebook's own
    devices: int  # that train together on this machine, started by torchrun; 1 trains in the notebook
    at_once: int  # clips that go through the model together on one device; 0: its share of a batch
    checkpoint_minutes: float  # most work that an interruption loses
    recompute: bool  # activation checkpointing: less memory, a third more work
    compiled: bool  # torch.compile the training step
    tensorboard: bool  # event files beside metrics.jsonl
    validate: tuple[str, ...]  # methods whose epochs are all scored while they train; nothing is chosen by it
    # OpenAI name, path of a CLIP state dict; in the miniature also "miniature" and "transformer", the tiny CLIPs as
    # shipped, or "scratch", which pretrains the first
    backbone: str
    baselines: str  # "retrained" from the backbone, or "official": their authors' checkpoints
    descriptions_dir: str  # folder of the authors' CSVs; "" in the miniature, which writes its own
    source: str  # data set names of motion_lib.open_dataset
    targets: tuple[str, ...]
    split: int  # official split of the targets
    target_subset: str  # "test" or "all"
    frame_cache: str  # "cropped" (every frame, small data sets), "none" (decode each time), or "packed", for any size:
    # JPEG for training; for testing the frames of the validated data sets as they are
    max_missing: float  # share of a data set's videos that may be missing or unreadable
    num_frames: int
    epochs: int
    batch_size: int
    lr: float
    clip_ratio: float
    clip_ratio_reading: str  # "learning_rate" or "gradient_norm"
    warmup_epochs: float
    weight_decay: float
    augmentation: str  # "text4vis", "multi_scale", "flip" or "none"; the first two need whole frames
    precision: str  # "fp32" or "bf16" (mixed) in training
    eval_precision: str  # of encoding: "fp32", "tf32", "bf16", or "auto": "bf16" on a GPU, "fp32" on a CPU
    logit_scale: float | None  # exp(logit_scale) at the start of fine-tuning; null keeps CLIP's
    bootstrap_resamples: int
    regenerate: bool  # ask a language model for descriptions of the first target's classes
    llm: str  # its name at the server
    llm_base_url: str  # of an OpenAI-compatible server; "" is OpenAI's
    rate: str  # open a page for people: "likert", "retrieval", "retrieval_masked", "comparison"; "" opens none
    rate_target: str  # target that is regenerated or rated; "" is the first
    rater: str  # code of who rates
    own_model: str  # your_own_model.ipynb: a CLIP of transformers by its name; "" is a tiny one with random weights
    explore_model: str  # 08_explore: a name that `motion score` takes; "" is our method as trained here
    explore_videos: str  # a folder of class folders; "" is the first target
    explore_texts: str  # CSV of its classes: class, description
    # Of the rendered world: the profile `miniature` sets them, no other has them.
    world_seed: int = 0  # of classes and clips
    source_classes: int = 0
    ucf_classes: int = 0
    hmdb_classes: int = 0
    source_clips: int = 0  # clips per source class
    target_clips: int = 0  # clips per target class
    pairs: int = 0  # minimal pairs of each kind (06_motion_probes)
    action_clips: int = 0  # clips of each action that is also played backwards
    order_steps: int = 0  # training steps of the head that is taught order

    @classmethod
    def load(cls, profile: str, **overrides: object) -> "RunConfig":
        """A profile with some values overridden.

        Args:
            profile: name of a YAML file in `motion_lib/profiles`.
            overrides: values by parameter; None is YAML's null.

        Raises:
            ValueError: for an unknown profile or parameter, with near matches, a wrong type, a value out of its
                range, or a device that this machine lacks.
        """
        path = PROFILES_DIR / f"{profile}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in PROFILES_DIR.glob("*.yaml")))
            raise ValueError(f"profile {profile!r}: expected one of {known}.")
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        check_names([*overrides, *values])
        defaults = {f.name: f.default for f in fields(cls) if f.default is not MISSING}
        values = defaults | values | overrides
        if lacking := [f.name for f in fields(cls) if f.name not in values]:
            raise ValueError(f"{path}: gives no value to {', '.join(lacking)}.")
        cfg = cls(**{f.name: _typed(f.name, f.type, values[f.name]) for f in fields(cls)})
        for name, default in defaults.items():
            if cfg.profile != "miniature" and getattr(cfg, name) != default:
                raise ValueError(f"parameter {name}: of the profile miniature alone; profile {profile!r} has none.")
        _check_ranges(cfg)
        _check_device(cfg)
        return cfg

    @classmethod
    def from_namespace(cls, namespace: Mapping[str, object]) -> "RunConfig":
        """The parameters that a notebook's literals set, on top of its `profile`.

        In a kernel that has run other cells, only what the parameter cells assign is read: a table of a later cell
        may have any name. See `_assigned`.
        """
        names, known = _assigned(namespace) if namespace.get("In") else namespace, {f.name for f in fields(cls)}
        own = {name: value for name, value in namespace.items() if name in names and not name.startswith("_")}
        literals = {name: value for name, value in own.items() if name in known or isinstance(value, _LITERALS)}
        return cls.load(**{"profile": "miniature", **literals})

    @property
    def data_root(self) -> Path:
        """`MOTION_DATA`, or `data` beside the package: videos, lists, caches."""
        return _directory("MOTION_DATA", "data")

    @property
    def _results_name(self) -> Path:
        """`<profile>`, or `<profile>/other/<experiment>` where parameters were overridden, to keep what is committed.

        With `MOTION_RESULTS` the user has chosen a place, and it is taken as it is.
        """
        own = bool(os.environ.get("MOTION_RESULTS")) or RunConfig.load(self.profile).experiment_id == self.experiment_id
        return Path(self.profile) if own else Path(self.profile) / "other" / self.experiment_id

    @property
    def results_dir(self) -> Path:
        """`results/<profile>`, or below `MOTION_RESULTS` where that is set (tests, several checkouts)."""
        return _directory("MOTION_RESULTS", "results") / self._results_name

    @property
    def figures_dir(self) -> Path:
        """`figures/<profile>`, or below `MOTION_RESULTS` where that is set."""
        return _directory("MOTION_RESULTS", ".") / "figures" / self._results_name

    @property
    def torch_device(self) -> "torch.device":
        """The device that "auto" means here."""
        import torch

        name = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        return torch.device(name)

    @property
    def encoding_precision(self) -> str:
        """The precision that "auto" means here."""
        by_device = "bf16" if self.torch_device.type == "cuda" else "fp32"
        return by_device if self.eval_precision == "auto" else self.eval_precision

    @property
    def experiment_id(self) -> str:
        """Hash of everything that decides the numbers except the seed; records of one id may be averaged."""
        decisive = ((k, v) for k, v in asdict(self).items() if k not in _NOT_IDENTITY)
        return content_hash(dict(decisive))


_LITERALS = (str, int, float, bool, list, tuple, dict, set, type(None))
# By a parameter's type: what it may be given as, how to say that, and how to write it.
_BARE = " It is written without quotes; with papermill by -p, not -r."
_ACCEPTED = {
    str: (str, "text", " It is written in quotes; with papermill by -r, not -p."),
    bool: (bool, "true or false", " In a notebook and with papermill's -p that is True or False, without quotes."),
    int: (int, "a whole number", _BARE),
    float: (int | float, "a number", _BARE),
    tuple[str, ...]: (list | tuple, 'a list of texts, as in ["a", "b"]', ' With papermill by -y "{}: [a, b]", not -p.'),
    float | None: (int | float | None, "a number or null", f" Null is None in a notebook.{_BARE}"),
}
_CHOICES = {
    "baselines": ("retrained", "official"),
    "clip_ratio_reading": ("learning_rate", "gradient_norm"),
    "augmentation": ("text4vis", "multi_scale", "flip", "none"),
    "precision": ("fp32", "bf16"),
    "eval_precision": ("auto", "fp32", "tf32", "bf16"),
    "frame_cache": ("cropped", "packed", "none"),
    "target_subset": ("test", "all"),
    "rate": ("", "likert", "retrieval", "retrieval_masked", "comparison"),
}
# What numbers may be: the least, the most, and that in words.
_RANGES = {
    "seed world_seed": (0, 2**32 - 1, "0 to 4294967295"),
    "num_workers at_once": (0, math.inf, "0 or more"),
    "devices epochs batch_size pairs order_steps": (1, math.inf, "1 or more"),
    "ucf_classes hmdb_classes": (2, 104, "2 to 104, the (arm, body) pairs that the source leaves"),
    "source_classes": (20, 400, "20 to 400, so that every motion, object and scene occurs"),
    "bootstrap_resamples source_clips target_clips action_clips": (2, math.inf, "2 or more"),
    "split": (1, 3, "1, 2 or 3"),
    "num_frames": (1, 77, "1 to 77, for which Text4Vis's header has places"),
    "max_missing": (0, 1, "a share from 0 to 1"),
    "checkpoint_minutes clip_ratio warmup_epochs weight_decay": (0, math.inf, "0 or more, and finite"),
    "lr logit_scale": (math.ulp(0.0), math.inf, "more than 0, and finite"),
}


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError for names that are no parameters, each with its near matches."""
    known = [f.name for f in fields(RunConfig)]
    problems = []
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=2, cutoff=0.5)
            problems.append(f"{name!r}" + (f" (did you mean {' or '.join(near)}?)" if near else ""))
    if problems:
        raise ValueError(f"unknown parameter {', '.join(problems)}. The parameters are: {', '.join(known)}.")


def parse_overrides(pairs: list[list[str]]) -> dict[str, object]:
    """`-p name value` pairs as Python values; names are checked, types later by RunConfig."""
    names = [name for name, _ in pairs]
    check_names(names)
    if "profile" in names:
        raise ValueError("choose the profile by --profile, not by -p.")
    if len(set(names)) < len(names):
        raise ValueError("give each parameter once.")
    return {name: _parse_value(text) for name, text in pairs}


def _parse_value(text: str) -> object:
    """As papermill reads `-p`, and where that sees text, YAML: true, null, [a, b]."""
    words = {"True": True, "False": False, "None": None, "": ""}
    if text in words:
        return words[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _assigned(namespace: Mapping[str, object]) -> set[str]:
    """Names that the parameter cells assign, among the cells that an IPython kernel has run: its `In`, oldest first.

    They begin with the newest run of the cell that sets `profile`; papermill's cell, or any other of assignments
    alone, may follow at once. Later cells have names of their own: of theirs, literals of parameters' names count.
    """
    known = {f.name for f in fields(RunConfig) if isinstance(namespace.get(f.name), _LITERALS)}
    names, follows = set(), True
    for source in namespace["In"]:
        try:
            body = ast.parse(source).body
        except SyntaxError:
            continue  # it assigned nothing
        stored = {n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        if first := "profile" in stored and not source.startswith("# Parameters"):  # as papermill's cell starts
            names, follows = set(), True
        alone = all(isinstance(s, ast.Assign | ast.AnnAssign) for s in body) and "globals()" not in source
        follows = follows and alone
        names |= stored if first or follows else stored & known
    return names


def _check_ranges(cfg: RunConfig) -> None:
    for names, (least, most, words) in _RANGES.items():
        for name in names.split():
            value = getattr(cfg, name)
            of_the_world = cfg.profile != "miniature" and value == RunConfig.__dataclass_fields__[name].default
            inside = value is None or of_the_world or (least <= value <= most and math.isfinite(value))
            if not inside:
                raise ValueError(f"parameter {name} = {value!r}: expected {words}.")
    if cfg.warmup_epochs > cfg.epochs:
        raise ValueError(f"parameter warmup_epochs = {cfg.warmup_epochs}: expected 0 to epochs ({cfg.epochs}).")
    if not cfg.targets or len(set(cfg.targets)) < len(cfg.targets):
        raise ValueError(f"parameter targets = {list(cfg.targets)}: expected one data set or more, each once.")


def _check_device(cfg: RunConfig) -> None:
    kind, _, index = cfg.device.partition(":")
    given = f"parameter device = {cfg.device!r}"
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", cfg.device):
        raise ValueError(f"{given}: expected 'auto', 'cpu', 'cuda' or one GPU of several, as in 'cuda:1'.")
    if index and cfg.devices > 1:
        several = f"devices = {cfg.devices} asks for several: write 'cuda', and choose them by CUDA_VISIBLE_DEVICES"
        raise ValueError(f"{given}: names one, and {several}.")
    if kind == "cpu" or (kind == "auto" and cfg.devices == 1):
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(index or 0) >= count:
        here = f"cuda:0 to cuda:{count - 1}" if count else "none; write 'auto' or 'cpu'"
        raise ValueError(f"{given}: of CUDA's devices torch {torch.__version__} finds here {here}.")
    if 0 < count < cfg.devices:
        raise ValueError(f"parameter devices = {cfg.devices}: expected at most {count}, the CUDA devices found here.")


def _directory(variable: str, default: str) -> Path:
    """An environment variable's folder; a relative one counts from the repository, wherever a kernel runs."""
    return REPOSITORY / Path(os.environ.get(variable) or default).expanduser()


def _typed(name: str, wanted: object, value: object) -> object:
    """Check a value against its field; whole numbers pass as float, lists become tuples."""
    accepted, in_words, how = _ACCEPTED[wanted]
    # To Python, True is a whole number.
    fits = isinstance(value, accepted) and (wanted is bool or not isinstance(value, bool))
    if isinstance(value, list | tuple):
        fits = fits and all(isinstance(item, str) for item in value)
    if not fits:
        misread = isinstance(value, str) != (wanted is str)  # as text, or not as text
        raise ValueError(f"parameter {name} = {value!r}: expected {in_words}.{how.format(name) if misread else ''}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise ValueError(f"parameter {name} = {value!r}: expected {' or '.join(map(repr, _CHOICES[name]))}.")
    if isinstance(value, list):
        return tuple(value)
    return float(value) if wanted in (float, float | None) and value is not None else value
