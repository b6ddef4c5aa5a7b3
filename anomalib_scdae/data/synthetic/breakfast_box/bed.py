# SPDX-License-Identifier: Apache-2.0
"""The compartment that cereals and toppings share."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from anomalib_scdae.data.synthetic.breakfast_box.places import cereal_middle, pose_in_box
from anomalib_scdae.data.synthetic.breakfast_box.scene import (
    BOX_U,
    BOX_V,
    CEREAL_HALF,
    FILLING,
    IN_V,
    BreakfastBoxScene,
)
from anomalib_scdae.data.synthetic.render import Canvas, Material, Patch
from anomalib_scdae.data.synthetic.shapes import Array, box
from anomalib_scdae.data.synthetic.textures import noise

DRY = Material(specular=0.02, gloss=8)


def bed_coordinates(scene: BreakfastBoxScene, patch: Patch) -> tuple[Array, Array, Array]:
    """Coordinates in the cereals' compartment, unmirrored, and the distance to what is filled of it."""
    u = (-patch.u if scene.mirrored else patch.u) - np.float32(cereal_middle())
    grow = growth(scene)
    ragged = 0.0 if grow == 1 else 16 * noise(u, patch.v, 90, scene.seed + 20, 2)
    fill = box(u, patch.v, CEREAL_HALF * grow - 2, IN_V * grow - 2, 50)
    return u, patch.v, (fill + ragged).astype(np.float32)


def growth(scene: BreakfastBoxScene) -> float:
    """How much larger than normal the filled part of the compartment is; normal variation is not told apart."""
    return 1.0 if FILLING[0] <= scene.filling <= FILLING[1] else scene.filling


def in_filling(scene: BreakfastBoxScene, top: float, bottom: float) -> Callable[[Array, Array], npt.NDArray[np.bool_]]:
    """Tell which pieces lie in the filled part of the compartment, between two wavy lines."""
    grow = growth(scene)

    def inside(x: Array, y: Array) -> npt.NDArray[np.bool_]:
        level = y - 18 * np.sin(x / 61 + scene.seed % 7) - 10 * np.sin(x / 23 + scene.seed % 5)
        filled = (np.abs(x) < CEREAL_HALF * grow - 36) & (np.abs(y) < IN_V * grow - 36)
        return filled & (level > top) & (level < bottom)

    return inside


def bed_patch(scene: BreakfastBoxScene, canvas: Canvas) -> Patch:
    """The window of the cereals' compartment with some surroundings, in the box's coordinates."""
    whole = canvas.patch(scene.box, BOX_U, BOX_V, margin=20)
    middle = canvas.patch(pose_in_box(scene, cereal_middle(), 0), CEREAL_HALF * 1.12, IN_V * 1.12, margin=30)
    rows = slice(middle.window[0].start - whole.window[0].start, middle.window[0].stop - whole.window[0].start)
    columns = slice(middle.window[1].start - whole.window[1].start, middle.window[1].stop - whole.window[1].start)
    rows = slice(max(rows.start, 0), rows.stop)
    columns = slice(max(columns.start, 0), columns.stop)
    top, left = whole.window[0].start + rows.start, whole.window[1].start + columns.start
    u, v = whole.u[rows, columns], whole.v[rows, columns]
    return Patch((slice(top, top + u.shape[0]), slice(left, left + u.shape[1])), u, v, whole.unit)
