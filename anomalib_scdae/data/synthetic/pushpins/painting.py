# SPDX-License-Identifier: Apache-2.0
"""The whole picture, from the table up."""

from dataclasses import replace

from anomalib_scdae.data.synthetic.pushpins.floor import paint_floor, paint_table
from anomalib_scdae.data.synthetic.pushpins.pins import paint_pin, paint_shards
from anomalib_scdae.data.synthetic.pushpins.scene import PushpinsScene, centre_of
from anomalib_scdae.data.synthetic.pushpins.walls import paint_walls
from anomalib_scdae.data.synthetic.render import Canvas


def paint(scene: PushpinsScene, canvas: Canvas) -> None:
    """Paint table, box, pins and separators."""
    paint_table(scene, canvas)
    paint_floor(scene, canvas)
    for index, pins in enumerate(scene.compartments):
        for number, pin in enumerate(pins):
            u, v = centre_of(index)
            pose = scene.box.at(u + pin.pose.x, v + pin.pose.y, pin.pose.angle)
            part = f"pin {index} {number}"
            damage = scene.damage_of(part)
            paint_pin(canvas, replace(pin, pose=pose), part, damage)
            if damage is not None and damage.name == "broken":
                paint_shards(scene, canvas, index, pin, damage)
    paint_walls(scene, canvas)
