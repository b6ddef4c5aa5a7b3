# SPDX-License-Identifier: Apache-2.0
"""The whole picture, from the table up."""

from anomalib_scdae.data.synthetic.breakfast_box.cereals import paint_cereals
from anomalib_scdae.data.synthetic.breakfast_box.fruits import paint_fruit
from anomalib_scdae.data.synthetic.breakfast_box.scene import BreakfastBoxScene
from anomalib_scdae.data.synthetic.breakfast_box.toppings import paint_topping_crumbs, paint_toppings
from anomalib_scdae.data.synthetic.breakfast_box.tray import paint_box, paint_table
from anomalib_scdae.data.synthetic.render import Canvas


def paint(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    """Paint the table, the box, the cereals, the toppings and the fruit."""
    paint_table(scene, canvas)
    paint_box(scene, canvas)
    paint_topping_crumbs(scene, canvas)
    paint_cereals(scene, canvas)
    paint_toppings(scene, canvas)
    for index, fruit in enumerate(scene.fruits):
        paint_fruit(scene, canvas, f"fruit {index}", fruit)
