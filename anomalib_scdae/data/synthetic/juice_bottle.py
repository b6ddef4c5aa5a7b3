# SPDX-License-Identifier: Apache-2.0
"""Juice bottle: filled to a level, with a label whose fruit tells the juice."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from anomalib_scdae.data.synthetic.defects import contaminate
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
from anomalib_scdae.data.synthetic.shapes import Array, box, circle, dome, ellipse, norm, polyline, segment, smoothstep
from anomalib_scdae.data.synthetic.textures import lookup, noise, text

SIZE = (800, 1600)
FRUITS = ("banana", "cherry", "orange")
_JUICES = {"banana": (0.80, 0.62, 0.27), "cherry": (0.30, 0.006, 0.018), "orange": (0.86, 0.29, 0.008)}
_STRANGE_JUICES = ((0.05, 0.30, 0.05), (0.10, 0.05, 0.30), (0.02, 0.22, 0.30), (0.10, 0.05, 0.02))

# The bottle's outline: height below its middle, and radius.
_PROFILE_V = np.array([-700, -620, -600, -440, -380, -320, -260, -200, -150, 610, 650, 680, 696, 700], np.float32)
_PROFILE_R = np.array([66, 66, 58, 60, 74, 106, 150, 184, 196, 196, 192, 180, 160, 150], np.float32)
_TABLE_V = np.linspace(-720, 720, 1441, dtype=np.float32)
#: The outline with its corners rounded, at every unit of height.
_TABLE_R = np.convolve(
    np.pad(np.interp(_TABLE_V, _PROFILE_V, _PROFILE_R), 40, mode="edge"), np.hanning(83)[1:-1] / 41, mode="valid"
)
_GLASS = 13.0
_CAP_END, _LIQUID_END = -605.0, 672.0
#: The band in which the juice's surface must lie, below the bottle's middle.
LEVEL = (-490.0, -380.0)

#: Where the labelling machine may stand: the range of the upper label's height.
MACHINE = (60.0, 175.0)
#: How far below the upper label the lower one belongs, and by how much the distance may differ.
DISTANCE = 310.0
PLAY = 30.0
#: How far the two labels may be shifted against each other around the bottle. How far the bottle itself is turned, and
#: both labels with it, is left to chance.
ALIGNMENT = 25.0
#: Half the width (along the glass) and height of the two labels.
_LABELS = {"fruit": (126.0, 124.0), "text": (118.0, 62.0)}
_ICON_REACH = 90.0
#: Paper and frame of the labels that the printer delivers; both labels of a bottle come from one batch.
_BATCHES = (
    ((0.80, 0.76, 0.66), (0.16, 0.20, 0.12)),
    ((0.82, 0.83, 0.82), (0.10, 0.14, 0.30)),
    ((0.62, 0.50, 0.34), (0.22, 0.10, 0.05)),
)
#: How far a fruit may be from its label's middle.
ICON_PLAY = 14.0

#: Areas in squared scene units, for the saturation thresholds: a label (bent round the bottle, as it is seen), a fruit.
FRUIT_LABEL_AREA, TEXT_LABEL_AREA, ICON_AREA = 58_400.0, 27_200.0, 10_700.0

_PAPER = Material(specular=0.06, gloss=14)
_LIQUID = Material(specular=0.0, gloss=10)
_CAP = Material(specular=0.35, gloss=30)


@dataclass(frozen=True)
class Label:
    """A label on the bottle.

    Attributes:
        kind: ``"fruit"`` or ``"text"``.
        height: Its centre below the bottle's middle.
        around: How far it is shifted around the bottle; 0 is the front.
        turn: How far it is turned, in radians.
        icon: The fruit that is printed on it; ``None``: no fruit.
        icon_shift: Offset of the fruit from the label's middle.
    """

    kind: str
    height: float
    around: float
    turn: float
    icon: str | None = None
    icon_shift: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class JuiceBottleScene(Scene):
    """The bottle.

    Attributes:
        bottle: Where it stands; its middle.
        juice: The fruit that the juice is made of; ``None``: the bottle is empty.
        level: The juice's surface below the bottle's middle.
        labels: The labels.
        batch: Which batch the labels come from.
        ripeness: How dark the juice is, -1 to 1.
    """

    bottle: Pose
    juice: str | None
    level: float
    labels: tuple[Label, ...]
    batch: int
    ripeness: float


def _sample_label(
    rng: Rng, difficulty: float, kind: str, height: float, around: float, icon: str | None = None
) -> Label:
    shift = (float(difficulty * rng.uniform(-7, 7)), float(difficulty * rng.uniform(-7, 7)))
    return Label(
        kind,
        height + float(difficulty * rng.uniform(-13, 13)),
        around + float(difficulty * rng.uniform(-10, 10)),
        float(difficulty * rng.uniform(-0.02, 0.02)),
        icon,
        shift if icon else (0.0, 0.0),
    )


def sample(rng: Rng, difficulty: float) -> JuiceBottleScene:
    """Draw a normal scene."""
    look = Look.sample(rng, difficulty)
    look = replace(look, zoom=look.zoom * float(1 + difficulty * rng.uniform(-0.03, 0.02)))
    bottle = Pose(
        SIZE[0] / 2 + float(difficulty * rng.uniform(-30, 30)),
        825.0 + float(difficulty * rng.uniform(-12, 12)),
        float(difficulty * rng.uniform(-0.012, 0.012)),
    )
    around = float(difficulty * rng.uniform(-35, 35))
    fruit = pick(rng, FRUITS)
    middle, half = sum(LEVEL) / 2, (LEVEL[1] - LEVEL[0]) / 2
    level = middle + min(difficulty, 1.0) * 0.85 * half * float(rng.uniform(-1, 1))
    machine = sum(MACHINE) / 2 + difficulty * float(rng.uniform(-0.5, 0.5)) * (MACHINE[1] - MACHINE[0])
    labels = (
        _sample_label(rng, difficulty, "fruit", machine, around, fruit),
        _sample_label(rng, difficulty, "text", machine + DISTANCE, around),
    )
    batch = int(rng.integers(len(_BATCHES))) if difficulty > 0 else 0
    ripeness = float(difficulty * rng.uniform(-1, 1))
    return JuiceBottleScene(look, draw_seed(rng), None, bottle, fruit, level, labels, batch, ripeness)


# --- rules and how to break them ---------------------------------------------------------------------------------


def _both_labels(scene: JuiceBottleScene) -> bool:
    return sorted(label.kind for label in scene.labels) == ["fruit", "text"]


def _fruit_above_text(scene: JuiceBottleScene) -> bool:
    heights = {label.kind: label.height for label in scene.labels}
    return not _both_labels(scene) or heights["fruit"] < heights["text"]


def _labels_in_place(scene: JuiceBottleScene) -> bool:
    if len(scene.labels) != 2:
        return True
    one, other = scene.labels
    apart = abs(abs(one.height - other.height) - DISTANCE)
    return apart <= PLAY and abs(one.around - other.around) <= ALIGNMENT


def _fruit_label(scene: JuiceBottleScene) -> Label | None:
    return next((label for label in scene.labels if label.kind == "fruit"), None)


def _has_icon(scene: JuiceBottleScene) -> bool:
    label = _fruit_label(scene)
    return label is None or label.icon is not None


def _icon_in_middle(scene: JuiceBottleScene) -> bool:
    label = _fruit_label(scene)
    return label is None or max(abs(shift) for shift in label.icon_shift) <= ICON_PLAY


def _icon_tells_juice(scene: JuiceBottleScene) -> bool:
    label = _fruit_label(scene)
    return label is None or None in {label.icon, scene.juice} or label.icon == scene.juice


def _filled(scene: JuiceBottleScene) -> bool:
    return scene.juice is not None and LEVEL[0] <= scene.level <= LEVEL[1]


Broken = tuple[JuiceBottleScene, tuple[Fault, ...]]
Breaks = Callable[[JuiceBottleScene, Rng], Broken]


def _radius(v: Array | float) -> Array:
    return np.asarray(np.interp(v, _TABLE_V, _TABLE_R), np.float32)


def _inside(scene: JuiceBottleScene, top: float, bottom: float) -> Area:
    """The bottle's inside between two heights."""
    heights = np.linspace(top, bottom, 40)
    radii = _radius(heights) - _GLASS
    u, v = np.concatenate([radii, -radii[::-1]]), np.concatenate([heights, heights[::-1]])
    cosine, sine = np.cos(scene.bottle.angle), np.sin(scene.bottle.angle)
    x, y = scene.bottle.x + cosine * u - sine * v, scene.bottle.y + sine * u + cosine * v
    return Area(tuple((float(a), float(b)) for a, b in zip(x, y, strict=True)))


def _around_bottle(scene: JuiceBottleScene, kind: str, place: float, around: float) -> Area:
    """Where a label of that kind belongs."""
    half_s, half_v = _LABELS[kind]
    left, right = (float(196 * np.sin((around + side * half_s) / 196)) for side in (-1, 1))
    cosine, sine = float(np.cos(scene.bottle.angle)), float(np.sin(scene.bottle.angle))
    u = (left + right) / 2
    pose = Pose(
        scene.bottle.x + cosine * u - sine * place, scene.bottle.y + sine * u + cosine * place, scene.bottle.angle
    )
    return Area.turned_box(pose, (right - left) / 2, half_v)


def _label(scene: JuiceBottleScene, kind: str) -> Label:
    return next(label for label in scene.labels if label.kind == kind)


def _without_label(name: str, kind: str) -> Breaks:
    def apply(scene: JuiceBottleScene, _rng: Rng) -> Broken:
        kept = tuple(label for label in scene.labels if label.kind != kind)
        gone = _label(scene, kind)
        area = _around_bottle(scene, kind, gone.height, gone.around)
        return replace(scene, labels=kept), (Fault(name, (area,)),)

    return apply


def _swap_labels(scene: JuiceBottleScene, rng: Rng) -> Broken:
    upper, lower = _label(scene, "fruit"), _label(scene, "text")
    fruit = _sample_label(rng, 1.0, "fruit", upper.height + DISTANCE, upper.around, scene.juice)
    swapped = (fruit, replace(lower, height=upper.height))
    return replace(scene, labels=swapped), (
        Fault("swapped_labels", (Silhouette("label fruit"), Silhouette("label text"), Silhouette("icon"))),
    )


def _misplace_label(name: str, kind: str) -> Breaks:
    def apply(scene: JuiceBottleScene, rng: Rng) -> Broken:
        other = _label(scene, "text" if kind == "fruit" else "fruit")
        place = other.height + DISTANCE * (-1 if kind == "fruit" else 1)
        # Up or down, but on the bottle's straight part; around the bottle, to the side on which it stays in sight.
        away = float(rng.uniform(50, 95))
        down = place + (away if place < (-10 if kind == "fruit" else 480) + away else -away)
        aside = other.around + float(rng.uniform(45, 95)) * (-1 if other.around > 0 else 1)
        change = pick(rng, ({"height": down}, {"around": aside}))
        labels = tuple(replace(label, **change) if label.kind == kind else label for label in scene.labels)
        parts = (Silhouette(f"label {kind}"), *((Silhouette("icon"),) if kind == "fruit" else ()))
        return replace(scene, labels=labels), (Fault(name, (*parts, _around_bottle(scene, kind, place, other.around))),)

    return apply


def _relabel(scene: JuiceBottleScene, **changes: object) -> JuiceBottleScene:
    labels = tuple(replace(label, **changes) if label.kind == "fruit" else label for label in scene.labels)  # type: ignore[arg-type]
    return replace(scene, labels=labels)


def _without_icon(scene: JuiceBottleScene, rng: Rng) -> Broken:
    del rng
    changed = _relabel(scene, icon=None, icon_shift=(0.0, 0.0))
    label = _label(scene, "fruit")
    cosine, sine = float(np.cos(scene.bottle.angle)), float(np.sin(scene.bottle.angle))
    u, v = float(196 * np.sin(label.around / 196)), label.height
    pose = Pose(scene.bottle.x + cosine * u - sine * v, scene.bottle.y + sine * u + cosine * v, scene.bottle.angle)
    return changed, (Fault("missing_fruit_icon", (Area.turned_box(pose, 0.9 * _ICON_REACH, 0.9 * _ICON_REACH),)),)


def _misplace_icon(scene: JuiceBottleScene, rng: Rng) -> Broken:
    angle, far = float(rng.uniform(-np.pi, np.pi)), float(rng.uniform(32, 48))
    shift = (far * float(np.cos(angle)), far * float(np.sin(angle)))
    return _relabel(scene, icon_shift=shift), (Fault("misplaced_fruit_icon", (Silhouette("icon"),)),)


def _wrong_juice(scene: JuiceBottleScene, rng: Rng) -> Broken:
    juice = pick(rng, [fruit for fruit in FRUITS if fruit != scene.juice])
    return replace(scene, juice=juice), (Fault("wrong_juice_type", (Silhouette("juice"), Silhouette("icon"))),)


def _wrong_level(name: str, low: float, high: float) -> Breaks:
    def apply(scene: JuiceBottleScene, rng: Rng) -> Broken:
        level = float(rng.uniform(low, high))
        top, bottom = (level, LEVEL[0]) if level < LEVEL[0] else (LEVEL[1], level)
        return replace(scene, level=level), (Fault(name, (_inside(scene, top, bottom),)),)

    return apply


def _empty(scene: JuiceBottleScene, _rng: Rng) -> Broken:
    return replace(scene, juice=None), (Fault("empty_bottle", (_inside(scene, LEVEL[1], _LIQUID_END),)),)


# --- painting ----------------------------------------------------------------------------------------------------


def paint(scene: JuiceBottleScene, canvas: Canvas) -> None:
    """Paint the backdrop, the bottle with its juice, the labels and the reflections."""
    _paint_backdrop(scene, canvas)
    bottle = canvas.patch(scene.bottle, 200, 705, margin=60)
    u, v = bottle.u, bottle.v
    radius = _radius(v)
    across = u / radius
    outline = np.maximum(np.abs(u) - radius, np.abs(v) - 700)
    inside = bottle.coverage(outline)
    canvas.claim(bottle, inside, "glass")
    _paint_glass(canvas, bottle, inside, across)
    if scene.juice is not None:
        _paint_juice(scene, canvas, bottle, radius)
    for label in scene.labels:
        _paint_label(scene, canvas, bottle, radius, label)
    _paint_cap(scene, canvas, bottle, radius)
    _paint_reflections(scene, canvas, bottle, inside, across)


def _paint_backdrop(scene: JuiceBottleScene, canvas: Canvas) -> None:
    """A grey paper that bends from the wall to the table."""
    patch = canvas.everywhere()
    fine = noise(patch.u, patch.v, 5, scene.seed)
    cloud = noise(patch.u, patch.v, 300, scene.seed + 1, 2)
    down = patch.v / np.float32(SIZE[1])
    tone = 0.27 + 0.10 * smoothstep(down, 0.1, 0.8) + 0.14 * smoothstep(down, 0.86, 1.02)
    tone = tone * (1 + 0.012 * fine + 0.02 * cloud)
    canvas.paint(patch, 1.0, (0.93, 0.98, 1.0), Material(0.02, 8), tone=tone)
    foot = Pose(scene.bottle.x + 50, scene.bottle.y + 690)
    shadow = canvas.patch(foot, 420, 60, margin=20)
    blot = ellipse(shadow.u, shadow.v, 250, 26)
    canvas.darken(shadow, 1 - 0.62 * smoothstep(-blot, -38, 22))
    # The light that the juice lets through colours the table.
    if scene.juice is not None:
        caustic = canvas.patch(Pose(scene.bottle.x + 90, scene.bottle.y + 704), 220, 26, margin=20)
        spread = smoothstep(-ellipse(caustic.u, caustic.v, 190, 18), -22, 22)
        canvas.tint(caustic, 0.35 * spread, np.sqrt(np.array(_JUICES[scene.juice], np.float32)))


def _paint_glass(canvas: Canvas, bottle: Patch, inside: Array, across: Array) -> None:
    """The empty bottle: what lies behind is seen through it, darkened and bent at the edges."""
    rim = smoothstep(np.abs(across), 0.80, 1.0)
    bright = np.exp(-np.square((np.abs(across) - 0.86) / 0.035))
    bottom = smoothstep(bottle.v, 640, 690)
    shade = 0.90 - 0.50 * rim + 0.22 * bright - 0.25 * bottom * (1 - rim)
    tone = shade[..., None] * np.array([0.96, 1.0, 0.98], np.float32)
    canvas.tint(bottle, inside, tone)


def _paint_juice(scene: JuiceBottleScene, canvas: Canvas, bottle: Patch, radius: Array) -> None:
    u, v = bottle.u, bottle.v
    damage = scene.damage_called("juice_color")
    pigment = np.array(_JUICES[scene.juice or ""], np.float32)
    if damage is not None:
        pigment = np.array(pick(np.random.default_rng(damage.seed), _STRANGE_JUICES), np.float32)
    inner = radius - _GLASS
    across = np.clip(u / inner, -1, 1)
    surface = np.float32(scene.level) + 7 * (1 - np.sqrt(1 - np.square(across)))
    body = np.maximum(np.maximum(np.abs(u) - inner, surface - v), v - _LIQUID_END)
    body = np.maximum(body, norm(np.maximum(np.abs(u) - 150, 0), np.maximum(v - 632, 0)) - 40)
    cloudy = noise(u, v, (120, 260), scene.seed + 5, 2) + 0.5 * noise(u, v, 18, scene.seed + 6)
    thick = np.sqrt(1 - np.square(across))
    light = 0.58 + 0.42 * thick - 0.10 * smoothstep(v, 200, 690) + 0.025 * cloudy
    light += 0.16 * np.exp(-np.square((across - 0.55) / 0.28))
    color = pigment * (1 - 0.14 * scene.ripeness) * light[..., None]
    # Thin layers at the edge let more light through and look more saturated.
    color = color * (1 - 0.25 * (1 - thick)[..., None] * (1 - pigment))
    coverage = bottle.coverage(body)
    canvas.paint(bottle, 0.97 * coverage, color, _LIQUID)
    canvas.claim(bottle, coverage, "juice")
    ring = np.exp(-np.square((v - surface - 5) / 5)) * (np.abs(u) < inner)
    canvas.tint(bottle, (0.35 * ring).astype(np.float32), pigment + (1 - pigment) * 0.4)
    foam = np.exp(-np.square((v - surface + 3) / 3.5)) * (np.abs(u) < inner)
    canvas.add_glow(bottle, 0.10 * foam * (0.3 + pigment)[:, None, None])


def _paint_label(scene: JuiceBottleScene, canvas: Canvas, bottle: Patch, radius: Array, label: Label) -> None:
    part = f"label {label.kind}"
    damage = scene.damage_of(part, "icon")
    if damage is not None and damage.part == "icon" and label.kind != "fruit":
        damage = None
    kind = damage.name if damage is not None else ""
    fate = np.random.default_rng(damage.seed if damage is not None else 0)
    arc = np.arcsin(np.clip(bottle.u / radius, -1, 1)) * radius - np.float32(label.around)
    down = bottle.v - np.float32(label.height)
    turn = label.turn
    if kind == "rotated_label":
        turn += fate.uniform(0.12, 0.3) * pick(fate, (-1, 1))
    cosine, sine = float(np.cos(turn)), float(np.sin(turn))
    s, t = cosine * arc + sine * down, -sine * arc + cosine * down
    half_s, half_t = _LABELS[label.kind]
    outline = box(s, t, half_s, half_t, 16)
    torn = np.full_like(s, -np.inf)
    if damage is not None and kind == "damaged_label":
        torn = _torn(s, t, half_s, half_t, damage, fate)
        outline = np.maximum(outline, torn)
    coverage = bottle.coverage(outline) * (np.abs(bottle.u) < radius * 0.995)
    canvas.shade(bottle, coverage, 3, 4, strength=0.35)
    ink = (
        _print_fruit_label(s, t, label, scene.batch, damage)
        if label.kind == "fruit"
        else _print_text_label(s, t, scene.batch, damage)
    )
    # The paper's white core shows where it has torn.
    ink = ink + smoothstep(torn, -15, -5)[..., None] * (np.array([0.93, 0.92, 0.89], np.float32) - ink)
    grain = 1 + 0.010 * noise(s, t, 6, scene.seed + 8)
    canvas.paint(bottle, coverage, ink, _PAPER, 0.55 * dome(bottle.u, radius), part, grain)
    if label.kind == "fruit" and label.icon is not None:
        icon = _icon_outline(s, t, label, damage)
        canvas.claim(bottle, bottle.coverage(icon) * coverage, "icon")


def _torn(s: Array, t: Array, half_s: float, half_t: float, damage: Damage, fate: Rng) -> Array:
    """Distance to what a tear leaves of a label: a corner is gone, or a strip from the edge inwards."""
    ragged = 7 * noise(s, t, 22, damage.seed)
    corner = np.hypot(s - pick(fate, (-1, 1)) * half_s, t - pick(fate, (-1, 1)) * half_t)
    gone = fate.uniform(0.85, 1.35) * min(half_s, half_t) - corner
    slit, _ = segment(
        s, t, (fate.uniform(-0.7, 0.7) * half_s, half_t), (fate.uniform(-0.5, 0.5) * half_s, -0.1 * half_t)
    )
    return pick(fate, (gone, fate.uniform(13, 20) - slit)) + ragged


#: The fruits are drawn at this scale.
_ICON_SCALE = 0.84
_TINTS = {"banana": (0.75, 0.55, 0.05), "cherry": (0.55, 0.03, 0.05), "orange": (0.80, 0.28, 0.02)}


def _icon_outline(s: Array, t: Array, label: Label, damage: Damage | None) -> Array:
    """Distance to the printed fruit without its leaf."""
    s, t = (s - label.icon_shift[0]) / _ICON_SCALE, (t - label.icon_shift[1]) / _ICON_SCALE
    outline = _FRUIT_SHAPES[label.icon or ""](s, t)
    if damage is not None and damage.name == "unknown_fruit_icon":
        outline = np.minimum(outline, _grapes(s, t))
    return outline * _ICON_SCALE


def _cherries(s: Array, t: Array) -> Array:
    return np.minimum(circle(s + 38, t - 34, 44), circle(s - 42, t - 22, 44))


def _orange(s: Array, t: Array) -> Array:
    return circle(s, t - 6, 72)


def _banana(s: Array, t: Array) -> Array:
    angles = np.linspace(0.08 * np.pi, 0.92 * np.pi, 12)
    distance, along = polyline(s, t, np.stack([84 * np.cos(angles), 92 * np.sin(angles) - 52], axis=-1))
    return distance - (10 + 19 * np.sqrt(np.maximum(np.sin(np.pi * along / 11), 0)))


_GRAPES = ((-36, -20), (0, -24), (36, -20), (-18, 10), (18, 10), (0, 42))


def _grapes(s: Array, t: Array) -> Array:
    return np.minimum.reduce([circle(s - x, t - y, 22) for x, y in _GRAPES])


_FRUIT_SHAPES: dict[str, Callable[[Array, Array], Array]] = {"cherry": _cherries, "orange": _orange, "banana": _banana}


def _ink(under: Array, distance: Array, color: tuple[float, float, float] | Array, blur: float = 2.0) -> Array:
    """Print a shape on the label."""
    cover = smoothstep(-distance, -blur, blur)[..., None]
    return under + cover * (np.asarray(color, np.float32) - under)


def _print_fruit_label(s: Array, t: Array, label: Label, batch: int, damage: Damage | None) -> Array:
    """Colours of the fruit label, ``(H, W, 3)``."""
    half_s, half_t = _LABELS["fruit"]
    plain, frame_color = _BATCHES[batch]
    paper = np.broadcast_to(np.array(plain, np.float32), (*s.shape, 3))
    paper = _ink(paper, np.abs(box(s, t, half_s - 12, half_t - 12, 12)) - 2.5, frame_color)
    if label.icon is None:
        return paper
    tint = _TINTS[label.icon]
    x, y = (s - label.icon_shift[0]) / _ICON_SCALE, (t - label.icon_shift[1]) / _ICON_SCALE
    outline = _FRUIT_SHAPES[label.icon](x, y)
    leaf = ellipse(x * 0.8 + (y + 84) * 0.6 - 30, (y + 84) * 0.8 - x * 0.6, 34, 13)
    printed = paper
    if damage is not None and damage.name == "unknown_fruit_icon":
        printed = _ink(printed, _grapes(x, y), (0.17, 0.05, 0.28))
        printed = _ink(printed, leaf, (0.10, 0.28, 0.06))
        gleams = np.minimum.reduce([circle(x - cx + 7, y - cy + 7, 5) for cx, cy in _GRAPES])
        return _ink(printed, gleams, (0.40, 0.28, 0.5))
    if label.icon == "cherry":
        stems = np.minimum(segment(x, y, (-38, -2), (12, -86))[0], segment(x, y, (42, -16), (12, -86))[0])
        printed = _ink(printed, stems - 4, (0.15, 0.20, 0.05))
    shading = 1 + 0.22 * np.clip(-(x + y) / 90, -1, 1)
    printed = _ink(printed, outline, np.array(tint, np.float32) * shading[..., None])
    printed = _ink(printed, np.maximum(outline + 6, circle(x + 26, y + 22, 13)), (0.9, 0.8, 0.6), 6.0)
    if label.icon != "banana":
        printed = _ink(printed, leaf, (0.10, 0.30, 0.06))
    else:
        printed = _ink(printed, np.minimum(circle(x + 82, y + 33, 10), circle(x - 82, y + 33, 9)), (0.16, 0.10, 0.03))
    if damage is not None and damage.name == "incomplete_fruit_icon":
        fate = np.random.default_rng(damage.seed)
        angle = fate.uniform(-np.pi, np.pi)
        cut = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)) - np.float32(fate.uniform(-10, 25))
        printed = _ink(printed, np.maximum(-cut, box(s, t, half_s - 22, half_t - 22)), plain)
    return printed


def _print_text_label(s: Array, t: Array, batch: int, damage: Damage | None) -> Array:
    """Colours of the text label, ``(H, W, 3)``."""
    half_s, half_t = _LABELS["text"]
    plain, frame_color = _BATCHES[batch]
    paper = np.broadcast_to(np.array(plain, np.float32), (*s.shape, 3))
    paper = _ink(paper, np.abs(box(s, t, half_s - 9, half_t - 9, 10)) - 2.0, frame_color)
    letters = text(("100 %", "JUICE"), 48)
    rows, columns = letters.shape
    scale = 0.92
    cover = lookup(letters, s, t, scale * columns / 2, scale * rows / 2)
    if damage is not None and damage.name == "label_text_incomplete":
        fate = np.random.default_rng(damage.seed)
        place, reach = fate.uniform(-55, 55), fate.uniform(38, 66)
        cover = cover * smoothstep(np.abs(s - place) + 3 * noise(s, t, 12, damage.seed), reach - 4, reach + 4)
    return paper + cover[..., None] * (np.array([0.07, 0.09, 0.05], np.float32) - paper)


def _paint_cap(scene: JuiceBottleScene, canvas: Canvas, bottle: Patch, radius: Array) -> None:
    u, v = bottle.u, bottle.v
    cap = np.maximum(np.abs(u) - radius - 6, np.abs(v + 655) - 50)
    ridges = 2.2 * np.sin(np.arcsin(np.clip(u / 74, -1, 1)) * 22) * smoothstep(-np.abs(v + 655), -36, -32)
    tone = 1 + 0.01 * noise(u, v, 40, scene.seed + 9)
    height = 0.8 * dome(u, radius + 6) + ridges + 5 * smoothstep(-np.abs(v + 655), -50, -44)
    canvas.paint(bottle, bottle.coverage(cap), (0.72, 0.73, 0.74), _CAP, height, "cap", tone)


def _paint_reflections(scene: JuiceBottleScene, canvas: Canvas, bottle: Patch, inside: Array, across: Array) -> None:
    """Soft boxes in the glass: a broad strip on the light's side, a thin one on the other."""
    v = bottle.v
    below_cap = smoothstep(v, _CAP_END, _CAP_END + 14) * smoothstep(-v, -682, -650)
    waviness = 0.012 * noise(bottle.u, v, (300, 90), scene.seed + 10)
    window = smoothstep(np.abs(np.mod(v + 190, 900) - 450), 0, 10)
    broad = smoothstep(0.055 - np.abs(across + 0.66 + waviness), -0.02, 0.03) * (0.75 + 0.25 * window)
    thin = np.exp(-np.square((across - 0.78 + waviness) / 0.022))
    edge = np.exp(-np.square((np.abs(across) - 0.965) / 0.02))
    shoulder = np.exp(-np.square((across + 0.35) / 0.14)) * np.exp(-np.square((v + 290) / 46))
    labelled = np.ones_like(v)
    for label in scene.labels:
        half_s, half_t = _LABELS[label.kind]
        on_label = smoothstep(half_t - np.abs(v - label.height), -2, 4)
        reach = np.float32(np.sin(min((half_s + abs(label.around)) / 196, 1.5)))
        labelled *= 1 - 0.75 * on_label * (np.abs(across) < reach)
    light = (0.34 * broad + 0.16 * thin + 0.22 * shoulder) * labelled + 0.10 * edge
    canvas.add_glow(bottle, (light * inside * below_cap).astype(np.float32))


def _labels(_scene: JuiceBottleScene) -> list[str]:
    return ["label fruit", "label text"]


def _one(part: str) -> Callable[[JuiceBottleScene], list[str]]:
    return lambda _scene: [part]


def _contaminable(_scene: JuiceBottleScene) -> list[str]:
    return ["juice", "label fruit", "glass"]


CATEGORY = Category(
    name="juice_bottle",
    size=SIZE,
    rules=(
        Rule("both_labels", "the bottle carries one fruit label and one text label", _both_labels),
        Rule("fruit_above_text", "the fruit label is above the text label", _fruit_above_text),
        Rule(
            "labels_in_place",
            f"the labels are {DISTANCE:.0f} ± {PLAY:.0f} units apart and at most {ALIGNMENT:.0f} out of line",
            _labels_in_place,
        ),
        Rule("fruit_printed", "a fruit is printed on the fruit label", _has_icon),
        Rule("fruit_in_middle", f"the fruit is at most {ICON_PLAY:.0f} units from its label's middle", _icon_in_middle),
        Rule("fruit_tells_juice", "the fruit is the one that the juice is made of", _icon_tells_juice),
        Rule("fill_level", "the bottle is filled, and the juice's surface lies in the neck's band", _filled),
    ),
    logical=(
        LogicalDefect(
            "missing_top_label",
            "both_labels",
            _without_label("missing_top_label", "fruit"),
            "where the label belongs; saturates at its area",
            FRUIT_LABEL_AREA,
        ),
        LogicalDefect(
            "missing_bottom_label",
            "both_labels",
            _without_label("missing_bottom_label", "text"),
            "where the label belongs; saturates at its area",
            TEXT_LABEL_AREA,
        ),
        LogicalDefect(
            "swapped_labels",
            "fruit_above_text",
            _swap_labels,
            "both labels; saturates at the area of both",
            FRUIT_LABEL_AREA + TEXT_LABEL_AREA,
        ),
        LogicalDefect(
            "misplaced_label_top",
            "labels_in_place",
            _misplace_label("misplaced_label_top", "fruit"),
            "the label and where it belongs; saturates at its area",
            FRUIT_LABEL_AREA,
        ),
        LogicalDefect(
            "misplaced_label_bottom",
            "labels_in_place",
            _misplace_label("misplaced_label_bottom", "text"),
            "the label and where it belongs; saturates at its area",
            TEXT_LABEL_AREA,
        ),
        LogicalDefect("empty_bottle", "fill_level", _empty, "where the juice would be; saturates at all of it"),
        LogicalDefect(
            "wrong_fill_level_too_much",
            "fill_level",
            _wrong_level("wrong_fill_level_too_much", -585, -525),
            "between the juice's surface and the band; saturates at all of it",
        ),
        LogicalDefect(
            "wrong_fill_level_not_enough",
            "fill_level",
            _wrong_level("wrong_fill_level_not_enough", -340, -170),
            "between the band and the juice's surface; saturates at all of it",
        ),
        LogicalDefect("misplaced_fruit_icon", "fruit_in_middle", _misplace_icon, "the fruit; saturates at all of it"),
        LogicalDefect(
            "missing_fruit_icon",
            "fruit_printed",
            _without_icon,
            "where the fruit would be; saturates at its area",
            ICON_AREA,
        ),
        LogicalDefect(
            "wrong_juice_type",
            "fruit_tells_juice",
            _wrong_juice,
            "the juice and the fruit; saturates at the area of the fruit",
            ICON_AREA,
        ),
    ),
    structural=(
        StructuralDefect("damaged_label", _labels, "a label is torn"),
        StructuralDefect("rotated_label", _labels, "a label is turned", solid=True),
        StructuralDefect("label_text_incomplete", _one("label text"), "part of the text is not printed"),
        StructuralDefect("unknown_fruit_icon", _one("icon"), "a fruit is printed that no juice is made of"),
        StructuralDefect("incomplete_fruit_icon", _one("icon"), "part of the fruit is not printed"),
        StructuralDefect("juice_color", _one("juice"), "the juice has a colour that no juice has"),
        StructuralDefect(
            "contamination", _contaminable, "a foreign crumb, fibre or drop clings to the bottle", contaminate(56)
        ),
    ),
    sample=sample,
    paint=paint,
)
