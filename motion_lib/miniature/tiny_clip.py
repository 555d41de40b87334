"""The tiny CLIP: its architecture, and the pretrained weights that ship with the package.

The file holds half precision and of the token table the rows that pretraining changed: 49,408 rows would be most of
it. The others come from NumPy's generator, which gives the same numbers on every machine.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motion_lib.models.clip import CLIP
from motion_lib.storage import atomic_path, built_once, content_hash

SHIPPED = Path(__file__).with_name("tiny_clip.pt")
TRANSFORMER = Path(__file__).with_name("tiny_clip_transformer.pt")
_TABLE = "token_embedding.weight"
_TABLE_SEED, _TABLE_STD = 0, 0.02  # the deviation is CLIP's own


@dataclass(frozen=True)
class TinyClip:
    """Architecture of the tiny CLIP: a ModifiedResNet tower, or with a patch size CLIP's vision transformer."""

    resolution: int = 64
    vision_width: int = 16
    vision_layers: tuple[int, int, int, int] | int = (1, 1, 1, 1)
    vision_patch: int | None = None
    embed_dim: int = 128
    text_width: int = 128
    text_layers: int = 2


def build(config: TinyClip) -> CLIP:
    """A randomly initialised `clip.model.CLIP` of this size."""
    model = CLIP(
        config.embed_dim,
        config.resolution,
        config.vision_layers,
        config.vision_width,
        config.vision_patch,
        77,
        49408,
        config.text_width,
        config.text_width // 64,
        config.text_layers,
    )
    # CLIP starts its residual branches at zero, which suits deep towers. With one block a stage they
    # may start at one, and poses are learned sooner so.
    for name, parameter in model.visual.named_parameters():
        if name.endswith("bn3.weight"):
            torch.nn.init.ones_(parameter)
    with torch.no_grad():
        model.token_embedding.weight.copy_(_untrained_table(*model.token_embedding.weight.shape))
    return model


def _untrained_table(rows: int, width: int) -> Tensor:
    table = np.random.default_rng(_TABLE_SEED).normal(0, _TABLE_STD, (rows, width))
    return torch.from_numpy(table.astype(np.float32))


def save(model: CLIP, used: Tensor, path: Path) -> None:
    """Write a model in the shipped form.

    Args:
        used: (U,) int, ids of the tokens that pretraining saw.
    """
    state = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    state[_TABLE] = state[_TABLE][used].clone()
    with atomic_path(path) as temporary, temporary.open("wb") as file:  # given a path, torch.save would write its name
        torch.save({"state": state, "used": used.int()}, file)


def load(path: Path = SHIPPED) -> dict[str, Tensor]:
    """A state dict in float32, as `load_clip` takes it, of a file in the shipped form."""
    shipped = torch.load(path, weights_only=True, map_location="cpu")
    state = {name: value.float() if value.is_floating_point() else value for name, value in shipped["state"].items()}
    table = _untrained_table(49408, state[_TABLE].shape[1])
    table[shipped["used"].long()] = state[_TABLE]
    return state | {_TABLE: table}


def is_compact(path: Path) -> bool:
    """Whether a file is a tiny CLIP in the shipped form."""
    try:
        return torch.load(path, weights_only=True, map_location="meta").keys() == {"state", "used"}
    except Exception:  # what another file raises is anybody's guess; whoever loads it as a CLIP says what is wrong
        return False


def whole(path: Path, folder: Path) -> Path:
    """A file in the shipped form as a whole state dict, written to `folder` if it is not there yet."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # as in `save`
            torch.save(load(path), file)

    return built_once(folder / f"clip-{content_hash(sys.modules[__name__], path)}.pt", write)[0]


def used_tokens(path: Path) -> Tensor:
    """(U,) int32 ids of the tokens whose rows a file in the shipped form holds."""
    return torch.load(path, weights_only=True, map_location="cpu")["used"]
