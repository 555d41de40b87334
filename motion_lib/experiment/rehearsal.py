"""A rehearsal: a little of everything that a profile does, on this machine and its data, in at most five minutes.

One line a check: what was looked at, what was found, and a verdict. Where videos or weights are missing, stand-ins of
the real size take their place (`stand_in`), so that start-up, loader, step and evaluation are met before hours depend
on them. It ends with the hours and gigabytes that each notebook will take.
"""

import os
import platform
import resource
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from inspect import unwrap
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch

from motion_lib.config import RunConfig
from motion_lib.data.augmentation import AUGMENTATIONS
from motion_lib.data.batches import TrainingBatch, epoch_order, split_batch, training_batches
from motion_lib.data.catalogue import DATASETS, OFFICIAL
from motion_lib.data.clips import open_clips
from motion_lib.data.datasets import VideoDataset, check_missing, open_dataset
from motion_lib.data.pack import pack
from motion_lib.data.packed import PackedFrames, Packing
from motion_lib.data.preprocessing import Preprocess
from motion_lib.evaluation.features import encode_videos
from motion_lib.experiment import stand_in
from motion_lib.experiment.inputs import authors_csv, cache_space, clips_at_once, missing_inputs, shortages
from motion_lib.methods import METHODS, TABLE_METHODS
from motion_lib.miniature.tiny_clip import TinyClip, build
from motion_lib.models.clip import backbone_file
from motion_lib.models.loading import default_preprocess
from motion_lib.models.prototype import PrototypeClassifier
from motion_lib.models.released import RELEASES
from motion_lib.texts.descriptions import DescriptionSet, read_descriptions
from motion_lib.training import Execution, Recipe, fine_tune
from motion_lib.training.loop import ClassifierWithTexts, accumulate, parameter_groups, single_device

FINE, LOOK, FAILS = "fine", "look", "FAILS"
PART_SEC, MINIATURE_PART_SEC = 10.0, 2.0  # that a timed part may take
_FILES_WANTED = 256  # open at once by a loader with its libraries
_PROBE_PASSES = 40  # of the first target in 06_motion_probes: five methods see up to 60 frames of each video
_LONG_HOURS = 240  # that one notebook may take before it is worth a look
_ON_A_CPU = 2  # clips of a step of the paper's backbone, which would take minutes at its own size


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    what: str
    found: str
    verdict: str = FINE


def rehearse(
    cfg: RunConfig, part_sec: float | None = None, listed: int = stand_in.KINETICS["train"], say: Callable = print
) -> pd.DataFrame:
    """Try everything once, say each line when it is known, and return them all.

    Args:
        part_sec: seconds that each timed part may take; None is 10, in the miniature 2.
        listed: videos of the stand-in for Kinetics.
        say: takes each line.

    Returns:
        Columns Check, Found and Verdict: "fine", "look" (slow or unusual) or "FAILS" (a run would stop).
    """
    done, part_sec = [], part_sec or (PART_SEC if cfg.source in OFFICIAL else MINIATURE_PART_SEC)
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        parts = Rehearsal(cfg, Path(folder), part_sec, listed)
        for part in (
            parts.versions, parts.devices, parts.limits, parts.disk, parts.inputs, parts.start_up, parts.loader,
            parts.step, parts.validation, parts.interruption, parts.costs,
        ):  # fmt: skip
            for check in _tried(part):
                say(f"{check.verdict:>5}  {check.what}: {check.found}")
                done.append((check.what, check.found, check.verdict))
    return pd.DataFrame(done, columns=["Check", "Found", "Verdict"])


def _tried(part: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """A part's lines; what stops it becomes the last of them."""
    try:
        yield from part()
    except (RuntimeError, OSError, ValueError, ImportError) as error:
        yield Check(part.__name__.replace("_", " "), f"{type(error).__name__}: {error}".partition("\n")[0], FAILS)


class Rehearsal:
    """The parts, in the order in which each needs what those before it found out."""

    def __init__(self, cfg: RunConfig, folder: Path, part_sec: float, listed: int):
        self.cfg, self.folder, self.part_sec, self.listed = cfg, folder, part_sec, listed
        self.official = cfg.source in OFFICIAL
        self.source: VideoDataset | None = None  # its training videos, or their stand-in
        self.batch: TrainingBatch | None = None  # one of the loader's
        self.trained_per_sec = self.encoded_per_sec = 0.0  # clips

    @property
    def preprocess(self) -> Preprocess:
        """Of our method with the configured backbone."""
        return self.model.preprocess

    @cached_property
    def model(self) -> PrototypeClassifier:
        """Our method on the configured device; random weights where there are no others."""
        clip_model = stand_in.backbone(self.cfg.backbone, self._weights) if self.official else build(TinyClip()).float()
        preprocess = default_preprocess("motion", clip_model.visual.input_resolution, self.cfg.num_frames)
        return PrototypeClassifier(clip_model, preprocess).to(self.cfg.torch_device)

    @property
    def _weights(self) -> Path:
        return backbone_file(self.cfg.backbone)

    def versions(self) -> Iterator[Check]:
        """What is installed."""
        import torchvision

        cuda = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
        yield Check("Python and torch", f"{platform.python_version()}, torch {torch.__version__} ({cuda})")
        yield Check("torchvision", f"{torchvision.__version__}, imported beside it")

    def devices(self) -> Iterator[Check]:
        """The devices that the configuration asks for."""
        cfg, there = self.cfg, torch.cuda.device_count()
        if cfg.torch_device.type != "cuda":
            verdict = LOOK if self.official else FINE
            yield Check(
                "Device", f"{cfg.torch_device.type}, {os.cpu_count()} cores, {torch.get_num_threads()} threads", verdict
            )
            return
        driver = Path("/proc/driver/nvidia/version")
        version = driver.read_text().split("  ")[1] if driver.is_file() else "driver's version not known"
        card = torch.cuda.get_device_properties(cfg.torch_device)
        verdict = FINE if cfg.devices <= there else FAILS
        yield Check(
            "Devices", f"{cfg.devices} wanted, {there} there: {card.name}, {_gb(card.total_memory)}, {version}", verdict
        )
        for sentence in shortages(cfg):
            yield Check("Training", sentence, LOOK)
        if cfg.precision == "bf16":
            can = torch.cuda.is_bf16_supported(including_emulation=False)
            yield Check(
                "bfloat16", "in hardware" if can else "emulated: slow; use -p precision fp32", FINE if can else LOOK
            )

    def limits(self) -> Iterator[Check]:
        """Open files and the memory through which loader processes hand over their batches."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        few = soft != resource.RLIM_INFINITY and soft < _FILES_WANTED
        yield Check(
            "Open files",
            f"limit {soft}, {_FILES_WANTED} wanted" + (f"; ulimit -n {hard}" if few else ""),
            LOOK if few else FINE,
        )
        if self.cfg.num_workers and (shared := Path("/dev/shm")).is_dir():
            pixels = self.preprocess.short_side**2 * 2 * 3 * self.cfg.num_frames
            wanted = self.cfg.devices * self.cfg.num_workers * 2 * self._piece * pixels  # two batches a worker
            free = shutil.disk_usage(shared).free
            found = f"{_gb(free)} free, up to {_gb(wanted)} wanted by {self.cfg.num_workers} workers a device"
            yield Check("/dev/shm", found, FINE if free > wanted else FAILS)

    @property
    def _piece(self) -> int:
        """Clips that go through the model at once on one device."""
        slow = self.official and self.cfg.torch_device.type == "cpu"
        return min(clips_at_once(self.cfg), _ON_A_CPU if slow else self.cfg.batch_size)

    def disk(self) -> Iterator[Check]:
        """Writable places, their space, and whether their clock is this machine's."""
        for name, place in (("MOTION_DATA", self.cfg.data_root), ("Results", self.cfg.results_dir)):
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=place, prefix=".rehearsal-") as file:
                file.write(b"x")
                file.flush()
                late = os.fstat(file.fileno()).st_mtime - time.time()
            free = shutil.disk_usage(place).free
            wanted = (cache_space(self.cfg) or 0) if self.official and name == "MOTION_DATA" else 0
            found = f"{_gb(free)} free" + (f", about {_gb(wanted)} wanted for frames (estimate)" if wanted else "")
            if abs(late) > 2:
                found += f"; its clock is {late:+.0f} s from this machine's"
            yield Check(name, found, FAILS if wanted > free else LOOK if abs(late) > 2 else FINE)

    def inputs(self) -> Iterator[Check]:
        """Lists, videos, descriptions, checkpoints, weights."""
        cfg = self.cfg
        if not self.official:
            yield Check("Inputs", "rendered and pretrained here: nothing to fetch")
            return
        for line in missing_inputs(cfg):
            yield Check("Input", line, FAILS)
        for name, subset in ((cfg.source, "train"), *((target, cfg.target_subset) for target in cfg.targets)):
            try:
                dataset = open_dataset(name, cfg.data_root, cfg.split, subset)
            except FileNotFoundError:
                continue  # among the inputs that are missing
            check_missing(dataset, cfg.max_missing)
            yield Check(DATASETS[name].label, dataset.describe())
            if (path := authors_csv(cfg, name, "object")).is_file():
                read_descriptions(path).select(dataset.class_names)
                yield Check(
                    f"{DATASETS[name].label}, descriptions", f"one for each of {len(dataset.class_names)} classes"
                )

    def start_up(self) -> Iterator[Check]:
        """Opening the source, real or a stand-in of its size, and its packed frames."""
        root, packing, what = self.cfg.data_root, Packing.of(self.preprocess), DATASETS[self.cfg.source].label
        if not self.official:
            self.source = stand_in.clips(self.folder / "films", 64, 32, (64, 64))
            return
        try:
            open_dataset(self.cfg.source, root, self.cfg.split, "train")
        except FileNotFoundError:
            root, what = self.folder, f"stand-in of {self.listed:,} videos"
            stand_in.kinetics(root, packing, self.listed)
        seconds = []
        for opens in (unwrap(open_dataset), open_dataset):  # without and with what this process keeps
            started = time.perf_counter()
            self.source = opens("kinetics400" if root == self.folder else self.cfg.source, root, 1, "train")
            seconds.append(time.perf_counter() - started)
        yield Check(
            f"Opening {what}", f"{seconds[0]:.1f} s, again {seconds[1]:.1f} s", FINE if seconds[0] < 30 else LOOK
        )
        self.root = root

    def loader(self) -> Iterator[Check]:
        """Clips per second from packed frames, by as many processes as the configuration has."""
        cfg = self.cfg
        source, cache, folder = self.source, cfg.frame_cache, self.folder / "frames"
        if self.official and cache == "packed":
            folder = self.root / "frames"
            try:
                PackedFrames(source, self.preprocess, folder)
            except FileNotFoundError:
                source, folder = stand_in.some(source, 64), self.folder / "frames"
                started = time.perf_counter()
                pack(source, Packing.of(self.preprocess), folder, workers=0)
                rate = len(source) / (time.perf_counter() - started)
                hours = len(self.source) / rate / (os.cpu_count() or 1) / 3600
                yield Check(
                    "Packing", f"{rate:.1f} videos/s and core: {hours:.1f} hours on {os.cpu_count()} cores, once"
                )
        opened = open_clips(source, self.preprocess, folder, cache, cfg.num_workers)
        order = [index for epoch in range(20) for index in epoch_order(len(opened), cfg.seed, epoch)][:100_000]
        pieces, pinned = split_batch(order, 0, 1, self._piece), cfg.torch_device.type == "cuda"
        augmentation, counted, started = AUGMENTATIONS[cfg.augmentation], 0, None
        for batch in training_batches(opened, pieces, cfg.seed, 0, cfg.num_workers, augmentation, pinned):
            self.batch, counted = batch, counted + len(batch) * (started is not None)
            started = started or time.perf_counter()  # starting processes is not counted
            if (taken := time.perf_counter() - started) > self.part_sec:
                break
        self.loaded_per_sec = counted / taken if counted else 0.0
        who = f"{cfg.num_workers} workers" if cfg.num_workers else "the main process"
        yield Check("Loader", f"{self.loaded_per_sec:.0f} clips/s by {who}")

    def step(self) -> Iterator[Check]:
        """Training steps of the configured backbone at the size that one device takes at once."""
        cfg, device = self.cfg, self.cfg.torch_device
        model, batch = self.model.train(), self.batch
        model.recompute = cfg.recompute
        texts = tuple(f"moving in way number {k}." for k in range(len(self.source.class_names)))
        recipe = Recipe(precision=cfg.precision, lr=0.0, batch_size=cfg.batch_size)  # the weights stay as they are
        classifier: torch.nn.Module = ClassifierWithTexts(model, texts)
        fabric = single_device(model, recipe)
        optimizer = torch.optim.AdamW(parameter_groups(model, recipe), lr=0.0)
        classifier, optimizer = fabric.setup(torch.compile(classifier) if cfg.compiled else classifier, optimizer)
        wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
        steps, started = 0, None
        while started is None or time.perf_counter() - started < self.part_sec:
            accumulate(fabric, classifier, [batch], len(batch))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            wait()
            steps += started is not None
            started = started or time.perf_counter()  # the first is not counted: it compiles and allocates
            if steps >= 30:
                break
        per_step = (time.perf_counter() - started) / steps
        self.trained_per_sec = len(batch) / per_step
        memory = f", {_gb(torch.cuda.max_memory_allocated(device))} of memory" if device.type == "cuda" else ""
        rate = self.trained_per_sec * cfg.num_frames
        found = f"{per_step:.2f} s for {len(batch)} clips{memory}: {rate:.3g} frames/s a device"
        yield Check(
            f"Step, {cfg.backbone}",
            found + ("" if self._weights.is_file() or not self.official else " (random weights)"),
        )
        limited = self.loaded_per_sec < self.trained_per_sec
        found = f"the loader gives {self.loaded_per_sec:.3g} clips/s, the step takes {self.trained_per_sec:.3g}"
        yield Check("Loader and step", found + ("; more num_workers" if limited else ""), LOOK if limited else FINE)

    def validation(self, wanted: int = 200) -> Iterator[Check]:
        """Decoding and encoding some videos of the first target."""
        cfg = self.cfg
        try:
            dataset = open_dataset(cfg.targets[0], cfg.data_root, cfg.split, cfg.target_subset)
        except (FileNotFoundError, ValueError):
            dataset = self.source if not self.official else stand_in.clips(self.folder / "films", wanted)
        model, few = self.model.eval(), stand_in.some(dataset, 2)
        started = time.perf_counter()
        encode_videos(model, few)
        each = (time.perf_counter() - started) / len(few)
        part = stand_in.some(dataset, max(2, min(wanted, int(self.part_sec / each))))
        encoded = encode_videos(model, part, num_workers=cfg.num_workers)
        self.encoded_per_sec = len(part) / encoded.wall_time_sec
        found = f"{len(part)} videos of {dataset.name} in {encoded.wall_time_sec:.1f} s, {self.encoded_per_sec:.3g}/s"
        yield Check("Validation", f"{found}; {len(encoded.failed)} unreadable", LOOK if encoded.failed else FINE)

    def interruption(self) -> Iterator[Check]:
        """A tiny training is killed where runs are kept, goes on, and ends as one that was left alone."""
        films = stand_in.clips(self.folder / "small", 8, 16, (64, 64))
        place = self.cfg.results_dir / "runs" / f".rehearsal-{os.getpid()}"
        try:
            process = get_context("spawn").Process(target=_train_tiny, args=(films, place / "killed", True))
            process.start()
            while process.is_alive() and not (place / "killed" / _WAITS).exists():
                time.sleep(0.1)
            process.kill()
            process.join()
            killed = process.exitcode == -signal.SIGKILL
            ends = [_train_tiny(films, place / name) for name in ("killed", "alone")]
        finally:
            shutil.rmtree(place, ignore_errors=True)
        same = all(torch.equal(ends[0][name], tensor) for name, tensor in ends[1].items())
        found = f"{'goes on after kill -9' if killed else 'ended before it was killed'}, "
        found += f"{'the same' if same else 'OTHER'} weights as without"
        yield Check("Interruption", found, FINE if killed and same else FAILS)

    def costs(self) -> Iterator[Check]:
        """Hours and gigabytes of each notebook, from what was measured here; an estimate."""
        cfg = self.cfg
        if not (self.official and self.trained_per_sec and self.encoded_per_sec):
            return
        videos = [DATASETS[target].sizes[1] for target in cfg.targets]
        clips = stand_in.KINETICS["train"] if cfg.source == "kinetics400" else len(self.source)
        training = cfg.epochs * clips / min(self.trained_per_sec, self.loaded_per_sec) / cfg.devices / 3600
        test, first = (count / self.encoded_per_sec / 3600 for count in (sum(videos), videos[0]))
        epoch = test + stand_in.KINETICS["val"] / self.encoded_per_sec / 3600
        space = (cfg.epochs + 3) * 4 * sum(p.numel() for p in self.model.parameters())  # and a state's moments
        official = RELEASES if cfg.baselines == "official" else ()
        others = [key for key in TABLE_METHODS if METHODS[key].trained and key != "motion" and key not in official]
        for name, trainings, hours in (
            ("02_fine_tuning", 1, test + len(cfg.validate) * cfg.epochs * epoch),
            ("03_baselines", len(others), len(TABLE_METHODS) * test),
            ("04_temporal_transformer", 1, test),
            ("05_overfitting", 0, epoch),
            ("06_motion_probes", 0, _PROBE_PASSES * first),
        ):
            hours += trainings * training
            said = f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"
            found = f"about {said} hours, {_gb(trainings * space)} on disk (estimate); trainings: {trainings}"
            yield Check(name, found, FINE if hours < _LONG_HOURS else LOOK)


_WAITS = "waits"


def _train_tiny(films: VideoDataset, run_dir: Path, wait: bool = False) -> dict[str, torch.Tensor]:
    """Weights after a training of three epochs; with `wait` it stops for ever after the first, to be killed."""

    def after_epoch(epoch: int) -> None:
        (run_dir / _WAITS).touch()
        time.sleep(600)

    torch.manual_seed(0)
    model = PrototypeClassifier(build(TinyClip()).float(), default_preprocess("motion", TinyClip().resolution, 2))
    texts = DescriptionSet("rehearsal", films.class_names, tuple(f"a texture, {name}." for name in films.class_names))
    recipe = Recipe(epochs=3, batch_size=4, warmup_epochs=0, augmentation="flip")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # in every process: sums of several threads may be rounded otherwise
    try:
        fine_tune(model, films, texts, recipe, run_dir, Execution(), after_epoch if wait else None)
    finally:
        torch.set_num_threads(threads)
    return model.state_dict()


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
