# SPDX-License-Identifier: Apache-2.0
"""Flakes, oats and raisins."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from anomalib_scdae.data.synthetic.breakfast_box.bed import DRY, bed_coordinates, bed_patch, in_filling
from anomalib_scdae.data.synthetic.breakfast_box.places import boundary, cereal_middle, pose_in_box
from anomalib_scdae.data.synthetic.breakfast_box.scene import CEREAL_HALF, IN_V, BreakfastBoxScene
from anomalib_scdae.data.synthetic.render import Canvas, Patch
from anomalib_scdae.data.synthetic.scene import Damage, pick
from anomalib_scdae.data.synthetic.shapes import Array, bevel, circle, smoothstep
from anomalib_scdae.data.synthetic.textures import heap, noise


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


def paint_cereals(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    """Paint the cereals, if there are any: crumbs, then two layers of pieces."""
    if not scene.cereals:
        return
    patch = bed_patch(scene, canvas)
    u, v, fill = bed_coordinates(scene, patch)
    edge = np.float32(boundary(scene)) + 20 * noise(u, v, 170, scene.seed + 21, 2)
    region = np.maximum(fill, v - edge)
    ground = patch.coverage(region + 12)
    crumbs = noise(u, v, 14, scene.seed + 22, 2)
    canvas.paint(patch, ground, (0.20, 0.105, 0.04), DRY, 2.5 * crumbs, "cereals", 1 + 0.22 * crumbs)
    inside = in_filling(scene, -IN_V * 2, boundary(scene) - 4)
    mixed = scene.damage_called("mixed_cereals")
    for layer, pitch in enumerate((38.0, 46.0)):
        _paint_flakes(scene, canvas, patch, u, v, pitch, layer, inside)
    if mixed is not None:
        _paint_strange_cereals(canvas, scene, mixed)


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
    canvas.paint(patch, covered, _FLAKES.color[sort], DRY, height=height, part="cereals", tone=tone)
    canvas.darken(patch, 1 - covered * (1 - openness))


def _paint_strange_cereals(canvas: Canvas, scene: BreakfastBoxScene, damage: Damage) -> None:
    """A handful of another product among the cereals: coloured rings."""
    fate = np.random.default_rng(damage.seed)
    hue = pick(fate, ((0.55, 0.06, 0.06), (0.08, 0.30, 0.08), (0.10, 0.14, 0.50), (0.75, 0.68, 0.6)))
    middle = (fate.uniform(-0.55, 0.55) * CEREAL_HALF, -IN_V + fate.uniform(0.25, 0.7) * 2 * IN_V * scene.ratio)
    for _ in range(int(fate.integers(5, 11))):
        x, y = middle + fate.normal(0, 48, 2)
        y = min(y, boundary(scene) - 40)
        pose = pose_in_box(scene, cereal_middle() + float(np.clip(x, 60 - CEREAL_HALF, CEREAL_HALF - 60)), float(y))
        patch = canvas.patch(pose, 34, 34, margin=24)
        body = np.abs(circle(patch.u, patch.v, 22)) - 11
        coverage = patch.coverage(body)
        canvas.shade(patch, coverage, 12, 6)
        rough = noise(patch.u, patch.v, 8, int(fate.integers(2**31)))
        canvas.paint(patch, coverage, hue, DRY, bevel(body, 11), tone=1 + 0.12 * rough)
