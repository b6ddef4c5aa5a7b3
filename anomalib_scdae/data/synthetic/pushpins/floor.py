# SPDX-License-Identifier: Apache-2.0
"""The table, and the card that the box stands on."""

import numpy as np

from anomalib_scdae.data.synthetic.pushpins.scene import COLUMNS, PITCH_U, PITCH_V, ROWS, PushpinsScene
from anomalib_scdae.data.synthetic.render import Canvas, Material
from anomalib_scdae.data.synthetic.shapes import box
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
    local_u = np.abs(np.mod(patch.u + PITCH_U * COLUMNS / 2, PITCH_U) - PITCH_U / 2)
    local_v = np.abs(np.mod(patch.v + PITCH_V * ROWS / 2, PITCH_V) - PITCH_V / 2)
    to_wall = np.minimum(PITCH_U / 2 - local_u, PITCH_V / 2 - local_v)
    canvas.darken(patch, 1 - 0.28 * np.exp(-to_wall / 26))
