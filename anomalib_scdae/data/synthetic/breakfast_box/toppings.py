# SPDX-License-Identifier: Apache-2.0
"""Almonds and banana chips."""

import numpy as np
import numpy.typing as npt

from anomalib_scdae.data.synthetic.breakfast_box.bed import DRY, bed_coordinates, bed_patch, growth, in_filling
from anomalib_scdae.data.synthetic.breakfast_box.places import boundary, cereal_middle, pose_in_box
from anomalib_scdae.data.synthetic.breakfast_box.scene import CEREAL_HALF, IN_V, BreakfastBoxScene
from anomalib_scdae.data.synthetic.render import Canvas, Material
from anomalib_scdae.data.synthetic.scene import Damage, Pose, draw_seed
from anomalib_scdae.data.synthetic.shapes import Array, bevel, ellipse, norm, smoothstep
from anomalib_scdae.data.synthetic.textures import heap, noise

#: Radius of the place where toppings are crushed.
_BLOW = 165.0
_ALMOND_COLOR = np.array([0.30, 0.125, 0.045], np.float32)
_CHIP_COLOR = np.array([0.72, 0.52, 0.235], np.float32)
_ALMOND = Material(specular=0.07, gloss=12)


def paint_topping_crumbs(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    """What has crumbled off the toppings lies below them."""
    if not scene.toppings:
        return
    patch = bed_patch(scene, canvas)
    u, v, fill = bed_coordinates(scene, patch)
    edge = np.float32(boundary(scene)) - 24 * float(scene.cereals) + 10 * noise(u, v, 120, scene.seed + 70)
    crumbs = noise(u, v, 12, scene.seed + 71, 2)
    ground = patch.coverage(np.maximum(fill + 12, edge - v))
    canvas.paint(patch, ground, (0.13, 0.068, 0.032), DRY, 2 * crumbs, "toppings", 1 + 0.25 * crumbs)
    chopped = heap(u, v, 20.0, scene.seed + 73, (0.5, 0.95), in_filling(scene, boundary(scene) - 14, IN_V))
    pale = {"almonds": 0.0, "bananas": 1.0}.get(next(iter(scene.toppings)), 0) if len(scene.toppings) == 1 else 0.55
    nut = np.where((chopped.kind < pale)[..., None], 0.72 * _CHIP_COLOR, 0.94 * _ALMOND_COLOR)
    rise = chopped.size * 0.4 * np.sqrt(np.maximum(1 - chopped.u**2 - chopped.v**2, 0))
    tone = 0.75 + 0.5 * chopped.rank
    canvas.paint(patch, (chopped.size > 0).astype(np.float32), nut, DRY, height=rise, part="toppings", tone=tone)


def paint_toppings(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    """Almonds and banana chips."""
    if not scene.toppings:
        return
    pieces = _topping_pieces(scene)
    damage = scene.damage_called("toppings_crushed")
    blow = pieces[damage.seed % len(pieces)][1] if damage is not None else None
    for kind, place, seed in pieces:
        pose = pose_in_box(scene, cereal_middle() + place.x, place.y, place.angle)
        crushed = blow is not None and np.hypot(place.x - blow.x, place.y - blow.y) < _BLOW
        (_paint_almond if kind == "almonds" else _paint_banana)(canvas, pose, seed, crushed=crushed)
    if blow is not None and damage is not None:
        _paint_meal(scene, canvas, blow, damage)


def _paint_meal(scene: BreakfastBoxScene, canvas: Canvas, blow: Pose, damage: Damage) -> None:
    """The fine crumbs that crushed toppings leave."""
    pose = pose_in_box(scene, cereal_middle() + blow.x, blow.y)
    patch = canvas.patch(pose, _BLOW, _BLOW, margin=20)
    phase = damage.seed % 6

    def strewn(x: Array, y: Array) -> npt.NDArray[np.bool_]:
        around = np.arctan2(y, x)
        ragged = 1 + 0.22 * np.sin(2 * around + phase) + 0.16 * np.sin(5 * around - phase)
        return np.hypot(x, y) < 0.68 * _BLOW * ragged

    crumbs = heap(patch.u, patch.v, 13.0, damage.seed, (0.5, 0.9), strewn)
    seen = (crumbs.size > 0) & (crumbs.kind < 0.72)
    rise = crumbs.size * 0.4 * np.sqrt(np.maximum(1 - crumbs.u**2 - crumbs.v**2, 0))
    canvas.paint(patch, seen.astype(np.float32), (0.84, 0.70, 0.48), DRY, rise, "toppings", 0.8 + 0.4 * crumbs.rank)


def _topping_pieces(scene: BreakfastBoxScene) -> list[tuple[str, Pose, int]]:
    """Places of the toppings in the compartment: a jittered grid, so that they cover it."""
    rng = np.random.default_rng(scene.seed + 72)
    grow = growth(scene)
    half_u = CEREAL_HALF * grow - 44
    top, bottom = boundary(scene) + 36, IN_V * grow - 46
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
    canvas.paint(patch, coverage, _CHIP_COLOR, DRY, height=height, part="toppings", tone=tone)
