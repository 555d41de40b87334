"""Where a profile's inputs are, and one list of everything that is missing before hours are spent."""

import re
from pathlib import Path

from motion_lib.clip_loading import clip
from motion_lib.config import REPOSITORY, RunConfig
from motion_lib.methods import METHODS
from motion_lib.official import RELEASES
from motion_lib.resources import shortages

# Description CSVs of the authors' repository, spelled as there.
AUTHORS_DESCRIPTIONS = {
    ("kinetics400", "object"): "kinetics400_motion_descriptions.csv",
    ("ucf101", "object"): "uc101_motion.csv",
    ("ucf101", "masked"): "ucf101_without_objectname.csv",
    ("hmdb51", "object"): "hmdb51_motion_with_objectname.csv",
    ("hmdb51", "masked"): "HMDB51_without_objectname.csv",
}
# Further texts of the authors for the same classes, which controls use where they are at hand.
OTHER_TEXTS = {
    ("ucf101", "action description"): "ucf_descriptions.csv",
    ("ucf101", "alternate version"): "ucf_motion_alternate_version.csv",
    ("hmdb51", "action description"): "hmdb_descriptions.csv",
    ("hmdb51", "alternate version"): "hmdb51_motion_alternate_version.csv",
}
_LISTS = {
    "kinetics400": "kinetics400/annotations",
    "ucf101": "ucf101/ucfTrainTestlist",
    "hmdb51": "hmdb51/testTrainMulti_7030_splits",
}
# Folders of videos; copies of Kinetics differ, so there it is any folder beside the lists.
_VIDEOS = {"kinetics400": "kinetics400/*", "ucf101": "ucf101/UCF-101", "hmdb51": "hmdb51/videos"}
CLIP_CACHE = Path.home() / ".cache" / "clip"


class MissingInputs(RuntimeError):
    """Inputs of a run that are not there; the message is the whole list."""


def authors_csv(cfg: RunConfig, dataset: str, kind: str) -> Path:
    """Path of the authors' CSV for a data set; `kind` is "object" or "masked"."""
    return cfg.data_root / cfg.descriptions_dir / AUTHORS_DESCRIPTIONS[dataset, kind]


def other_csv(cfg: RunConfig, dataset: str, kind: str) -> Path:
    """Path of one of OTHER_TEXTS; `kind` is "action description" or "alternate version"."""
    return cfg.data_root / cfg.descriptions_dir / OTHER_TEXTS[dataset, kind]


def missing_inputs(cfg: RunConfig, models: bool = True) -> list[str]:
    """One sentence for each input that the run needs and the machine lacks; empty for the miniature.

    Args: models: False where none of this project's models is trained or loaded: the targets and all texts are enough.
    """
    if cfg.profile == "miniature":
        return []
    unknown = [name for name in (cfg.source, *cfg.targets) if name not in _LISTS]
    if unknown:
        raise ValueError(f"profile {cfg.profile!r}: no such data set {unknown[0]!r}; known are {', '.join(_LISTS)}.")
    wanted = [(cfg.source, "object")] + [(name, kind) for name in cfg.targets for kind in ("object", "masked")]
    lacking = []
    for name in (cfg.source, *cfg.targets) if models else cfg.targets:
        for what, folder in (("official lists", _LISTS[name]), ("videos", _VIDEOS[name])):
            found = (path for path in cfg.data_root.glob(folder) if path.is_dir())
            if all(path == cfg.data_root / _LISTS[name] and what == "videos" for path in found):
                lacking.append(f"{name}: {what}, expected in {cfg.data_root / folder}")
    paths = [(name, kind, authors_csv(cfg, name, kind)) for name, kind in wanted]
    lacking += [
        f"{name}: {kind} motion descriptions, expected at {path}" for name, kind, path in paths if not path.is_file()
    ]
    return lacking + (_missing_releases(cfg) + _missing_backbone(cfg.backbone) + shortages(cfg) if models else [])


def _missing_releases(cfg: RunConfig) -> list[str]:
    """Released checkpoints of the baselines, where the configuration asks for them."""
    if cfg.baselines != "official":
        return []
    wanted = [(method.label, RELEASES[key]) for key, method in METHODS.items() if key in RELEASES]
    return [
        f"{label} checkpoint, {release.size}, expected at {release.path(cfg.data_root)}; {release.how_to_get}"
        for label, release in wanted
        if not release.path(cfg.data_root).is_file()
    ]


def backbone_file(backbone: str) -> Path:
    """Where the weights of an OpenAI name or a path lie, or would lie."""
    if backbone in clip.available_models():
        return CLIP_CACHE / re.sub("[/@]", "-", f"{backbone}.pt")
    return Path(resolved(backbone))


def resolved(backbone: str) -> str:
    """An OpenAI name as it is; a relative path counted from the repository, wherever the kernel runs."""
    named = backbone in clip.available_models()
    return backbone if named else str(REPOSITORY / Path(backbone).expanduser())


def _missing_backbone(backbone: str) -> list[str]:
    path = backbone_file(backbone)
    if path.is_file():
        return []
    load = f'python -c "from motion_lib.clip_loading import load_clip; load_clip({backbone!r})"'
    how = f"; to download them: {load}" if backbone in clip.available_models() else ""
    return [f"CLIP {backbone} weights, expected at {path}{how}"]


def stop_without(cfg: RunConfig, lacking: list[str]) -> None:
    """Raise MissingInputs with the whole list, if there is anything on it."""
    if lacking:
        items = "\n".join(f"  - {item}" for item in lacking)
        raise MissingInputs(
            f"profile {cfg.profile!r} lacks {len(lacking)} inputs (MOTION_DATA is {cfg.data_root}):\n{items}"
        )


def require_inputs(cfg: RunConfig, models: bool = True) -> None:
    """Print one line when everything is there; otherwise raise MissingInputs with the whole list.

    Args: as `missing_inputs`.
    """
    stop_without(cfg, missing_inputs(cfg, models))
    print(f"profile {cfg.profile!r}: all inputs are there.")
