# SPDX-License-Identifier: Apache-2.0
"""The bottle's profile, and the places that follow from it."""

import numpy as np

from anomalib_scdae.data.synthetic.juice_bottle.scene import LABELS, JuiceBottleScene
from anomalib_scdae.data.synthetic.scene import Area
from anomalib_scdae.data.synthetic.shapes import Array

# The bottle's outline: height below its middle, and radius.
_PROFILE_V = np.array([-700, -620, -600, -440, -380, -320, -260, -200, -150, 610, 650, 680, 696, 700], np.float32)
_PROFILE_R = np.array([66, 66, 58, 60, 74, 106, 150, 184, 196, 196, 192, 180, 160, 150], np.float32)
TABLE_V = np.linspace(-720, 720, 1441, dtype=np.float32)
#: The outline with its corners rounded, at every unit of height.
TABLE_R = np.convolve(
    np.pad(np.interp(TABLE_V, _PROFILE_V, _PROFILE_R), 40, mode="edge"), np.hanning(83)[1:-1] / 41, mode="valid"
)
GLASS = 13.0
CAP_END, LIQUID_END = -605.0, 672.0


def radius_at(v: Array | float) -> Array:
    """Return the bottle's outer radius at a height ``v`` below its middle."""
    return np.asarray(np.interp(v, TABLE_V, TABLE_R), np.float32)


def inside_of(scene: JuiceBottleScene, top: float, bottom: float) -> Area:
    """The bottle's inside between two heights."""
    heights = np.linspace(top, bottom, 40)
    radii = radius_at(heights) - GLASS
    outline = zip(np.concatenate([radii, -radii[::-1]]), np.concatenate([heights, heights[::-1]]), strict=True)
    places = [scene.bottle.at(u, v) for u, v in outline]
    return Area(tuple((place.x, place.y) for place in places))


def place_of_label(scene: JuiceBottleScene, kind: str, place: float, around: float) -> Area:
    """Where a label of that kind belongs."""
    half_s, half_v = LABELS[kind]
    left, right = (float(196 * np.sin((around + side * half_s) / 196)) for side in (-1, 1))
    return Area.turned_box(scene.bottle.at((left + right) / 2, place), (right - left) / 2, half_v)
