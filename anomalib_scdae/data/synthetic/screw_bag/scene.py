# SPDX-License-Identifier: Apache-2.0
"""The bag as plain data: its measures and its parts."""

from dataclasses import dataclass

import numpy as np

from anomalib_scdae.data.synthetic.scene import Pose, Scene

SIZE = (1600, 1100)
#: Half the width and height of the bag, and of the room in it where parts can lie (below the zip).
BAG_U, BAG_V = 690.0, 470.0
ROOM_U, ROOM_TOP, ROOM_BOTTOM = 590.0, -230.0, 400.0
LONG, SHORT = 470.0, 330.0
#: The longest short and the shortest long screw lie on either side of this length.
LENGTH_LIMIT = 400.0
HEAD_LENGTH, HEAD_RADIUS, SHAFT_RADIUS = 34.0, 46.0, 23.0
NUT_INNER, NUT_HOLE = 58.0, 31.0
WASHER_OUTER, WASHER_HOLE = 66.0, 30.0
# Areas of one part's silhouette in squared scene units, for the saturation thresholds.
WASHER_AREA = np.pi * (WASHER_OUTER**2 - WASHER_HOLE**2)
NUT_AREA = 2 * np.sqrt(3) * NUT_INNER**2 - np.pi * NUT_HOLE**2
SHORT_AREA = 2 * (HEAD_LENGTH * HEAD_RADIUS + (SHORT - HEAD_LENGTH) * SHAFT_RADIUS)
LONG_AREA = 2 * (HEAD_LENGTH * HEAD_RADIUS + (LONG - HEAD_LENGTH) * SHAFT_RADIUS)


@dataclass(frozen=True)
class Part:
    """A washer, a nut or a screw; ``length`` is a screw's whole length."""

    kind: str
    pose: Pose
    seed: int
    length: float = 0.0
    tone: float = 0.0

    @property
    def long(self) -> bool:
        """Whether it is a long screw."""
        return self.length > LENGTH_LIMIT


@dataclass(frozen=True)
class ScrewBagScene(Scene):
    """The bag and what is in it.

    Attributes:
        bag: Where the bag lies.
        parts: Its contents; poses are relative to the bag's centre, later ones lie on earlier ones.
    """

    bag: Pose
    parts: tuple[Part, ...]
