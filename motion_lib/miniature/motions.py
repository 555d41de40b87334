"""How the figure of the miniature moves: arm motions, body motions and the skeleton they produce.

Axes of the figure: x to its right, y up, z forward. Lengths are in figure units (a standing
figure is about 0.9 high, its feet at y = 0). Every motion is a function of a phase in radians,
periodic in 2 pi, so that tempo, start and length of a clip are free.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TORSO, UPPER_ARM, FOREARM, THIGH, SHIN = 0.30, 0.17, 0.17, 0.22, 0.22
SHOULDER_HALF, HIP_HALF, NECK_TO_HEAD = 0.105, 0.055, 0.105
SIDES = (-1.0, 1.0)  # left, right


@dataclass(frozen=True)
class Skeleton:
    """Joint positions of F frames, each (F, 3); paired joints are (F, 2, 3), left first."""

    hip: Array
    neck: Array
    head: Array
    shoulders: Array
    elbows: Array
    hands: Array
    hips: Array
    knees: Array
    feet: Array


def _unit(vectors: Array) -> Array:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _vector(x, y, z, like: Array) -> Array:
    """(F, 3) from three scalars or (F,) arrays."""
    return np.stack([np.broadcast_to(np.asarray(c, dtype=np.float64), like.shape) for c in (x, y, z)], axis=-1)


def _blend(start, end, weight: Array) -> Array:
    """(F, 3) straight path from `start` to `end`, both (x, y, z)."""
    return np.asarray(start) + weight[:, None] * (np.asarray(end, dtype=np.float64) - np.asarray(start))


def _rise(phase: Array) -> Array:
    """0 at phase 0, 1 at pi, periodic; lingers at both ends, where a pose is most telling."""
    r = 0.5 - 0.5 * np.cos(phase)
    return r * r * (3 - 2 * r)


def _swing(phase: Array) -> Array:
    """Sine that lingers at -1 and 1."""
    return np.sign(np.sin(phase)) * np.abs(np.sin(phase)) ** 0.6


# ------------------------------------------------------------------ arms: (upper arm, forearm) directions
def _hang(side: float, phase: Array) -> tuple[Array, Array]:
    return _vector(0.22 * side, -1, 0, phase), _vector(0.12 * side, -1, 0.15, phase)


def _wave(side: float, phase: Array) -> tuple[Array, Array]:
    if side < 0:
        return _hang(side, phase)
    return _vector(0.7, 0.75, 0, phase), _vector(1.1 * _swing(phase), 0.8, 0.1, phase)


def _clap(side: float, phase: Array) -> tuple[Array, Array]:
    open_ = _rise(phase)
    return _vector(side * (0.25 + 0.6 * open_), -0.35, 0.55, phase), _vector(
        side * (1.3 * open_ - 0.75), 0.2, 0.8, phase
    )


def _windmill(side: float, phase: Array) -> tuple[Array, Array]:
    angle = phase + (np.pi if side < 0 else 0.0)
    direction = _vector(0.2 * side, np.cos(angle), np.sin(angle), phase)
    return direction, direction


def _punch(side: float, phase: Array) -> tuple[Array, Array]:
    out = _rise(phase + (np.pi if side < 0 else 0.0))
    return _blend((0.35 * side, -0.9, -0.35), (-0.1 * side, 0.05, 1), out), _blend((0, 0.75, 0.65), (0, 0.05, 1), out)


def _raise(side: float, phase: Array) -> tuple[Array, Array]:
    angle = np.deg2rad(-70 + 150 * _rise(phase))
    direction = _vector(side * np.cos(angle), np.sin(angle), 0.05, phase)
    return direction, direction


def _sweep(side: float, phase: Array) -> tuple[Array, Array]:
    across = _swing(phase)
    return _vector(1.3 * across + 0.1 * side, -0.25, 0.55, phase), _vector(1.3 * across - 0.3 * side, 0.0, 0.5, phase)


def _hammer(side: float, phase: Array) -> tuple[Array, Array]:
    if side < 0:
        return _hang(side, phase)
    strike = _rise(phase)
    return _blend((0.25, 0.95, 0.0), (0.1, -0.45, 0.8), strike), _blend((0.1, 0.5, -0.75), (0, -0.75, 0.65), strike)


def _row(side: float, phase: Array) -> tuple[Array, Array]:
    pull = _rise(phase)
    return _blend((0, -0.15, 1), (0.3 * side, -0.45, -0.85), pull), _blend((0, 0, 1), (0, 0.1, 1), pull)


def _stir(side: float, phase: Array) -> tuple[Array, Array]:
    circle_x, circle_z = 0.55 * np.cos(phase), 0.5 * np.sin(phase)
    return _vector(0.15 * side + 0.4 * circle_x, -0.9, 0.3, phase), _vector(
        circle_x - 0.2 * side, -0.6, 0.55 + circle_z, phase
    )


def _salute(side: float, phase: Array) -> tuple[Array, Array]:
    if side < 0:
        return _hang(side, phase)
    up = _rise(phase)
    return _blend((0.22, -1, 0), (1, 0.05, 0.25), up), _blend((0.12, -1, 0.15), (-0.85, 0.75, 0.25), up)


def _press(side: float, phase: Array) -> tuple[Array, Array]:
    up = _rise(phase)
    return _blend((0.6 * side, -0.8, 0.25), (0.25 * side, 1, 0.1), up), _blend((0, 1, 0.3), (0.05 * side, 1, 0), up)


def _aim(side: float, phase: Array) -> tuple[Array, Array]:
    if side < 0:
        return _vector(-1, 0.12, 0.25, phase), _vector(-1, 0.12, 0.25, phase)
    pull = _rise(phase)
    return _blend((-0.7, 0.1, 0.75), (1, 0.1, 0.1), pull), _vector(-1, 0.15, 0.35, phase)


def _drum(side: float, phase: Array) -> tuple[Array, Array]:
    up = _rise(phase + (np.pi if side < 0 else 0.0))
    return _vector(0.2 * side, -0.95, 0.25, phase), _blend((0, -0.35, 1), (0, 0.95, 0.45), up)


def _heave(side: float, phase: Array) -> tuple[Array, Array]:
    angle = np.deg2rad(-95 + 170 * _rise(phase))
    direction = _vector(0.08 * side, np.sin(angle), np.cos(angle), phase)
    return direction, direction


def _climb(side: float, phase: Array) -> tuple[Array, Array]:
    up = _rise(phase + (np.pi if side < 0 else 0.0))
    return _blend((0.45 * side, -0.6, 0.5), (0.15 * side, 1, 0.35), up), _blend((0, 0.75, 0.7), (0, 1, 0.2), up)


def _point(side: float, phase: Array) -> tuple[Array, Array]:
    if side < 0:
        return _vector(-0.75, -0.65, -0.1, phase), _vector(0.8, -0.5, 0.3, phase)  # this hand rests on the hip
    direction = _blend((-0.75, -0.75, 0.5), (0.8, 0.85, 0.2), _rise(phase))
    return direction, direction


ARM_MOTIONS: dict[str, Callable[[float, Array], tuple[Array, Array]]] = {
    "wave": _wave,
    "clap": _clap,
    "windmill": _windmill,
    "punch": _punch,
    "raise": _raise,
    "sweep": _sweep,
    "hammer": _hammer,
    "row": _row,
    "stir": _stir,
    "salute": _salute,
    "press": _press,
    "aim": _aim,
    "drum": _drum,
    "heave": _heave,
    "climb": _climb,
    "point": _point,
}


# ------------------------------------------------------------------ bodies
@dataclass
class _Body:
    """Legs as (F, 2, 3) directions, torso angles and turn in radians, height above ground and shift to the right."""

    thighs: Array
    shins: Array
    pitch: Array
    roll: Array
    twist: Array  # of the torso on the hips
    turn: Array  # of the whole figure
    lift: Array
    shift: Array


def _standing(phase: Array) -> _Body:
    zeros = np.zeros_like(phase)
    leg = np.stack([_vector(0.08 * side, -1, 0, phase) for side in SIDES], axis=1)
    return _Body(leg, leg.copy(), *[zeros] * 6)


def _stand(phase: Array) -> _Body:
    return _standing(phase)


def _march(phase: Array) -> _Body:
    body = _standing(phase)
    for index in range(2):
        up = np.clip(_swing(phase + index * np.pi), 0, None)
        body.thighs[:, index] = _blend((0.08 * SIDES[index], -1, 0), (0.08 * SIDES[index], 0.05, 1), up)
        body.shins[:, index] = _blend((0.05 * SIDES[index], -1, 0), (0.05 * SIDES[index], -1, -0.15), up)
    return body


def _jump(phase: Array) -> _Body:
    body = _standing(phase)
    spread = np.abs(_swing(phase / 2))  # one bounce a cycle, hardly any time on the ground
    body.lift = 0.24 * spread
    for index, side in enumerate(SIDES):
        body.thighs[:, index] = _blend((0.08 * side, -1, 0), (0.55 * side, -0.85, 0.3), spread)
        body.shins[:, index] = _blend((0.08 * side, -1, 0), (0.2 * side, -0.6, -0.8), spread)
    return body


def _squat(phase: Array) -> _Body:
    body, low = _standing(phase), _rise(phase)
    for index, side in enumerate(SIDES):
        body.thighs[:, index] = _blend((0.08 * side, -1, 0), (0.45 * side, -0.05, 0.9), low)
        body.shins[:, index] = _blend((0.08 * side, -1, 0), (0.1 * side, -0.9, -0.4), low)
    body.pitch = 0.2 * low
    return body


def _sway(phase: Array) -> _Body:
    body = _standing(phase)
    body.roll = 0.85 * _swing(phase)
    for index, side in enumerate(SIDES):
        body.thighs[:, index] = body.shins[:, index] = _vector(0.45 * side, -1, 0, phase)
    return body


def _spin(phase: Array) -> _Body:
    body = _standing(phase)
    body.turn = phase
    body.thighs[:, 1] = _vector(0.75, -0.45, 0.3, phase)  # one foot is lifted, so that a single still tells a turn
    body.shins[:, 1] = _vector(-0.55, -0.8, -0.2, phase)
    return body


def _kick(phase: Array) -> _Body:
    body, up = _standing(phase), _rise(phase)
    leg = _blend((0.08, -1, -0.25), (0.08, 0.15, 1), up)
    body.thighs[:, 1], body.shins[:, 1] = leg, leg
    body.pitch = -0.25 * up
    return body


def _bow(phase: Array) -> _Body:
    body = _standing(phase)
    body.pitch = 1.5 * _rise(phase)
    return body


def _lunge(phase: Array) -> _Body:
    body, low = _standing(phase), _rise(phase)
    body.thighs[:, 1] = _blend((0.08, -1, 0), (0.1, -0.15, 1), low)
    body.thighs[:, 0] = _blend((-0.08, -1, 0), (-0.1, -0.75, -0.7), low)
    body.shins[:, 0] = _blend((-0.08, -1, 0), (-0.05, -0.45, -0.95), low)
    return body


def _hop(phase: Array) -> _Body:
    body, up = _standing(phase), np.abs(_swing(phase / 2))  # one bounce a cycle, as in _jump
    body.lift = 0.16 * up
    body.thighs[:, 1], body.shins[:, 1] = _vector(0.1, -0.85, 0.3, phase), _vector(0.05, -0.15, -1, phase)
    return body


def _skate(phase: Array) -> _Body:
    body, aside = _standing(phase), _swing(phase)
    body.shift = 0.16 * aside
    for index, side in enumerate(SIDES):
        bent, straight = np.clip(side * aside, 0, None), np.clip(-side * aside, 0, None)
        body.thighs[:, index] += bent[:, None] * [0.5 * side, 0.4, 0.6] + straight[:, None] * [0.8 * side, 0, 0]
        body.shins[:, index] += bent[:, None] * [-0.15 * side, 0, -0.4] + straight[:, None] * [0.8 * side, 0, 0]
    return body


def _twist(phase: Array) -> _Body:
    body = _standing(phase)
    body.twist = 1.1 * _swing(phase)
    for index, side in enumerate(SIDES):
        body.thighs[:, index], body.shins[:, index] = _vector(0.5 * side, -1, 0.5, phase), _vector(0, -1, -0.4, phase)
    return body


def _kneel(phase: Array) -> _Body:
    body = _standing(phase)
    body.pitch = 0.55 * _swing(phase) + 0.1
    for index, side in enumerate(SIDES):
        body.thighs[:, index], body.shins[:, index] = _vector(0.2 * side, -1, 0, phase), _vector(0, -0.1, -1, phase)
    return body


def _arch(phase: Array) -> _Body:
    body, back = _standing(phase), _rise(phase)
    body.pitch = -1.05 * back
    for index, side in enumerate(SIDES):
        body.thighs[:, index] = _blend((0.15 * side, -1, 0), (0.25 * side, -1, 0.55), back)
        body.shins[:, index] = _blend((0.15 * side, -1, 0), (0.15 * side, -1, -0.4), back)
    return body


BODY_MOTIONS: dict[str, Callable[[Array], _Body]] = {
    "stand": _stand,
    "march": _march,
    "jump": _jump,
    "squat": _squat,
    "sway": _sway,
    "spin": _spin,
    "kick": _kick,
    "bow": _bow,
    "lunge": _lunge,
    "hop": _hop,
    "skate": _skate,
    "twist": _twist,
    "kneel": _kneel,
    "arch": _arch,
}


# ------------------------------------------------------------------ forward kinematics
def _torso_rotation(pitch: Array, roll: Array, twist: Array) -> Array:
    """(F, 3, 3) rotation that twists to the left, leans forward by `pitch` and to the right by `roll`."""
    cp, sp, cr, sr, ct, st = (f(angle) for angle in (pitch, roll, twist) for f in (np.cos, np.sin))
    one, nil = np.ones_like(cp), np.zeros_like(cp)
    lean = np.stack([np.stack(r, -1) for r in ((one, nil, nil), (nil, cp, -sp), (nil, sp, cp))], -2)
    tilt = np.stack([np.stack(r, -1) for r in ((cr, sr, nil), (-sr, cr, nil), (nil, nil, one))], -2)
    wring = np.stack([np.stack(r, -1) for r in ((ct, nil, st), (nil, one, nil), (-st, nil, ct))], -2)
    return tilt @ lean @ wring


def _turn(points: Array, angle: Array) -> Array:
    """Rotate (F, ..., 3) points about the vertical by (F,) angles."""
    shape = (len(angle),) + (1,) * (points.ndim - 2)
    c, s = np.cos(angle).reshape(shape), np.sin(angle).reshape(shape)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([c * x + s * z, y, c * z - s * x], axis=-1)


def skeleton(arm: str, body: str, arm_phase: Array, body_phase: Array) -> Skeleton:
    """Joint positions for one arm and one body motion.

    Args:
        arm, body: keys of ARM_MOTIONS and BODY_MOTIONS.
        arm_phase, body_phase: (F,) radians, one value a frame.

    Returns:
        Joints in figure units, the lowest foot on the ground unless the figure jumps.
    """
    state = BODY_MOTIONS[body](body_phase)
    sides = np.array(SIDES)[None, :, None]
    hips = np.zeros((len(body_phase), 2, 3)) + sides * np.array([HIP_HALF, 0, 0])
    knees = hips + THIGH * _unit(state.thighs)
    feet = knees + SHIN * _unit(state.shins)
    ground = state.lift - feet[..., 1].min(axis=1)  # (F,) height of the hip

    rotate = _torso_rotation(state.pitch, state.roll, state.twist)
    neck = rotate @ np.array([0, TORSO, 0])
    head = neck + rotate @ np.array([0, NECK_TO_HEAD, 0])
    across = rotate @ np.array([SHOULDER_HALF, -0.02, 0])
    shoulders = neck[:, None] + sides * across[:, None]
    directions = [ARM_MOTIONS[arm](side, arm_phase) for side in SIDES]
    upper = np.stack([_unit(d[0]) for d in directions], axis=1) @ rotate.transpose(0, 2, 1)
    fore = np.stack([_unit(d[1]) for d in directions], axis=1) @ rotate.transpose(0, 2, 1)
    elbows = shoulders + UPPER_ARM * upper
    hands = elbows + FOREARM * fore

    joints = (np.zeros_like(neck), neck, head, shoulders, elbows, hands, hips, knees, feet)
    place = np.stack([state.shift, ground, np.zeros_like(ground)], axis=-1)
    placed = [j + place.reshape((-1,) + (1,) * (j.ndim - 2) + (3,)) for j in joints]
    return Skeleton(*(_turn(j, state.turn) for j in placed))


def postures(figure: Skeleton, frame: int = 0) -> list[str]:
    """What a still of this frame shows of the pose, as keys of `sentences.POSTURE_WORDS`."""
    hands, shoulders, hip, neck = (getattr(figure, n)[frame] for n in ("hands", "shoulders", "hip", "neck"))
    reach = hands - shoulders
    seen = {
        "hands_up": bool((hands[:, 1] > neck[1] + 0.08).all()),
        "hand_up": bool((hands[:, 1] > neck[1] + 0.08).sum() == 1),
        "arms_wide": bool((np.abs(reach[:, 0]) > 0.24).all() and reach[0, 0] * reach[1, 0] < 0),
        "arms_forward": bool((reach[:, 2] > 0.24).all()),
        "arm_forward": bool((reach[:, 2] > 0.24).sum() == 1),
        "bent_over": bool(neck[1] - hip[1] < 0.6 * TORSO),
        "crouching": bool(hip[1] < 0.75 * (THIGH + SHIN) and figure.knees[frame][:, 1].max() > 0.1),
        "leaning": bool(abs(neck[0] - hip[0]) > 0.35 * TORSO),
        "bent_back": bool(neck[2] - hip[2] < -0.35 * TORSO),
        "on_both_knees": bool(figure.knees[frame][:, 1].max() < 0.1),
        "in_the_air": bool(figure.feet[frame][:, 1].min() > 0.06),
        "leg_up": bool(figure.feet[frame][:, 1].max() - figure.feet[frame][:, 1].min() > 0.15),
    }
    return [name for name, holds in seen.items() if holds] or ["upright"]
