"""Makes the tiny CLIP that ships with the package, and measures what it knows.

    python -m benchmarks.backbone

Pretrains (about an hour on two cores, interrupted at will), then names what clips of a development world show, whose
classes and clips are not those of the reported world. Writes the weights and, beside them, a JSON file with recipe,
log and knowledge. `--out FILE` writes them elsewhere, for `-p backbone`; `--transformer` trains the second tiny CLIP,
with a vision transformer instead of the ResNet; `--measure` only measures.
"""

import argparse
import json
from dataclasses import asdict, fields
from pathlib import Path

import torch

from benchmarks.recipe_search import DEVELOPMENT_WORLD
from motion_lib.config import RunConfig
from motion_lib.experiment.experiment import Experiment
from motion_lib.experiment.records import processor
from motion_lib.miniature import tiny_clip
from motion_lib.miniature.pretrain import Pretraining, pretrain
from motion_lib.storage import file_sha256, write_json

VISION_TRANSFORMER = tiny_clip.TinyClip(vision_width=128, vision_layers=4, vision_patch=8)
LOGGED = 10  # rows of the training's log that make one of the file's


def knowledge(weights: Path, world_seed: int = DEVELOPMENT_WORLD) -> dict[str, dict[str, float]]:
    """What a tiny CLIP knows without fine-tuning: aspects of clips by prompts, and the targets' classes.

    Returns:
        `aspects` {aspect: top-1 percent} on the HMDB-like target and `vanilla` {target and kind: top-1 percent}.
    """
    experiment = Experiment(RunConfig.load("miniature", world_seed=world_seed, backbone=str(weights.resolve())))
    aspects = experiment.backbone_knowledge().set_index("Aspect")["Zero-shot top-1, %"].to_dict()
    answers = experiment.measure("clip")
    vanilla = {f"{target} {kind}": round(100 * found.accuracy(), 1) for (target, kind), found in answers.items()}
    return {"world_seed": world_seed, "aspects": aspects, "vanilla": vanilla}


def thinned(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """Every tenth row of a log, and the last."""
    return [{name: round(value, 3) for name, value in row.items()} for row in (*log[:-1:LOGGED], log[-1])]


def main(arguments: list[str] | None = None) -> Path:
    """Make and measure a backbone; returns the path of its JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backbone", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="weights, by default the shipped file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--transformer", action="store_true", help="patches of 8 pixels, width 128, 4 layers")
    parser.add_argument("--measure", action="store_true", help="only measure what is there")
    for field in fields(Pretraining):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    args = parser.parse_args(arguments)
    shipped, tiny = tiny_clip.SHIPPED, tiny_clip.TinyClip()
    if args.transformer:
        shipped, tiny = tiny_clip.TRANSFORMER, VISION_TRANSFORMER
    weights = args.out or shipped
    path = weights.with_suffix(".json")
    if args.measure:
        about = json.loads(path.read_text(encoding="utf-8"))
    else:
        recipe = Pretraining(**{field.name: getattr(args, field.name) for field in fields(Pretraining)})
        log = pretrain(weights, recipe, args.seed, tiny)
        parts = {"towers": [r for r in log if "long" not in r], "text": [r for r in log if "long" in r]}
        logs = {name: thinned(rows) for name, rows in parts.items()}
        about = {"sha256": file_sha256(weights), "seed": args.seed, "recipe": asdict(recipe)}
        about["architecture"] = asdict(tiny)
        about |= {"processor": processor(), "threads": torch.get_num_threads(), "log": logs}
    return write_json(path, about | {"knowledge": knowledge(weights)})


if __name__ == "__main__":
    print(main())
