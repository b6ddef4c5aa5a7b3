# SPDX-License-Identifier: Apache-2.0
"""Washers, nuts and screws, whole and broken."""

import numpy as np

from anomalib_scdae.data.synthetic.render import Canvas, Material, Patch
from anomalib_scdae.data.synthetic.scene import Damage
from anomalib_scdae.data.synthetic.screw_bag.filling import reach_of
from anomalib_scdae.data.synthetic.screw_bag.scene import (
    HEAD_LENGTH,
    HEAD_RADIUS,
    NUT_HOLE,
    NUT_INNER,
    SHAFT_RADIUS,
    WASHER_HOLE,
    WASHER_OUTER,
    Part,
    ScrewBagScene,
)
from anomalib_scdae.data.synthetic.shapes import Array, bevel, box, dome, hexagon, norm, ring, smoothstep
from anomalib_scdae.data.synthetic.textures import noise

_ZINC = Material(specular=0.12, gloss=40, metal=1.0)
_BARE = Material(specular=0.05, gloss=10)


def paint_part(scene: ScrewBagScene, canvas: Canvas, index: int, part: Part) -> None:
    """Paint a washer, a nut or a screw, with its shadow and its damage."""
    name = f"part {index}"
    damage = scene.damage_of(name)
    pose = scene.bag.at(part.pose.x, part.pose.y, part.pose.angle)
    half = reach_of(part)
    patch = canvas.patch(pose, half, HEAD_RADIUS if part.kind == "screw" else half, margin=50)
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
    distance = ring(patch.u, patch.v, WASHER_HOLE, WASHER_OUTER)
    return distance, bevel(distance, 5), 9.0


def _nut(patch: Patch, _part: Part) -> tuple[Array, Array, float]:
    radius = norm(patch.u, patch.v)
    outer = hexagon(patch.u, patch.v, NUT_INNER)
    distance = np.maximum(outer, NUT_HOLE - radius)
    # Chamfered corners, and a thread that goes down into the hole.
    height = bevel(outer, 5) - 0.35 * np.maximum(radius - NUT_INNER + 2, 0)
    funnel = 1.1 * np.clip(NUT_HOLE + 9 - radius, 0, 9)
    return distance, height - funnel, 34.0


def _screw(patch: Patch, part: Part) -> tuple[Array, Array, float]:
    """A hexagon-head screw on its side: the head at positive u."""
    u, v, half = patch.u, patch.v, part.length / 2
    head_start = half - HEAD_LENGTH
    head = box(u - (half - HEAD_LENGTH / 2), v, HEAD_LENGTH / 2, HEAD_RADIUS, 5)
    pitch = 15.0
    smooth_from = head_start - 0.22 * part.length
    threaded = smoothstep(smooth_from - u, -4, 8)
    wave = np.sin(2 * np.pi * (u + 0.16 * v) / pitch)
    taper = 9 * smoothstep(-half + 22 - u, 0, 22)
    radius = SHAFT_RADIUS - taper - threaded * (1.6 - 1.6 * wave)
    shaft = np.maximum(np.abs(v) - radius, np.maximum(-half - u, u - head_start))
    # Three faces of the hexagon are seen: the slope changes in steps.
    faces = np.where(np.abs(v) < 0.5 * HEAD_RADIUS, 0.0, 1.73 * (0.5 * HEAD_RADIUS - np.abs(v)))
    faces = np.minimum(faces, bevel(head, 6) - 6)
    body = dome(v, SHAFT_RADIUS) + threaded * 2.1 * wave
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
