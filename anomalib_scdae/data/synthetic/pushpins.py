# SPDX-License-Identifier: Apache-2.0
"""Pushpins: a sorting box with fifteen compartments, one pin in each."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from anomalib_scdae.data.synthetic.defects import contaminate, discolor
from anomalib_scdae.data.synthetic.render import Canvas, Material
from anomalib_scdae.data.synthetic.scene import (
    Area,
    Category,
    Damage,
    Fault,
    LogicalDefect,
    Look,
    Pose,
    Rng,
    Rule,
    Scene,
    Silhouette,
    StructuralDefect,
    draw_seed,
    pick,
)
from anomalib_scdae.data.synthetic.shapes import bevel, box, circle, dome, segment, smoothstep
from anomalib_scdae.data.synthetic.textures import noise

SIZE = (1700, 1000)
COLUMNS, ROWS = 5, 3
PITCH_U, PITCH_V = 298.0, 290.0
WALL = 5.0
#: Half the free length and height of a compartment.
FREE_U, FREE_V = PITCH_U / 2 - WALL, PITCH_V / 2 - WALL
# The pin's body along its axis: (position, radius), from the needle's collar to the top.
_BODY_U = np.array([-30, -28.5, -23.5, -18.5, -16, 0, 37, 52, 57, 64, 77, 80, 81], np.float32)
_BODY_R = np.array([0, 32, 42, 42, 32, 23.5, 23.5, 31, 44.5, 47, 44.5, 37, 0], np.float32)
_NEEDLE, _KNEE, _NEEDLE_RADIUS = (-119.0, -24.0), -50.0, 6.5
#: Radius of the head.
_HEAD = 47.0
_REACH_U, _REACH_V = 124.0, 53.0
#: Area of a pin's silhouette in squared scene units.
PIN_AREA = float(np.sum((_BODY_R[1:] + _BODY_R[:-1]) * np.diff(_BODY_U))) + 1.6 * _NEEDLE_RADIUS * (
    _NEEDLE[1] - _NEEDLE[0]
)
#: The middle of the pin lies this far from the middle of its body, towards the tip.
_OFFSET = 19.0

#: How the pins lie: the angle, how far it varies, and the share of those that are turned round.
_FEED_ANGLE, _FEED_PLAY, _TURNED_ROUND = 0.5, 0.5, 0.1

_PLASTIC = Material(specular=0.45, gloss=46)
_STEEL = Material(specular=0.2, gloss=30, metal=1.0)
_CARD = Material(specular=0.02, gloss=8)
_WRONG_COLORS = ((0.05, 0.14, 0.55), (0.55, 0.03, 0.03), (0.05, 0.33, 0.10), (0.75, 0.75, 0.72))
_CLEAR = Material(specular=0.3, gloss=40)


@dataclass(frozen=True)
class Pin:
    """A pushpin that lies on its side."""

    pose: Pose
    hue: float
    seed: int


@dataclass(frozen=True)
class PushpinsScene(Scene):
    """The box: pins of each compartment (row by row), and the upright separators between neighbours in a row.

    Attributes:
        box: Where the box stands.
        compartments: Fifteen tuples of pins; poses are relative to the compartment's centre.
        separators: For each row, whether each of the four separators is there.
    """

    box: Pose
    compartments: tuple[tuple[Pin, ...], ...]
    separators: tuple[tuple[bool, ...], ...]


def _sample_pin(rng: Rng, difficulty: float, room: float = 1.0) -> Pin:
    """Draw a pin that touches no wall; most point the same way, as a feeder lays them down."""
    angle = _FEED_ANGLE + difficulty * rng.uniform(-_FEED_PLAY, _FEED_PLAY)
    angle += np.pi * (rng.random() < difficulty * _TURNED_ROUND)
    reach_u = 102 * abs(np.cos(angle)) + 40 * abs(np.sin(angle))
    reach_v = 102 * abs(np.sin(angle)) + 40 * abs(np.cos(angle))
    slack_u, slack_v = max(FREE_U - reach_u - 4, 0), max(FREE_V - reach_v - 4, 0)
    # Pins slide: they lie at a wall more often than in the middle.
    x, y = difficulty * room * np.sin(np.pi / 2 * rng.uniform(-1, 1, 2)) * (slack_u, slack_v)
    return Pin(
        Pose(float(x + _OFFSET * np.cos(angle)), float(y + _OFFSET * np.sin(angle)), float(angle)),
        float(difficulty * rng.normal(0, 0.35)),
        draw_seed(rng),
    )


def sample(rng: Rng, difficulty: float) -> PushpinsScene:
    """Draw a normal scene."""
    look = Look.sample(rng, difficulty)
    place = Pose(SIZE[0] / 2 + difficulty * rng.uniform(-6, 6), SIZE[1] / 2 + difficulty * rng.uniform(-5, 5))
    place = replace(place, angle=float(difficulty * rng.uniform(-0.008, 0.008)))
    pins = tuple((_sample_pin(rng, difficulty, 0.7),) for _ in range(ROWS * COLUMNS))
    return PushpinsScene(look, draw_seed(rng), None, place, pins, ((True,) * (COLUMNS - 1),) * ROWS)


def _centre(index: int) -> tuple[float, float]:
    """Centre of a compartment in the box's frame."""
    row, column = divmod(index, COLUMNS)
    return (column - (COLUMNS - 1) / 2) * PITCH_U, (row - (ROWS - 1) / 2) * PITCH_V


def _in_scene(place: Pose, u: float, v: float, angle: float = 0.0) -> Pose:
    """Turn a pose in the frame of ``place`` into one in the scene."""
    cosine, sine = np.cos(place.angle), np.sin(place.angle)
    return Pose(float(place.x + cosine * u - sine * v), float(place.y + sine * u + cosine * v), place.angle + angle)


def _compartment(scene: PushpinsScene, index: int) -> Area:
    """The whole floor of a compartment."""
    return Area.turned_box(_in_scene(scene.box, *_centre(index)), FREE_U, FREE_V)


# --- rules and how to break them ---------------------------------------------------------------------------------


def _one_pin_each(scene: PushpinsScene) -> bool:
    return all(len(pins) == 1 for pins in scene.compartments)


def _separated(scene: PushpinsScene) -> bool:
    return all(all(row) for row in scene.separators)


def _with_pins(scene: PushpinsScene, index: int, pins: tuple[Pin, ...]) -> PushpinsScene:
    compartments = list(scene.compartments)
    compartments[index] = pins
    return replace(scene, compartments=tuple(compartments))


def _remove_pin(scene: PushpinsScene, rng: Rng) -> tuple[PushpinsScene, tuple[Fault, ...]]:
    index = int(rng.integers(ROWS * COLUMNS))
    return _with_pins(scene, index, ()), (Fault("missing_pushpin", (_compartment(scene, index),)),)


Broken = tuple[PushpinsScene, tuple[Fault, ...]]


def _add_pins(count: int, name: str) -> Callable[[PushpinsScene, Rng], Broken]:
    def apply(scene: PushpinsScene, rng: Rng) -> Broken:
        index = int(rng.integers(ROWS * COLUMNS))
        pins = _spread(count + 1, rng)
        parts = tuple(Silhouette(f"pin {index} {number}") for number in range(count + 1))
        return _with_pins(scene, index, pins), (Fault(name, parts),)

    return apply


def _spread(count: int, rng: Rng) -> tuple[Pin, ...]:
    """Pins that touch at most: two as chance has it, more side by side, head to tail."""
    if count == 2:
        for _ in range(200):
            pair = (_sample_pin(rng, 1.0), _sample_pin(rng, 1.0))
            if _gap(*pair) > 0:
                return pair
    pins = []
    turned = int(rng.integers(2))
    for number in range(count):
        pin = _sample_pin(rng, 1.0, 0.0)
        y = (number - (count - 1) / 2) * 2 * (FREE_V - 50) / (count - 1)
        angle = rng.uniform(-0.1, 0.1) + np.pi * ((number + turned) % 2)
        x = (rng.uniform(12, 26) + _OFFSET) * np.cos(angle)
        pins.append(replace(pin, pose=Pose(float(x), float(y + rng.uniform(-3, 3)), float(angle))))
    return tuple(pins)


def _gap(one: Pin, other: Pin) -> float:
    """Distance between two pins, each taken for a row of discs."""
    along = np.array([-110, -82, -50, -22, 0, 30, 60, 75])
    radius = np.array([7, 7, 7, 42, 26, 30, 47, 47])
    x, y = (
        np.stack([pin.pose.x + along * np.cos(pin.pose.angle), pin.pose.y + along * np.sin(pin.pose.angle)])
        for pin in (one, other)
    )
    apart = np.hypot(*(x[:, :, None] - y[:, None, :]))
    return float((apart - radius[:, None] - radius[None, :]).min())


def _remove_separator(scene: PushpinsScene, rng: Rng) -> tuple[PushpinsScene, tuple[Fault, ...]]:
    row, column = int(rng.integers(ROWS)), int(rng.integers(COLUMNS - 1))
    separators = [list(line) for line in scene.separators]
    separators[row][column] = False
    broken = replace(scene, separators=tuple(tuple(line) for line in separators))
    pose = _in_scene(scene.box, (column - (COLUMNS - 2) / 2) * PITCH_U, (row - (ROWS - 1) / 2) * PITCH_V)
    return broken, (Fault("missing_separator", (Area.turned_box(pose, 14, FREE_V),)),)


# --- painting ----------------------------------------------------------------------------------------------------


def paint(scene: PushpinsScene, canvas: Canvas) -> None:
    """Paint table, box, pins and separators."""
    _paint_table(scene, canvas)
    _paint_floor(scene, canvas)
    for index, pins in enumerate(scene.compartments):
        for number, pin in enumerate(pins):
            u, v = _centre(index)
            pose = _in_scene(scene.box, u + pin.pose.x, v + pin.pose.y, pin.pose.angle)
            part = f"pin {index} {number}"
            damage = scene.damage_of(part)
            _paint_pin(canvas, replace(pin, pose=pose), part, damage)
            if damage is not None and damage.name == "broken":
                _paint_shards(scene, canvas, index, pin, damage)
    _paint_walls(scene, canvas)


def _paint_table(scene: PushpinsScene, canvas: Canvas) -> None:
    patch = canvas.everywhere()
    grain = noise(patch.u, patch.v, 5, scene.seed) * 0.5 + noise(patch.u, patch.v, 160, scene.seed + 1, 2)
    bumps = 0.25 * noise(patch.u, patch.v, 7, scene.seed + 2)
    canvas.paint(patch, 1.0, (0.055, 0.062, 0.068), Material(0.03, 10), height=bumps, tone=1 + 0.05 * grain)


def _paint_floor(scene: PushpinsScene, canvas: Canvas) -> None:
    half_u, half_v = COLUMNS * PITCH_U / 2 + 8, ROWS * PITCH_V / 2 + 8
    patch = canvas.patch(scene.box, half_u, half_v, margin=70)
    distance = box(patch.u, patch.v, half_u, half_v, 16)
    canvas.shade(patch, patch.coverage(distance), 34, 16)
    fibres = noise(patch.u, patch.v, (26, 4.5), scene.seed + 3) + noise(patch.u, patch.v, (5, 22), scene.seed + 4)
    cloud = noise(patch.u, patch.v, 90, scene.seed + 5, 3)
    tone = 1 + 0.022 * fibres + 0.03 * cloud
    canvas.paint(patch, patch.coverage(distance), (0.50, 0.47, 0.42), _CARD, 0.35 * fibres, "floor", tone)
    # The walls keep fill light from the edges of every compartment.
    local_u = np.abs(np.mod(patch.u + PITCH_U * COLUMNS / 2, PITCH_U) - PITCH_U / 2)
    local_v = np.abs(np.mod(patch.v + PITCH_V * ROWS / 2, PITCH_V) - PITCH_V / 2)
    to_wall = np.minimum(PITCH_U / 2 - local_u, PITCH_V / 2 - local_v)
    canvas.darken(patch, 1 - 0.28 * np.exp(-to_wall / 26))


def _paint_pin(canvas: Canvas, pin: Pin, part: str, damage: Damage | None) -> None:
    patch = canvas.patch(pin.pose, _REACH_U, _REACH_V, margin=44)
    u, v = patch.u, patch.v
    fate = np.random.default_rng(damage.seed) if damage is not None else None
    kind = damage.name if damage is not None else ""
    tip = np.array([_NEEDLE[0], 0.0])
    knee = np.array([_KNEE, 0.0])
    if kind == "front_bent" and fate is not None:
        bend = fate.uniform(1.0, 2.1) * pick(fate, [-1, 1])
        tip = knee + 69 * np.array([-np.cos(bend), np.sin(bend)])
    near, _ = segment(u, v, (_NEEDLE[1], 0.0), tuple(knee))
    far, along = segment(u, v, tuple(knee), tuple(tip))
    thickness = _NEEDLE_RADIUS * (1 - 0.65 * smoothstep(along, 0.35, 1.0))
    needle = np.minimum(near - _NEEDLE_RADIUS, far - thickness)
    edge = np.full_like(u, -np.inf)
    radius = np.interp(u, _BODY_U, _BODY_R, left=0, right=0).astype(np.float32)
    body = np.abs(v) - radius
    if kind == "broken" and fate is not None:
        edge = u - fate.uniform(0, 25) - 7 * noise(u, v, 14, damage.seed if damage else 0) - fate.uniform(-0.6, 0.6) * v
        body = np.maximum(body, edge)
    # Between the profile's steep shoulders |v| - r is no distance; limit it to one along the axis.
    body = np.maximum(body, np.maximum(_BODY_U[0] - u, u - _BODY_U[-1]))
    metal, plastic = patch.coverage(needle), patch.coverage(body)
    canvas.shade(patch, np.maximum(0.7 * metal, plastic), 20, 9)
    # A needle thinner than two pixels would show the slope of its flanks as dashes.
    height = dome(np.minimum(near, far), max(_NEEDLE_RADIUS, 3 * patch.unit))
    canvas.paint(patch, metal, (0.62, 0.62, 0.63), _STEEL, height=height, part=part)
    yellow = (0.80, 0.50 + 0.03 * float(np.clip(pin.hue, -1, 1)), 0.016)
    # Light that enters the plastic leaves it at thin rims.
    tone = 1 + 0.03 * noise(u, v, 22, pin.seed) + 0.14 * smoothstep(np.abs(v) / np.maximum(radius, 1), 0.6, 1.0)
    canvas.paint(patch, plastic, yellow, _PLASTIC, dome(v, radius), part, tone)
    if damage is not None and kind == "broken":
        # Plastic whitens where it breaks, and the fracture is matt and rough.
        face = plastic * smoothstep(edge, -20, -3)
        rough = noise(u, v, 6, damage.seed + 1)
        canvas.paint(patch, face, (0.86, 0.74, 0.38), _CARD, 3 * rough, part, 1 + 0.12 * rough)


def _beside(scene: PushpinsScene, index: int, pin: Pose, offset: tuple[float, float], half: float) -> Pose:
    """A place in the pin's frame, moved so that what is ``half`` in radius stays in the compartment."""
    place = _in_scene(pin, *offset)
    room_u, room_v = FREE_U - half - 4, FREE_V - half - 4
    u, v = _centre(index)
    u, v = u + float(np.clip(place.x, -room_u, room_u)), v + float(np.clip(place.y, -room_v, room_v))
    return _in_scene(scene.box, u, v)


def _paint_shards(scene: PushpinsScene, canvas: Canvas, index: int, pin: Pin, damage: Damage) -> None:
    """What has broken off lies beside the pin: the head, seen on its fracture, or splinters only."""
    fate = np.random.default_rng(damage.seed + 2)
    if fate.uniform() < 0.6:
        place = _beside(scene, index, pin.pose, (fate.uniform(60, 80), fate.uniform(-35, 35)), _HEAD)
        patch = canvas.patch(place, _HEAD, _HEAD, margin=40)
        rim = circle(patch.u, patch.v, _HEAD)
        coverage = patch.coverage(rim)
        canvas.shade(patch, coverage, 14, 7)
        canvas.paint(patch, coverage, (0.80, 0.50, 0.016), _PLASTIC, bevel(rim, 12), "shards")
        rough = noise(patch.u, patch.v, 6, damage.seed + 3)
        face = patch.coverage(circle(patch.u, patch.v, 0.5 * _HEAD) + 5 * rough)
        canvas.paint(patch, face, (0.86, 0.74, 0.38), _CARD, 3 * rough, "shards", 1 + 0.12 * rough)
    for _ in range(int(fate.integers(2, 5))):
        half = float(fate.uniform(11, 20))
        place = _beside(scene, index, pin.pose, (fate.uniform(30, 85), fate.uniform(-45, 45)), half)
        place = replace(place, angle=float(fate.uniform(-np.pi, np.pi)))
        patch = canvas.patch(place, half, half, margin=20)
        shard = box(patch.u, patch.v, half, 0.6 * half, 2) + 4 * noise(patch.u, patch.v, 11, int(fate.integers(2**31)))
        coverage = patch.coverage(np.maximum(shard, 0.7 * patch.u + patch.v - 0.5 * half))
        canvas.shade(patch, coverage, 8, 4)
        canvas.paint(patch, coverage, (0.84, 0.58, 0.08), _PLASTIC, bevel(shard, 6), "shards")


def _paint_walls(scene: PushpinsScene, canvas: Canvas) -> None:
    for row in range(ROWS):
        for column in range(COLUMNS - 1):
            if scene.separators[row][column]:
                u = (column - (COLUMNS - 2) / 2) * PITCH_U
                v = (row - (ROWS - 1) / 2) * PITCH_V
                _paint_wall(scene, canvas, u, v, WALL - 1.5, PITCH_V / 2 - WALL + 4, f"separator {row} {column}")
    for line in range(ROWS + 1):
        outer = line in {0, ROWS}
        half = WALL + 4 if outer else WALL
        _paint_wall(scene, canvas, 0, (line - ROWS / 2) * PITCH_V, COLUMNS * PITCH_U / 2 + 8, half, f"long wall {line}")
    for side in (-1, 1):
        length = ROWS * PITCH_V / 2 + 8
        _paint_wall(scene, canvas, side * COLUMNS * PITCH_U / 2, 0, WALL + 4, length, f"short wall {side}")


def _paint_wall(
    scene: PushpinsScene, canvas: Canvas, u: float, v: float, half_u: float, half_v: float, part: str
) -> None:
    patch = canvas.patch(_in_scene(scene.box, u, v), half_u, half_v, margin=60)
    distance = box(patch.u, patch.v, half_u, half_v, 4)
    coverage = patch.coverage(distance)
    canvas.shade(patch, coverage, 26, 10, strength=0.5)
    tone = 1 + 0.02 * noise(patch.u, patch.v, 30, scene.seed + 7)
    canvas.paint(patch, coverage * 0.92, (0.60, 0.63, 0.64), _CLEAR, bevel(distance, 4.5), part, tone)


def _pins(scene: PushpinsScene) -> list[str]:
    return [f"pin {index} 0" for index in range(len(scene.compartments))]


def _floor(_scene: PushpinsScene) -> list[str]:
    return ["floor"]


CATEGORY = Category(
    name="pushpins",
    size=SIZE,
    rules=(
        Rule("one_pin_per_compartment", "each of the 15 compartments holds exactly one pin", _one_pin_each),
        Rule("all_separators", "a separator stands between any two neighbouring compartments", _separated),
    ),
    logical=(
        LogicalDefect(
            "additional_1_pushpin",
            "one_pin_per_compartment",
            _add_pins(1, "additional_1_pushpin"),
            "both pins in the compartment; saturates at the area of one pin",
            PIN_AREA,
        ),
        LogicalDefect(
            "additional_2_pushpins",
            "one_pin_per_compartment",
            _add_pins(2, "additional_2_pushpins"),
            "all three pins in the compartment; saturates at the area of two pins",
            2 * PIN_AREA,
        ),
        LogicalDefect(
            "missing_pushpin",
            "one_pin_per_compartment",
            _remove_pin,
            "the empty compartment's whole floor; saturates at the area of one pin",
            PIN_AREA,
        ),
        LogicalDefect(
            "missing_separator", "all_separators", _remove_separator, "the strip where the separator would stand"
        ),
    ),
    structural=(
        StructuralDefect("front_bent", _pins, "a pin's needle is bent"),
        StructuralDefect("broken", _pins, "a pin's head is broken off; it or splinters of it lie about"),
        StructuralDefect("color", _pins, "a pin has a wrong colour, all over or in part", discolor(_WRONG_COLORS, 110)),
        StructuralDefect(
            "contamination", _floor, "a foreign crumb, fibre, drop or chip lies in the box", contaminate(76)
        ),
    ),
    sample=sample,
    paint=paint,
)
