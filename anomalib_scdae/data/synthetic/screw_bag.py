# SPDX-License-Identifier: Apache-2.0
"""Screw bag: a transparent bag with two washers, two nuts, one long and one short screw."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from anomalib_scdae.data.synthetic.defects import contaminate, discolor
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
)
from anomalib_scdae.data.synthetic.shapes import Array, bevel, box, dome, hexagon, norm, polyline, ring, smoothstep
from anomalib_scdae.data.synthetic.textures import noise

SIZE = (1600, 1100)
#: Half the width and height of the bag, and of the room in it where parts can lie (below the zip).
BAG_U, BAG_V = 690.0, 470.0
ROOM_U, ROOM_TOP, ROOM_BOTTOM = 590.0, -230.0, 400.0
#: Where the chutes of the packing machine end, and how far parts slide from there: (x, y) each.
_HOMES = {
    "washer": ((-430.0, 90.0), (45.0, 120.0)),
    "nut": ((-180.0, 90.0), (45.0, 120.0)),
    "screw": ((260.0, 90.0), (45.0, 120.0)),
}
LONG, SHORT = 470.0, 330.0
#: The longest short and the shortest long screw lie on either side of this length.
LENGTH_LIMIT = 400.0
_HEAD_LENGTH, _HEAD_RADIUS, _SHAFT_RADIUS = 34.0, 46.0, 23.0
_NUT_INNER, _NUT_HOLE = 58.0, 31.0
_WASHER_OUTER, _WASHER_HOLE = 66.0, 30.0

# Areas of one part's silhouette in squared scene units, for the saturation thresholds.
WASHER_AREA = np.pi * (_WASHER_OUTER**2 - _WASHER_HOLE**2)
NUT_AREA = 2 * np.sqrt(3) * _NUT_INNER**2 - np.pi * _NUT_HOLE**2
SHORT_AREA = 2 * (_HEAD_LENGTH * _HEAD_RADIUS + (SHORT - _HEAD_LENGTH) * _SHAFT_RADIUS)
LONG_AREA = 2 * (_HEAD_LENGTH * _HEAD_RADIUS + (LONG - _HEAD_LENGTH) * _SHAFT_RADIUS)

_ZINC = Material(specular=0.12, gloss=40, metal=1.0)
_BARE = Material(specular=0.05, gloss=10)
_FILM_TOP = -BAG_V + 105


@dataclass(frozen=True)
class Part:
    """A washer, a nut or a screw; ``length`` is a screw's whole length."""

    kind: str
    pose: Pose
    seed: int
    length: float = 0.0
    tone: float = 0.0

    @property
    def long(self) -> bool:
        """Whether it is a long screw."""
        return self.length > LENGTH_LIMIT


@dataclass(frozen=True)
class ScrewBagScene(Scene):
    """The bag and what is in it.

    Attributes:
        bag: Where the bag lies.
        parts: Its contents; poses are relative to the bag's centre, later ones lie on earlier ones.
    """

    bag: Pose
    parts: tuple[Part, ...]


def _reach(part: Part) -> float:
    """Radius of the circle around the part's pose that holds it."""
    return {"washer": _WASHER_OUTER, "nut": _NUT_INNER * 1.155}.get(part.kind, part.length / 2)


def _probes(part: Part) -> np.ndarray:
    """Circles that cover the part: rows of (x, y, radius)."""
    if part.kind != "screw":
        return np.array([[part.pose.x, part.pose.y, _reach(part)]])
    along = np.linspace(-part.length / 2, part.length / 2, 9)
    radius = np.where(along > part.length / 2 - 70, _HEAD_RADIUS, _SHAFT_RADIUS)
    x = part.pose.x + along * np.cos(part.pose.angle)
    y = part.pose.y + along * np.sin(part.pose.angle)
    return np.stack([x, y, radius], axis=-1)


def _overlap(part: Part, others: list[Part]) -> float:
    """How deep the part reaches into the others or beyond the room, scene units; 0 if it is free."""
    circles = _probes(part)
    x, y, radius = circles.T
    worst = max(
        0.0,
        float((np.abs(x) + radius - ROOM_U).max()),
        float((ROOM_TOP - (y - radius)).max()),
        float((y + radius - ROOM_BOTTOM).max()),
    )
    for other in others:
        theirs = _probes(other)
        apart = np.hypot(circles[:, None, 0] - theirs[None, :, 0], circles[:, None, 1] - theirs[None, :, 1])
        worst = max(worst, float((circles[:, None, 2] + theirs[None, :, 2] - apart).max()))
    return worst


def _drop(part: Part, rng: Rng) -> Pose:
    """Let the packing machine drop a part: washers to the left, then nuts, and screws to the right, along the bag.

    The bag is carried and laid down, so that everything may slide; any place in the room is possible.
    """
    middle, spread = _HOMES[part.kind]
    x, y = rng.normal(middle, spread)
    angle = rng.normal(0, 0.18) + np.pi * rng.integers(2) if part.kind == "screw" else rng.uniform(-np.pi, np.pi)
    x, y = np.clip(x, -ROOM_U, ROOM_U), np.clip(y, ROOM_TOP, ROOM_BOTTOM)
    return Pose(float(x), float(y), float(angle))


def _place(part: Part, others: list[Part], rng: Rng, difficulty: float) -> Part:
    """Put the part where it overlaps least; parts in a bag may touch and lie on each other a little."""
    best, least = part, np.inf
    for _ in range(60):
        candidate = replace(part, pose=_drop(part, rng))
        overlap = _overlap(candidate, others)
        if overlap < least:
            best, least = candidate, overlap
        if least <= 6 * difficulty:
            break
    return best


def _make(kind: str, rng: Rng, difficulty: float, length: float = 0.0) -> Part:
    length = length * (1 + 0.01 * difficulty * float(rng.uniform(-1, 1)))
    return Part(kind, Pose(0, 0), draw_seed(rng), length, float(difficulty * rng.normal(0, 1)))


def sample(rng: Rng, difficulty: float) -> ScrewBagScene:
    """Draw a normal scene."""
    look = Look.sample(rng, difficulty)
    bag = Pose(
        float(SIZE[0] / 2 + difficulty * rng.uniform(-15, 15)),
        float(SIZE[1] / 2 + difficulty * rng.uniform(-12, 12)),
        float(difficulty * rng.uniform(-0.025, 0.025)),
    )
    wanted = [_make("screw", rng, difficulty, LONG), _make("screw", rng, difficulty, SHORT)]
    wanted += [_make(kind, rng, difficulty) for kind in ("nut", "nut", "washer", "washer")]
    # Without variation, everything lies where this fixed draw puts it.
    places = rng if difficulty > 0 else np.random.default_rng(0)
    parts: list[Part] = []
    for part in wanted:
        parts.append(_place(part, parts, places, difficulty))
    order = rng.permutation(len(parts))
    return ScrewBagScene(look, draw_seed(rng), None, bag, tuple(parts[index] for index in order))


# --- rules and how to break them ---------------------------------------------------------------------------------


def _of_kind(scene: ScrewBagScene, kind: str) -> list[int]:
    return [index for index, part in enumerate(scene.parts) if part.kind == kind]


def _counts(kind: str) -> Callable[[ScrewBagScene], bool]:
    return lambda scene: len(_of_kind(scene, kind)) == 2


def _one_long_one_short(scene: ScrewBagScene) -> bool:
    screws = _of_kind(scene, "screw")
    return len(screws) != 2 or sum(scene.parts[index].long for index in screws) == 1


def _room(scene: ScrewBagScene) -> Area:
    """Where a part that is missing could lie."""
    middle = (ROOM_TOP + ROOM_BOTTOM) / 2
    cosine, sine = np.cos(scene.bag.angle), np.sin(scene.bag.angle)
    pose = Pose(float(scene.bag.x - sine * middle), float(scene.bag.y + cosine * middle), scene.bag.angle)
    return Area.turned_box(pose, ROOM_U, (ROOM_BOTTOM - ROOM_TOP) / 2)


Broken = tuple[ScrewBagScene, tuple[Fault, ...]]


def _remove(name: str, kind: str, count: int, long: bool | None = None) -> Callable[[ScrewBagScene, Rng], Broken]:
    def apply(scene: ScrewBagScene, rng: Rng) -> Broken:
        candidates = [index for index in _of_kind(scene, kind) if long is None or scene.parts[index].long == long]
        gone = set(rng.permutation(candidates)[:count].tolist())
        kept = tuple(part for index, part in enumerate(scene.parts) if index not in gone)
        return replace(scene, parts=kept), (Fault(name, (_room(scene),)),)

    return apply


def _add(name: str, kind: str, count: int, length: float = 0.0) -> Callable[[ScrewBagScene, Rng], Broken]:
    def apply(scene: ScrewBagScene, rng: Rng) -> Broken:
        parts = list(scene.parts)
        for _ in range(count):
            parts.append(_place(_make(kind, rng, 1.0, length), parts, rng, 1.0))
        changed = replace(scene, parts=tuple(parts))
        long = length > LENGTH_LIMIT
        alike = [index for index in _of_kind(changed, kind) if parts[index].long == long]
        return changed, (Fault(name, tuple(Silhouette(f"part {index}") for index in alike)),)

    return apply


def _resize(name: str, length: float) -> Callable[[ScrewBagScene, Rng], Broken]:
    """Replace the screw of the other length by one of this length."""

    def apply(scene: ScrewBagScene, rng: Rng) -> Broken:
        parts = list(scene.parts)
        long = length > LENGTH_LIMIT
        index = next(index for index in _of_kind(scene, "screw") if parts[index].long != long)
        parts.pop(index)
        parts.append(_place(_make("screw", rng, 1.0, length), parts, rng, 1.0))
        changed = replace(scene, parts=tuple(parts))
        return changed, (Fault(name, tuple(Silhouette(f"part {index}") for index in _of_kind(changed, "screw"))),)

    return apply


# --- painting ----------------------------------------------------------------------------------------------------


def paint(scene: ScrewBagScene, canvas: Canvas) -> None:
    """Paint the table, the bag's back, its contents and the film above them."""
    table = canvas.everywhere()
    fine = noise(table.u, table.v, (70, 4), scene.seed) * 0.6 + noise(table.u, table.v, 6, scene.seed + 1) * 0.5
    wear = noise(table.u, table.v, 200, scene.seed + 2, 2)
    tone = 1 + 0.05 * fine + 0.04 * wear
    canvas.paint(table, 1.0, (0.155, 0.16, 0.165), Material(0.05, 14), height=0.3 * fine, part="table", tone=tone)
    bag = canvas.patch(scene.bag, BAG_U, BAG_V, margin=80)
    outline = box(bag.u, bag.v, BAG_U, BAG_V, 12) + 2.5 * noise(bag.u, bag.v, 120, scene.seed + 3)
    inside = bag.coverage(outline)
    canvas.shade(bag, inside, 8, 10, strength=0.35)
    milk = (0.06 + 0.015 * noise(bag.u, bag.v, 150, scene.seed + 4, 2)) * inside
    canvas.paint(bag, np.clip(milk, 0, 1), (0.8, 0.82, 0.85), Material(0.05, 12))
    canvas.claim(bag, inside, "bag")
    for index, part in enumerate(scene.parts):
        _paint_part(scene, canvas, index, part)
    _paint_film(scene, canvas, bag, outline)


def _paint_part(scene: ScrewBagScene, canvas: Canvas, index: int, part: Part) -> None:
    name = f"part {index}"
    damage = scene.damage_of(name)
    cosine, sine = np.cos(scene.bag.angle), np.sin(scene.bag.angle)
    pose = Pose(
        float(scene.bag.x + cosine * part.pose.x - sine * part.pose.y),
        float(scene.bag.y + sine * part.pose.x + cosine * part.pose.y),
        scene.bag.angle + part.pose.angle,
    )
    half = _reach(part)
    patch = canvas.patch(pose, half, _HEAD_RADIUS if part.kind == "screw" else half, margin=50)
    distance, height, rise = {"washer": _washer, "nut": _nut, "screw": _screw}[part.kind](patch, part)
    fracture = np.full_like(distance, -np.inf)
    if damage is not None and damage.name == "part_broken":
        fracture = _break(patch, part, damage)
        distance = np.maximum(distance, fracture)
    coverage = patch.coverage(distance)
    canvas.shade(patch, coverage, rise, 0.45 * rise + 3)
    brushed = noise(patch.u, patch.v, (40, 5), part.seed) * 0.6 + noise(patch.u, patch.v, 30, part.seed + 1, 2)
    tone = (1 + 0.035 * float(np.clip(part.tone, -2, 2))) * (1 + 0.035 * brushed)
    canvas.paint(patch, coverage, (0.70, 0.69, 0.665), _ZINC, height=height + 0.10 * brushed, part=name, tone=tone)
    if damage is not None and damage.name == "part_broken":
        # Where the zinc has gone, the steel below is dark, rough and begins to rust.
        grain = noise(patch.u, patch.v, 7, damage.seed + 1)
        bare = coverage * smoothstep(fracture + 6 * grain, -34, -16)
        canvas.paint(patch, bare, (0.17, 0.085, 0.045), _BARE, 2.5 * grain, name, 1 + 0.25 * grain)


def _washer(patch: Patch, _part: Part) -> tuple[Array, Array, float]:
    distance = ring(patch.u, patch.v, _WASHER_HOLE, _WASHER_OUTER)
    return distance, bevel(distance, 5), 9.0


def _nut(patch: Patch, _part: Part) -> tuple[Array, Array, float]:
    radius = norm(patch.u, patch.v)
    outer = hexagon(patch.u, patch.v, _NUT_INNER)
    distance = np.maximum(outer, _NUT_HOLE - radius)
    # Chamfered corners, and a thread that goes down into the hole.
    height = bevel(outer, 5) - 0.35 * np.maximum(radius - _NUT_INNER + 2, 0)
    funnel = 1.1 * np.clip(_NUT_HOLE + 9 - radius, 0, 9)
    return distance, height - funnel, 34.0


def _screw(patch: Patch, part: Part) -> tuple[Array, Array, float]:
    """A hexagon-head screw on its side: the head at positive u."""
    u, v, half = patch.u, patch.v, part.length / 2
    head_start = half - _HEAD_LENGTH
    head = box(u - (half - _HEAD_LENGTH / 2), v, _HEAD_LENGTH / 2, _HEAD_RADIUS, 5)
    pitch = 15.0
    smooth_from = head_start - 0.22 * part.length
    threaded = smoothstep(smooth_from - u, -4, 8)
    wave = np.sin(2 * np.pi * (u + 0.16 * v) / pitch)
    taper = 9 * smoothstep(-half + 22 - u, 0, 22)
    radius = _SHAFT_RADIUS - taper - threaded * (1.6 - 1.6 * wave)
    shaft = np.maximum(np.abs(v) - radius, np.maximum(-half - u, u - head_start))
    # Three faces of the hexagon are seen: the slope changes in steps.
    faces = np.where(np.abs(v) < 0.5 * _HEAD_RADIUS, 0.0, 1.73 * (0.5 * _HEAD_RADIUS - np.abs(v)))
    faces = np.minimum(faces, bevel(head, 6) - 6)
    body = dome(v, _SHAFT_RADIUS) + threaded * 2.1 * wave
    return np.minimum(head, shaft), np.where(head < 0, faces + 40, body), 26.0


def _break(patch: Patch, part: Part, damage: Damage) -> Array:
    """Distance to what is left of a broken part."""
    fate = np.random.default_rng(damage.seed)
    jagged = 5 * noise(patch.u, patch.v, 16, damage.seed)
    if part.kind == "screw":
        return fate.uniform(-0.15, 0.2) * part.length - patch.u + 0.4 * patch.v + jagged
    angle, opening = fate.uniform(-np.pi, np.pi), fate.uniform(0.7, 1.2)
    turn = np.abs(np.angle(np.exp(1j * (np.arctan2(patch.v, patch.u) - angle)))).astype(np.float32)
    return (opening - turn) * norm(patch.u, patch.v) + jagged


def _paint_film(scene: ScrewBagScene, canvas: Canvas, bag: Patch, outline: Array) -> None:
    """The film above: creases that mirror the lamps, a welded seam and the zip."""
    inside = bag.coverage(outline)
    damage = scene.damage_called("bag_broken")
    if damage is not None:
        inside = inside * bag.coverage(-_tear(bag, damage))
    creases = _creases(bag, scene.seed)
    slope = bag.slope(creases)
    toward = slope[0] * canvas.look.light[0] + slope[1] * canvas.look.light[1]
    gleam = np.exp(-np.square((toward + 0.50) / 0.13)) + 0.6 * np.exp(-np.square((toward - 0.47) / 0.09))
    sheen = 0.020 + 0.012 * np.clip(noise(bag.u, bag.v, 260, scene.seed + 11, 2), -1, 2)
    light_out = (0.10 * gleam + sheen) * inside
    seam = np.exp(-np.square((outline + 16) / 5)) + 0.6 * np.exp(-np.square((outline + 3) / 3))
    zipper = sum(np.exp(-np.square((bag.v - _FILM_TOP - offset) / 5)) for offset in (-17, 0, 17))
    ribs = 0.5 + 0.5 * np.sin(bag.v / 2.5)
    strip = smoothstep(30 - np.abs(bag.v - _FILM_TOP), 0, 3) * 0.05
    light_out += inside * (0.09 * seam + 0.13 * zipper * (0.8 + 0.2 * ribs) + strip)
    if damage is not None:
        edge = np.exp(-np.square(_tear(bag, damage) / 8)) * bag.coverage(outline)
        light_out += 0.38 * edge
    canvas.add_glow(bag, light_out)
    stripe = inside * np.exp(-np.square((bag.v - _FILM_TOP - 34) / 4.5))
    canvas.add_glow(bag, stripe * np.array([0.26, 0.03, 0.03], np.float32)[:, None, None])


def _creases(bag: Patch, seed: int) -> Array:
    """Height of the film: soft bulges and a few long folds."""
    rng = np.random.default_rng(seed + 12)
    height = 22 * noise(bag.u, bag.v, (210, 150), seed + 13) + 5 * noise(bag.u, bag.v, (150, 40), seed + 14)
    for _ in range(3):
        angle, place = rng.uniform(-np.pi, np.pi), rng.uniform(-0.7, 0.7, 2) * (BAG_U, BAG_V)
        across = (bag.u - place[0]) * np.cos(angle) + (bag.v - place[1]) * np.sin(angle)
        along = -(bag.u - place[0]) * np.sin(angle) + (bag.v - place[1]) * np.cos(angle)
        bend = across + 0.0006 * rng.normal() * along * along
        reach = rng.uniform(120, 300)
        height += (
            rng.uniform(5, 9) * np.exp(-np.square(bend / rng.uniform(8, 16))) * np.exp(-np.square(along / reach))
        ).astype(np.float32)
    return height.astype(np.float32)


def _tear(bag: Patch, damage: Damage) -> Array:
    """Distance to a hole in the film, negative inside."""
    fate = np.random.default_rng(damage.seed)
    start = np.array([fate.uniform(-0.6, 0.6) * BAG_U, fate.uniform(-0.3, 0.75) * BAG_V])
    steps = np.cumsum(fate.normal(0, 0.5, 5)) + fate.uniform(-np.pi, np.pi)
    path = start + np.concatenate([[[0, 0]], np.cumsum(38 * np.stack([np.cos(steps), np.sin(steps)], -1), axis=0)])
    distance, along = polyline(bag.u, bag.v, path)
    return distance - 34 * np.sin(np.pi * np.clip(along / 5, 0.05, 0.95))


def _parts(scene: ScrewBagScene) -> list[str]:
    return [f"part {index}" for index in range(len(scene.parts))]


def _bag(_scene: ScrewBagScene) -> list[str]:
    return ["bag"]


def _missing(name: str, rule: str, kind: str, count: int, area: float, long: bool | None = None) -> LogicalDefect:
    text = "the bag's room, where the missing part could lie; saturates at the missing parts' area"
    return LogicalDefect(name, rule, _remove(name, kind, count, long), text, count * float(area))


def _extra(name: str, rule: str, kind: str, count: int, area: float, length: float = 0.0) -> LogicalDefect:
    text = "all parts of that kind; saturates at the area of the extra ones"
    return LogicalDefect(name, rule, _add(name, kind, count, length), text, count * float(area))


CATEGORY = Category(
    name="screw_bag",
    size=SIZE,
    rules=(
        Rule("two_washers", "the bag holds two washers", _counts("washer")),
        Rule("two_nuts", "the bag holds two nuts", _counts("nut")),
        Rule("two_screws", "the bag holds two screws", _counts("screw")),
        Rule("one_long_one_short", "of two screws, one is long and one is short", _one_long_one_short),
    ),
    logical=(
        LogicalDefect(
            "screw_too_long",
            "one_long_one_short",
            _resize("screw_too_long", LONG),
            "both screws; saturates at the difference in area of a long and a short screw",
            LONG_AREA - SHORT_AREA,
        ),
        LogicalDefect(
            "screw_too_short",
            "one_long_one_short",
            _resize("screw_too_short", SHORT),
            "both screws; saturates at the difference in area of a long and a short screw",
            LONG_AREA - SHORT_AREA,
        ),
        _extra("additional_1_long_screw", "two_screws", "screw", 1, LONG_AREA, LONG),
        _extra("additional_1_short_screw", "two_screws", "screw", 1, SHORT_AREA, SHORT),
        _extra("additional_1_nut", "two_nuts", "nut", 1, NUT_AREA),
        _extra("additional_2_nuts", "two_nuts", "nut", 2, NUT_AREA),
        _extra("additional_1_washer", "two_washers", "washer", 1, WASHER_AREA),
        _extra("additional_2_washers", "two_washers", "washer", 2, WASHER_AREA),
        _missing("missing_1_long_screw", "two_screws", "screw", 1, LONG_AREA, long=True),
        _missing("missing_1_short_screw", "two_screws", "screw", 1, SHORT_AREA, long=False),
        _missing("missing_1_nut", "two_nuts", "nut", 1, NUT_AREA),
        _missing("missing_2_nuts", "two_nuts", "nut", 2, NUT_AREA),
        _missing("missing_1_washer", "two_washers", "washer", 1, WASHER_AREA),
        _missing("missing_2_washers", "two_washers", "washer", 2, WASHER_AREA),
    ),
    structural=(
        StructuralDefect("bag_broken", _bag, "the film is torn", solid=True),
        StructuralDefect(
            "color",
            _parts,
            "a part is partly rusty or painted",
            discolor(((0.30, 0.10, 0.03), (0.42, 0.20, 0.06), (0.06, 0.16, 0.45), (0.5, 0.06, 0.06)), 96),
        ),
        StructuralDefect(
            "contamination", _bag, "a foreign crumb, fibre, drop or chip lies in the bag", contaminate(84)
        ),
        StructuralDefect("part_broken", _parts, "a screw has snapped, or a nut or washer has lost a piece"),
    ),
    sample=sample,
    paint=paint,
)
