"""Clips of the miniature that differ in one thing alone, so that what a model uses can be read off.

Minimal pairs: two clips with the same place, person, camera, tempo and noise that differ in what the arms do, in
what the body does, or in the object alone, each with a sentence that differs in the same thing. All motions are
(arm, body) pairs that no source class has. Actions: half a cycle of a motion, such as raising both arms; the same
frames played backwards are another action, lowering them, which only their order tells apart.

Rendered by what renders the world, beside it and named by a hash of its own, so that neither changes the other.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from motion_lib.data import video
from motion_lib.data.datasets import VideoDataset, VideoItem
from motion_lib.miniature import drawing, motions, sentences, world
from motion_lib.miniature.parallel import parallel_map
from motion_lib.miniature.world import FRAME_RATE, ClipSpec, World
from motion_lib.storage import built_once, content_hash
from motion_lib.texts.descriptions import DescriptionSet

_FIELD = {"arms": "arm", "body": "body", "object": "item"}  # of a clip, for each kind
KINDS = tuple(_FIELD)  # what the two clips of a pair differ in
PAIRS_PER_KIND = 96
ACTION_CLIPS = 30  # of each action, played in one direction
TRAINING_CLIPS = 20  # of these; the others test
NAME = "miniature-pairs"


@dataclass(frozen=True)
class MinimalPair:
    """Two clips that differ in `kind` alone, and a sentence for each."""

    kind: str
    number: int
    clips: tuple[ClipSpec, ClipSpec]
    texts: tuple[str, str]

    @property
    def contrast(self) -> str:
        """What the two clips differ in, as "arms: clap or row", whichever of them comes first."""
        field = _FIELD[self.kind]
        return f"{self.kind}: {' or '.join(sorted(getattr(clip, field) for clip in self.clips))}"

    def name(self, side: int) -> str:
        """Name of a clip's file and of its sentence."""
        return f"{self.kind}{self.number:03d}{'ab'[side]}"


@dataclass(frozen=True)
class Action:
    """Half a cycle of one motion while the rest of the figure keeps still, as played and played backwards."""

    name: str
    arm: str
    body: str
    moves: str  # "arm" or "body"
    turns: float  # of a cycle, from its start
    texts: tuple[str, str]  # as played, backwards


# The still part of the figure is shown at the start of its motion: arms hanging, legs standing.
ACTIONS: tuple[Action, ...] = (
    Action(
        "raise", "raise", "stand", "arm", 0.5,
        ("raising both straight arms up from the sides", "lowering both straight arms down to the sides"),
    ),
    Action(
        "hammer", "hammer", "stand", "arm", 0.5,
        ("striking down with one arm from overhead", "lifting one arm from the hip up overhead"),
    ),
    Action(
        "row", "row", "stand", "arm", 0.5,
        ("pulling both hands back to the ribs", "pushing both hands away from the ribs"),
    ),
    Action(
        "clap", "clap", "stand", "arm", 0.5,
        ("opening the arms wide before the chest", "closing the arms until the hands meet"),
    ),
    Action(
        "windmill", "windmill", "stand", "arm", 1.0,
        ("circling the straight arms forward", "circling the straight arms backward"),
    ),
    Action("squat", "raise", "squat", "body", 0.5, ("sinking down into a squat", "standing up out of a squat")),
    Action("bow", "raise", "bow", "body", 0.5, ("bowing down from the hips", "straightening up from a bow")),
    Action(
        "kick", "raise", "kick", "body", 0.5,
        ("kicking one straight leg up", "letting one raised leg sink to the ground"),
    ),
)  # fmt: skip


def make_pairs(built: World, seed: int, per_kind: int = PAIRS_PER_KIND) -> list[MinimalPair]:
    """Draw the pairs of every kind; the same arguments give the same pairs."""
    held_out = sorted({(c.arm, c.body) for c in built.ucf.classes + built.hmdb.classes})
    rng = np.random.default_rng([seed, 5])
    return [_pair(kind, number, held_out, rng) for kind in KINDS for number in range(per_kind)]


def _pair(kind: str, number: int, held_out: list[tuple[str, str]], rng: np.random.Generator) -> MinimalPair:
    first = second = None
    while second is None:  # some motions have no partner among the held-out pairs
        first = _random_clip(*held_out[rng.integers(len(held_out))], rng)
        second = _changed(kind, first, held_out, rng)
    phrases = rng.integers(3, size=2)
    return MinimalPair(kind, number, (first, second), (_sentence(first, phrases), _sentence(second, phrases)))


def _changed(kind: str, clip: ClipSpec, held_out: list[tuple[str, str]], rng: np.random.Generator) -> ClipSpec | None:
    """The same clip with another arm motion, body motion or object; None if the held-out pairs have no other."""
    choices = {
        "arms": [arm for arm, body in held_out if body == clip.body and arm != clip.arm],
        "body": [body for arm, body in held_out if arm == clip.arm and body != clip.body],
        "object": [item for item in drawing.OBJECTS if item != clip.item],
    }[kind]
    return replace(clip, **{_FIELD[kind]: str(rng.choice(choices))}) if choices else None


def _random_clip(arm: str, body: str, rng: np.random.Generator) -> ClipSpec:
    return ClipSpec(
        arm,
        body,
        str(rng.choice(list(drawing.OBJECTS))),
        str(rng.choice(list(drawing.SCENES))),
        cycles=float(rng.uniform(0.9, 2.8)),
        body_ratio=float(rng.choice([0.5, 1.0])),
        phases=(float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 2 * np.pi))),
        num_frames=int(rng.integers(20, 29)),
        look=drawing.random_look(rng),
        noise_seed=int(rng.integers(2**31)),
    )


def _sentence(clip: ClipSpec, phrases: np.ndarray) -> str:
    arm = sentences.ARM_PHRASES[clip.arm][phrases[0]].format(item=clip.item)
    return f"{arm} while {sentences.BODY_PHRASES[clip.body][phrases[1]]}."


def _action_figure(action: Action, clip: ClipSpec) -> motions.Skeleton:
    """The action as played, once; it starts and ends a little inside its half cycle."""
    start, end = clip.phases[0] * 0.1 / np.pi, 2 * np.pi * action.turns - clip.phases[1] * 0.1 / np.pi
    moving, still = np.linspace(start, end, clip.num_frames), np.zeros(clip.num_frames)
    arm_phase, body_phase = (moving, still) if action.moves == "arm" else (still, moving)
    return motions.skeleton(action.arm, action.body, arm_phase, body_phase)


def _write_action(path: str, number: int, take: int, seed: int) -> None:
    action = ACTIONS[number]
    clip = _random_clip(action.arm, action.body, np.random.default_rng([seed, 6, number, take]))
    frames = drawing.render(_action_figure(action, clip), clip.item, clip.scene, clip.look, 64, 96, clip.noise_seed)
    video.write_video(path, frames, FRAME_RATE)


def _write_pair_clip(path: str, clip: ClipSpec) -> None:
    video.write_video(path, world.render_clip(clip), FRAME_RATE)


@dataclass(frozen=True)
class PairPaths:
    """Where the rendered clips are: `root/pairs/<name>.mp4` and `root/actions/<action>_<clip>.mp4`."""

    root: Path
    pairs: tuple[MinimalPair, ...]
    action_clips: int

    def pair_clips(self) -> tuple[VideoDataset, DescriptionSet]:
        """All clips of the pairs and their sentences; clip n's own sentence is sentence n, its partner's n ^ 1."""
        sides = [(pair, side) for pair in self.pairs for side in (0, 1)]
        names = tuple(pair.name(side) for pair, side in sides)
        items = tuple(
            VideoItem(name, self.root / "pairs" / f"{name}.mp4", i, name[:-1]) for i, name in enumerate(names)
        )
        texts = tuple(pair.texts[side] for pair, side in sides)
        return VideoDataset(NAME, names, items, None, "pairs"), DescriptionSet("minimal pairs", names, texts)

    def actions(self, subset: str) -> tuple[VideoDataset, DescriptionSet]:
        """Clips of the actions, "train" or "test", each as it was filmed; the sentences are of both directions.

        The label of a clip is that of the action as played, 2k; played backwards it is 2k + 1.
        """
        training = _training_clips(self.action_clips)
        kept = range(training) if subset == "train" else range(training, self.action_clips)
        names = tuple(f"{a.name} {way}" for a in ACTIONS for way in ("as played", "backwards"))
        items = tuple(
            VideoItem(f"{a.name}_{clip:02d}", self._action_path(a, clip), 2 * k, f"{a.name}_{clip:02d}")
            for k, a in enumerate(ACTIONS)
            for clip in kept
        )
        texts = tuple(f"{text}." for a in ACTIONS for text in a.texts)
        return VideoDataset("miniature-actions", names, items, None, subset), DescriptionSet("actions", names, texts)

    def _action_path(self, action: Action, clip: int) -> Path:
        return self.root / "actions" / f"{action.name}_{clip:02d}.mp4"


def _training_clips(clips: int) -> int:
    return max(1, round(clips * TRAINING_CLIPS / ACTION_CLIPS))


def build_pairs(
    cache_dir: Path, built: World, seed: int, per_kind: int = PAIRS_PER_KIND, action_clips: int = ACTION_CLIPS
) -> PairPaths:
    """Render what is not there yet below `cache_dir` and return where everything is.

    Args:
        built: whose target motions the pairs are of.
        seed: of the drawing.
        per_kind: pairs of each kind.
        action_clips: of each action, two at least.
    """
    drawn_by = (motions, drawing, sentences, world, sys.modules[__name__], video.write_video)
    pairs = tuple(make_pairs(built, seed, per_kind))
    identity = content_hash(seed, per_kind, action_clips, [pair.texts for pair in pairs], *drawn_by)
    paths = PairPaths(cache_dir / f"pairs-{identity}", pairs, action_clips)
    built_once(paths.root / "complete.json", lambda done: _render(paths, seed, done))
    return paths


def _render(paths: PairPaths, seed: int, done: Path) -> None:
    jobs = [
        (str(paths.root / "pairs" / f"{pair.name(side)}.mp4"), pair.clips[side])
        for pair in paths.pairs
        for side in (0, 1)
    ]
    parallel_map(_write_pair_clip, jobs, "rendering minimal pairs")
    played = [
        (str(paths._action_path(action, clip)), number, clip, seed)
        for number, action in enumerate(ACTIONS)
        for clip in range(paths.action_clips)
    ]
    parallel_map(_write_action, played, "rendering actions")
    done.write_text("{}")
