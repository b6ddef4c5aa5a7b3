# SPDX-License-Identifier: Apache-2.0
"""Connectors and cable as plain data, and how a normal pair is drawn at random."""

from dataclasses import dataclass

import numpy as np

from anomalib_scdae.data.synthetic.scene import Look, Pose, Rng, Scene, draw_seed, pick

SIZE = (1700, 850)
SIZES = (2, 3, 5)
#: The colour that goes with each number of clips.
COLORS = {2: "yellow", 3: "blue", 5: "red"}
#: Width of one clip and half the depth of a connector, along the cable.
CLIP, HALF_DEPTH = 96.0, 165.0
CABLE_RADIUS = 21.0
#: Free length of cable between the connectors' faces.
CABLE_LENGTH = (540.0, 800.0)
SHORT_CABLE_LENGTH = (340.0, 460.0)
#: Areas of one part's silhouette in squared scene units, for the saturation thresholds.
CABLE_AREA = 2 * CABLE_RADIUS * sum(CABLE_LENGTH) / 2
CLIP_AREA = 2 * HALF_DEPTH * CLIP


@dataclass(frozen=True)
class Connector:
    """A splicing connector; its pose looks along +u to the other connector.

    Attributes:
        clips: How many cables it can hold.
        pose: Its centre.
        seed: Fixes its scuffs.
    """

    clips: int
    pose: Pose
    seed: int

    def face(self, clip: int, side: int) -> tuple[float, float]:
        """Where the cable enters clip number ``clip``, counted from the top of the picture."""
        v = (clip - (self.clips - 1) / 2) * CLIP
        place = self.pose.at(side * HALF_DEPTH, v)
        return place.x, place.y


@dataclass(frozen=True)
class Cable:
    """A cable.

    Attributes:
        color: A key of the pigments.
        left: Clip of the left connector that holds it.
        right: Clip of the right connector.
        bow: Sideways excursion of its two halves, scene units.
        seed: Fixes its sheen.
    """

    color: str
    left: int
    right: int
    bow: tuple[float, float]
    seed: int


@dataclass(frozen=True)
class SplicingConnectorsScene(Scene):
    """The joint.

    Attributes:
        left: The left connector, if there is one.
        right: The right connector, if there is one.
        cables: The cables between them.
    """

    left: Connector | None
    right: Connector | None
    cables: tuple[Cable, ...]


def _sample_connector(rng: Rng, difficulty: float, clips: int, x: float, y: float) -> Connector:
    angle = float(difficulty * rng.uniform(-0.08, 0.08))
    return Connector(clips, Pose(x, y + float(difficulty * rng.uniform(-60, 60)), angle), draw_seed(rng))


def sample_cable(rng: Rng, difficulty: float, clips: int) -> Cable:
    """Draw a cable of the colour that tells the number of clips, in the same clip on both sides."""
    clip = int(rng.integers(clips))
    bow = (float(difficulty * rng.normal(0, 16)), float(difficulty * rng.normal(0, 16)))
    return Cable(COLORS[clips], clip, clip, bow, draw_seed(rng))


def sample_pair(rng: Rng, difficulty: float, clips: tuple[int, int], length: float) -> tuple[Connector, Connector]:
    """Two connectors with ``length`` of cable between their faces."""
    apart = length / 2 + HALF_DEPTH
    middle = SIZE[0] / 2 + difficulty * float(rng.uniform(-40, 40))
    level = SIZE[1] / 2 + difficulty * float(rng.uniform(-25, 25))
    left = _sample_connector(rng, difficulty, clips[0], middle - apart, level)
    return left, _sample_connector(rng, difficulty, clips[1], middle + apart, level)


def sample(rng: Rng, difficulty: float) -> SplicingConnectorsScene:
    """Draw a normal scene."""
    look = Look.sample(rng, difficulty)
    clips = pick(rng, SIZES)
    middle, spread = sum(CABLE_LENGTH) / 2, (CABLE_LENGTH[1] - CABLE_LENGTH[0]) / 2
    length = middle + min(difficulty, 1.0) * 0.9 * spread * float(rng.uniform(-1, 1))
    left, right = sample_pair(rng, difficulty, (clips, clips), length)
    return SplicingConnectorsScene(look, draw_seed(rng), None, left, right, (sample_cable(rng, difficulty, clips),))


def cable_length(scene: SplicingConnectorsScene) -> float | None:
    """Distance between the connectors' faces, which is the free length of a straight cable; ``None`` without both."""
    if scene.left is None or scene.right is None:
        return None
    apart = np.hypot(scene.right.pose.x - scene.left.pose.x, scene.right.pose.y - scene.left.pose.y)
    return float(apart) - 2 * HALF_DEPTH
