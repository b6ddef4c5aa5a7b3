# SPDX-License-Identifier: Apache-2.0
"""Pins, whole and broken."""

from dataclasses import replace

import numpy as np

from anomalib_scdae.data.synthetic.pushpins.floor import CARD
from anomalib_scdae.data.synthetic.pushpins.scene import (
    BODY_R,
    BODY_U,
    FREE_U,
    FREE_V,
    HEAD,
    KNEE,
    NEEDLE,
    NEEDLE_RADIUS,
    REACH_U,
    REACH_V,
    Pin,
    PushpinsScene,
    centre_of,
)
from anomalib_scdae.data.synthetic.render import Canvas, Material
from anomalib_scdae.data.synthetic.scene import Damage, Pose, pick
from anomalib_scdae.data.synthetic.shapes import bevel, box, circle, dome, segment, smoothstep
from anomalib_scdae.data.synthetic.textures import noise

_PLASTIC = Material(specular=0.45, gloss=46)
_STEEL = Material(specular=0.2, gloss=30, metal=1.0)
WRONG_COLORS = ((0.05, 0.14, 0.55), (0.55, 0.03, 0.03), (0.05, 0.33, 0.10), (0.75, 0.75, 0.72))


def paint_pin(canvas: Canvas, pin: Pin, part: str, damage: Damage | None) -> None:
    """Paint a pin with its shadow and its damage."""
    patch = canvas.patch(pin.pose, REACH_U, REACH_V, margin=44)
    u, v = patch.u, patch.v
    fate = np.random.default_rng(damage.seed) if damage is not None else None
    kind = damage.name if damage is not None else ""
    tip = np.array([NEEDLE[0], 0.0])
    knee = np.array([KNEE, 0.0])
    if kind == "front_bent" and fate is not None:
        bend = fate.uniform(1.0, 2.1) * pick(fate, [-1, 1])
        tip = knee + 69 * np.array([-np.cos(bend), np.sin(bend)])
    near, _ = segment(u, v, (NEEDLE[1], 0.0), tuple(knee))
    far, along = segment(u, v, tuple(knee), tuple(tip))
    thickness = NEEDLE_RADIUS * (1 - 0.65 * smoothstep(along, 0.35, 1.0))
    needle = np.minimum(near - NEEDLE_RADIUS, far - thickness)
    edge = np.full_like(u, -np.inf)
    radius = np.interp(u, BODY_U, BODY_R, left=0, right=0).astype(np.float32)
    body = np.abs(v) - radius
    if kind == "broken" and fate is not None:
        edge = u - fate.uniform(0, 25) - 7 * noise(u, v, 14, damage.seed if damage else 0) - fate.uniform(-0.6, 0.6) * v
        body = np.maximum(body, edge)
    # Between the profile's steep shoulders |v| - r is no distance; limit it to one along the axis.
    body = np.maximum(body, np.maximum(BODY_U[0] - u, u - BODY_U[-1]))
    metal, plastic = patch.coverage(needle), patch.coverage(body)
    canvas.shade(patch, np.maximum(0.7 * metal, plastic), 20, 9)
    # A needle thinner than two pixels would show the slope of its flanks as dashes.
    height = dome(np.minimum(near, far), max(NEEDLE_RADIUS, 3 * patch.unit))
    canvas.paint(patch, metal, (0.62, 0.62, 0.63), _STEEL, height=height, part=part)
    yellow = (0.80, 0.50 + 0.03 * float(np.clip(pin.hue, -1, 1)), 0.016)
    # Light that enters the plastic leaves it at thin rims.
    tone = 1 + 0.03 * noise(u, v, 22, pin.seed) + 0.14 * smoothstep(np.abs(v) / np.maximum(radius, 1), 0.6, 1.0)
    canvas.paint(patch, plastic, yellow, _PLASTIC, dome(v, radius), part, tone)
    if damage is not None and kind == "broken":
        # Plastic whitens where it breaks, and the fracture is matt and rough.
        face = plastic * smoothstep(edge, -20, -3)
        rough = noise(u, v, 6, damage.seed + 1)
        canvas.paint(patch, face, (0.86, 0.74, 0.38), CARD, 3 * rough, part, 1 + 0.12 * rough)


def _beside(scene: PushpinsScene, index: int, pin: Pose, offset: tuple[float, float], half: float) -> Pose:
    """A place in the pin's frame, moved so that what is ``half`` in radius stays in the compartment."""
    place = pin.at(*offset)
    room_u, room_v = FREE_U - half - 4, FREE_V - half - 4
    u, v = centre_of(index)
    u, v = u + float(np.clip(place.x, -room_u, room_u)), v + float(np.clip(place.y, -room_v, room_v))
    return scene.box.at(u, v)


def paint_shards(scene: PushpinsScene, canvas: Canvas, index: int, pin: Pin, damage: Damage) -> None:
    """What has broken off lies beside the pin: the head, seen on its fracture, or splinters only."""
    fate = np.random.default_rng(damage.seed + 2)
    if fate.uniform() < 0.6:
        place = _beside(scene, index, pin.pose, (fate.uniform(60, 80), fate.uniform(-35, 35)), HEAD)
        patch = canvas.patch(place, HEAD, HEAD, margin=40)
        rim = circle(patch.u, patch.v, HEAD)
        coverage = patch.coverage(rim)
        canvas.shade(patch, coverage, 14, 7)
        canvas.paint(patch, coverage, (0.80, 0.50, 0.016), _PLASTIC, bevel(rim, 12), "shards")
        rough = noise(patch.u, patch.v, 6, damage.seed + 3)
        face = patch.coverage(circle(patch.u, patch.v, 0.5 * HEAD) + 5 * rough)
        canvas.paint(patch, face, (0.86, 0.74, 0.38), CARD, 3 * rough, "shards", 1 + 0.12 * rough)
    for _ in range(int(fate.integers(2, 5))):
        half = float(fate.uniform(11, 20))
        place = _beside(scene, index, pin.pose, (fate.uniform(30, 85), fate.uniform(-45, 45)), half)
        place = replace(place, angle=float(fate.uniform(-np.pi, np.pi)))
        patch = canvas.patch(place, half, half, margin=20)
        shard = box(patch.u, patch.v, half, 0.6 * half, 2) + 4 * noise(patch.u, patch.v, 11, int(fate.integers(2**31)))
        coverage = patch.coverage(np.maximum(shard, 0.7 * patch.u + patch.v - 0.5 * half))
        canvas.shade(patch, coverage, 8, 4)
        canvas.paint(patch, coverage, (0.84, 0.58, 0.08), _PLASTIC, bevel(shard, 6), "shards")
