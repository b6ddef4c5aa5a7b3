# SPDX-License-Identifier: Apache-2.0
"""Splicing connectors: two clamps of one size, joined by a cable whose colour tells their size."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from anomalib_scdae.data.synthetic.defects import contaminate, discolor
from anomalib_scdae.data.synthetic.render import Canvas, Material, Patch
from anomalib_scdae.data.synthetic.scene import (
    Area,
    Category,
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
from anomalib_scdae.data.synthetic.shapes import Array, bevel, box, dome, polyline, smoothstep
from anomalib_scdae.data.synthetic.textures import noise

SIZE = (1700, 850)
SIZES = (2, 3, 5)
#: The colour that goes with each number of clips.
COLORS = {2: "yellow", 3: "blue", 5: "red"}
_PIGMENTS = {"yellow": (0.78, 0.55, 0.03), "blue": (0.02, 0.11, 0.42), "red": (0.55, 0.02, 0.025)}
_STRANGE_PIGMENTS = ((0.05, 0.33, 0.08), (0.55, 0.16, 0.45), (0.03, 0.03, 0.03), (0.75, 0.75, 0.72))
#: Width of one clip and half the depth of a connector, along the cable.
CLIP, HALF_DEPTH = 96.0, 165.0
CABLE_RADIUS = 21.0
#: Free length of cable between the connectors' faces.
CABLE_LENGTH = (540.0, 800.0)
SHORT_CABLE_LENGTH = (340.0, 460.0)
#: Areas of one part's silhouette in squared scene units, for the saturation thresholds.
CABLE_AREA = 2 * CABLE_RADIUS * sum(CABLE_LENGTH) / 2
CLIP_AREA = 2 * HALF_DEPTH * CLIP

_HOUSING = Material(specular=0.30, gloss=34)
_LEVER = Material(specular=0.34, gloss=30)
_INSULATION = Material(specular=0.22, gloss=22)
_COPPER = Material(specular=0.2, gloss=30, metal=0.9)


@dataclass(frozen=True)
class Connector:
    """A splicing connector; its pose looks along +u to the other connector.

    Attributes:
        clips: How many cables it can hold.
        pose: Its centre.
        seed: Fixes its scuffs.
    """

    clips: int
    pose: Pose
    seed: int

    def face(self, clip: int, side: int) -> tuple[float, float]:
        """Where the cable enters clip number ``clip``, counted from the top of the picture."""
        v = (clip - (self.clips - 1) / 2) * CLIP
        cosine, sine = float(np.cos(self.pose.angle)), float(np.sin(self.pose.angle))
        u = side * HALF_DEPTH
        return self.pose.x + cosine * u - sine * v, self.pose.y + sine * u + cosine * v


@dataclass(frozen=True)
class Cable:
    """A cable.

    Attributes:
        color: A key of the pigments.
        left: Clip of the left connector that holds it.
        right: Clip of the right connector.
        bow: Sideways excursion of its two halves, scene units.
        seed: Fixes its sheen.
    """

    color: str
    left: int
    right: int
    bow: tuple[float, float]
    seed: int


@dataclass(frozen=True)
class SplicingConnectorsScene(Scene):
    """The joint.

    Attributes:
        left: The left connector, if there is one.
        right: The right connector, if there is one.
        cables: The cables between them.
    """

    left: Connector | None
    right: Connector | None
    cables: tuple[Cable, ...]


def _sample_connector(rng: Rng, difficulty: float, clips: int, x: float, y: float) -> Connector:
    angle = float(difficulty * rng.uniform(-0.08, 0.08))
    return Connector(clips, Pose(x, y + float(difficulty * rng.uniform(-60, 60)), angle), draw_seed(rng))


def _sample_cable(rng: Rng, difficulty: float, clips: int) -> Cable:
    clip = int(rng.integers(clips))
    bow = (float(difficulty * rng.normal(0, 16)), float(difficulty * rng.normal(0, 16)))
    return Cable(COLORS[clips], clip, clip, bow, draw_seed(rng))


def _pair(rng: Rng, difficulty: float, clips: tuple[int, int], length: float) -> tuple[Connector, Connector]:
    """Two connectors with ``length`` of cable between their faces."""
    apart = length / 2 + HALF_DEPTH
    middle = SIZE[0] / 2 + difficulty * float(rng.uniform(-40, 40))
    level = SIZE[1] / 2 + difficulty * float(rng.uniform(-25, 25))
    left = _sample_connector(rng, difficulty, clips[0], middle - apart, level)
    return left, _sample_connector(rng, difficulty, clips[1], middle + apart, level)


def sample(rng: Rng, difficulty: float) -> SplicingConnectorsScene:
    """Draw a normal scene."""
    look = Look.sample(rng, difficulty)
    clips = pick(rng, SIZES)
    middle, spread = sum(CABLE_LENGTH) / 2, (CABLE_LENGTH[1] - CABLE_LENGTH[0]) / 2
    length = middle + min(difficulty, 1.0) * 0.9 * spread * float(rng.uniform(-1, 1))
    left, right = _pair(rng, difficulty, (clips, clips), length)
    return SplicingConnectorsScene(look, draw_seed(rng), None, left, right, (_sample_cable(rng, difficulty, clips),))


# --- rules and how to break them ---------------------------------------------------------------------------------


def _two_connectors(scene: SplicingConnectorsScene) -> bool:
    return scene.left is not None and scene.right is not None


def _same_size(scene: SplicingConnectorsScene) -> bool:
    return scene.left is None or scene.right is None or scene.left.clips == scene.right.clips


def _one_cable(scene: SplicingConnectorsScene) -> bool:
    alone = scene.left is None or scene.right is None
    return alone or len(scene.cables) == 1


def _color_tells_size(scene: SplicingConnectorsScene) -> bool:
    """With connectors of two sizes the colour may tell either."""
    sizes = {connector.clips for connector in (scene.left, scene.right) if connector is not None}
    return all(cable.color in {COLORS[clips] for clips in sizes} for cable in scene.cables)


def _same_clip(scene: SplicingConnectorsScene) -> bool:
    return not _two_connectors(scene) or all(cable.left == cable.right for cable in scene.cables)


def cable_length(scene: SplicingConnectorsScene) -> float | None:
    """Distance between the connectors' faces, which is the free length of a straight cable; ``None`` without both."""
    if scene.left is None or scene.right is None:
        return None
    apart = np.hypot(scene.right.pose.x - scene.left.pose.x, scene.right.pose.y - scene.left.pose.y)
    return float(apart) - 2 * HALF_DEPTH


def _long_enough(scene: SplicingConnectorsScene) -> bool:
    length = cable_length(scene)
    return length is None or not scene.cables or length >= CABLE_LENGTH[0]


Broken = tuple[SplicingConnectorsScene, tuple[Fault, ...]]


def _between(scene: SplicingConnectorsScene) -> Area:
    """The area between the two connectors' faces, across all their clips."""
    assert scene.left is not None  # noqa: S101 - what is normal has both
    assert scene.right is not None  # noqa: S101
    width = max(scene.left.clips, scene.right.clips) * CLIP / 2
    middle = ((scene.left.pose.x + scene.right.pose.x) / 2, (scene.left.pose.y + scene.right.pose.y) / 2)
    return Area.turned_box(Pose(*middle), (cable_length(scene) or 0.0) / 2, width)


def _around(connector: Connector) -> Area:
    return Area.turned_box(connector.pose, HALF_DEPTH, connector.clips * CLIP / 2)


def _resized(name: str, one: int, other: int) -> Callable[[SplicingConnectorsScene, Rng], Broken]:
    """One connector of the pair gets the other size."""

    def apply(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
        sizes = (one, other) if rng.integers(2) else (other, one)
        left, right = _pair(rng, 1.0, sizes, cable_length(scene) or 0.0)
        cable = replace(_sample_cable(rng, 1.0, min(sizes)), color=COLORS[pick(rng, sizes)])
        changed = replace(scene, left=left, right=right, cables=(cable,))
        return _lengthened(changed), (Fault(name, (Silhouette("left"), Silhouette("right"))),)

    return apply


def _lengthened(scene: SplicingConnectorsScene) -> SplicingConnectorsScene:
    """Move the right connector out if the new pair happens to be closer than a cable must be long."""
    assert scene.right is not None  # noqa: S101 - only called with a pair
    lacking = max(0.0, CABLE_LENGTH[0] + 1 - (cable_length(scene) or 0.0))
    return replace(scene, right=replace(scene.right, pose=replace(scene.right.pose, x=scene.right.pose.x + lacking)))


def _shortened(name: str, clips: int) -> Callable[[SplicingConnectorsScene, Rng], Broken]:
    def apply(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
        left, right = _pair(rng, 1.0, (clips, clips), float(rng.uniform(*SHORT_CABLE_LENGTH)))
        cable = _sample_cable(rng, 1.0, clips)
        changed = replace(scene, left=left, right=right, cables=(cable,))
        return changed, (Fault(name, (Silhouette("left"), Silhouette("right"), Silhouette("cable 0"))),)

    return apply


def _without_connector(name: str, *, cable: bool) -> Callable[[SplicingConnectorsScene, Rng], Broken]:
    def apply(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
        side = pick(rng, ("left", "right"))
        gone = getattr(scene, side)
        changed = replace(scene, cables=scene.cables if cable else ())
        changed = replace(changed, left=None) if side == "left" else replace(changed, right=None)
        if not cable:
            return changed, (Fault(name, (_around(gone), _between(scene))),)
        # The connector would sit at the cable's free end.
        x, y = _cable_path(changed, scene.cables[0])[0 if side == "left" else -1]
        reach = -HALF_DEPTH if side == "left" else HALF_DEPTH
        offset = gone.pose.y - gone.face(scene.cables[0].left, 1)[1]
        moved = replace(gone, pose=Pose(float(x) + reach, float(y) + offset))
        return changed, (Fault(name, (_around(moved),)),)

    return apply


def _without_cable(scene: SplicingConnectorsScene, _rng: Rng) -> Broken:
    return replace(scene, cables=()), (Fault("missing_cable", (_between(scene),)),)


def _with_extra_cable(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
    assert scene.left is not None  # noqa: S101 - what is normal has both
    free = [clip for clip in range(scene.left.clips) if clip != scene.cables[0].left]
    clip = pick(rng, free)
    extra = replace(_sample_cable(rng, 1.0, scene.left.clips), left=clip, right=clip, bow=scene.cables[0].bow)
    parts = (Silhouette("cable 0"), Silhouette("cable 1"))
    return replace(scene, cables=(*scene.cables, extra)), (Fault("extra_cable", parts),)


def _with_wrong_color(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
    cable = scene.cables[0]
    color = pick(rng, [color for color in COLORS.values() if color != cable.color])
    parts = (Silhouette("cable 0"), Silhouette("left"), Silhouette("right"))
    return replace(scene, cables=(replace(cable, color=color),)), (Fault("cable_color", parts),)


def _with_wrong_clip(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
    assert scene.left is not None  # noqa: S101 - what is normal has both
    cable = scene.cables[0]
    clip = pick(rng, [clip for clip in range(scene.left.clips) if clip != cable.left])
    return replace(scene, cables=(replace(cable, right=clip),)), (
        Fault("wrong_cable_location", (Silhouette("cable 0"),)),
    )


# --- painting ----------------------------------------------------------------------------------------------------


def paint(scene: SplicingConnectorsScene, canvas: Canvas) -> None:
    """Paint the table, the cables and the connectors."""
    _paint_table(scene, canvas)
    for index, cable in enumerate(scene.cables):
        _paint_cable(scene, canvas, index, cable)
    for name, connector, side in (("left", scene.left, 1), ("right", scene.right, -1)):
        if connector is not None:
            _paint_connector(scene, canvas, name, connector, side)


def _paint_table(scene: SplicingConnectorsScene, canvas: Canvas) -> None:
    """A cutting mat: green-grey plastic with a worn printed grid."""
    patch = canvas.everywhere()
    fine = noise(patch.u, patch.v, 5, scene.seed)
    wear = noise(patch.u, patch.v, 180, scene.seed + 1, 2)
    pitch = 106.0
    near = np.minimum(np.abs(np.mod(patch.u, pitch) - pitch / 2), np.abs(np.mod(patch.v, pitch) - pitch / 2))
    line = smoothstep(4.0 - near, 0, 2.5) * (0.5 + 0.12 * fine)
    ground = np.array([0.19, 0.245, 0.25], np.float32) * (1 + 0.035 * fine + 0.03 * wear)[..., None]
    color = ground + line[..., None] * (np.array([0.44, 0.50, 0.50], np.float32) - ground) * 0.55
    canvas.paint(patch, 1.0, color, Material(0.04, 10), height=0.2 * fine, part="table")


def _cable_path(scene: SplicingConnectorsScene, cable: Cable) -> npt.NDArray[np.floating]:
    """Points along a cable from inside one connector to inside the other; free ends hang where the other would be."""
    start = None if scene.left is None else scene.left.face(cable.left, 1)
    end = None if scene.right is None else scene.right.face(cable.right, -1)
    length = sum(CABLE_LENGTH) / 2
    if start is None and end is not None:
        start = (end[0] - length, end[1] + 3 * cable.bow[0])
    if end is None and start is not None:
        end = (start[0] + length, start[1] + 3 * cable.bow[0])
    assert start is not None  # noqa: S101 - no scene is without both connectors
    assert end is not None  # noqa: S101
    t = np.linspace(0, 1, 25)
    # A smooth step keeps the cable straight where it leaves a clip.
    ease = t * t * t * (10 + t * (6 * t - 15))
    bow = np.sin(np.pi * t) ** 2 * cable.bow[0] + np.sin(2 * np.pi * t) * np.sin(np.pi * t) * cable.bow[1]
    x = start[0] + t * (end[0] - start[0])
    return np.stack([x, start[1] + ease * (end[1] - start[1]) + bow], axis=-1)


def _paint_cable(scene: SplicingConnectorsScene, canvas: Canvas, index: int, cable: Cable) -> None:
    name = f"cable {index}"
    path = _cable_path(scene, cable)
    middle = path.mean(axis=0)
    half_u, half_v = np.abs(path - middle).max(axis=0) + CABLE_RADIUS + 16
    patch = canvas.patch(Pose(float(middle[0]), float(middle[1])), float(half_u), float(half_v), margin=60)
    damage = scene.damage_of(name)
    kind = damage.name if damage is not None else ""
    fate = np.random.default_rng(damage.seed if damage is not None else 0)
    left_end = False
    if kind == "cable_not_plugged":
        left_end = bool(fate.integers(2))
        path = _pulled_out(path, fate, left=left_end)
    distance, position = polyline(patch.u, patch.v, path - middle)
    along = position / np.float32(len(path) - 1)
    outline = distance - CABLE_RADIUS
    coverage = patch.coverage(outline)
    canvas.shade(patch, coverage, 22, 11)
    pigment = _PIGMENTS[cable.color]
    if kind == "unknown_cable_color":
        pigment = pick(fate, _STRANGE_PIGMENTS)
    tone = 1 + 0.04 * noise(patch.u, patch.v, (60, 20), cable.seed + 1)
    height = dome(distance, CABLE_RADIUS)
    canvas.paint(patch, coverage, pigment, _INSULATION, height, name, tone)
    if kind == "broken_cable":
        _paint_bare(canvas, patch, distance, along, fate)
    if kind == "cable_not_plugged":
        ends = along if left_end else 1 - along
        bare = patch.coverage(np.maximum(distance - 0.55 * CABLE_RADIUS, ends * 700 - 26))
        canvas.paint(patch, bare, (0.70, 0.36, 0.2), _COPPER, height=height)


def _pulled_out(path: npt.NDArray[np.floating], fate: Rng, *, left: bool) -> npt.NDArray[np.floating]:
    """The path of a cable one end of which has slipped out of its clip and stands off."""
    t = np.linspace(0, 1, len(path))
    free = 1 - t if left else t
    slipped = path.copy()
    slipped[:, 1] += pick(fate, (-1, 1)) * fate.uniform(60, 95) * free**3
    slipped[:, 0] += (1 if left else -1) * fate.uniform(45, 80) * free**2
    return slipped


def _paint_bare(canvas: Canvas, patch: Patch, distance: Array, along: Array, fate: Rng) -> None:
    """A place where the insulation is torn open."""
    place, reach = fate.uniform(0.25, 0.75), fate.uniform(0.03, 0.055)
    ragged = 0.008 * noise(patch.u, patch.v, 16, int(fate.integers(2**31)))
    open_ = patch.coverage((np.abs(along - place) - reach + ragged) * 760)
    bare = open_ * patch.coverage(distance - 0.72 * CABLE_RADIUS)
    ripple = 3 * np.sin((patch.u * 0.5 + patch.v) / 2.8) + dome(distance, CABLE_RADIUS)
    canvas.paint(patch, bare, (0.72, 0.38, 0.22), _COPPER, height=ripple.astype(np.float32))


def _paint_connector(
    scene: SplicingConnectorsScene, canvas: Canvas, name: str, connector: Connector, side: int
) -> None:
    half_v = connector.clips * CLIP / 2
    patch = canvas.patch(connector.pose, HALF_DEPTH, half_v, margin=90)
    damage = scene.damage_of(name)
    fate = np.random.default_rng(damage.seed if damage is not None else 0)
    kind = damage.name if damage is not None else ""
    # From here on +u looks to the cable.
    u, v = patch.u * (-side if kind == "flipped_connector" else side), patch.v
    outline = box(u, v, HALF_DEPTH, half_v - 2, 12)
    if damage is not None and kind == "broken_connector":
        corner = np.hypot(u - pick(fate, (-1, 1)) * HALF_DEPTH, v - pick(fate, (-1, 1)) * half_v)
        outline = np.maximum(outline, fate.uniform(50, 85) - corner + 7 * noise(u, v, 24, damage.seed))
    coverage = patch.coverage(outline)
    canvas.shade(patch, coverage, 44, 15)
    scuffs = noise(u, v, (9, 60), connector.seed) * 0.5 + noise(u, v, 70, connector.seed + 1, 2)
    clip_v = np.mod(v + half_v, CLIP) - CLIP / 2
    # Clear plastic: the metal of each clamp shines through, ribs stand between the clips.
    cage = smoothstep(-box(u + 5, clip_v, 120, 33, 8), -6, 10)
    tone = (1 + 0.03 * scuffs) * (1 - 0.38 * cage * (0.7 + 0.3 * np.sin(u / 9)))
    rib = 5 * smoothstep(np.abs(clip_v), CLIP / 2 - 9, CLIP / 2 - 4)
    mouth = box(u - HALF_DEPTH + 14, clip_v, 22, CABLE_RADIUS + 7, 10)
    height = bevel(outline, 11) + rib + 9 * smoothstep(mouth, -6, 6)
    canvas.paint(patch, coverage, (0.40, 0.41, 0.41), _HOUSING, height, name, tone)
    canvas.tint(patch, 0.55 * patch.coverage(mouth) * coverage, (0.45, 0.45, 0.45))
    raised = int(fate.integers(connector.clips)) if kind == "open_lever" else -1
    for clip in range(connector.clips):
        centre = (clip - (connector.clips - 1) / 2) * CLIP
        _paint_lever(canvas, patch, u, v - centre, coverage, name, open_=clip == raised)


def _paint_lever(canvas: Canvas, patch: Patch, u: Array, v: Array, inside: Array, name: str, *, open_: bool) -> None:
    """An orange lever on top of a clip; an open one stands up and leans over the back."""
    reach, back = (60.0, -128.0) if open_ else (92.0, -38.0)
    outline = box(u - back, v, reach, 36, 9)
    coverage = patch.coverage(outline) * (1.0 if open_ else inside)
    canvas.shade(patch, coverage, 40 if open_ else 12, 10 if open_ else 6, strength=0.6)
    grip = 2.6 * np.sin((u - back) / 5.0) * smoothstep(-(u - back), reach - 58, reach - 48)
    height = bevel(outline, 9) + grip.astype(np.float32)
    hollow = box(u - back - 0.35 * reach, v, 0.42 * reach, 20, 8)
    height = height - 6 * smoothstep(-hollow, -4, 6)
    shade = 1.25 if open_ else 1.0
    canvas.paint(patch, coverage, (0.78 * shade, 0.19 * shade, 0.012), _LEVER, height=height, part=name)


def _connectors(_scene: SplicingConnectorsScene) -> list[str]:
    return ["left", "right"]


def _cables(_scene: SplicingConnectorsScene) -> list[str]:
    return ["cable 0"]


def _table(_scene: SplicingConnectorsScene) -> list[str]:
    return ["table", "table", "left", "right"]


def _wrong_type(one: int, other: int) -> LogicalDefect:
    name = f"wrong_connector_type_{one}_{other}"
    text = "both connectors; saturates at the area by which they differ"
    return LogicalDefect(name, "same_size", _resized(name, one, other), text, abs(one - other) * CLIP_AREA)


def _too_short(clips: int) -> LogicalDefect:
    name = f"cable_too_short_t{clips}"
    text = "cable and both connectors; saturates at the area of one connector"
    return LogicalDefect(name, "cable_length", _shortened(name, clips), text, clips * CLIP_AREA)


CATEGORY = Category(
    name="splicing_connectors",
    size=SIZE,
    rules=(
        Rule("two_connectors", "there are two connectors", _two_connectors),
        Rule("same_size", "both connectors have the same number of clips", _same_size),
        Rule("one_cable", "exactly one cable joins them", _one_cable),
        Rule("same_clip", "the cable sits in the same clip on both sides", _same_clip),
        Rule("color_tells_size", "the cable is yellow for 2 clips, blue for 3, red for 5", _color_tells_size),
        Rule("cable_length", f"the cable is free over at least {CABLE_LENGTH[0]:.0f} units", _long_enough),
    ),
    logical=(
        _wrong_type(5, 2),
        _wrong_type(5, 3),
        _wrong_type(3, 2),
        _too_short(2),
        _too_short(3),
        _too_short(5),
        LogicalDefect(
            "missing_connector",
            "two_connectors",
            _without_connector("missing_connector", cable=True),
            "where the connector would lie",
        ),
        LogicalDefect(
            "missing_connector_and_cable",
            "two_connectors",
            _without_connector("missing_connector_and_cable", cable=False),
            "where the connector and the cable would lie; saturates at the smallest connector's and a cable's area",
            2 * CLIP_AREA + CABLE_AREA,
        ),
        LogicalDefect(
            "missing_cable",
            "one_cable",
            _without_cable,
            "between the connectors, across all clips; saturates at the area of one cable",
            CABLE_AREA,
        ),
        LogicalDefect(
            "extra_cable",
            "one_cable",
            _with_extra_cable,
            "both cables; saturates at the area of one cable",
            CABLE_AREA,
        ),
        LogicalDefect(
            "cable_color",
            "color_tells_size",
            _with_wrong_color,
            "the cable and both connectors; saturates at the area of one cable",
            CABLE_AREA,
        ),
        LogicalDefect(
            "wrong_cable_location",
            "same_clip",
            _with_wrong_clip,
            "the cable; saturates at the area of one cable",
            CABLE_AREA,
        ),
    ),
    structural=(
        StructuralDefect("broken_cable", _cables, "the insulation is torn open"),
        StructuralDefect("cable_not_plugged", _cables, "one end has slipped out of its clip"),
        StructuralDefect("unknown_cable_color", _cables, "the cable has a colour that no size has"),
        StructuralDefect("flipped_connector", _connectors, "a connector is turned back to front", solid=True),
        StructuralDefect("broken_connector", _connectors, "a corner of a connector is broken off"),
        StructuralDefect("open_lever", _connectors, "a lever stands open"),
        StructuralDefect(
            "color",
            _connectors,
            "a connector is partly discoloured",
            discolor(((0.05, 0.12, 0.40), (0.06, 0.30, 0.08), (0.30, 0.06, 0.25), (0.04, 0.04, 0.04)), 84),
        ),
        StructuralDefect("contamination", _table, "a foreign crumb, fibre, drop or chip lies about", contaminate(50)),
    ),
    sample=sample,
    paint=paint,
)
