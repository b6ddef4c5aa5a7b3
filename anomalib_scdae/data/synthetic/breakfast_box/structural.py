# SPDX-License-Identifier: Apache-2.0
"""Damage to one part."""

from collections.abc import Callable

from anomalib_scdae.data.synthetic.breakfast_box.scene import BreakfastBoxScene
from anomalib_scdae.data.synthetic.category import StructuralDefect
from anomalib_scdae.data.synthetic.defects import contaminate, crack, dent, rot, scratch, stain
from anomalib_scdae.data.synthetic.render import Canvas
from anomalib_scdae.data.synthetic.scene import Rng, pick


def _all_fruits(scene: BreakfastBoxScene) -> list[str]:
    return [f"fruit {index}" for index in range(len(scene.fruits))]


def _one(*parts: str) -> Callable[[BreakfastBoxScene], list[str]]:
    return lambda _scene: list(parts)


def _bruise(canvas: Canvas, part: str, rng: Rng) -> None:
    pick(rng, (rot(95), dent(125), crack(270, 10.0)))(canvas, part, rng)


def _box_damage(canvas: Canvas, part: str, rng: Rng) -> None:
    pick(rng, (crack(300, 6.0), dent(100), stain(100), scratch(340, (0.2, 0.2, 0.21), 5.0)))(canvas, part, rng)


STRUCTURAL: tuple[StructuralDefect[BreakfastBoxScene], ...] = (
    StructuralDefect("mixed_cereals", _one("cereals"), "a handful of another product lies among the cereals"),
    StructuralDefect("fruit_damaged", _all_fruits, "a fruit is rotten, dented or cracked", _bruise),
    StructuralDefect("box_damaged", _one("tray"), "the box is cracked, scratched, dented or dirty", _box_damage),
    StructuralDefect("toppings_crushed", _one("toppings"), "some toppings are crushed"),
    StructuralDefect(
        "contamination",
        lambda scene: ["cereals", "toppings", "tray", *_all_fruits(scene)],
        "a foreign crumb, fibre, drop or chip lies in the box",
        contaminate(130),
    ),
)
