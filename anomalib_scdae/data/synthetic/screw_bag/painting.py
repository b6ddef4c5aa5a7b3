# SPDX-License-Identifier: Apache-2.0
"""The whole picture: the table, the parts, and the film over them."""

import numpy as np

from anomalib_scdae.data.synthetic.render import Canvas, Material
from anomalib_scdae.data.synthetic.screw_bag.film import paint_film
from anomalib_scdae.data.synthetic.screw_bag.parts import paint_part
from anomalib_scdae.data.synthetic.screw_bag.scene import BAG_U, BAG_V, ScrewBagScene
from anomalib_scdae.data.synthetic.shapes import box
from anomalib_scdae.data.synthetic.textures import noise


def paint(scene: ScrewBagScene, canvas: Canvas) -> None:
    """Paint the table, the bag's back, its contents and the film above them."""
    table = canvas.everywhere()
    fine = noise(table.u, table.v, (70, 4), scene.seed) * 0.6 + noise(table.u, table.v, 6, scene.seed + 1) * 0.5
    wear = noise(table.u, table.v, 200, scene.seed + 2, 2)
    tone = 1 + 0.05 * fine + 0.04 * wear
    canvas.paint(table, 1.0, (0.155, 0.16, 0.165), Material(0.05, 14), height=0.3 * fine, part="table", tone=tone)
    bag = canvas.patch(scene.bag, BAG_U, BAG_V, margin=80)
    outline = box(bag.u, bag.v, BAG_U, BAG_V, 12) + 2.5 * noise(bag.u, bag.v, 120, scene.seed + 3)
    inside = bag.coverage(outline)
    canvas.shade(bag, inside, 8, 10, strength=0.35)
    milk = (0.06 + 0.015 * noise(bag.u, bag.v, 150, scene.seed + 4, 2)) * inside
    canvas.paint(bag, np.clip(milk, 0, 1), (0.8, 0.82, 0.85), Material(0.05, 12))
    canvas.claim(bag, inside, "bag")
    for index, part in enumerate(scene.parts):
        paint_part(scene, canvas, index, part)
    paint_film(scene, canvas, bag, outline)
