# SPDX-License-Identifier: Apache-2.0
"""The clear box with its separators."""

from anomalib_scdae.data.synthetic.pushpins.scene import COLUMNS, PITCH_U, PITCH_V, ROWS, WALL, PushpinsScene
from anomalib_scdae.data.synthetic.render import Canvas, Material
from anomalib_scdae.data.synthetic.shapes import bevel, box
from anomalib_scdae.data.synthetic.textures import noise

_CLEAR = Material(specular=0.3, gloss=40)


def paint_walls(scene: PushpinsScene, canvas: Canvas) -> None:
    """Paint the separators that are there, then the outer walls."""
    for row in range(ROWS):
        for column in range(COLUMNS - 1):
            if scene.separators[row][column]:
                u = (column - (COLUMNS - 2) / 2) * PITCH_U
                v = (row - (ROWS - 1) / 2) * PITCH_V
                _paint_wall(scene, canvas, u, v, WALL - 1.5, PITCH_V / 2 - WALL + 4, f"separator {row} {column}")
    for line in range(ROWS + 1):
        outer = line in {0, ROWS}
        half = WALL + 4 if outer else WALL
        _paint_wall(scene, canvas, 0, (line - ROWS / 2) * PITCH_V, COLUMNS * PITCH_U / 2 + 8, half, f"long wall {line}")
    for side in (-1, 1):
        length = ROWS * PITCH_V / 2 + 8
        _paint_wall(scene, canvas, side * COLUMNS * PITCH_U / 2, 0, WALL + 4, length, f"short wall {side}")


def _paint_wall(
    scene: PushpinsScene, canvas: Canvas, u: float, v: float, half_u: float, half_v: float, part: str
) -> None:
    patch = canvas.patch(scene.box.at(u, v), half_u, half_v, margin=60)
    distance = box(patch.u, patch.v, half_u, half_v, 4)
    coverage = patch.coverage(distance)
    canvas.shade(patch, coverage, 26, 10, strength=0.5)
    tone = 1 + 0.02 * noise(patch.u, patch.v, 30, scene.seed + 7)
    canvas.paint(patch, coverage * 0.92, (0.60, 0.63, 0.64), _CLEAR, bevel(distance, 4.5), part, tone)
