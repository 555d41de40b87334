"""Companion to "Diving Deep into the Motion Representation of Video-Text Models".

    from motion_lib import evaluate, load_model, open_dataset, read_descriptions

    model = load_model("clip", backbone="ViT-B/16")
    videos = open_dataset("ucf101", "data")
    print(evaluate(model, videos, read_descriptions("uc101_motion.csv")).accuracy())

Names are imported on first use, so that reading descriptions needs neither torch nor PyAV.
"""

from importlib import import_module

__version__ = "0.1.0"
_EXPORTS = {
    "read_descriptions": "texts.descriptions",
    "read_frames": "data.video",
    "sample_indices": "data.video",
    "VideoReadError": "data.video",
    "load_model": "models.loading",
    "VideoTextModel": "models.prototype",
    "PrototypeClassifier": "models.prototype",
    "Preprocess": "data.preprocessing",
    "open_dataset": "data.datasets",
    "evaluate": "evaluation.retrieval",
    "evaluate_own_model": "report.own_model",
    "Experiment": "experiment.experiment",
    "RunConfig": "config",
    "fine_tune": "training",
    "Recipe": "training",
}
__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
