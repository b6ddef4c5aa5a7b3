# SPDX-License-Identifier: Apache-2.0
"""How parts come to lie in a bag."""

from dataclasses import replace

import numpy as np

from anomalib_scdae.data.synthetic.scene import Look, Pose, Rng, draw_seed
from anomalib_scdae.data.synthetic.screw_bag.scene import (
    HEAD_RADIUS,
    LONG,
    NUT_INNER,
    ROOM_BOTTOM,
    ROOM_TOP,
    ROOM_U,
    SHAFT_RADIUS,
    SHORT,
    SIZE,
    WASHER_OUTER,
    Part,
    ScrewBagScene,
)

#: Where the two chutes for each kind end: (x, y). The upper one of the screws' has the long screws.
_HOMES = {
    "washer": ((-455.0, -55.0), (-455.0, 220.0)),
    "nut": ((-225.0, -55.0), (-225.0, 220.0)),
    "screw": ((240.0, -45.0), (240.0, 205.0)),
}
#: How far parts slide from there: (x, y).
_SLIDE = (32.0, 36.0)
#: After this many tries to find room, a part slides twice as far.
_PATIENCE = 15


def reach_of(part: Part) -> float:
    """Radius of the circle around the part's pose that holds it."""
    return {"washer": WASHER_OUTER, "nut": NUT_INNER * 1.155}.get(part.kind, part.length / 2)


def _probes(part: Part) -> np.ndarray:
    """Circles that cover the part: rows of (x, y, radius)."""
    if part.kind != "screw":
        return np.array([[part.pose.x, part.pose.y, reach_of(part)]])
    along = np.linspace(-part.length / 2, part.length / 2, 9)
    radius = np.where(along > part.length / 2 - 70, HEAD_RADIUS, SHAFT_RADIUS)
    x = part.pose.x + along * np.cos(part.pose.angle)
    y = part.pose.y + along * np.sin(part.pose.angle)
    return np.stack([x, y, radius], axis=-1)


def _overlap(part: Part, others: list[Part]) -> float:
    """How deep the part reaches into the others or beyond the room, scene units; 0 if it is free."""
    circles = _probes(part)
    x, y, radius = circles.T
    worst = max(
        0.0,
        float((np.abs(x) + radius - ROOM_U).max()),
        float((ROOM_TOP - (y - radius)).max()),
        float((y + radius - ROOM_BOTTOM).max()),
    )
    for other in others:
        theirs = _probes(other)
        apart = np.hypot(circles[:, None, 0] - theirs[None, :, 0], circles[:, None, 1] - theirs[None, :, 1])
        worst = max(worst, float((circles[:, None, 2] + theirs[None, :, 2] - apart).max()))
    return worst


def _drop(part: Part, chute: int, far: float, rng: Rng) -> Pose:
    """Let the packing machine drop a part: washers to the left, then nuts, and screws to the right, along the bag.

    The bag is carried and laid down, so that everything slides; ``far`` multiplies how far.
    """
    x, y = rng.normal(_HOMES[part.kind][chute], np.multiply(far, _SLIDE))
    angle = rng.normal(0, 0.10) + np.pi * rng.integers(2) if part.kind == "screw" else rng.uniform(-np.pi, np.pi)
    x, y = np.clip(x, -ROOM_U, ROOM_U), np.clip(y, ROOM_TOP, ROOM_BOTTOM)
    return Pose(float(x), float(y), float(angle))


def put(part: Part, chute: int, others: list[Part], rng: Rng, difficulty: float) -> Part:
    """Drop the part from one of its chutes where it overlaps least; parts may touch and lie on each other a little."""
    best, least = part, np.inf
    for number in range(60):
        candidate = replace(part, pose=_drop(part, chute, 2.0 ** (number // _PATIENCE), rng))
        overlap = _overlap(candidate, others)
        if overlap < least:
            best, least = candidate, overlap
        if least <= 6 * difficulty:
            break
    return best


def make_part(kind: str, rng: Rng, difficulty: float, length: float = 0.0) -> Part:
    """Make a part that still has to be put into the bag."""
    length = length * (1 + 0.01 * difficulty * float(rng.uniform(-1, 1)))
    return Part(kind, Pose(0, 0), draw_seed(rng), length, float(difficulty * rng.normal(0, 1)))


def sample(rng: Rng, difficulty: float) -> ScrewBagScene:
    """Draw a normal scene."""
    look = Look.sample(rng, difficulty)
    bag = Pose(
        float(SIZE[0] / 2 + difficulty * rng.uniform(-15, 15)),
        float(SIZE[1] / 2 + difficulty * rng.uniform(-12, 12)),
        float(difficulty * rng.uniform(-0.025, 0.025)),
    )
    wanted = [(make_part("screw", rng, difficulty, length), chute) for chute, length in enumerate((LONG, SHORT))]
    wanted += [(make_part(kind, rng, difficulty), chute) for kind in ("nut", "washer") for chute in (0, 1)]
    # Without variation, everything lies where this fixed draw puts it.
    places = rng if difficulty > 0 else np.random.default_rng(0)
    parts: list[Part] = []
    for part, chute in wanted:
        parts.append(put(part, chute, parts, places, difficulty))
    order = rng.permutation(len(parts))
    return ScrewBagScene(look, draw_seed(rng), None, bag, tuple(parts[index] for index in order))
