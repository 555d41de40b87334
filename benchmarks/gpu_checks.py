"""What to look at first on a GPU: whether a step waits for it, which graph runs, and what precision costs.

    python -m benchmarks.gpu_checks --clips 20

Prints every synchronisation inside one training step, as torch names it; frames per second, eager and compiled, before
and after a smaller batch; clips per second of encoding by precision. Writes results/benchmarks/gpu_checks_<card>.json.
"""

import argparse
import copy
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.machine import write_result
from benchmarks.train_step import FRAMES, Built, OurStep, batch_of, seconds, vit_b16, waiting
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.training.recipe import Recipe

WARM, REPEATS, IN_A_ROW = 5, 3, 10


def fresh(built: Built, device: str) -> PrototypeClassifier:
    """The same weights each time."""
    return PrototypeClassifier(copy.deepcopy(built[0]), built[1]).to(device)


def synchronisations(built: Built, clips: int) -> list[str]:
    """Lines at which the host waits for the GPU in a step in the middle of a training."""
    step, batch = OurStep(fresh(built, "cuda"), Recipe(precision="bf16")), batch_of(clips, built[1].crop_size)
    batch.pin_memory()
    for _ in range(WARM):
        step(batch)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        step(batch)
        torch.cuda.set_sync_debug_mode("default")
    return [f"{Path(w.filename).name}:{w.lineno}" for w in seen if "called a synchronizing" in str(w.message)]


def rate(run: Callable[[], object], count: int, device: str) -> float:
    """How many of `count` things in a run there are per second, the best of a few tries."""
    for _ in range(WARM):
        run()
    return count / min(seconds({"run": run}, REPEATS, waiting(device), IN_A_ROW)["run"])


def training(built: Built, clips: int, device: str, compiled: bool) -> dict[str, float]:
    """Frames per second before and after a smaller batch."""
    step, size = OurStep(fresh(built, device), Recipe(precision="bf16"), compiled), built[1].crop_size
    batch = batch_of(clips, size)
    before = rate(lambda: step(batch), clips * FRAMES, device)
    step(batch_of(clips - max(clips // 5, 1), size))
    return {"frames_per_sec": before, "after_a_smaller_batch": rate(lambda: step(batch), clips * FRAMES, device)}


def encoding(built: Built, clips: int, device: str) -> dict[str, float]:
    """Clips per second of evaluation by precision."""
    model, size = fresh(built, device).eval(), built[1].crop_size
    frames, found = torch.zeros(clips, FRAMES, 3, size, size, dtype=torch.uint8, device=device), {}
    for name, products in (("fp32", "highest"), ("tf32", "high"), ("bf16", "highest")):
        torch.set_float32_matmul_precision(products)
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=name == "bf16"):
            found[name] = rate(lambda: model.encode_video(model.normalise(frames)), clips, device)
    torch.set_float32_matmul_precision("highest")
    return found


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=20, help="of a batch (20, the paper's)")
    clips = parser.parse_args().clips
    if not torch.cuda.is_available():
        print("No CUDA device is here, so there is nothing to check; on a CPU run `python -m benchmarks.train_step`.")
        return 1
    built, card = vit_b16(), re.sub(r"\W+", "_", torch.cuda.get_device_name()).lower()
    result = {"clips": clips, "synchronisations_of_a_step": synchronisations(built, clips)}
    result |= {name: training(built, clips, "cuda", way) for name, way in (("eager", False), ("compiled", True))}
    result |= {"peak_memory_bytes": torch.cuda.max_memory_allocated(), "encoding": encoding(built, 32, "cuda")}
    print(write_result(f"gpu_checks_{card}", result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
