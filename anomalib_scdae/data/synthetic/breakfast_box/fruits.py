# SPDX-License-Identifier: Apache-2.0
"""Tangerines and nectarines."""

import numpy as np

from anomalib_scdae.data.synthetic.breakfast_box.places import fruit_middle, pose_in_box
from anomalib_scdae.data.synthetic.breakfast_box.scene import BreakfastBoxScene, Fruit
from anomalib_scdae.data.synthetic.render import Canvas, Material
from anomalib_scdae.data.synthetic.scene import Rng
from anomalib_scdae.data.synthetic.shapes import Array, dome, norm, smoothstep
from anomalib_scdae.data.synthetic.textures import noise

_PEEL = Material(specular=0.20, gloss=24)
_SKIN = Material(specular=0.12, gloss=16)


def paint_fruit(scene: BreakfastBoxScene, canvas: Canvas, part: str, fruit: Fruit) -> None:
    """Paint a fruit with its shadow."""
    pose = pose_in_box(scene, fruit_middle() + fruit.pose.x, fruit.pose.y, fruit.pose.angle)
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
