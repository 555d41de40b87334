"""One training step of ours against a plain one, on the same weights and clips, in one run.

    python -m benchmarks.train_step                    # two CPU cores: ViT-B/16 and the miniature's tower
    python -m benchmarks.train_step --device cuda      # ViT-B/16, bf16, also compiled; then fed by loaders

The plain step is written as the paper's code base writes it: workers crop, resize and normalise, so that float32
pictures arrive in pinned memory; CLIP's image tower runs as shipped (`nn.MultiheadAttention`), mixed precision with a
gradient scaler or float32, loss and accuracy are read from the device at the end of every step. Losses of both are
compared step by step. Fed, both read the same packed frames with as many workers; the clock starts when the first of
what the loader keeps ready have been trained on. Prints the result and writes
results/benchmarks/train_step_<device>.json.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.frame_cache import copies, textures
from benchmarks.machine import write_result
from motion_lib.data.augmentation import AUGMENTATIONS, View, make_views
from motion_lib.data.batches import TrainingBatch, epoch_order, split_batch, training_batches
from motion_lib.data.clips import Clips, open_clips
from motion_lib.data.pack import pack
from motion_lib.data.packed import VIDEOS_PER_SHARD, Packing
from motion_lib.data.preprocessing import Normalise, Preprocess
from motion_lib.experiment.largest import dry_run, largest_at_once
from motion_lib.miniature import tiny_clip
from motion_lib.models.clip import CLIP
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.training.loop import ClassifierWithTexts, accumulate, parameter_groups, single_device
from motion_lib.training.recipe import Recipe
from motion_lib.training.state import Step

FRAMES, CLASSES, KINETICS_TRAIN = 8, 400, 240_436
VIEWS = AUGMENTATIONS["text4vis"]
Built = tuple[CLIP, Preprocess]
TEXTS = tuple(f"moving in way number {number}." for number in range(CLASSES))
COMPARED = 3  # steps whose losses are compared, before those that are timed


def vit_b16() -> Built:
    """CLIP ViT-B/16 with random weights: time does not depend on what they are."""
    torch.manual_seed(0)
    model = CLIP(512, 224, 12, 768, 16, 77, 49408, 512, 8, 12).float().eval()
    return model, Preprocess(FRAMES, short_side=224, crop_size=224)


def miniature() -> Built:
    """The miniature's tiny CLIP, random weights."""
    torch.manual_seed(0)
    model = tiny_clip.build(tiny_clip.TinyClip()).float().eval()
    return model, Preprocess(FRAMES, short_side=64, crop_size=64)


def batch_of(clips: int, size: int) -> TrainingBatch:
    """Random pictures; the whole frame is the view, as after a crop on the host."""
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, clips * FRAMES * size * size * 3, dtype=np.uint8))
    view = View(0, 0, size, size, flip=False, grayscale=False)
    labels = rng.integers(0, CLASSES, clips).tolist()
    return TrainingBatch(pixels, [view] * clips, FRAMES, size, labels, list(range(clips)), {})


class PlainStep:
    """The step as the paper's code base has it."""

    def __init__(self, model: PrototypeClassifier, recipe: Recipe):
        self.model, self.mixed = model.train(), recipe.precision == "bf16"
        self.prototypes = model.encode_text(TEXTS)
        self.optimizer = torch.optim.AdamW(parameter_groups(model, recipe), lr=recipe.lr, weight_decay=0.2)
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=self.mixed)
        # As the code base: half precision on a GPU. A CPU has no fast half precision.
        self.dtype = torch.float16 if model.device.type == "cuda" else torch.bfloat16

    def __call__(self, images: Tensor, labels: Tensor) -> float:
        """One step on (B, T, 3, S, S) normalised pictures; returns its loss."""
        device = self.model.device
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with torch.autocast(device.type, self.dtype, enabled=self.mixed):
            video = self.model.clip.visual(images.flatten(0, 1)).unflatten(0, (-1, FRAMES)).mean(dim=1)
        logits = self.model.similarity(video.float(), self.prototypes)
        loss = F.cross_entropy(logits, labels)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        (logits.argmax(1) == labels).float().mean().item()
        return loss.item()


class PlainClips(Dataset):
    """Clips as the code base's workers hand them over: a random view, normalised, in float32."""

    def __init__(self, clips: Clips):
        self.clips, self.normalise = clips, Normalise(clips.preprocess)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        rng, size = np.random.default_rng(index), self.clips.preprocess.crop_size
        frames = self.clips.sample(index, rng, lambda height, width: (0, 0, height, width))
        view = VIEWS.draw(rng, *frames.shape[2:], size)
        (cut,) = make_views([torch.from_numpy(np.ascontiguousarray(frames))], [view], size)
        return self.normalise(cut), self.clips.dataset.items[index].label


class OurStep:
    """The loop's own step."""

    def __init__(self, model: PrototypeClassifier, recipe: Recipe, compiled: bool = False):
        self.fabric, self.recipe, self._before = single_device(model, recipe), recipe, None
        fused = True if model.device.type == "cuda" else None
        optimizer = torch.optim.AdamW(
            parameter_groups(model.train(), recipe), lr=recipe.lr, weight_decay=0.2, fused=fused
        )
        classifier: nn.Module = ClassifierWithTexts(model, TEXTS)
        self.classifier, self.optimizer = self.fabric.setup(
            torch.compile(classifier) if compiled else classifier, optimizer
        )

    def __call__(self, batch: TrainingBatch) -> Tensor:
        """One step, which reads the numbers of the step before; returns the sum of its losses, and clips right."""
        sums = accumulate(self.fabric, self.classifier, [batch], len(batch))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        before, self._before = self._before, Step(0, 0, self.recipe.lr, len(batch), 0.0, [], sums)
        if before is not None:
            before.read()
        return sums


def seconds(
    steps: dict[str, Callable[[], object]], repeats: int, wait: Callable[[], None], in_a_row: int = 1
) -> dict[str, list[float]]:
    """Seconds of each step, a few `in_a_row`, the steps in turn, so that all meet the machine's moods."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            wait()
            start = time.perf_counter()
            for _ in range(in_a_row):
                step()
            wait()
            found[name].append((time.perf_counter() - start) / in_a_row)
    return found


def waiting(device: str) -> Callable[[], None]:
    """What waits until a device has done all that it was given."""
    return torch.cuda.synchronize if device == "cuda" else lambda: None


def compare(built: Built, clips: int, precision: str, device: str, repeats: int, compiled: bool = False) -> dict:
    """One row: losses of both steps, seconds of both, their ratio."""
    recipe, (clip_model, preprocess) = Recipe(precision=precision, lr=1e-5), built
    models = [PrototypeClassifier(copy.deepcopy(clip_model), preprocess).to(device) for _ in range(2)]
    plain, ours = PlainStep(models[0], recipe), OurStep(models[1], recipe, compiled)
    batch = batch_of(clips, preprocess.crop_size)
    views, labels = batch.on(torch.device("cpu"))
    prepared = Normalise(preprocess)(views), labels  # by the workers
    if device == "cuda":
        batch, prepared = batch.pin_memory(), tuple(tensor.pin_memory() for tensor in prepared)
    losses = {"plain": [], "ours": []}
    for _ in range(COMPARED):
        losses["plain"].append(plain(*prepared))
        losses["ours"].append(float(ours(batch)[0]) / clips)
    both = {"plain": lambda: plain(*prepared), "ours": lambda: ours(batch)}
    taken = seconds(both, repeats, waiting(device), in_a_row=10 if device == "cuda" else 1)
    median = {name: statistics.median(times) for name, times in taken.items()}
    frames_per_sec = clips * FRAMES / median["ours"]
    row = {
        "precision": precision,
        "compiled": compiled,
        "clips": clips,
        "frames": FRAMES,
        "losses": losses,
        "largest_relative_difference_of_losses": max(abs(a / b - 1) for a, b in zip(*losses.values(), strict=True)),
        "seconds": {name: [round(t, 4) for t in times] for name, times in taken.items()},
        "ratio": median["plain"] / median["ours"],
        "frames_per_sec": frames_per_sec,
    }
    if preprocess.crop_size == 224:  # the paper's model
        row["hours_of_the_papers_recipe"] = KINETICS_TRAIN * Recipe().epochs * FRAMES / frames_per_sec / 3600
    return row


def matmul_ceiling(size: int = 8192, repeats: int = 20) -> float:
    """Floating point operations per second of a large bf16 product on the GPU."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = seconds({"product": lambda: a @ b}, repeats, torch.cuda.synchronize)["product"]
    return 2 * size**3 / min(times)


def vit_b16_flops() -> float:
    """Operations of one frame, forward and backward, of ViT-B/16 as shipped: what a step has to earn."""
    tokens, width, layers = 197, 768, 12
    layer = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    return 3 * (layers * layer + 2 * 196 * width * 3 * 16**2)


def fed(step: Callable, loader: DataLoader, wait: Callable[[], None]) -> dict:
    """Frames that a step trains on per second, fed by a loader, and the share of the time that it waited for them; a
    GPU still has the step before to compute meanwhile."""
    batches, waited = iter(loader), 0.0
    ready = max((loader.prefetch_factor or 1) * loader.num_workers, 1)
    if len(loader) < 2 * ready:
        raise SystemExit(f"{len(loader)} batches: expected {2 * ready} or more. Raise --videos or lower --workers.")
    for _ in range(ready):
        step(next(batches))
    wait()
    start, trained = time.perf_counter(), len(loader) - ready
    for _ in range(trained):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        step(batch)
    wait()
    total = time.perf_counter() - start
    clips = len(loader.batch_sampler[0])
    return {"frames_per_sec": trained * clips * FRAMES / total, "waiting_for_data": waited / total, "batches": trained}


def compare_fed(built: Built, args: argparse.Namespace, precision: str, device: str, compiled: bool = False) -> dict:
    """Both steps from the files on: packed frames, the paper's views, as many workers."""
    recipe, (clip_model, small), gpu = Recipe(precision=precision, lr=1e-5), built, device == "cuda"
    preprocess = Preprocess(FRAMES, short_side=small.crop_size * 256 // 224, crop_size=small.crop_size)
    models = [PrototypeClassifier(copy.deepcopy(clip_model), preprocess).to(device) for _ in range(2)]
    plain, ours = PlainStep(models[0], recipe), OurStep(models[1], recipe, compiled)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "clips").mkdir()
        dataset = copies(textures(folder), folder / "clips", args.videos)
        pack(dataset, Packing.of(preprocess), folder, workers=max(args.workers, 1))
        opened = open_clips(dataset, preprocess, folder, "packed")
        pieces = split_batch(epoch_order(len(opened), 0, 0), 0, 1, args.clips)
        pieces = [piece for piece in pieces if len(piece) == args.clips]
        plainly = DataLoader(PlainClips(opened), batch_sampler=pieces, num_workers=args.workers, pin_memory=gpu)
        loader = training_batches(opened, pieces, 0, 0, args.workers, VIEWS, gpu)
        found = {
            "plain": fed(lambda batch: plain(*batch), plainly, waiting(device)),
            "ours": fed(ours, loader, waiting(device)),
        }
    ratio = found["ours"]["frames_per_sec"] / found["plain"]["frames_per_sec"]
    return {"workers": args.workers, "shards": -(-args.videos // VIDEOS_PER_SHARD), **found, "ratio": ratio}


def in_full(built: Built, args: argparse.Namespace, device: str) -> dict:
    """Steps in bf16, as they are and by torch.compile, alone and fed; on a GPU also what its memory holds."""
    ways = {"eager": False, "compiled": True}
    rows = {name: compare(built, args.clips, "bf16", device, args.repeats, way) for name, way in ways.items()}
    result = {"rows": rows, "fed": compare_fed(built, args, "bf16", device, compiled=True)}
    if device == "cuda":
        model = PrototypeClassifier(copy.deepcopy(built[0]), built[1]).to(device)
        torch.cuda.reset_peak_memory_stats()
        OurStep(model, Recipe(precision="bf16"), compiled=True)(batch_of(args.clips, built[1].crop_size))
        result["peak_memory_bytes"], classifier = torch.cuda.max_memory_allocated(), ClassifierWithTexts(model, TEXTS)
        result["largest_at_once"] = largest_at_once(lambda n: dry_run(classifier, n, torch.bfloat16), limit=512)
        result["matmul_flops"] = matmul_ceiling()
        earned = rows["compiled"]["frames_per_sec"] * vit_b16_flops()
        result["share_of_matmul_ceiling"] = earned / result["matmul_flops"]
    return result


def on_cpu(args: argparse.Namespace) -> dict:
    """ViT-B/16 on few clips, and the miniature's own step."""
    vit, tiny = vit_b16(), miniature()
    small = compare(tiny, 20, "fp32", "cpu", 10 * args.repeats)
    full, half = (compare(vit, args.clips, precision, "cpu", args.repeats) for precision in ("fp32", "bf16"))
    # Without a GPU the code base trains in float32: its mixed precision is CUDA's.
    plain, ours = statistics.median(full["seconds"]["plain"]), statistics.median(half["seconds"]["ours"])
    return {
        "threads": torch.get_num_threads(),
        "rows": {"miniature, fp32": small, "ViT-B/16, fp32": full, "ViT-B/16, bf16 (plain: autocast)": half},
        "ViT-B/16: ours in bf16 against the plain step in fp32": plain / ours,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--clips", type=int, help="of a ViT-B/16 step; 2 on a CPU, 64 on a GPU")
    parser.add_argument("--repeats", type=int, help="timed steps of each; 3 on a CPU, 20 on a GPU")
    parser.add_argument("--workers", type=int, default=16, help="loader processes (GPU)")
    parser.add_argument(
        "--videos", type=int, default=8192, help=f"packed for the loaders, {VIDEOS_PER_SHARD} a shard (GPU)"
    )
    args = parser.parse_args()
    on_a_gpu = args.device == "cuda"
    if on_a_gpu and not torch.cuda.is_available():
        raise SystemExit("--device cuda: no CUDA device is here.")
    args.clips, args.repeats = args.clips or (64 if on_a_gpu else 2), args.repeats or (20 if on_a_gpu else 3)
    print(write_result(f"train_step_{args.device}", in_full(vit_b16(), args, "cuda") if on_a_gpu else on_cpu(args)))


if __name__ == "__main__":
    main()
