"""Draws one frame of the miniature: scene, figure and the object in its right hand.

Drawn with Pillow at twice the final size and reduced, which gives smooth edges. Positions on
the picture are fractions of its height, so that every size of picture shows the same thing.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from motion_lib.miniature.motions import Skeleton

SUPERSAMPLE = 2
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """Everything about a clip that is not its class: viewpoint, size, place, colours, noise."""

    yaw: float  # radians between the figure's forward axis and the line of sight
    tilt: float  # radians the camera looks down
    scale: float  # picture heights per figure unit
    centre: float  # horizontal place of the figure, fraction of the picture height from the middle
    ground: float  # height of its feet above the lower edge, fraction of the picture height
    shirt: Colour
    trousers: Colour
    skin: Colour
    object_shade: float  # multiplies the object's colour
    object_scale: float
    light: float  # multiplies the whole picture
    noise: float  # standard deviation of pixel noise, 0-255
    scene_seed: int


def random_look(rng: np.random.Generator) -> Look:
    """Draw the jitter of one clip."""
    return Look(
        yaw=float(rng.choice([-1, 1]) * rng.uniform(0.45, 0.9)),
        tilt=float(rng.uniform(0.0, 0.15)),
        scale=float(rng.uniform(0.70, 0.80)),
        centre=float(rng.uniform(-0.06, 0.06)),
        ground=float(rng.uniform(0.03, 0.08)),
        shirt=_random_colour(rng),
        trousers=_random_colour(rng, low=20, high=120),
        skin=_shade((226, 178, 140), float(rng.uniform(0.45, 1.1))),
        object_shade=float(rng.uniform(0.75, 1.15)),
        object_scale=float(rng.uniform(0.85, 1.2)),
        light=float(rng.uniform(0.8, 1.1)),
        noise=float(rng.uniform(1.0, 6.0)),
        scene_seed=int(rng.integers(2**31)),
    )


def _random_colour(rng: np.random.Generator, low: int = 40, high: int = 235) -> Colour:
    return tuple(int(c) for c in rng.integers(low, high, size=3))


def _shade(colour: Colour, factor: float) -> Colour:
    return tuple(int(min(max(c * factor, 0), 255)) for c in colour)  # NumPy is slow for single numbers


# ------------------------------------------------------------------ scenes
def _beach(draw: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    sea, sand = h * rng.uniform(0.38, 0.46), h * rng.uniform(0.58, 0.66)
    draw.rectangle((0, 0, w, sea), fill=(150, 205, 240))
    draw.rectangle((0, sea, w, sand), fill=(40, 110, 190))
    draw.rectangle((0, sand, w, h), fill=(236, 212, 150))
    x, r = w * rng.uniform(0.1, 0.9), h * 0.07
    draw.ellipse((x - r, h * 0.06, x + r, h * 0.06 + 2 * r), fill=(255, 240, 140))


def _gym(draw: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    floor = h * rng.uniform(0.68, 0.76)
    draw.rectangle((0, 0, w, floor), fill=(196, 200, 206))
    draw.rectangle((0, floor, w, h), fill=(176, 120, 70))
    first, step = rng.uniform(0.02, 0.1) * h, 0.09 * h
    for row in range(6):
        y = first + row * step
        draw.line((w * 0.05, y, w * 0.35, y), fill=(140, 96, 56), width=max(1, h // 64))


def _forest(draw: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    floor = h * rng.uniform(0.66, 0.74)
    draw.rectangle((0, 0, w, floor), fill=(44, 92, 48))
    draw.rectangle((0, floor, w, h), fill=(86, 120, 52))
    for x in rng.uniform(0, w, size=7):
        draw.rectangle((x, 0, x + h * 0.05, floor), fill=(70, 50, 34))


def _street(draw: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    road = h * rng.uniform(0.68, 0.76)
    draw.rectangle((0, 0, w, h * 0.2), fill=(170, 180, 195))
    left = 0.0
    while left < w:
        right = left + h * rng.uniform(0.2, 0.35)
        top = h * rng.uniform(0.05, 0.3)
        draw.rectangle((left, top, right, road), fill=_shade((150, 110, 96), float(rng.uniform(0.7, 1.2))))
        for row in range(3):
            y = top + h * (0.06 + 0.13 * row)
            draw.rectangle((left + h * 0.05, y, left + h * 0.11, y + h * 0.06), fill=(236, 226, 150))
        left = right
    draw.rectangle((0, road, w, h), fill=(74, 76, 82))


def _snow(draw: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    field = h * rng.uniform(0.5, 0.6)
    draw.rectangle((0, 0, w, field), fill=(176, 196, 220))
    peak = w * rng.uniform(0.2, 0.8)
    draw.polygon((peak - 0.5 * h, field, peak, h * 0.12, peak + 0.5 * h, field), fill=(120, 138, 160))
    draw.rectangle((0, field, w, h), fill=(244, 247, 252))


def _stage(draw: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    boards = h * rng.uniform(0.72, 0.8)
    draw.rectangle((0, 0, w, boards), fill=(28, 20, 34))
    fold = max(2, int(h * 0.05))
    for x in range(0, int(w), 2 * fold):
        if x < 0.25 * w or x > 0.72 * w:
            draw.rectangle((x, 0, x + fold, boards), fill=(140, 20, 40))
            draw.rectangle((x + fold, 0, x + 2 * fold, boards), fill=(100, 12, 30))
    draw.rectangle((0, boards, w, h), fill=(96, 66, 44))


def _pool(draw: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    edge = h * rng.uniform(0.6, 0.7)
    draw.rectangle((0, 0, w, edge), fill=(60, 190, 200))
    for x in np.arange(rng.uniform(0, 0.2) * h, w, 0.22 * h):  # lanes
        draw.line((x, 0, x, edge), fill=(240, 80, 60), width=max(1, h // 48))
    draw.rectangle((0, edge, w, h), fill=(214, 224, 226))


def _kitchen(draw: ImageDraw.ImageDraw, w: int, h: int, rng: np.random.Generator) -> None:
    floor, tile = h * rng.uniform(0.66, 0.74), h * 0.11
    draw.rectangle((0, 0, w, floor), fill=(250, 236, 190))
    draw.rectangle((0, 0, w, h * rng.uniform(0.14, 0.2)), fill=(120, 60, 30))
    for row, y in enumerate(np.arange(floor, h, tile)):
        for column, x in enumerate(np.arange(0, w, tile)):
            draw.rectangle((x, y, x + tile, y + tile), fill=[(240, 240, 240), (40, 40, 46)][(row + column) % 2])


Scene = Callable[[ImageDraw.ImageDraw, int, int, np.random.Generator], None]
SCENES: dict[str, Scene] = {
    "beach": _beach,
    "gym": _gym,
    "forest": _forest,
    "street": _street,
    "snow": _snow,
    "stage": _stage,
    "pool": _pool,
    "kitchen": _kitchen,
}


# ------------------------------------------------------------------ objects
class _Prop:
    """Draws in the frame of the hand: u along the forearm, v across it, lengths in pixels."""

    def __init__(self, draw: ImageDraw.ImageDraw, hand: np.ndarray, along: np.ndarray, size: float, shade: float):
        self.draw, self.hand, self.size, self.shade = draw, hand, size, shade
        self.u = along / max(float(np.linalg.norm(along)), 1e-6)
        self.v = np.array([-self.u[1], self.u[0]])

    def at(self, u: float, v: float = 0.0) -> tuple[float, float]:
        return tuple(self.hand + self.size * (u * self.u + v * self.v))

    def line(self, start, end, width: float, colour: Colour) -> None:
        pixels = max(1, round(width * self.size))
        self.draw.line((self.at(*start), self.at(*end)), fill=_shade(colour, self.shade), width=pixels)

    def disc(self, centre, radius: float, colour: Colour, ring: float = 0.0) -> None:
        (x, y), r = self.at(*centre), radius * self.size
        box, colour = (x - r, y - r, x + r, y + r), _shade(colour, self.shade)
        if ring:
            self.draw.ellipse(box, outline=colour, width=max(1, round(ring * self.size)))
        else:
            self.draw.ellipse(box, fill=colour)

    def polygon(self, corners, colour: Colour) -> None:
        self.draw.polygon([self.at(*c) for c in corners], fill=_shade(colour, self.shade))


def _ball(p: _Prop) -> None:
    p.disc((0.42, 0), 0.46, (222, 40, 40))
    p.disc((0.42, 0), 0.46, (255, 255, 255), ring=0.07)


def _hoop(p: _Prop) -> None:
    p.disc((0.5, 0), 0.58, (250, 215, 30), ring=0.16)


def _bat(p: _Prop) -> None:
    p.line((-0.2, 0), (0.5, 0), 0.14, (150, 90, 40))
    p.line((0.4, 0), (1.25, 0), 0.3, (150, 90, 40))


def _umbrella(p: _Prop) -> None:
    p.line((-0.2, 0), (0.9, 0), 0.09, (40, 40, 40))
    p.polygon([(0.55, -0.75), (0.85, -0.55), (1.1, 0), (0.85, 0.55), (0.55, 0.75)], (20, 165, 70))


def _box(p: _Prop) -> None:
    p.polygon([(0, -0.42), (0.84, -0.42), (0.84, 0.42), (0, 0.42)], (45, 85, 220))
    p.line((0.42, -0.42), (0.42, 0.42), 0.12, (235, 235, 235))


def _flag(p: _Prop) -> None:
    p.line((-0.2, 0), (1.3, 0), 0.09, (60, 60, 60))
    p.polygon([(0.55, 0), (1.3, 0), (1.3, 0.85), (0.55, 0.85)], (150, 50, 190))


def _balloon(p: _Prop) -> None:
    p.line((0, 0), (0.6, 0), 0.05, (250, 250, 250))
    p.disc((0.9, 0), 0.42, (255, 120, 190))


def _broom(p: _Prop) -> None:
    p.line((-0.5, 0), (0.9, 0), 0.1, (120, 84, 50))
    p.polygon([(0.85, -0.18), (0.85, 0.18), (1.35, 0.4), (1.35, -0.4)], (226, 190, 80))


def _racket(p: _Prop) -> None:
    p.line((-0.1, 0), (0.55, 0), 0.12, (20, 20, 20))
    p.disc((0.92, 0), 0.42, (30, 200, 215))
    p.disc((0.92, 0), 0.26, (240, 250, 250))


def _lantern(p: _Prop) -> None:
    p.line((0, 0), (0.2, 0), 0.1, (30, 30, 30))
    p.polygon([(0.2, -0.3), (0.95, -0.3), (0.95, 0.3), (0.2, 0.3)], (250, 130, 20))
    p.polygon([(0.38, -0.14), (0.78, -0.14), (0.78, 0.14), (0.38, 0.14)], (255, 246, 170))


def _sword(p: _Prop) -> None:
    p.line((-0.15, 0), (0.15, 0), 0.12, (90, 50, 30))
    p.line((0.15, -0.3), (0.15, 0.3), 0.12, (200, 205, 215))
    p.polygon([(0.15, -0.1), (1.3, -0.1), (1.5, 0), (1.3, 0.1), (0.15, 0.1)], (200, 205, 215))


def _wheel(p: _Prop) -> None:
    p.disc((0.5, 0), 0.55, (15, 15, 15), ring=0.2)
    for u, v in ((0.5, 0), (0, 0.5)):
        p.line((0.5 - u, -v), (0.5 + u, v), 0.08, (15, 15, 15))


def _kite(p: _Prop) -> None:
    p.polygon([(0.1, 0), (0.6, -0.5), (1.4, 0), (0.6, 0.5)], (40, 200, 170))
    p.polygon([(0.1, 0), (0.6, -0.5), (0.6, 0.5)], (250, 250, 250))


def _fan(p: _Prop) -> None:
    arc = [(0.9 * np.cos(a), 0.9 * np.sin(a)) for a in np.linspace(-1.1, 1.1, 7)]
    p.polygon([(0, 0), *arc], (130, 20, 60))
    for u, v in arc:
        p.line((0, 0), (u, v), 0.04, (240, 200, 210))


def _axe(p: _Prop) -> None:
    p.line((-0.3, 0), (1.15, 0), 0.12, (140, 95, 55))
    p.polygon([(0.8, 0), (1.15, 0), (1.3, 0.6), (0.65, 0.6)], (125, 130, 140))


def _trumpet(p: _Prop) -> None:
    p.line((-0.3, 0), (0.7, 0), 0.16, (235, 185, 30))
    p.polygon([(0.6, -0.08), (0.6, 0.08), (1.3, 0.5), (1.3, -0.5)], (235, 185, 30))


def _star(p: _Prop) -> None:
    tips = [
        (0.55 + r * np.cos(a), r * np.sin(a)) for k in range(10) for a, r in ((k * np.pi / 5, 0.62 - 0.36 * (k % 2)),)
    ]
    p.polygon(tips, (130, 230, 20))


def _book(p: _Prop) -> None:
    p.polygon([(0, -0.6), (0.75, -0.6), (0.75, 0.6), (0, 0.6)], (252, 252, 248))
    p.line((0, 0), (0.75, 0), 0.1, (60, 60, 60))
    for v in (-0.4, -0.22, 0.22, 0.4):
        p.line((0.12, v), (0.63, v), 0.04, (120, 120, 120))


def _ladder(p: _Prop) -> None:
    for v in (-0.25, 0.25):
        p.line((-0.3, v), (1.5, v), 0.11, (120, 125, 30))
    for u in (0.0, 0.35, 0.7, 1.05, 1.4):
        p.line((u, -0.25), (u, 0.25), 0.1, (120, 125, 30))


def _bottle(p: _Prop) -> None:
    p.polygon([(-0.1, -0.24), (0.6, -0.24), (0.6, 0.24), (-0.1, 0.24)], (110, 60, 20))
    p.line((0.6, 0), (1.05, 0), 0.18, (110, 60, 20))
    p.polygon([(0.1, -0.25), (0.42, -0.25), (0.42, 0.25), (0.1, 0.25)], (255, 225, 120))


OBJECTS: dict[str, Callable[[_Prop], None]] = {
    "ball": _ball,
    "hoop": _hoop,
    "bat": _bat,
    "umbrella": _umbrella,
    "box": _box,
    "flag": _flag,
    "balloon": _balloon,
    "broom": _broom,
    "racket": _racket,
    "lantern": _lantern,
    "sword": _sword,
    "wheel": _wheel,
    "kite": _kite,
    "fan": _fan,
    "axe": _axe,
    "trumpet": _trumpet,
    "star": _star,
    "book": _book,
    "ladder": _ladder,
    "bottle": _bottle,
}


# ------------------------------------------------------------------ frames
def _project(points: np.ndarray, look: Look, w: int, h: int) -> np.ndarray:
    """(F, ..., 3) figure coordinates -> (F, ..., 3): pixel x, pixel y, depth towards the viewer."""
    c, s = np.cos(look.yaw), np.sin(look.yaw)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    right, towards = c * x + s * z, c * z - s * x
    up = y * np.cos(look.tilt) - towards * np.sin(look.tilt)
    px = w / 2 + h * (look.centre + look.scale * right)
    py = h * (1 - look.ground) - h * look.scale * up
    return np.stack([px, py, towards], axis=-1)


def _limbs(joints: dict[str, np.ndarray], look: Look) -> list[tuple]:
    """(depth, start, end, width, colour) of every limb of one frame, farthest first."""
    limbs = [(joints["hip"][2], joints["hip"], joints["neck"], 0.15, look.shirt)]
    for side in range(2):
        chain = (
            ("shoulders", "elbows", 0.085, _shade(look.shirt, 0.8)),
            ("elbows", "hands", 0.075, look.skin),
            ("hips", "knees", 0.10, look.trousers),
            ("knees", "feet", 0.085, look.trousers),
        )
        for start, end, width, colour in chain:
            a, b = joints[start][side], joints[end][side]
            limbs.append(((a[2] + b[2]) / 2, a, b, width, colour))
    return sorted(limbs, key=lambda limb: limb[0])


def _draw_figure(draw: ImageDraw.ImageDraw, joints: dict[str, np.ndarray], look: Look, unit: float) -> None:
    for depth, a, b, width, colour in _limbs(joints, look):
        shaded = _shade(colour, 1.0 + 0.9 * float(np.clip(depth, -0.25, 0.25)))
        r = unit * width / 2
        draw.line((a[0], a[1], b[0], b[1]), fill=shaded, width=max(1, round(2 * r)))
        for x, y, _ in (a, b):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=shaded)
    # Gloves and boots: at 64 pixels they are what makes hands and feet visible.
    spots = [(joints["head"], 0.09, look.skin)]
    spots += [(hand, 0.05, (250, 250, 250)) for hand in joints["hands"]]
    spots += [(foot, 0.055, (25, 25, 25)) for foot in joints["feet"]]
    for (x, y, _), radius, colour in spots:
        r = unit * radius
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def render(figure: Skeleton, item: str, scene: str, look: Look, height: int, width: int, seed: int) -> np.ndarray:
    """Draw every frame of a clip.

    Args:
        figure: joints of F frames.
        item, scene: keys of OBJECTS and SCENES.
        height, width: pixels.
        seed: of the pixel noise.

    Returns:
        (F, height, width, 3) uint8 RGB.
    """
    h, w = height * SUPERSAMPLE, width * SUPERSAMPLE
    background = Image.new("RGB", (w, h))
    SCENES[scene](ImageDraw.Draw(background), w, h, np.random.default_rng(look.scene_seed))
    projected = {name: _project(getattr(figure, name), look, w, h) for name in figure.__dataclass_fields__}
    unit, frames = h * look.scale, []
    for index in range(len(figure.hip)):
        picture = background.copy()
        draw = ImageDraw.Draw(picture)
        joints = {name: points[index] for name, points in projected.items()}
        _draw_figure(draw, joints, look, unit)
        hand, elbow = joints["hands"][1, :2], joints["elbows"][1, :2]
        OBJECTS[item](_Prop(draw, hand, hand - elbow, 0.19 * h * look.object_scale, look.object_shade))
        frames.append(np.asarray(picture.reduce(SUPERSAMPLE)))
    noise = np.random.default_rng(seed).normal(0, look.noise, size=(len(frames), height, width, 1))
    return np.clip(np.stack(frames) * look.light + noise, 0, 255).astype(np.uint8)
