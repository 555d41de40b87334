"""What happens in the miniature: its classes, and one concrete clip of a class.

A class is an arm motion, a body motion, a tempo, a typical object and a typical scene. A clip
draws its object and scene from what is typical with the reliability of its data set, and
everything else (viewpoint, size, colours, speed, phase, noise) at random.

The rules that make the world a zero-shot world, asserted in `make_world`:
source and target (arm, body) pairs are disjoint, class names are disjoint, and every single
arm motion, body motion, object and scene occurs in the source.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from motion_lib.data import video
from motion_lib.miniature import drawing, motions, sentences
from motion_lib.miniature.sentences import ARM_PHRASES, BODY_PHRASES, SCENE_WORDS, TEMPO_WORDS, with_article
from motion_lib.texts.descriptions import DescriptionSet

FRAME_RATE = 12
SOURCE_PAIRS = 120
TEMPO_CYCLES = {"slow": (0.9, 1.3), "quick": (2.0, 2.8)}  # motion cycles in one clip


@dataclass(frozen=True)
class MotionClass:
    """One class with its texts; `index` is its place in the data set's class list."""

    index: int
    arm: str
    body: str
    item: str
    scene: str
    tempo: str
    name: str
    description: str
    masked: str


@dataclass(frozen=True)
class DatasetSpec:
    """One data set of the world.

    `item_reliability` and `scene_reliability` are the shares of clips that show the class's own
    object and scene; the others show a random one.
    """

    key: str
    classes: tuple[MotionClass, ...]
    clips_per_class: int
    item_reliability: float
    scene_reliability: float


@dataclass(frozen=True)
class World:
    """The three data sets, in the roles of Kinetics-400, UCF-101 and HMDB-51."""

    source: DatasetSpec
    ucf: DatasetSpec
    hmdb: DatasetSpec


@dataclass(frozen=True)
class ClipSpec:
    """One clip to be rendered: class content after the draw of object and scene, and its jitter."""

    arm: str
    body: str
    item: str
    scene: str
    cycles: float
    body_ratio: float  # body cycles per arm cycle
    phases: tuple[float, float]
    num_frames: int
    look: drawing.Look
    noise_seed: int


def _class_list(pairs: Sequence[tuple[str, str]], rng: np.random.Generator, taken: set[str]) -> tuple[MotionClass, ...]:
    """Give each (arm, body) pair an object, a scene, a tempo and its texts; names are never reused."""
    items, scenes = list(drawing.OBJECTS), list(drawing.SCENES)
    offset, places = rng.permutation(len(items)), rng.permutation(scenes).tolist()  # every one occurs ...
    classes, texts = [], set()
    for index, (arm, body) in enumerate(pairs):
        item = items[offset[index % len(items)]]
        scene = places.pop() if places else str(rng.choice(scenes))  # ... after which scenes are free
        tempo = str(rng.choice(list(TEMPO_CYCLES)))
        name = sentences.class_name(arm, body, item, scene, rng, taken)
        taken.add(name)
        named, masked = _new_description(arm, body, item, tempo, rng, texts)
        classes.append(MotionClass(index, arm, body, item, scene, tempo, name, named, masked))
    return tuple(classes)


def _new_description(
    arm: str, body: str, item: str, tempo: str, rng: np.random.Generator, taken: set[str]
) -> tuple[str, str]:
    """A description and its masked version, which no other class of the data set shares."""
    for _ in range(1_000):
        named, masked = sentences.description(arm, body, item, tempo, rng)
        if masked not in taken:
            taken.add(masked)
            return named, masked
    raise ValueError(f"no new description is left for {arm} and {body}; the world has too many classes.")


def _covering_split(num_source_pairs: int, rng: np.random.Generator) -> tuple[list, list]:
    """Split all (arm, body) pairs into source and target so that the source holds every single motion."""
    arms, bodies = (rng.permutation(list(kinds)).tolist() for kinds in (motions.ARM_MOTIONS, motions.BODY_MOTIONS))
    covering = [(arm, bodies[i % len(bodies)]) for i, arm in enumerate(arms)]  # there are more arm motions
    if num_source_pairs < len(covering):
        raise ValueError(f"source_classes: expected {len(covering)} or more, to hold every motion.")
    rest = [pair for pair in product(arms, bodies) if pair not in covering]
    order = covering + [rest[i] for i in rng.permutation(len(rest))]
    return order[:num_source_pairs], order[num_source_pairs:]


def make_world(
    seed: int = 0,
    source_classes: int = 260,
    ucf_classes: int = 101,
    hmdb_classes: int = 51,
    source_clips: int = 5,
    target_clips: int = 6,
) -> World:
    """Draw the classes of a world; the same arguments give the same world.

    The source has 120 of the 224 (arm, body) pairs, or one a class if it has fewer classes; the targets have others.

    Args:
        seed: of the class lists.
        source_classes, ucf_classes, hmdb_classes: by default about the numbers of Kinetics-400, UCF-101 and HMDB-51.
        source_clips, target_clips: clips per class.

    Raises:
        ValueError: if the numbers leave no such world.
    """
    rng = np.random.default_rng([seed, 1])
    source, target = _covering_split(min(SOURCE_PAIRS, source_classes), rng)
    if max(ucf_classes, hmdb_classes) > len(target):
        raise ValueError(f"{len(target)} target pairs are left, {max(ucf_classes, hmdb_classes)} classes asked for.")
    repeated = [pair for _ in range(0, source_classes, len(source)) for pair in rng.permutation(source).tolist()]
    hmdb_pairs = [target[i] for i in rng.permutation(len(target))[:hmdb_classes]]
    taken: set[str] = set()
    world = World(
        DatasetSpec("source", _class_list(repeated[:source_classes], rng, taken), source_clips, 0.75, 0.6),
        DatasetSpec("ucf", _class_list(target[:ucf_classes], rng, taken), target_clips, 1.0, 1.0),
        DatasetSpec("hmdb", _class_list(hmdb_pairs, rng, taken), target_clips, 0.6, 0.3),
    )
    _assert_zero_shot(world)
    return world


def _assert_zero_shot(world: World) -> None:
    source, targets = world.source.classes, world.ucf.classes + world.hmdb.classes
    assert not {(c.arm, c.body) for c in source} & {(c.arm, c.body) for c in targets}
    assert not {c.name for c in source} & {c.name for c in targets}
    for part in ("arm", "body", "item", "scene"):
        assert {getattr(c, part) for c in targets} <= {getattr(c, part) for c in source}, part


def draw_clip(dataset: DatasetSpec, which: MotionClass, clip: int, seed: int) -> ClipSpec:
    """Draw clip number `clip` of a class. Clips 2k and 2k + 1 share a group (place, person, camera)."""
    key = {"source": 2, "ucf": 3, "hmdb": 4}[dataset.key]
    look = drawing.random_look(np.random.default_rng([seed, key, which.index, clip // 2, 0]))
    rng = np.random.default_rng([seed, key, which.index, clip, 1])
    item = which.item if rng.random() < dataset.item_reliability else str(rng.choice(list(drawing.OBJECTS)))
    scene = which.scene if rng.random() < dataset.scene_reliability else str(rng.choice(list(drawing.SCENES)))
    low, high = TEMPO_CYCLES[which.tempo]
    return ClipSpec(
        which.arm,
        which.body,
        item,
        scene,
        cycles=float(rng.uniform(low, high)),
        body_ratio=float(rng.choice([0.5, 1.0])),
        phases=(float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(0, 2 * np.pi))),
        num_frames=int(rng.integers(20, 29)),
        look=look,
        noise_seed=int(rng.integers(2**31)),
    )


def render_clip(spec: ClipSpec, height: int = 64, width: int = 96) -> np.ndarray:
    """(F, height, width, 3) uint8 RGB frames of a clip."""
    progress = np.arange(spec.num_frames) / spec.num_frames
    arm_phase = 2 * np.pi * spec.cycles * progress + spec.phases[0]
    body_phase = 2 * np.pi * max(1.0, spec.cycles * spec.body_ratio) * progress + spec.phases[1]
    figure = motions.skeleton(spec.arm, spec.body, arm_phase, body_phase)
    return drawing.render(figure, spec.item, spec.scene, spec.look, height, width, spec.noise_seed)


def write_clip(path: str, dataset: DatasetSpec, which: MotionClass, clip: int, seed: int) -> None:
    """Render one clip and write it as h264. Here, so that worker processes need no torch and start fast."""
    video.write_video(path, render_clip(draw_clip(dataset, which, clip, seed)), FRAME_RATE)


def action_descriptions(dataset: DatasetSpec) -> DescriptionSet:
    """What each class is an activity with, and where."""
    texts = tuple(
        f"an activity that is done with {with_article(c.item)}, most often {SCENE_WORDS[c.scene]}."
        for c in dataset.classes
    )
    return DescriptionSet(f"{dataset.key}_action", tuple(c.name for c in dataset.classes), texts)


def alternate_version(dataset: DatasetSpec) -> DescriptionSet:
    """The motion of each class in phrases that its description does not use."""
    texts = tuple(_otherwise(c) for c in dataset.classes)
    return DescriptionSet(f"{dataset.key}_alternate", tuple(c.name for c in dataset.classes), texts)


def _otherwise(which: MotionClass) -> str:
    arms = [phrase.format(item=which.item) for phrase in ARM_PHRASES[which.arm]]
    arm = next(phrase for phrase in arms if phrase not in which.description)
    body = next(phrase for phrase in BODY_PHRASES[which.body] if phrase not in which.description)
    word = next(word for word in TEMPO_WORDS[which.tempo] if word not in which.description)
    return f"a {word} motion: {arm} and {body}."
