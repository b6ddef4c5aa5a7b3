# SPDX-License-Identifier: Apache-2.0
"""The table and the box on it."""

import numpy as np

from anomalib_scdae.data.synthetic.breakfast_box.places import cereal_middle, fruit_middle
from anomalib_scdae.data.synthetic.breakfast_box.scene import (
    BOX_U,
    BOX_V,
    CEREAL_HALF,
    FRUIT_HALF,
    IN_V,
    SIZE,
    BreakfastBoxScene,
)
from anomalib_scdae.data.synthetic.render import Canvas, Material
from anomalib_scdae.data.synthetic.scene import Pose
from anomalib_scdae.data.synthetic.shapes import bevel, box, smoothstep
from anomalib_scdae.data.synthetic.textures import noise

_TRAY = Material(specular=0.16, gloss=18)


def paint_table(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    """Oak boards; only around the box, which hides the rest."""
    middle_u, middle_v, strip = SIZE[0] / 2, SIZE[1] / 2, 110.0
    for side in (-1, 1):
        _paint_boards(scene, canvas, Pose(middle_u, middle_v + side * (middle_v - strip / 2)), middle_u, strip)
        _paint_boards(scene, canvas, Pose(middle_u + side * (middle_u - strip / 2), middle_v), strip, middle_v)


def _paint_boards(scene: BreakfastBoxScene, canvas: Canvas, place: Pose, half_u: float, half_v: float) -> None:
    patch = canvas.patch(place, half_u, half_v, margin=60)
    u, v = patch.u + np.float32(place.x), patch.v + np.float32(place.y)
    board = np.floor((v + 40) / 330)
    rings = noise(u + board * 371, v + 90 * board, (900, 30), scene.seed)
    pores = noise(u, v, (70, 3.2), scene.seed + 1)
    tone = (1 + 0.13 * rings + 0.05 * pores + 0.06 * np.sin(board * 2.3)) * (1 - 0.5 * (v + 40 - 330 * board < 5))
    canvas.paint(patch, 1.0, (0.30, 0.185, 0.095), Material(0.06, 14), height=0.8 * pores + 2 * rings, tone=tone)


def paint_box(scene: BreakfastBoxScene, canvas: Canvas) -> None:
    """Paint the box, empty, with its shadow and those of its walls."""
    patch = canvas.patch(scene.box, BOX_U, BOX_V, margin=110)
    u, v = (-patch.u if scene.mirrored else patch.u), patch.v
    outer = box(u, v, BOX_U, BOX_V, 70)
    canvas.shade(patch, patch.coverage(outer), 60, 26)
    left = box(u - fruit_middle(), v, FRUIT_HALF, IN_V, 46)
    right = box(u - cereal_middle(), v, CEREAL_HALF, IN_V, 46)
    inside = np.minimum(left, right)
    haze = noise(u, v, 260, scene.seed + 2) * 0.012
    # The walls slope down from the rim over some width; the floor is flat again.
    height = bevel(outer, 16) - 58 * smoothstep(-inside, -4, 34)
    canvas.paint(patch, patch.coverage(outer), (0.68, 0.69, 0.68), _TRAY, height, "tray", 1 + haze)
    floor = smoothstep(-inside, 0, 120)
    canvas.darken(patch, 1 - smoothstep(-inside, -3, 22) * (0.42 - 0.26 * floor))
    hollow = patch.coverage(inside)
    light = np.array(canvas.look.light[:2]) / canvas.look.light[2]
    # The wall towards the light throws its shadow on the floor.
    moved = np.minimum(
        box(u - fruit_middle() + 46 * float(light[0]), v + 46 * float(light[1]), FRUIT_HALF, IN_V, 46),
        box(u - cereal_middle() + 46 * float(light[0]), v + 46 * float(light[1]), CEREAL_HALF, IN_V, 46),
    )
    canvas.block_light(patch, hollow * 0.75 * smoothstep(moved, -16, 14))
