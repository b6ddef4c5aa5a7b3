# SPDX-License-Identifier: Apache-2.0
"""The whole picture, from the backdrop to the reflections."""

import numpy as np

from anomalib_scdae.data.synthetic.juice_bottle.bottle import (
    JUICES,
    paint_cap,
    paint_glass,
    paint_juice,
    paint_reflections,
)
from anomalib_scdae.data.synthetic.juice_bottle.labels import paint_label
from anomalib_scdae.data.synthetic.juice_bottle.profile import radius_at
from anomalib_scdae.data.synthetic.juice_bottle.scene import SIZE, JuiceBottleScene
from anomalib_scdae.data.synthetic.render import Canvas, Material
from anomalib_scdae.data.synthetic.scene import Pose
from anomalib_scdae.data.synthetic.shapes import ellipse, smoothstep
from anomalib_scdae.data.synthetic.textures import noise


def paint(scene: JuiceBottleScene, canvas: Canvas) -> None:
    """Paint the backdrop, the bottle with its juice, the labels and the reflections."""
    paint_backdrop(scene, canvas)
    bottle = canvas.patch(scene.bottle, 200, 705, margin=60)
    u, v = bottle.u, bottle.v
    radius = radius_at(v)
    across = u / radius
    outline = np.maximum(np.abs(u) - radius, np.abs(v) - 700)
    inside = bottle.coverage(outline)
    canvas.claim(bottle, inside, "glass")
    paint_glass(canvas, bottle, inside, across)
    if scene.juice is not None:
        paint_juice(scene, canvas, bottle, radius)
    for label in scene.labels:
        paint_label(scene, canvas, bottle, radius, label)
    paint_cap(scene, canvas, bottle, radius)
    paint_reflections(scene, canvas, bottle, inside, across)


def paint_backdrop(scene: JuiceBottleScene, canvas: Canvas) -> None:
    """A grey paper that bends from the wall to the table."""
    patch = canvas.everywhere()
    fine = noise(patch.u, patch.v, 5, scene.seed)
    cloud = noise(patch.u, patch.v, 300, scene.seed + 1, 2)
    down = patch.v / np.float32(SIZE[1])
    tone = 0.27 + 0.10 * smoothstep(down, 0.1, 0.8) + 0.14 * smoothstep(down, 0.86, 1.02)
    tone = tone * (1 + 0.012 * fine + 0.02 * cloud)
    canvas.paint(patch, 1.0, (0.93, 0.98, 1.0), Material(0.02, 8), tone=tone)
    foot = Pose(scene.bottle.x + 50, scene.bottle.y + 690)
    shadow = canvas.patch(foot, 420, 60, margin=20)
    blot = ellipse(shadow.u, shadow.v, 250, 26)
    canvas.darken(shadow, 1 - 0.62 * smoothstep(-blot, -38, 22))
    # The light that the juice lets through colours the table.
    if scene.juice is not None:
        caustic = canvas.patch(Pose(scene.bottle.x + 90, scene.bottle.y + 704), 220, 26, margin=20)
        spread = smoothstep(-ellipse(caustic.u, caustic.v, 190, 18), -22, 22)
        canvas.tint(caustic, 0.35 * spread, np.sqrt(np.array(JUICES[scene.juice], np.float32)))
