"""Reference outputs of the official implementations, and the tiny models they were computed on.

Nothing here is random: every weight and pixel follows from its name by the golden file's `fill_rule`,
rewritten below in numpy. The numbers are in `golden_numbers.json`, computed with Text4Vis d61b34d,
ViFi-CLIP e2d1948, VideoX 1744b21, CLIP d05afc4 and transformers 5.23.0; texts are there as token ids
only. MOTION_GOLDEN names another golden file of the same form, with other constants perhaps.
"""

import json
import math
import os
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from motion_lib.models.clip import CLIP, clip
from motion_lib.models.prototype import TemporalTransformer

TOLERANCE = 1e-4  # of the golden file, on logits


def read() -> dict:
    """The golden file; texts that it does not spell out are decoded from its token ids."""
    path = Path(os.environ.get("MOTION_GOLDEN") or Path(__file__).with_name("golden_numbers.json"))
    golden = json.loads(path.read_text(encoding="utf-8"))
    golden.setdefault("texts", decoded(golden["models"]["openai_clip"]["tokens"]))
    for entry in golden["models"]["vificlip"].values():
        entry.setdefault("prompts", decoded(entry["tokens"]))
    return golden


def decoded(tokens: list[list[int]]) -> list[str]:
    """Texts that CLIP's tokenizer turns into these ids."""
    return [clip.clip._tokenizer.decode(ids[1 : ids.index(max(ids))]).strip() for ids in tokens]


# --- fill_rule ---


def u01(name: str, n: int, seed: int) -> np.ndarray:
    """n numbers in [0, 1) that depend on `name`, position and seed alone; float64."""
    mask = np.uint64(0xFFFFFFFF)
    x = np.arange(n, dtype=np.uint64) * np.uint64(2654435761)
    x = (x + np.uint64(zlib.crc32(name.encode()) + seed * 97531)) & mask
    for _ in range(2):
        x ^= x >> np.uint64(16)
        x = (x * np.uint64(0x45D9F3B)) & mask
    x ^= x >> np.uint64(16)
    return x.astype(np.float64) / 2**32


def tensor(name: str, shape: tuple[int, ...], fill: dict) -> torch.Tensor:
    """The weight called `name`; `fill` holds the golden file's seed, amp and scale."""
    if not shape:
        return torch.tensor(math.log(1 / fill["scale"]), dtype=torch.float32)
    value = fill["amp"] * (2 * u01(name, math.prod(shape), fill["seed"]) - 1)
    if len(shape) == 1 and name.endswith(".weight"):
        value = 1 + value
    return torch.from_numpy(value.astype(np.float32)).view(shape)


def frames(batch: int, length: int, seed: int) -> torch.Tensor:
    """(B, T, 3, 32, 32) pixels, normalised already."""
    shape = (batch, length, 3, 32, 32)
    b, t, c, y, x = np.meshgrid(*(np.arange(size) for size in shape), indexing="ij")
    wave = np.sin(0.9 * b + 0.55 * t + 1.3 * c + 0.21 * (b + 1) * y + 0.17 * (t + 1) * x)
    noise = 2 * u01("frames", math.prod(shape), seed).reshape(shape) - 1
    return torch.from_numpy(((0.4 + 0.3 * t) * (wave + 0.5 * noise)).astype(np.float32))


def picture() -> np.ndarray:
    """(240, 320, 3) uint8, the input of the preprocessing references (`extras.preprocess_input`)."""
    y, x = np.meshgrid(np.arange(240), np.arange(320), indexing="ij")
    planes = [127 + 127 * np.sin(x / 17 + y / 29), 127 + 127 * np.cos(x / 23), 127 + 127 * np.sin(y / 13)]
    noise = np.floor(255 * u01("image", 240 * 320 * 3, seed=7)).reshape(240, 320, 3)
    return np.floor(0.25 * noise + 0.75 * np.stack(planes, axis=-1)).astype(np.uint8)


# --- models ---


@cache
def _clip_state(fill: tuple[tuple[str, float], ...], config: tuple[tuple[str, int], ...]) -> dict:
    return {
        name: tensor(name, tuple(value.shape), dict(fill)) for name, value in CLIP(**dict(config)).state_dict().items()
    }


def clip_model(golden: dict) -> CLIP:
    """The tiny CLIP of the golden file, freshly built, in evaluation mode."""
    config = golden["tiny_config"]
    model = CLIP(**config)
    model.load_state_dict(_clip_state(tuple(golden["fill_constants"].items()), tuple(config.items())))
    return model.eval()


def fill_head(head: TemporalTransformer, golden: dict) -> None:
    """Give the temporal header its golden weights, under Text4Vis's names `fusion_model.*`."""
    fill = golden["fill_constants"]
    state = {name: tensor(f"fusion_model.{name}", tuple(v.shape), fill) for name, v in head.state_dict().items()}
    head.load_state_dict(state)


# --- comparison ---


def assert_vectors(found: torch.Tensor, expected: list[dict], tolerance: float = TOLERANCE) -> None:
    """Compare (N, D) vectors with N golden entries, each of the first eight values and the length."""
    assert len(found) == len(expected)
    for vector, entry in zip(found.double(), expected, strict=True):
        assert vector[:8].tolist() == pytest.approx(entry["first8"], abs=tolerance)
        assert vector.norm().item() == pytest.approx(entry["l2"], rel=1e-5, abs=tolerance)


def assert_logits(found: torch.Tensor, expected: list[list[float]]) -> None:
    """Compare (B, K) logits within the golden tolerance."""
    np.testing.assert_allclose(found.detach().numpy(), np.array(expected), rtol=0, atol=TOLERANCE)
