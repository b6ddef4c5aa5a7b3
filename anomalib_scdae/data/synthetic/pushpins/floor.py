# SPDX-License-Identifier: Apache-2.0
"""The table, and the card that the box stands on."""

import numpy as np
from numpy.typing import NDArray

from anomalib_scdae.data.synthetic.pushpins.scene import COLUMNS, PITCH_U, PITCH_V, ROWS, PushpinsScene
from anomalib_scdae.data.synthetic.render import Canvas, Material, Patch
from anomalib_scdae.data.synthetic.shapes import Array, box
from anomalib_scdae.data.synthetic.textures import noise

CARD = Material(specular=0.02, gloss=8)


def paint_table(scene: PushpinsScene, canvas: Canvas) -> None:
    """Paint the dark table."""
    patch = canvas.everywhere()
    grain = noise(patch.u, patch.v, 5, scene.seed) * 0.5 + noise(patch.u, patch.v, 160, scene.seed + 1, 2)
    bumps = 0.25 * noise(patch.u, patch.v, 7, scene.seed + 2)
    canvas.paint(patch, 1.0, (0.055, 0.062, 0.068), Material(0.03, 10), height=bumps, tone=1 + 0.05 * grain)


def paint_floor(scene: PushpinsScene, canvas: Canvas) -> None:
    """Paint the card, darker along the walls of the compartments."""
    half_u, half_v = COLUMNS * PITCH_U / 2 + 8, ROWS * PITCH_V / 2 + 8
    patch = canvas.patch(scene.box, half_u, half_v, margin=70)
    distance = box(patch.u, patch.v, half_u, half_v, 16)
    canvas.shade(patch, patch.coverage(distance), 34, 16)
    fibres = noise(patch.u, patch.v, (26, 4.5), scene.seed + 3) + noise(patch.u, patch.v, (5, 22), scene.seed + 4)
    cloud = noise(patch.u, patch.v, 90, scene.seed + 5, 3)
    tone = 1 + 0.022 * fibres + 0.03 * cloud
    canvas.paint(patch, patch.coverage(distance), (0.50, 0.47, 0.42), CARD, 0.35 * fibres, "floor", tone)
    # The walls keep fill light from the edges of every compartment.
    to_wall = np.minimum(_to_upright_wall(scene, patch), _to_nearest(patch.v, PITCH_V, ROWS)[0])
    canvas.darken(patch, 1 - 0.28 * np.exp(-to_wall / 26))


def _to_upright_wall(scene: PushpinsScene, patch: Patch) -> Array:
    """Distance to the nearest upright wall; where that one is missing, the next is far enough to make no difference."""
    distance, line = _to_nearest(patch.u, PITCH_U, COLUMNS)
    row = np.clip(np.floor(patch.v / PITCH_V + ROWS / 2), 0, ROWS - 1).astype(int)
    stands = np.pad(np.array(scene.separators), ((0, 0), (1, 1)), constant_values=True)
    return np.where(stands[row, line], distance, PITCH_U)


def _to_nearest(position: Array, pitch: float, count: int) -> tuple[Array, NDArray[np.intp]]:
    """Distance to the nearest of ``count + 1`` walls and its number."""
    lines = position / pitch + count / 2
    nearest = np.clip(np.rint(lines), 0, count)
    return np.abs(lines - nearest) * pitch, nearest.astype(int)
