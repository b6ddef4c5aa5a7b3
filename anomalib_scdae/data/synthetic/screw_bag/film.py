# SPDX-License-Identifier: Apache-2.0
"""The bag's film: creases, reflections and tears."""

import numpy as np

from anomalib_scdae.data.synthetic.render import Canvas, Patch
from anomalib_scdae.data.synthetic.scene import Damage
from anomalib_scdae.data.synthetic.screw_bag.scene import BAG_U, BAG_V, ScrewBagScene
from anomalib_scdae.data.synthetic.shapes import Array, polyline, smoothstep
from anomalib_scdae.data.synthetic.textures import noise

_FILM_TOP = -BAG_V + 105


def paint_film(scene: ScrewBagScene, canvas: Canvas, bag: Patch, outline: Array) -> None:
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
