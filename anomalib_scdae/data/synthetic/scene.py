# SPDX-License-Identifier: Apache-2.0
"""What a scene is, which rules it obeys, and how it can be broken: plain data, no pixels.

Lengths are in scene units: one unit is one pixel at the scene's full size, which is the size of MVTec LOCO's images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from anomalib_scdae.data.synthetic.defects import Blemish
    from anomalib_scdae.data.synthetic.render import Canvas

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


S = TypeVar("S", bound=Scene)


@dataclass(frozen=True)
class Rule(Generic[S]):
    """A condition that every normal scene meets.

    A rule about how parts relate holds where one of these parts is not there: another rule asks for the part, and one
    fault must break one rule.
    """

    name: str
    text: str
    holds: Callable[[S], bool]


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


@dataclass(frozen=True)
class LogicalDefect(Generic[S]):
    """A way to break one rule with normal parts only.

    Attributes:
        name: The defect's name in MVTec LOCO.
        rule: Name of the rule that it breaks.
        apply: Turns a normal scene into an abnormal one and says where the fault is.
        mask: What the ground truth covers, in words, for the documentation.
        saturation: Area, in squared scene units, at which a prediction has found the fault; ``None``: all of the mask.
    """

    name: str
    rule: str
    apply: Callable[[S, Rng], tuple[S, tuple[Fault, ...]]]
    mask: str
    saturation: float | None = None


@dataclass(frozen=True)
class StructuralDefect(Generic[S]):
    """A way to damage one part; every rule still holds. The ground truth is what the damage changes.

    Attributes:
        name: The defect's name in MVTec LOCO.
        parts: Names the parts of a scene that it can happen to.
        text: What it looks like, for the documentation.
        blemish: Draws it on the finished part; ``None`` if the part's own painter draws it, from ``scene.damage``.
        solid: Whether the ground truth also covers what the damage encloses, as a hole in a film.
    """

    name: str
    parts: Callable[[S], Sequence[str]]
    text: str
    blemish: "Blemish | None" = None
    solid: bool = False


@dataclass(frozen=True)
class Category(Generic[S]):
    """One of the five products: how its scenes are drawn at random, checked, broken and painted.

    Attributes:
        name: As in MVTec LOCO.
        version: Raised whenever a change makes the same recipe give other images.
        size: Width and height in scene units.
        rules: What normal scenes obey.
        logical: Ways to break a rule.
        structural: Ways to damage a part.
        sample: Draws a normal scene; the second argument is the difficulty.
        paint: Paints a scene on a canvas.
    """

    name: str
    version: int
    size: tuple[int, int]
    rules: tuple[Rule[S], ...]
    logical: tuple[LogicalDefect[S], ...]
    structural: tuple[StructuralDefect[S], ...]
    sample: Callable[[Rng, float], S]
    paint: Callable[[S, "Canvas"], None]

    def violations(self, scene: S) -> list[str]:
        """Names of the rules that ``scene`` breaks: none for a normal or merely damaged scene."""
        return [rule.name for rule in self.rules if not rule.holds(scene)]

    def render(self, scene: S, size: tuple[int, int]) -> "Canvas":
        """Paint ``scene``, with its damage, on a canvas of ``size`` pixels (width, height)."""
        from anomalib_scdae.data.synthetic.render import Canvas

        canvas = Canvas(size, self.size, scene.look)
        self.paint(scene, canvas)
        self.mar(scene, canvas)
        return canvas

    def mar(self, scene: S, canvas: "Canvas") -> None:
        """Draw the damage's blemish, if it is one, on the painted scene."""
        if scene.damage is not None:
            blemish = self.defect_of(scene.damage).blemish
            if blemish is not None:
                blemish(canvas, scene.damage.part, np.random.default_rng(scene.damage.seed))

    def defect_of(self, damage: Damage) -> StructuralDefect[S]:
        """The structural defect that a damage is an instance of."""
        return next(defect for defect in self.structural if defect.name == damage.name)

    def damaged(self, scene: S, defect: StructuralDefect[S], rng: Rng) -> S:
        """Return ``scene`` with ``defect`` done to one of the parts that it can happen to."""
        parts = defect.parts(scene)
        damage = Damage(defect.name, parts[int(rng.integers(len(parts)))], draw_seed(rng))
        return replace(scene, damage=damage)


def draw_seed(rng: Rng) -> int:
    """Draw a seed for what no rule speaks about."""
    return int(rng.integers(2**31))


def pick(rng: Rng, options: Sequence[Any]) -> Any:
    """Draw one of ``options``, keeping its type (``Generator.choice`` would make an array of it)."""
    return options[int(rng.integers(len(options)))]
