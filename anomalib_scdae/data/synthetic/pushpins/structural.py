# SPDX-License-Identifier: Apache-2.0
"""Damage to one part."""

from anomalib_scdae.data.synthetic.category import StructuralDefect
from anomalib_scdae.data.synthetic.defects import contaminate, discolor
from anomalib_scdae.data.synthetic.pushpins.pins import WRONG_COLORS
from anomalib_scdae.data.synthetic.pushpins.scene import PushpinsScene


def _pins(scene: PushpinsScene) -> list[str]:
    return [f"pin {index} 0" for index in range(len(scene.compartments))]


def _floor(_scene: PushpinsScene) -> list[str]:
    return ["floor"]


STRUCTURAL: tuple[StructuralDefect[PushpinsScene], ...] = (
    StructuralDefect("front_bent", _pins, "a pin's needle is bent"),
    StructuralDefect("broken", _pins, "a pin's head is broken off; it or splinters of it lie about"),
    StructuralDefect("color", _pins, "a pin has a wrong colour, all over or in part", discolor(WRONG_COLORS, 110)),
    StructuralDefect("contamination", _floor, "a foreign crumb, fibre, drop or chip lies in the box", contaminate(76)),
)
