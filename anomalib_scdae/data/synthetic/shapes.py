# SPDX-License-Identifier: Apache-2.0
"""Signed distance functions and height profiles: the vocabulary that every part is drawn with.

A signed distance is negative inside the shape, zero on its outline and positive outside, in the units of the
coordinates. All functions take and return arrays of one shape, ``(H, W)`` unless told otherwise; ``float32`` in,
``float32`` out, which matters for speed only.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


def norm(u: Array, v: Array) -> Array:
    """Distance from the origin; several times faster than ``numpy.hypot``, which guards against overflow."""
    return np.sqrt(u * u + v * v)


def circle(u: Array, v: Array, radius: float) -> Array:
    """Signed distance to a circle around the origin."""
    return norm(u, v) - np.float32(radius)


def ring(u: Array, v: Array, inner: float, outer: float) -> Array:
    """Signed distance to the ring between two circles around the origin."""
    middle, half = (inner + outer) / 2, (outer - inner) / 2
    return np.abs(norm(u, v) - np.float32(middle)) - np.float32(half)


def box(u: Array, v: Array, half_u: float, half_v: float, radius: float = 0.0) -> Array:
    """Signed distance to a rectangle around the origin with half sides ``half_u``, ``half_v`` and rounded corners."""
    du = np.abs(u) - np.float32(half_u - radius)
    dv = np.abs(v) - np.float32(half_v - radius)
    outside = norm(np.maximum(du, 0), np.maximum(dv, 0))
    return outside + np.minimum(np.maximum(du, dv), 0) - np.float32(radius)


def ellipse(u: Array, v: Array, half_u: float, half_v: float) -> Array:
    """Distance to an ellipse around the origin, to first order; exact on the outline."""
    scaled = norm(u / half_u, v / half_v)
    gradient = norm(u / half_u**2, v / half_v**2) / np.maximum(scaled, 1e-6)
    return (scaled - 1) / np.maximum(gradient, np.float32(1 / max(half_u, half_v)))


def segment(u: Array, v: Array, start: Sequence[float], end: Sequence[float]) -> tuple[Array, Array]:
    """Distance to the segment between two points, and the position along it in [0, 1]."""
    (u0, v0), (u1, v1) = start, end
    du, dv = u1 - u0, v1 - v0
    along = np.clip(((u - u0) * du + (v - v0) * dv) / max(du * du + dv * dv, 1e-9), 0, 1).astype(np.float32)
    return norm(u - u0 - along * du, v - v0 - along * dv), along


def polyline(u: Array, v: Array, points: npt.NDArray[np.floating]) -> tuple[Array, Array]:
    """Distance to a polyline of ``(N, 2)`` points, and the position along it from 0 to ``N - 1``."""
    distance = np.full(u.shape, np.inf, np.float32)
    position = np.zeros(u.shape, np.float32)
    for index, (start, end) in enumerate(pairwise(points)):
        candidate, along = segment(u, v, start, end)
        nearer = candidate < distance
        distance[nearer] = candidate[nearer]
        position[nearer] = along[nearer] + index
    return distance, position


def hexagon(u: Array, v: Array, inner_radius: float) -> Array:
    """Signed distance (exact inside, a lower bound outside) to a regular hexagon with the given inner radius."""
    third = np.float32(np.sqrt(3) / 2)
    across = np.maximum(np.abs(u), np.abs(0.5 * u + third * v))
    return np.maximum(across, np.abs(0.5 * u - third * v)) - np.float32(inner_radius)


def bevel(distance: Array, width: float) -> Array:
    """Height of a plate with quarter-round edges ``width`` wide, from its signed distance; ``width`` high."""
    inward = np.clip(-distance / np.float32(width), 0, 1)
    return np.float32(width) * np.sqrt(np.maximum(1 - (1 - inward) ** 2, 0))


def dome(distance_from_axis: Array, radius: Array | float) -> Array:
    """Height of a body of revolution whose axis lies in the plane, or of a sphere; 0 outside it."""
    return np.sqrt(np.maximum(np.square(radius, dtype=np.float32) - np.square(distance_from_axis), 0))


def smoothstep(x: Array, low: float, high: float) -> Array:
    """Cubic step from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)
