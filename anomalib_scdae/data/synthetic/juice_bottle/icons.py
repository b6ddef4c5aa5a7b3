# SPDX-License-Identifier: Apache-2.0
"""The fruits that labels show."""

from collections.abc import Callable

import numpy as np

from anomalib_scdae.data.synthetic.juice_bottle.scene import Label
from anomalib_scdae.data.synthetic.scene import Damage
from anomalib_scdae.data.synthetic.shapes import Array, circle, polyline

#: The fruits are drawn at this scale.
ICON_SCALE = 0.84
TINTS = {"banana": (0.75, 0.55, 0.05), "cherry": (0.55, 0.03, 0.05), "orange": (0.80, 0.28, 0.02)}


def icon_outline(s: Array, t: Array, label: Label, damage: Damage | None) -> Array:
    """Distance to the printed fruit without its leaf."""
    s, t = (s - label.icon_shift[0]) / ICON_SCALE, (t - label.icon_shift[1]) / ICON_SCALE
    outline = FRUIT_SHAPES[label.icon or ""](s, t)
    if damage is not None and damage.name == "unknown_fruit_icon":
        outline = np.minimum(outline, grapes(s, t))
    return outline * ICON_SCALE


def _cherries(s: Array, t: Array) -> Array:
    return np.minimum(circle(s + 38, t - 34, 44), circle(s - 42, t - 22, 44))


def _orange(s: Array, t: Array) -> Array:
    return circle(s, t - 6, 72)


def _banana(s: Array, t: Array) -> Array:
    angles = np.linspace(0.08 * np.pi, 0.92 * np.pi, 12)
    distance, along = polyline(s, t, np.stack([84 * np.cos(angles), 92 * np.sin(angles) - 52], axis=-1))
    return distance - (10 + 19 * np.sqrt(np.maximum(np.sin(np.pi * along / 11), 0)))


GRAPES = ((-36, -20), (0, -24), (36, -20), (-18, 10), (18, 10), (0, 42))


def grapes(s: Array, t: Array) -> Array:
    """Return the signed distance to a bunch of grapes."""
    return np.minimum.reduce([circle(s - x, t - y, 22) for x, y in GRAPES])


FRUIT_SHAPES: dict[str, Callable[[Array, Array], Array]] = {"cherry": _cherries, "orange": _orange, "banana": _banana}
