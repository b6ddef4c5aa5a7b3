# SPDX-License-Identifier: Apache-2.0
"""Breakfast box: two tangerines and a nectarine on the left, cereals and toppings on the right."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from anomalib_scdae.data.synthetic.defects import contaminate, crack, dent, rot, scratch, stain
from anomalib_scdae.data.synthetic.render import Canvas, Material, Patch
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
from anomalib_scdae.data.synthetic.shapes import Array, bevel, box, circle, dome, ellipse, norm, smoothstep
from anomalib_scdae.data.synthetic.textures import heap, noise

SIZE = (1600, 1280)
#: Half the width and height of the box, and of its inside; the divider's place.
BOX_U, BOX_V = 735.0, 575.0
IN_U, IN_V = 690.0, 530.0
DIVIDER, DIVIDER_HALF = -40.0, 13.0
#: Half the width of the compartments for fruit and for cereals.
FRUIT_HALF = (DIVIDER - DIVIDER_HALF + IN_U) / 2
CEREAL_HALF = (IN_U - DIVIDER - DIVIDER_HALF) / 2
TANGERINE, NECTARINE = 158.0, 176.0
#: Height of the cereals as a share of the compartment's, and how much of the compartment is filled.
RATIO = (0.50, 0.62)
FILLING = (0.96, 1.03)
#: Share of almonds among the pieces of the toppings.
ALMONDS = (0.40, 0.70)

#: Radius of the place where toppings are crushed.
_BLOW = 165.0

# Areas in squared scene units, for the saturation thresholds.
TANGERINE_AREA, NECTARINE_AREA = np.pi * TANGERINE**2, np.pi * NECTARINE**2

_TRAY = Material(specular=0.16, gloss=18)
_PEEL = Material(specular=0.20, gloss=24)
_SKIN = Material(specular=0.12, gloss=16)
_DRY = Material(specular=0.02, gloss=8)
_ALMOND_COLOR = np.array([0.30, 0.125, 0.045], np.float32)
_CHIP_COLOR = np.array([0.72, 0.52, 0.235], np.float32)
_ALMOND = Material(specular=0.07, gloss=12)


@dataclass(frozen=True)
class Fruit:
    """A tangerine or a nectarine; its pose is relative to the middle of its compartment."""

    kind: str
    pose: Pose
    radius: float
    seed: int


@dataclass(frozen=True)
class BreakfastBoxScene(Scene):
    """The box.

    Attributes:
        box: Where it stands.
        mirrored: Whether fruit and cereals have changed sides.
        fruits: The fruit.
        cereals: Whether there are cereals.
        toppings: Kinds of toppings that there are, of ``"almonds"`` and ``"bananas"``.
        ratio: Height of the cereals as a share of the compartment's height.
        filling: Share of the compartment that is filled; above 1 it overflows.
        almonds: Share of almonds among the toppings' pieces.
    """

    box: Pose
    mirrored: bool
    fruits: tuple[Fruit, ...]
    cereals: bool
    toppings: frozenset[str]
    ratio: float
    filling: float
    almonds: float


# The places of up to four fruits in their compartment, before variation.
_PLACES = {
    1: ((0.0, 0.0),),
    2: ((-70.0, -250.0), (70.0, 200.0)),
    3: ((-110.0, -330.0), (105.0, -20.0), (-95.0, 310.0)),
    4: ((-125.0, -355.0), (122.0, -150.0), (-120.0, 130.0), (110.0, 350.0)),
}


def _place_fruits(kinds: list[str], rng: Rng, difficulty: float) -> tuple[Fruit, ...]:
    """Lay fruits into their compartment so that they touch at most a little."""
    if not kinds:
        return ()
    flip_u, flip_v = (pick(rng, (-1, 1)), pick(rng, (-1, 1))) if difficulty > 0 else (1, 1)
    order = [kinds[index] for index in rng.permutation(len(kinds))] if difficulty > 0 else kinds
    spots = np.array(_PLACES[len(kinds)]) * (flip_u, flip_v)
    spots = spots + difficulty * rng.uniform(-1, 1, spots.shape) * (36, 34)
    base = {"tangerine": TANGERINE, "nectarine": NECTARINE}
    radii = np.array([base[kind] * (1 + 0.05 * difficulty * rng.uniform(-1, 1)) for kind in order])
    for _ in range(40):
        for one in range(len(spots)):
            for other in range(one):
                apart = spots[one] - spots[other]
                distance = max(float(np.hypot(*apart)), 1e-6)
                push = max(0.0, 0.97 * (radii[one] + radii[other]) - distance) / 2
                spots[one] += push * apart / distance
                spots[other] -= push * apart / distance
        room = np.stack([FRUIT_HALF - 0.94 * radii, IN_V - 0.94 * radii], axis=-1)
        spots = np.clip(spots, -room, room)
    return tuple(
        Fruit(kind, Pose(float(x), float(y), float(rng.uniform(-np.pi, np.pi))), float(radius), draw_seed(rng))
        for kind, (x, y), radius in zip(order, spots, radii, strict=True)
    )


def sample(rng: Rng, difficulty: float) -> BreakfastBoxScene:
    """Draw a normal scene."""
    look = Look.sample(rng, difficulty)
    place = Pose(
        float(SIZE[0] / 2 + difficulty * rng.uniform(-7, 7)),
        float(SIZE[1] / 2 + difficulty * rng.uniform(-6, 6)),
        float(difficulty * rng.uniform(-0.006, 0.006)),
    )

    def within(band: tuple[float, float]) -> float:
        return (band[0] + band[1]) / 2 + min(difficulty, 1.0) * 0.48 * (band[1] - band[0]) * float(rng.uniform(-1, 1))

    return BreakfastBoxScene(
        look,
        draw_seed(rng),
        None,
        place,
        False,
        _place_fruits(["tangerine", "tangerine", "nectarine"], rng, difficulty),
        True,
        frozenset({"almonds", "bananas"}),
        within(RATIO),
        within(FILLING),
        within(ALMONDS),
    )


# --- rules and how to break them ---------------------------------------------------------------------------------


def _fruits(scene: BreakfastBoxScene) -> bool:
    return sorted(fruit.kind for fruit in scene.fruits) == ["nectarine", "tangerine", "tangerine"]


def _sides(scene: BreakfastBoxScene) -> bool:
    return not scene.mirrored


def _cereals_and_toppings(scene: BreakfastBoxScene) -> bool:
    return scene.cereals and scene.toppings == {"almonds", "bananas"}


def _ratio(scene: BreakfastBoxScene) -> bool:
    return not (scene.cereals and scene.toppings) or RATIO[0] <= scene.ratio <= RATIO[1]


def _filling(scene: BreakfastBoxScene) -> bool:
    return FILLING[0] <= scene.filling <= FILLING[1]


Broken = tuple[BreakfastBoxScene, tuple[Fault, ...]]
Breaks = Callable[[BreakfastBoxScene, Rng], Broken]


def _at(scene: BreakfastBoxScene, u: float, v: float, angle: float = 0.0) -> Pose:
    """Turn a place in the box into a pose in the scene."""
    u = -u if scene.mirrored else u
    cosine, sine = float(np.cos(scene.box.angle)), float(np.sin(scene.box.angle))
    return Pose(scene.box.x + cosine * u - sine * v, scene.box.y + sine * u + cosine * v, scene.box.angle + angle)


def _fruit_middle() -> float:
    return -IN_U + FRUIT_HALF


def _cereal_middle() -> float:
    return IN_U - CEREAL_HALF


def _fruit_room(scene: BreakfastBoxScene) -> Area:
    return Area.turned_box(_at(scene, _fruit_middle(), 0), FRUIT_HALF, IN_V)


def _cereal_room(scene: BreakfastBoxScene, top: float = 0.0, bottom: float = 1.0) -> Area:
    """The cereals' compartment, between two shares of its height."""
    middle = IN_V * (top + bottom - 1)
    return Area.turned_box(_at(scene, _cereal_middle(), middle), CEREAL_HALF, IN_V * (bottom - top))


def _boundary(scene: BreakfastBoxScene) -> float:
    """Height, in the box, at which the cereals end and the toppings begin."""
    return IN_V * (2 * scene.ratio - 1)


def _with_fruits(name: str, nectarines: int, tangerines: int) -> Breaks:
    """Too few: the whole compartment; too many or of the wrong kind: the kind of which there are too many."""

    def apply(scene: BreakfastBoxScene, rng: Rng) -> Broken:
        kinds = ["nectarine"] * nectarines + ["tangerine"] * tangerines
        changed = replace(scene, fruits=_place_fruits(kinds, rng, 1.0))
        surplus = "nectarine" if nectarines > 1 else "tangerine" if tangerines > 2 else ""
        parts = tuple(
            Silhouette(f"fruit {index}") for index, fruit in enumerate(changed.fruits) if fruit.kind == surplus
        )
        return changed, (Fault(name, parts or (_fruit_room(scene),)),)

    return apply


def _without_toppings(name: str, *gone: str) -> Breaks:
    def apply(scene: BreakfastBoxScene, _rng: Rng) -> Broken:
        changed = replace(scene, toppings=scene.toppings - set(gone))
        # Where only one kind is missing, the other one fills the place.
        return changed, (Fault(name, (_cereal_room(scene, scene.ratio, 1.0),)),)

    return apply


def _without_cereals(scene: BreakfastBoxScene, _rng: Rng) -> Broken:
    return replace(scene, cereals=False), (Fault("missing_cereals", (_cereal_room(scene, 0.0, scene.ratio),)),)


def _without_both(scene: BreakfastBoxScene, _rng: Rng) -> Broken:
    changed = replace(scene, cereals=False, toppings=frozenset())
    return changed, (Fault("missing_cereals_and_toppings", (_cereal_room(scene),)),)


def _swap_sides(scene: BreakfastBoxScene, _rng: Rng) -> Broken:
    changed = replace(scene, mirrored=True)
    return changed, (Fault("compartments_swapped", (Area.turned_box(scene.box, IN_U, IN_V),)),)


def _refill(name: str, low: float, high: float) -> Breaks:
    def apply(scene: BreakfastBoxScene, rng: Rng) -> Broken:
        changed = replace(scene, filling=float(rng.uniform(low, high)))
        if changed.filling > 1:
            return changed, (Fault(name, (Silhouette("cereals"), Silhouette("toppings"))),)
        return changed, (Fault(name, (_cereal_room(scene),)),)

    return apply


def _wrong_ratio(scene: BreakfastBoxScene, rng: Rng) -> Broken:
    low, high = pick(rng, ((0.26, 0.40), (0.72, 0.86)))
    changed = replace(scene, ratio=float(rng.uniform(low, high)))
    edges = (changed.ratio, RATIO[0]) if changed.ratio < RATIO[0] else (RATIO[1], changed.ratio)
    return changed, (Fault("wrong_ratio", (_cereal_room(changed, *edges),)),)


# --- painting ----------------------------------------------------------------------------------------------------


def paint(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    """Paint the table, the box, the cereals, the toppings and the fruit."""
    _paint_table(scene, canvas)
    _paint_box(scene, canvas)
    _paint_topping_crumbs(scene, canvas)
    _paint_cereals(scene, canvas)
    _paint_toppings(scene, canvas)
    for index, fruit in enumerate(scene.fruits):
        _paint_fruit(scene, canvas, f"fruit {index}", fruit)


def _paint_table(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    """Oak boards; only around the box, which hides the rest."""
    middle_u, middle_v, strip = SIZE[0] / 2, SIZE[1] / 2, 110.0
    for side in (-1, 1):
        _paint_boards(scene, canvas, Pose(middle_u, middle_v + side * (middle_v - strip / 2)), middle_u, strip)
        _paint_boards(scene, canvas, Pose(middle_u + side * (middle_u - strip / 2), middle_v), strip, middle_v)


def _paint_boards(scene: BreakfastBoxScene, canvas: Canvas, place: Pose, half_u: float, half_v: float) -> None:
    patch = canvas.patch(place, half_u, half_v, margin=60)
    u, v = patch.u + np.float32(place.x), patch.v + np.float32(place.y)
    board = np.floor((v + 40) / 330)
    rings = noise(u + board * 371, v + 90 * board, (900, 30), scene.seed)
    pores = noise(u, v, (70, 3.2), scene.seed + 1)
    tone = (1 + 0.13 * rings + 0.05 * pores + 0.06 * np.sin(board * 2.3)) * (1 - 0.5 * (v + 40 - 330 * board < 5))
    canvas.paint(patch, 1.0, (0.30, 0.185, 0.095), Material(0.06, 14), height=0.8 * pores + 2 * rings, tone=tone)


def _paint_box(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    patch = canvas.patch(scene.box, BOX_U, BOX_V, margin=110)
    u, v = (-patch.u if scene.mirrored else patch.u), patch.v
    outer = box(u, v, BOX_U, BOX_V, 70)
    canvas.shade(patch, patch.coverage(outer), 60, 26)
    left = box(u - _fruit_middle(), v, FRUIT_HALF, IN_V, 46)
    right = box(u - _cereal_middle(), v, CEREAL_HALF, IN_V, 46)
    inside = np.minimum(left, right)
    haze = noise(u, v, 260, scene.seed + 2) * 0.012
    # The walls slope down from the rim over some width; the floor is flat again.
    height = bevel(outer, 16) - 58 * smoothstep(-inside, -4, 34)
    canvas.paint(patch, patch.coverage(outer), (0.68, 0.69, 0.68), _TRAY, height, "tray", 1 + haze)
    floor = smoothstep(-inside, 0, 120)
    canvas.darken(patch, 1 - smoothstep(-inside, -3, 22) * (0.42 - 0.26 * floor))
    hollow = patch.coverage(inside)
    light = np.array(canvas.look.light[:2]) / canvas.look.light[2]
    # The wall towards the light throws its shadow on the floor.
    moved = np.minimum(
        box(u - _fruit_middle() + 46 * float(light[0]), v + 46 * float(light[1]), FRUIT_HALF, IN_V, 46),
        box(u - _cereal_middle() + 46 * float(light[0]), v + 46 * float(light[1]), CEREAL_HALF, IN_V, 46),
    )
    canvas.block_light(patch, hollow * 0.75 * smoothstep(moved, -16, 14))


def _bed(scene: BreakfastBoxScene, patch: Patch) -> tuple[Array, Array, Array]:
    """Coordinates in the cereals' compartment, unmirrored, and the distance to what is filled of it."""
    u = (-patch.u if scene.mirrored else patch.u) - np.float32(_cereal_middle())
    grow = _grown(scene)
    ragged = 0.0 if grow == 1 else 16 * noise(u, patch.v, 90, scene.seed + 20, 2)
    fill = box(u, patch.v, CEREAL_HALF * grow - 2, IN_V * grow - 2, 50)
    return u, patch.v, (fill + ragged).astype(np.float32)


def _grown(scene: BreakfastBoxScene) -> float:
    """How much larger than normal the filled part of the compartment is; normal variation is not told apart."""
    return 1.0 if FILLING[0] <= scene.filling <= FILLING[1] else scene.filling


def _within(scene: BreakfastBoxScene, top: float, bottom: float) -> Callable[[Array, Array], npt.NDArray[np.bool_]]:
    """Tell which pieces lie in the filled part of the compartment, between two wavy lines."""
    grow = _grown(scene)

    def inside(x: Array, y: Array) -> npt.NDArray[np.bool_]:
        level = y - 18 * np.sin(x / 61 + scene.seed % 7) - 10 * np.sin(x / 23 + scene.seed % 5)
        filled = (np.abs(x) < CEREAL_HALF * grow - 36) & (np.abs(y) < IN_V * grow - 36)
        return filled & (level > top) & (level < bottom)

    return inside


def _paint_cereals(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    if not scene.cereals:
        return
    patch = _right_patch(scene, canvas)
    u, v, fill = _bed(scene, patch)
    edge = np.float32(_boundary(scene)) + 20 * noise(u, v, 170, scene.seed + 21, 2)
    region = np.maximum(fill, v - edge)
    ground = patch.coverage(region + 12)
    crumbs = noise(u, v, 14, scene.seed + 22, 2)
    canvas.paint(patch, ground, (0.20, 0.105, 0.04), _DRY, 2.5 * crumbs, "cereals", 1 + 0.22 * crumbs)
    inside = _within(scene, -IN_V * 2, _boundary(scene) - 4)
    mixed = scene.damage_called("mixed_cereals")
    for layer, pitch in enumerate((38.0, 46.0)):
        _paint_flakes(scene, canvas, patch, u, v, pitch, layer, inside)
    if mixed is not None:
        _paint_strange_cereals(canvas, scene, mixed)


class _FlakeSorts:
    """Colour and shape of the 256 sorts of pieces that cereals consist of: raisins, corn flakes, and oats."""

    def __init__(self) -> None:
        rng = np.random.default_rng(20220302)
        sort = np.arange(256)
        raisin, oat = sort < 15, sort > 180
        tone = rng.uniform(0, 1, (256, 1))
        corn = np.array([0.56, 0.28, 0.075]) * (0.72 + 0.6 * tone)
        pale = np.array([0.62, 0.47, 0.28]) * (0.85 + 0.3 * tone)
        color = np.where(oat[:, None], pale, np.where(raisin[:, None], (0.055, 0.02, 0.018), corn))
        self.color: Array = color.astype(np.float32)
        solid = raisin | oat
        # Flakes are curled like shells, up or down, and lean; oats and raisins bulge.
        self.bulge: Array = np.where(solid, 0.45, 0).astype(np.float32)
        self.curl: Array = np.where(solid, 0, rng.choice([-0.3, 0.3], 256)).astype(np.float32)
        self.lean_u: Array = np.where(solid, 0, rng.uniform(-0.18, 0.18, 256)).astype(np.float32)
        self.lean_v: Array = np.where(solid, 0, rng.uniform(-0.18, 0.18, 256)).astype(np.float32)


_FLAKES = _FlakeSorts()


def _paint_flakes(
    scene: BreakfastBoxScene,
    canvas: Canvas,
    patch: Patch,
    u: Array,
    v: Array,
    pitch: float,
    layer: int,
    inside: Callable[[Array, Array], npt.NDArray[np.bool_]],
) -> None:
    """Flakes, oats and raisins."""
    pile = heap(u, v, pitch, scene.seed + 50 + layer, (0.55, 0.95), inside)
    radius = np.sqrt(np.square(pile.u) + np.square(pile.v))
    covered = (pile.size > 0).astype(np.float32)
    sort = (pile.kind * 256).astype(np.uint8)
    toasted = noise(u, v, 9, scene.seed + 60 + layer)
    tone = 1 + 0.14 * toasted - 0.22 * smoothstep(radius, 0.7, 1.0)
    bulge = np.sqrt(np.maximum(1 - radius * radius, 0)) * _FLAKES.bulge[sort]
    shape = bulge + _FLAKES.curl[sort] * pile.v**2 + _FLAKES.lean_u[sort] * pile.u + _FLAKES.lean_v[sort] * pile.v
    height = pile.size * shape + 1.2 * toasted
    openness = 0.42 + 0.58 * smoothstep(pile.rank, 0.0, 0.8)
    if layer:
        # The top layer is sparse: only its upper pieces are there.
        covered *= pile.rank > 0.45
        openness = np.ones_like(openness)
        canvas.shade(patch, covered, 10, 6, strength=0.7)
    canvas.paint(patch, covered, _FLAKES.color[sort], _DRY, height=height, part="cereals", tone=tone)
    canvas.darken(patch, 1 - covered * (1 - openness))


def _paint_strange_cereals(canvas: Canvas, scene: BreakfastBoxScene, damage: Damage) -> None:
    """A handful of another product among the cereals: coloured rings."""
    fate = np.random.default_rng(damage.seed)
    hue = pick(fate, ((0.55, 0.06, 0.06), (0.08, 0.30, 0.08), (0.10, 0.14, 0.50), (0.75, 0.68, 0.6)))
    middle = (fate.uniform(-0.55, 0.55) * CEREAL_HALF, -IN_V + fate.uniform(0.25, 0.7) * 2 * IN_V * scene.ratio)
    for _ in range(int(fate.integers(5, 11))):
        x, y = middle + fate.normal(0, 48, 2)
        y = min(y, _boundary(scene) - 40)
        pose = _at(scene, _cereal_middle() + float(np.clip(x, 60 - CEREAL_HALF, CEREAL_HALF - 60)), float(y))
        patch = canvas.patch(pose, 34, 34, margin=24)
        body = np.abs(circle(patch.u, patch.v, 22)) - 11
        coverage = patch.coverage(body)
        canvas.shade(patch, coverage, 12, 6)
        rough = noise(patch.u, patch.v, 8, int(fate.integers(2**31)))
        canvas.paint(patch, coverage, hue, _DRY, bevel(body, 11), tone=1 + 0.12 * rough)


def _right_patch(scene: BreakfastBoxScene, canvas: Canvas) -> Patch:
    """The window of the cereals' compartment with some surroundings, in the box's coordinates."""
    whole = canvas.patch(scene.box, BOX_U, BOX_V, margin=20)
    middle = canvas.patch(_at(scene, _cereal_middle(), 0), CEREAL_HALF * 1.12, IN_V * 1.12, margin=30)
    rows = slice(middle.window[0].start - whole.window[0].start, middle.window[0].stop - whole.window[0].start)
    columns = slice(middle.window[1].start - whole.window[1].start, middle.window[1].stop - whole.window[1].start)
    rows = slice(max(rows.start, 0), rows.stop)
    columns = slice(max(columns.start, 0), columns.stop)
    top, left = whole.window[0].start + rows.start, whole.window[1].start + columns.start
    u, v = whole.u[rows, columns], whole.v[rows, columns]
    return Patch((slice(top, top + u.shape[0]), slice(left, left + u.shape[1])), u, v, whole.unit)


def _paint_topping_crumbs(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    """What has crumbled off the toppings lies below them."""
    if not scene.toppings:
        return
    patch = _right_patch(scene, canvas)
    u, v, fill = _bed(scene, patch)
    edge = np.float32(_boundary(scene)) - 24 * float(scene.cereals) + 10 * noise(u, v, 120, scene.seed + 70)
    crumbs = noise(u, v, 12, scene.seed + 71, 2)
    ground = patch.coverage(np.maximum(fill + 12, edge - v))
    canvas.paint(patch, ground, (0.13, 0.068, 0.032), _DRY, 2 * crumbs, "toppings", 1 + 0.25 * crumbs)
    chopped = heap(u, v, 20.0, scene.seed + 73, (0.5, 0.95), _within(scene, _boundary(scene) - 14, IN_V))
    pale = {"almonds": 0.0, "bananas": 1.0}.get(next(iter(scene.toppings)), 0) if len(scene.toppings) == 1 else 0.55
    nut = np.where((chopped.kind < pale)[..., None], 0.72 * _CHIP_COLOR, 0.94 * _ALMOND_COLOR)
    rise = chopped.size * 0.4 * np.sqrt(np.maximum(1 - chopped.u**2 - chopped.v**2, 0))
    tone = 0.75 + 0.5 * chopped.rank
    canvas.paint(patch, (chopped.size > 0).astype(np.float32), nut, _DRY, height=rise, part="toppings", tone=tone)


def _paint_toppings(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    """Almonds and banana chips."""
    if not scene.toppings:
        return
    pieces = _topping_pieces(scene)
    damage = scene.damage_called("toppings_crushed")
    blow = pieces[damage.seed % len(pieces)][1] if damage is not None else None
    for kind, place, seed in pieces:
        pose = _at(scene, _cereal_middle() + place.x, place.y, place.angle)
        crushed = blow is not None and np.hypot(place.x - blow.x, place.y - blow.y) < _BLOW
        (_paint_almond if kind == "almonds" else _paint_banana)(canvas, pose, seed, crushed=crushed)
    if blow is not None and damage is not None:
        _paint_meal(scene, canvas, blow, damage)


def _paint_meal(scene: BreakfastBoxScene, canvas: Canvas, blow: Pose, damage: Damage) -> None:
    """The fine crumbs that crushed toppings leave."""
    pose = _at(scene, _cereal_middle() + blow.x, blow.y)
    patch = canvas.patch(pose, _BLOW, _BLOW, margin=20)
    phase = damage.seed % 6

    def strewn(x: Array, y: Array) -> npt.NDArray[np.bool_]:
        around = np.arctan2(y, x)
        ragged = 1 + 0.22 * np.sin(2 * around + phase) + 0.16 * np.sin(5 * around - phase)
        return np.hypot(x, y) < 0.68 * _BLOW * ragged

    crumbs = heap(patch.u, patch.v, 13.0, damage.seed, (0.5, 0.9), strewn)
    seen = (crumbs.size > 0) & (crumbs.kind < 0.72)
    rise = crumbs.size * 0.4 * np.sqrt(np.maximum(1 - crumbs.u**2 - crumbs.v**2, 0))
    canvas.paint(patch, seen.astype(np.float32), (0.84, 0.70, 0.48), _DRY, rise, "toppings", 0.8 + 0.4 * crumbs.rank)


def _topping_pieces(scene: BreakfastBoxScene) -> list[tuple[str, Pose, int]]:
    """Places of the toppings in the compartment: a jittered grid, so that they cover it."""
    rng = np.random.default_rng(scene.seed + 72)
    grow = _grown(scene)
    half_u = CEREAL_HALF * grow - 44
    top, bottom = _boundary(scene) + 36, IN_V * grow - 46
    pitch = 70.0
    columns, rows = max(1, round(2 * half_u / pitch)), max(1, round((bottom - top) / pitch))
    pieces = []
    for row in range(rows):
        for column in range(columns):
            x = -half_u + 2 * half_u * (column + 0.5 + rng.uniform(-0.42, 0.42)) / columns
            y = top + (bottom - top) * (row + 0.5 + rng.uniform(-0.42, 0.42)) / rows
            almond = rng.uniform() < scene.almonds
            angle, seed = float(rng.uniform(-np.pi, np.pi)), draw_seed(rng)
            kind = "almonds" if almond else "bananas"
            if kind not in scene.toppings:
                kind = next(iter(scene.toppings))
            pieces.append((kind, Pose(x, y, angle), seed))
    return [pieces[index] for index in rng.permutation(len(pieces))]


def _paint_almond(canvas: Canvas, pose: Pose, seed: int, *, crushed: bool) -> None:
    rng = np.random.default_rng(seed)
    half_u, half_v = rng.uniform(44, 54), rng.uniform(23, 28)
    patch = canvas.patch(pose, half_u, half_v, margin=20)
    u, v = patch.u, patch.v
    taper = half_v * (1 - 0.34 * smoothstep(u, 0, half_u))
    body = ellipse(u, v * half_v / taper, half_u, half_v)
    if crushed:
        body = np.maximum(body, 4 - 16 * np.abs(noise(u, v, 24, seed)))
    coverage = patch.coverage(body)
    canvas.shade(patch, coverage, 14, 8)
    veins = noise(u, v, (60, 4), seed + 1)
    tone = rng.uniform(0.85, 1.2) * (1 + 0.15 * veins)
    height = 0.5 * bevel(body, float(half_v)) + 0.5 * veins
    canvas.paint(patch, coverage, _ALMOND_COLOR, _ALMOND, height=height, part="toppings", tone=tone)


def _paint_banana(canvas: Canvas, pose: Pose, seed: int, *, crushed: bool) -> None:
    rng = np.random.default_rng(seed)
    half = rng.uniform(52, 64)
    patch = canvas.patch(pose, half, half, margin=20)
    u, v = patch.u, patch.v
    body = ellipse(u, v, half, half * rng.uniform(0.84, 0.98)) + 2.0 * noise(u, v, 30, seed)
    if crushed:
        body = np.maximum(body, 4 - 16 * np.abs(noise(u, v, 30, seed)))
    coverage = patch.coverage(body)
    canvas.shade(patch, coverage, 12, 8)
    radius = norm(u, v) / half
    spokes = np.cos(3 * np.arctan2(v, u) + rng.uniform(0, 6)) * np.exp(-np.square((radius - 0.22) / 0.14))
    fine = noise(u, v, 7, seed + 1)
    tone = 1 + 0.05 * fine - 0.16 * np.clip(spokes, 0, 1) - 0.10 * np.exp(-np.square((radius - 0.62) / 0.1))
    tone = tone * rng.uniform(0.9, 1.08)
    height = bevel(body, 7) + 0.11 * half * radius**2 * rng.uniform(-1, 1) + 0.8 * fine + rng.uniform(-0.2, 0.2) * u
    canvas.paint(patch, coverage, _CHIP_COLOR, _DRY, height=height, part="toppings", tone=tone)


def _paint_fruit(scene: BreakfastBoxScene, canvas: Canvas, part: str, fruit: Fruit) -> None:
    pose = _at(scene, _fruit_middle() + fruit.pose.x, fruit.pose.y, fruit.pose.angle)
    rng = np.random.default_rng(fruit.seed)
    squash = rng.uniform(0.93, 0.99)
    around = canvas.patch(pose, fruit.radius, fruit.radius, margin=150)
    shadow = around.coverage(norm(around.u, around.v / squash) - fruit.radius)
    canvas.shade(around, shadow, 0.55 * fruit.radius, 0.20 * fruit.radius)
    patch = canvas.patch(pose, fruit.radius, fruit.radius)
    u, v = patch.u, patch.v / squash
    radius = norm(u, v)
    coverage = patch.coverage(radius - fruit.radius)
    height = 0.92 * dome(radius, np.float32(fruit.radius))
    tilt = fruit.radius * rng.uniform(0.1, 0.75)
    stem_u, stem_v = u - tilt, v
    if fruit.kind == "tangerine":
        color, relief = _peel(fruit, u, v, stem_u, stem_v, rng)
        canvas.paint(patch, coverage, color, _PEEL, height=height + relief, part=part)
    else:
        color, relief = _skin(fruit, u, v, stem_u, stem_v)
        canvas.paint(patch, coverage, color, _SKIN, height=height + relief, part=part)
    # Light that a neighbour or the wall throws back keeps the rim from going dark.
    canvas.darken(patch, 1 - 0.25 * coverage * smoothstep(radius / np.float32(fruit.radius), 0.72, 1.0))


def _peel(fruit: Fruit, u: Array, v: Array, stem_u: Array, stem_v: Array, rng: Rng) -> tuple[Array, Array]:
    """Colour and relief of a tangerine: pores, a dimple with a green stem."""
    foreshortened = np.sqrt(np.maximum(1 - np.square(norm(u, v) / (1.02 * fruit.radius)), 0.05))
    pores = noise(u / foreshortened, v / foreshortened, 9, fruit.seed + 2)
    shade = noise(u, v, 120, fruit.seed + 3, 2)
    ripe = np.array([0.80, 0.245 + rng.uniform(-0.03, 0.03), 0.012], np.float32)
    color = ripe * (1 + 0.045 * shade - 0.05 * np.maximum(pores, 0))[..., None]
    from_stem = norm(stem_u, stem_v)
    star = from_stem * (1 + 0.22 * np.cos(5 * np.arctan2(stem_v, stem_u)))
    green = smoothstep(-star, -15, -10)[..., None]
    color = color + green * (np.array([0.16, 0.20, 0.05], np.float32) - color)
    dimple = -7 * np.exp(-np.square(from_stem / 26)) + 3 * green[..., 0]
    return color, (0.9 * pores + dimple).astype(np.float32)


def _skin(fruit: Fruit, u: Array, v: Array, stem_u: Array, stem_v: Array) -> tuple[Array, Array]:
    """Colour and relief of a nectarine: yellow to dark red, with a crease from the stem."""
    blush = noise(u, v, 210, fruit.seed + 2, 2) * 0.46 + 0.28
    speckle = noise(u, v, 7, fruit.seed + 3)
    streaks = noise(u, v, (46, 9), fruit.seed + 4)
    red = smoothstep(blush + 0.10 * speckle + 0.12 * streaks, -0.35, 0.75)[..., None]
    yellow, dark = np.array([0.78, 0.33, 0.05], np.float32), np.array([0.33, 0.022, 0.022], np.float32)
    color = yellow + red * (dark - yellow)
    color = color * (1 + 0.05 * speckle)[..., None]
    crease = np.exp(-np.square((stem_v - 10 * np.sin(stem_u / 90)) / 9)) * smoothstep(-stem_u, 0, 30)
    pit = np.exp(-np.square(norm(stem_u, stem_v) / 22))
    color = color * (1 - 0.22 * crease - 0.6 * pit)[..., None]
    return color, (-5 * crease - 14 * pit).astype(np.float32)


def _all_fruits(scene: BreakfastBoxScene) -> list[str]:
    return [f"fruit {index}" for index in range(len(scene.fruits))]


def _one(*parts: str) -> Callable[[BreakfastBoxScene], list[str]]:
    return lambda _scene: list(parts)


def _bruise(canvas: Canvas, part: str, rng: Rng) -> None:
    pick(rng, (rot(95), dent(125), crack(270, 10.0)))(canvas, part, rng)


def _box_damage(canvas: Canvas, part: str, rng: Rng) -> None:
    pick(rng, (crack(300, 6.0), dent(100), stain(100), scratch(340, (0.2, 0.2, 0.21), 5.0)))(canvas, part, rng)


def _fruit_defect(nectarines: int, tangerines: int, area: float) -> LogicalDefect:
    name = (
        f"nectarine{'' if nectarines == 1 else 's'}_{nectarines}_tangerine{'' if tangerines == 1 else 's'}_{tangerines}"
    )
    crowded = nectarines > 1 or tangerines > 2
    text = (
        "all fruits of the kind of which there are too many; saturates at the area of the surplus"
        if crowded
        else "the fruits' compartment; saturates at the area of the missing fruits"
    )
    return LogicalDefect(name, "fruits", _with_fruits(name, nectarines, tangerines), text, float(area))


_T, _N = TANGERINE_AREA, NECTARINE_AREA

CATEGORY = Category(
    name="breakfast_box",
    size=SIZE,
    rules=(
        Rule("fruits", "there are exactly two tangerines and one nectarine", _fruits),
        Rule("sides", "the fruit is on the left, cereals and toppings are on the right", _sides),
        Rule(
            "cereals_and_toppings",
            "there are cereals, and toppings of almonds as well as banana chips",
            _cereals_and_toppings,
        ),
        Rule("ratio", f"the cereals take {RATIO[0]:.0%} to {RATIO[1]:.0%} of their compartment's height", _ratio),
        Rule("filling", "the compartment is full and does not overflow", _filling),
    ),
    logical=(
        LogicalDefect(
            "missing_almonds",
            "cereals_and_toppings",
            _without_toppings("missing_almonds", "almonds"),
            "the toppings; saturates at all of it",
        ),
        LogicalDefect(
            "missing_bananas",
            "cereals_and_toppings",
            _without_toppings("missing_bananas", "bananas"),
            "the toppings; saturates at all of it",
        ),
        LogicalDefect(
            "missing_toppings",
            "cereals_and_toppings",
            _without_toppings("missing_toppings", "almonds", "bananas"),
            "where the toppings would be; saturates at all of it",
        ),
        LogicalDefect(
            "missing_cereals",
            "cereals_and_toppings",
            _without_cereals,
            "where the cereals would be; saturates at all of it",
        ),
        LogicalDefect(
            "missing_cereals_and_toppings",
            "cereals_and_toppings",
            _without_both,
            "the whole compartment; saturates at all of it",
        ),
        _fruit_defect(2, 1, _N),
        _fruit_defect(1, 1, _T),
        _fruit_defect(0, 2, _N),
        _fruit_defect(0, 3, _T),
        _fruit_defect(3, 0, 2 * _N),
        _fruit_defect(0, 1, _N + _T),
        _fruit_defect(0, 0, _N + 2 * _T),
        _fruit_defect(0, 4, 2 * _T),
        LogicalDefect("compartments_swapped", "sides", _swap_sides, "the box's inside; saturates at all of it"),
        LogicalDefect(
            "overflow",
            "filling",
            _refill("overflow", 1.07, 1.11),
            "cereals and toppings; saturates at all of it",
        ),
        LogicalDefect(
            "underflow",
            "filling",
            _refill("underflow", 0.55, 0.82),
            "the compartment; saturates at all of it",
        ),
        LogicalDefect(
            "wrong_ratio", "ratio", _wrong_ratio, "between the boundary and its band; saturates at all of it"
        ),
    ),
    structural=(
        StructuralDefect("mixed_cereals", _one("cereals"), "a handful of another product lies among the cereals"),
        StructuralDefect("fruit_damaged", _all_fruits, "a fruit is rotten, dented or cracked", _bruise),
        StructuralDefect("box_damaged", _one("tray"), "the box is cracked, scratched, dented or dirty", _box_damage),
        StructuralDefect("toppings_crushed", _one("toppings"), "some toppings are crushed"),
        StructuralDefect(
            "contamination",
            lambda scene: ["cereals", "toppings", "tray", *_all_fruits(scene)],
            "a foreign crumb, fibre, drop or chip lies in the box",
            contaminate(130),
        ),
    ),
    sample=sample,
    paint=paint,
)
