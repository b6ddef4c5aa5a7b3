# SPDX-License-Identifier: Apache-2.0
"""Damage to one part."""

from collections.abc import Callable

from anomalib_scdae.data.synthetic.category import StructuralDefect
from anomalib_scdae.data.synthetic.defects import contaminate
from anomalib_scdae.data.synthetic.juice_bottle.scene import JuiceBottleScene


def _labels(_scene: JuiceBottleScene) -> list[str]:
    return ["label fruit", "label text"]


def _one(part: str) -> Callable[[JuiceBottleScene], list[str]]:
    return lambda _scene: [part]


def _contaminable(_scene: JuiceBottleScene) -> list[str]:
    return ["juice", "label fruit", "glass"]


STRUCTURAL: tuple[StructuralDefect[JuiceBottleScene], ...] = (
    StructuralDefect("damaged_label", _labels, "a label is torn"),
    StructuralDefect("rotated_label", _labels, "a label is turned", solid=True),
    StructuralDefect("label_text_incomplete", _one("label text"), "part of the text is not printed"),
    StructuralDefect("unknown_fruit_icon", _one("icon"), "a fruit is printed that no juice is made of"),
    StructuralDefect("incomplete_fruit_icon", _one("icon"), "part of the fruit is not printed"),
    StructuralDefect("juice_color", _one("juice"), "the juice has a colour that no juice has"),
    StructuralDefect(
        "contamination", _contaminable, "a foreign crumb, fibre or drop clings to the bottle", contaminate(56)
    ),
)
