"""The words of the miniature: class names, motion descriptions, masked ones, still captions.

All sentences are this project's own, written in the manner of the paper's descriptions: verbless
gerund phrases that say how limbs move, with the object named where one is handled. They are never
presented as GPT-4's. Captions of stills are alt text: short ones name a thing or what is visible of
a person's pose and, less often, a verb; long ones put such parts together. No caption says how a
motion goes, which leaves the tiny CLIP the noun bias that the paper reports of the real one.
"""

from typing import Protocol

import numpy as np


class HasItemAndScene(Protocol):
    """Anything with a typical object and scene, such as a class of the world."""

    item: str
    scene: str


# Three ways to say each motion; "{item}" is the object held in the right hand.
ARM_PHRASES: dict[str, tuple[str, str, str]] = {
    "wave": (
        "waving the {item} from side to side high above the head",
        "holding one hand up with the {item} and waving it left and right overhead",
        "a raised forearm waving the {item} to and fro over the head",
    ),
    "clap": (
        "clapping both hands together in front of the chest with the {item}",
        "opening the arms wide and clapping the hands shut around the {item}",
        "repeated clapping, the {item} brought to the other palm before the chest",
    ),
    "windmill": (
        "circling straight arms like a windmill with the {item} at the end",
        "turning both arms in large full circles, the {item} whirling past the feet and over the head",
        "rotating the outstretched arms in circles, one up and one down, carrying the {item}",
    ),
    "punch": (
        "punching the arms forward one after the other with the {item} in the fist",
        "alternate quick punches straight ahead, the {item} held in one hand",
        "thrusting each fist out in turn, punching ahead with the {item}",
    ),
    "raise": (
        "raising both arms out to the sides until the {item} is overhead and lowering them",
        "lifting the {item} sideways with straight arms, raising them high and letting them sink",
        "arms raised wide like wings up and down, the {item} in one hand",
    ),
    "sweep": (
        "sweeping the {item} across the front of the body with both arms",
        "swinging both arms level from one side to the other, sweeping with the {item}",
        "broad sweeping strokes of the {item} from left to right at waist height",
    ),
    "hammer": (
        "hammering the {item} down with one arm from above the shoulder",
        "lifting one bent arm and striking downward hard with the {item}",
        "a chopping, hammering stroke of the {item} from overhead to the hip",
    ),
    "row": (
        "pulling the {item} with both arms toward the ribs as in rowing and reaching out again",
        "rowing movements, elbows drawn far back and the {item} pushed out in front",
        "drawing both hands back to the body and stretching them forward, rowing with the {item}",
    ),
    "stir": (
        "stirring small circles low in front of the hips with the {item}",
        "hands held low and moving round and round as in stirring, the {item} pointing down",
        "stirring with the {item} in little loops below the waist",
    ),
    "salute": (
        "saluting with the {item}, the right hand brought up to the forehead and down again",
        "bending one elbow to bring the {item} beside the brow as in saluting",
        "a sharp saluting gesture, the {item} lifted to the temple and let down to the thigh",
    ),
    "press": (
        "pressing the {item} straight up from the shoulders with both hands",
        "both hands rising from beside the neck until the elbows lock, pressing the {item} to the sky",
        "repeated overhead pressing of the {item}, the elbows folding beside the ribs in between",
    ),
    "aim": (
        "aiming sideways along a stretched left arm, the right hand pulling the {item} back",
        "one arm held out to the side, the other drawing the {item} away from it as if aiming a bow",
        "spreading from the left hand to the right shoulder with the {item}, as an archer aiming",
    ),
    "drum": (
        "drumming with both forearms in turn, the {item} going up and down before the belly",
        "the elbows kept at the sides, each hand drumming by itself, one with the {item}",
        "beating downward left and right in turn as in drumming, the {item} in one hand",
    ),
    "heave": (
        "heaving the {item} with two straight arms from between the knees to above the head",
        "swinging both straight arms up in front and down again, heaving the {item}",
        "a long heaving arc of the {item} in front of the body, from the thighs to overhead",
    ),
    "climb": (
        "climbing with the hands, which reach up in turn and pull down, one holding the {item}",
        "grasping above the head hand over hand as if climbing a rope, the {item} in one of them",
        "one hand up and one at the chest, changing places as in climbing, with the {item}",
    ),
    "point": (
        "pointing the {item} from the left hip across the chest to high on the right",
        "one straight arm pointing low to the left, then high to the right, with the {item}",
        "pointing diagonally with the {item}, down across the body and up, the other hand on the hip",
    ),
}
BODY_PHRASES: dict[str, tuple[str, str, str]] = {
    "stand": (
        "standing still on both feet",
        "the legs not moving, standing upright",
        "keeping the feet planted and standing",
    ),
    "march": (
        "marching on the spot with high knees",
        "lifting the knees in turn as in marching",
        "stepping in place, each knee marching up to the hip",
    ),
    "jump": (
        "jumping off the ground with the legs tucked",
        "leaping up again and again, jumping with both feet",
        "bouncing up in small jumps and landing on both feet",
    ),
    "squat": (
        "squatting down with bent knees and rising",
        "sinking into a deep squat and standing up again",
        "bending both knees to squat low, then straightening",
    ),
    "sway": (
        "leaning the trunk to the left and to the right on wide legs",
        "swaying the upper body from side to side with the feet apart",
        "tilting sideways at the waist, leaning over each hip in turn",
    ),
    "spin": (
        "spinning around on one foot",
        "turning the whole body round and round, spinning on the spot",
        "whirling in a full spin with one foot off the ground",
    ),
    "kick": (
        "kicking one straight leg up in front",
        "swinging one leg forward in a high kick and leaning back",
        "throwing a foot forward and up, kicking again and again",
    ),
    "bow": (
        "bowing deeply from the hips with straight legs",
        "bending the upper body forward to a low bow and coming up",
        "folding forward at the waist, bowing the head toward the knees",
    ),
    "lunge": (
        "lunging forward onto one bent leg and stepping back",
        "a long lunging step, the rear leg stretched out behind",
        "sinking into a lunge with the front knee bent, then coming back",
    ),
    "hop": (
        "hopping on the left leg with the right heel tucked behind",
        "bouncing on a single leg, hopping with one shin folded back",
        "one foot kept off the ground, hopping on the other",
    ),
    "skate": (
        "skating from side to side, one knee bent and the other leg out straight",
        "gliding left and right on wide legs as in skating",
        "shifting the weight sideways from leg to leg, skating across",
    ),
    "twist": (
        "twisting the shoulders left and right above bent knees",
        "wringing the trunk about its own axis, twisting while both feet stay",
        "twisting the upper body from one side round to the other on still legs",
    ),
    "kneel": (
        "kneeling on both knees, the trunk rocking forward and back",
        "kneeling above folded shins and rocking to and fro",
        "kneeling with upright thighs, tilting forward and backward again",
    ),
    "arch": (
        "arching the back until the face looks up, the knees giving way",
        "leaning far backward from the hips and coming up, arching the spine",
        "arching backward on soft knees again and again",
    ),
}
TEMPO_WORDS = {"slow": ("slow", "unhurried", "calm"), "quick": ("quick", "rapid", "fast")}

# A name tells the thing and the kind of activity, seldom the movement; half of them carry one verb.
ACTIVITIES = ("drill", "dance", "exercise", "game", "routine", "practice", "show", "training")
VERBS = {
    "wave": "waving", "clap": "clapping", "windmill": "circling", "punch": "punching", "raise": "raising",
    "sweep": "sweeping", "hammer": "hammering", "row": "rowing", "stir": "stirring", "salute": "saluting",
    "press": "pressing", "aim": "aiming", "drum": "drumming", "heave": "heaving", "climb": "climbing",
    "point": "pointing",
    "stand": "standing", "march": "marching", "jump": "jumping", "squat": "squatting", "sway": "leaning",
    "spin": "spinning", "kick": "kicking", "bow": "bowing", "lunge": "lunging", "hop": "hopping",
    "skate": "skating", "twist": "twisting", "kneel": "kneeling", "arch": "arching",
}  # fmt: skip


SCENE_WORDS = {
    "beach": "at the beach",
    "gym": "in a gym",
    "forest": "in the forest",
    "street": "on a city street",
    "snow": "in the snow",
    "stage": "on a stage",
    "pool": "at the pool",
    "kitchen": "in a kitchen",
}


def with_article(noun: str) -> str:
    """ "umbrella" -> "an umbrella"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def class_name(arm: str, body: str, item: str, scene: str, rng: np.random.Generator, taken: set[str]) -> str:
    """A short activity name, e.g. "umbrella drill" or "jumping with a ball", not in `taken`."""
    candidates = [f"{item} {activity}" for activity in ACTIVITIES] + [f"{scene} {item} {a}" for a in ACTIVITIES]
    thing = with_article(item)
    verbal = [
        f"{item} {VERBS[arm]}",
        f"{VERBS[body]} with {thing}",
        f"{VERBS[arm]} {thing} {SCENE_WORDS[scene]}",
    ]
    wanted = verbal if rng.random() < 0.5 else candidates
    for pool in (wanted, verbal, candidates):
        free = [name for name in pool if name not in taken]
        if free:
            return str(rng.choice(free))
    raise ValueError(f"no class name is left for {item!r}; the world has too many classes.")


def description(arm: str, body: str, item: str, tempo: str, rng: np.random.Generator) -> tuple[str, str]:
    """A motion description and its masked version (the object's name replaced by "object")."""
    arm_phrase, body_phrase = str(rng.choice(ARM_PHRASES[arm])), str(rng.choice(BODY_PHRASES[body]))
    word = str(rng.choice(TEMPO_WORDS[tempo]))
    form = str(
        rng.choice(
            (
                "doing {word} movements, {arm} while {body}.",
                "{arm}, {body}, at {word} speed.",
                "{body} and {arm} with {word} movements.",
            )
        )
    )
    template = form.format(word=word, arm=arm_phrase, body=body_phrase)
    return template.format(item=item), template.format(item="object")


# What alt text says of a pose that a still shows; never which movement it belongs to.
POSTURE_WORDS = {
    "hands_up": "both hands up",
    "hand_up": "one hand up",
    "arms_wide": "arms wide open",
    "arms_forward": "both arms out in front",
    "arm_forward": "one arm out in front",
    "bent_over": "bent over",
    "crouching": "crouching low",
    "leaning": "tilted sideways",
    "bent_back": "bent backward",
    "on_both_knees": "on both knees",
    "in_the_air": "up in the air",
    "leg_up": "on one leg",
    "upright": "upright",
}
# The colours of drawing.OBJECTS, as alt text mentions them.
COLOURS = {
    "ball": "red", "hoop": "yellow", "bat": "brown", "umbrella": "green", "box": "blue", "flag": "purple",
    "balloon": "pink", "broom": "straw", "racket": "cyan", "lantern": "orange",
    "sword": "silver", "wheel": "black", "kite": "turquoise", "fan": "maroon", "axe": "grey", "trumpet": "golden",
    "star": "lime", "book": "white", "ladder": "olive", "bottle": "amber",
}  # fmt: skip


SCENE_SHARE = 0.25  # share of the captions of persons that tell the place; more, and poses are learned late


def thing_caption(item: str, rng: np.random.Generator) -> str:
    """Alt text of a still that tells the thing, every other time with its colour.

    Never the place: it is seen so much more easily that things were then learned late or not at all.
    """
    opening = str(rng.choice(("a photo of {}", "{}", "a picture of {}", "a person with {}")))
    return opening.format(with_article(f"{COLOURS[item]} {item}" if rng.random() < 0.5 else item))


def person_caption(
    arm: str, body: str, postures: list[str], scene: str, motion_share: float, rng: np.random.Generator
) -> str:
    """Alt text of a still that tells the visible pose, sometimes a verb, sometimes the place.

    Args:
        postures: keys of POSTURE_WORDS.
        motion_share: probability of a verb (of arms or body).
    """
    words = [str(rng.choice(("a person", "a photo of a person", "somebody")))]
    words += [POSTURE_WORDS[p] for p in postures]
    if rng.random() < motion_share:
        words.append(VERBS[arm] if rng.random() < 0.5 else VERBS[body])
    if rng.random() < SCENE_SHARE:
        words.append(SCENE_WORDS[scene])
    return " ".join(words)


def long_caption(item: str, scene: str, postures: list[str], rng: np.random.Generator) -> str:
    """Alt text as long as a motion description: a person, and around it thing, place and how fast, in any order.

    Args:
        postures: keys of POSTURE_WORDS.
    """
    parts = [" ".join(["a person", *(POSTURE_WORDS[p] for p in postures)])]
    if rng.random() < 0.5:
        parts.append(thing_caption(item, rng))
    if rng.random() < 0.25:
        parts.append(SCENE_WORDS[scene])
    if rng.random() < 0.5:  # a still cannot show it: no word of it says anything
        word = str(rng.choice([word for words in TEMPO_WORDS.values() for word in words]))
        parts.append(str(rng.choice(("doing {} movements", "at {} speed", "with {} movements"))).format(word))
    return ", ".join(rng.permutation(parts).tolist())


def class_caption(which: HasItemAndScene) -> str:
    """Alt text of a class's typical still: its thing and its place."""
    return f"a photo of a person with {with_article(which.item)} {SCENE_WORDS[which.scene]}"
