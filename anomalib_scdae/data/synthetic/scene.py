# SPDX-License-Identifier: Apache-2.0
"""What a scene is, and where a fault in it may be pointed out: plain data, no pixels.

Lengths are in scene units: one unit is one pixel at the scene's full size, which is the size of MVTec LOCO's images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Rng = np.random.Generator


@dataclass(frozen=True)
class Pose:
    """Where a part lies: its centre in scene units and its turn in radians (from x towards y)."""

    x: float
    y: float
    angle: float = 0.0

    def at(self, u: float, v: float, angle: float = 0.0) -> "Pose":
        """Turn a pose in this one's frame into one in the scene."""
        cosine, sine = float(np.cos(self.angle)), float(np.sin(self.angle))
        return Pose(float(self.x + cosine * u - sine * v), float(self.y + sine * u + cosine * v), self.angle + angle)


@dataclass(frozen=True)
class Look:
    """How the camera and the lights of this one image differ from the line's nominal set-up.

    Attributes:
        shift: Camera offset in scene units (x, y).
        turn: Camera roll in radians.
        zoom: Magnification.
        light: Horizontal direction to the key light (x, y) and its height; not normalised.
        key: Strength of the key light.
        fill: Strength of the diffuse light from everywhere.
        gradient: Linear fall-off of the light over the image (x, y), as a fraction.
        white_balance: Gains of red and blue.
        exposure: Overall gain.
        vignette: Loss of light in the corners, as a fraction.
        blur: Deviation of the lens's blur, in pixels of an image that is 512 pixels long.
        noise: Deviation of the sensor's noise at mid-grey, as a fraction of full scale.
        jpeg_quality: Quality of the camera's compression.
    """

    shift: tuple[float, float]
    turn: float
    zoom: float
    light: tuple[float, float, float]
    key: float
    fill: float
    gradient: tuple[float, float]
    white_balance: tuple[float, float]
    exposure: float
    vignette: float
    blur: float
    noise: float
    jpeg_quality: int

    @classmethod
    def sample(cls, rng: Rng, difficulty: float) -> "Look":
        """Draw a look; ``difficulty`` scales how far each value strays from nominal (0: not at all)."""

        def around(centre: float, spread: float) -> float:
            return float(centre + difficulty * spread * np.clip(rng.standard_normal(), -2, 2))

        azimuth = around(-2.1, 0.22)
        return cls(
            shift=(around(0, 4), around(0, 3)),
            turn=around(0, 0.003),
            zoom=around(1.0, 0.004),
            light=(float(np.cos(azimuth)), float(np.sin(azimuth)), around(1.15, 0.1)),
            key=around(0.78, 0.045),
            fill=around(0.42, 0.025),
            gradient=(around(-0.03, 0.03), around(-0.03, 0.03)),
            white_balance=(around(1.0, 0.015), around(1.0, 0.015)),
            exposure=around(1.0, 0.03),
            vignette=around(0.16, 0.03),
            blur=around(0.62, 0.08),
            noise=around(0.009, 0.0015),
            jpeg_quality=int(around(93, 1.5)),
        )


@dataclass(frozen=True)
class Damage:
    """A structural defect: what happens to which part. ``seed`` fixes its place and shape."""

    name: str
    part: str
    seed: int


@dataclass(frozen=True)
class Scene:
    """What all scenes have in common; each category adds its parts.

    Attributes:
        look: Camera and light.
        seed: Fixes everything that no rule speaks about, such as the grain of a surface.
        damage: The structural defect, if there is one. No rule looks at it.
    """

    look: Look
    seed: int
    damage: Damage | None

    def damage_of(self, *parts: str) -> Damage | None:
        """Return the defect if it is on one of ``parts``."""
        return self.damage if self.damage is not None and self.damage.part in parts else None

    def damage_called(self, name: str) -> Damage | None:
        """Return the defect if it is of this kind."""
        return self.damage if self.damage is not None and self.damage.name == name else None


@dataclass(frozen=True)
class Silhouette:
    """The pixels at which a part can be seen."""

    part: str


@dataclass(frozen=True)
class Area:
    """A polygon in scene units, such as the place where a missing part could lie."""

    corners: tuple[tuple[float, float], ...]

    @classmethod
    def box(cls, left: float, top: float, right: float, bottom: float) -> "Area":
        """An upright rectangle."""
        return cls(((left, top), (right, top), (right, bottom), (left, bottom)))

    @classmethod
    def turned_box(cls, pose: Pose, half_u: float, half_v: float) -> "Area":
        """A rectangle around a pose, turned with it."""
        corners = ((-half_u, -half_v), (half_u, -half_v), (half_u, half_v), (-half_u, half_v))
        places = [pose.at(u, v) for u, v in corners]
        return cls(tuple((place.x, place.y) for place in places))


@dataclass(frozen=True)
class Fault:
    """One channel of the ground truth: the union of its regions is where the fault may be pointed out."""

    defect: str
    regions: tuple[Silhouette | Area, ...]


def draw_seed(rng: Rng) -> int:
    """Draw a seed for what no rule speaks about."""
    return int(rng.integers(2**31))


def pick(rng: Rng, options: Sequence[Any]) -> Any:
    """Draw one of ``options``, keeping its type (``Generator.choice`` would make an array of it)."""
    return options[int(rng.integers(len(options)))]
