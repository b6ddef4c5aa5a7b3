# SPDX-License-Identifier: Apache-2.0
"""What a category of products is: the rules of its scenes, how they are broken or damaged, and how it is painted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from anomalib_scdae.data.synthetic.defects import Blemish
from anomalib_scdae.data.synthetic.render import Canvas
from anomalib_scdae.data.synthetic.scene import Damage, Fault, Rng, Scene, draw_seed

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
    blemish: Blemish | None = None
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
    paint: Callable[[S, Canvas], None]

    def violations(self, scene: S) -> list[str]:
        """Names of the rules that ``scene`` breaks: none for a normal or merely damaged scene."""
        return [rule.name for rule in self.rules if not rule.holds(scene)]

    def render(self, scene: S, size: tuple[int, int]) -> Canvas:
        """Paint ``scene``, with its damage, on a canvas of ``size`` pixels (width, height)."""
        canvas = Canvas(size, self.size, scene.look)
        self.paint(scene, canvas)
        self.mar(scene, canvas)
        return canvas

    def mar(self, scene: S, canvas: Canvas) -> None:
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
