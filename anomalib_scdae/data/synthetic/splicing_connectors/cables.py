# SPDX-License-Identifier: Apache-2.0
"""Cables, and what shows where one is broken."""

import numpy as np
import numpy.typing as npt

from anomalib_scdae.data.synthetic.render import Canvas, Material, Patch
from anomalib_scdae.data.synthetic.scene import Pose, Rng, pick
from anomalib_scdae.data.synthetic.shapes import Array, dome, polyline
from anomalib_scdae.data.synthetic.splicing_connectors.scene import (
    CABLE_LENGTH,
    CABLE_RADIUS,
    Cable,
    SplicingConnectorsScene,
)
from anomalib_scdae.data.synthetic.textures import noise

_PIGMENTS = {"yellow": (0.78, 0.55, 0.03), "blue": (0.02, 0.11, 0.42), "red": (0.55, 0.02, 0.025)}
_STRANGE_PIGMENTS = ((0.05, 0.33, 0.08), (0.55, 0.16, 0.45), (0.03, 0.03, 0.03), (0.75, 0.75, 0.72))
_INSULATION = Material(specular=0.22, gloss=22)
_COPPER = Material(specular=0.2, gloss=30, metal=0.9)


def cable_path(scene: SplicingConnectorsScene, cable: Cable) -> npt.NDArray[np.floating]:
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


def paint_cable(scene: SplicingConnectorsScene, canvas: Canvas, index: int, cable: Cable) -> None:
    """Paint a cable from clip to clip, with its shadow and its damage."""
    name = f"cable {index}"
    path = cable_path(scene, cable)
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
