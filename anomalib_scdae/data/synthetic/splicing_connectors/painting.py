# SPDX-License-Identifier: Apache-2.0
"""The whole picture, from the table up."""

import numpy as np

from anomalib_scdae.data.synthetic.render import Canvas, Material
from anomalib_scdae.data.synthetic.shapes import smoothstep
from anomalib_scdae.data.synthetic.splicing_connectors.cables import paint_cable
from anomalib_scdae.data.synthetic.splicing_connectors.connectors import paint_connector
from anomalib_scdae.data.synthetic.splicing_connectors.scene import SplicingConnectorsScene
from anomalib_scdae.data.synthetic.textures import noise


def paint(scene: SplicingConnectorsScene, canvas: Canvas) -> None:
    """Paint the table, the cables and the connectors."""
    _paint_table(scene, canvas)
    for index, cable in enumerate(scene.cables):
        paint_cable(scene, canvas, index, cable)
    for name, connector, side in (("left", scene.left, 1), ("right", scene.right, -1)):
        if connector is not None:
            paint_connector(scene, canvas, name, connector, side)


def _paint_table(scene: SplicingConnectorsScene, canvas: Canvas) -> None:
    """A cutting mat: green-grey plastic with a worn printed grid."""
    patch = canvas.everywhere()
    fine = noise(patch.u, patch.v, 5, scene.seed)
    wear = noise(patch.u, patch.v, 180, scene.seed + 1, 2)
    pitch = 106.0
    near = np.minimum(np.abs(np.mod(patch.u, pitch) - pitch / 2), np.abs(np.mod(patch.v, pitch) - pitch / 2))
    line = smoothstep(4.0 - near, 0, 2.5) * (0.5 + 0.12 * fine)
    ground = np.array([0.19, 0.245, 0.25], np.float32) * (1 + 0.035 * fine + 0.03 * wear)[..., None]
    color = ground + line[..., None] * (np.array([0.44, 0.50, 0.50], np.float32) - ground) * 0.55
    canvas.paint(patch, 1.0, color, Material(0.04, 10), height=0.2 * fine, part="table")
