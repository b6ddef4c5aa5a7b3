# SPDX-License-Identifier: Apache-2.0
"""The box as plain data: its measures, its pins, and how a normal one is drawn at random."""

from dataclasses import dataclass, replace

import numpy as np

from anomalib_scdae.data.synthetic.scene import Area, Look, Pose, Rng, Scene, draw_seed

SIZE = (1700, 1000)
COLUMNS, ROWS = 5, 3
PITCH_U, PITCH_V = 298.0, 290.0
WALL = 5.0
#: Half the free length and height of a compartment.
FREE_U, FREE_V = PITCH_U / 2 - WALL, PITCH_V / 2 - WALL
# The pin's body along its axis: (position, radius), from the needle's collar to the top.
BODY_U = np.array([-30, -28.5, -23.5, -18.5, -16, 0, 37, 52, 57, 64, 77, 80, 81], np.float32)
BODY_R = np.array([0, 32, 42, 42, 32, 23.5, 23.5, 31, 44.5, 47, 44.5, 37, 0], np.float32)
NEEDLE, KNEE, NEEDLE_RADIUS = (-119.0, -24.0), -50.0, 6.5
#: Radius of the head.
HEAD = 47.0
REACH_U, REACH_V = 124.0, 53.0
#: Area of a pin's silhouette in squared scene units.
PIN_AREA = float(np.sum((BODY_R[1:] + BODY_R[:-1]) * np.diff(BODY_U))) + 1.6 * NEEDLE_RADIUS * (NEEDLE[1] - NEEDLE[0])
#: The middle of the pin lies this far from the middle of its body, towards the tip.
OFFSET = 19.0
#: How the pins lie: the angle, how far it varies, and the share of those that are turned round.
_FEED_ANGLE, _FEED_PLAY, _TURNED_ROUND = 0.5, 0.35, 0.05


@dataclass(frozen=True)
class Pin:
    """A pushpin that lies on its side."""

    pose: Pose
    hue: float
    seed: int


@dataclass(frozen=True)
class PushpinsScene(Scene):
    """The box: pins of each compartment (row by row), and the upright separators between neighbours in a row.

    Attributes:
        box: Where the box stands.
        compartments: Fifteen tuples of pins; poses are relative to the compartment's centre.
        separators: For each row, whether each of the four separators is there.
    """

    box: Pose
    compartments: tuple[tuple[Pin, ...], ...]
    separators: tuple[tuple[bool, ...], ...]


def sample_pin(rng: Rng, difficulty: float, room: float = 1.0) -> Pin:
    """Draw a pin that touches no wall; most point the same way, as a feeder lays them down."""
    angle = _FEED_ANGLE + difficulty * rng.uniform(-_FEED_PLAY, _FEED_PLAY)
    angle += np.pi * (rng.random() < difficulty * _TURNED_ROUND)
    reach_u = 102 * abs(np.cos(angle)) + 40 * abs(np.sin(angle))
    reach_v = 102 * abs(np.sin(angle)) + 40 * abs(np.cos(angle))
    slack_u, slack_v = max(FREE_U - reach_u - 4, 0), max(FREE_V - reach_v - 4, 0)
    # Pins slide: they lie at a wall more often than in the middle.
    x, y = difficulty * room * np.sin(np.pi / 2 * rng.uniform(-1, 1, 2)) * (slack_u, slack_v)
    return Pin(
        Pose(float(x + OFFSET * np.cos(angle)), float(y + OFFSET * np.sin(angle)), float(angle)),
        float(difficulty * rng.normal(0, 0.35)),
        draw_seed(rng),
    )


def sample(rng: Rng, difficulty: float) -> PushpinsScene:
    """Draw a normal scene."""
    look = Look.sample(rng, difficulty)
    place = Pose(SIZE[0] / 2 + difficulty * rng.uniform(-6, 6), SIZE[1] / 2 + difficulty * rng.uniform(-5, 5))
    place = replace(place, angle=float(difficulty * rng.uniform(-0.008, 0.008)))
    pins = tuple((sample_pin(rng, difficulty, 0.5),) for _ in range(ROWS * COLUMNS))
    return PushpinsScene(look, draw_seed(rng), None, place, pins, ((True,) * (COLUMNS - 1),) * ROWS)


def centre_of(index: int) -> tuple[float, float]:
    """Centre of a compartment in the box's frame."""
    row, column = divmod(index, COLUMNS)
    return (column - (COLUMNS - 1) / 2) * PITCH_U, (row - (ROWS - 1) / 2) * PITCH_V


def floor_of(scene: PushpinsScene, index: int) -> Area:
    """The whole floor of a compartment."""
    return Area.turned_box(scene.box.at(*centre_of(index)), FREE_U, FREE_V)
