# SPDX-License-Identifier: Apache-2.0
"""What every normal box obeys."""

from anomalib_scdae.data.synthetic.breakfast_box.scene import FILLING, RATIO, BreakfastBoxScene
from anomalib_scdae.data.synthetic.category import Rule


def _fruits(scene: BreakfastBoxScene) -> bool:
    return sorted(fruit.kind for fruit in scene.fruits) == ["nectarine", "tangerine", "tangerine"]


def _sides(scene: BreakfastBoxScene) -> bool:
    return not scene.mirrored


def _cereals_and_toppings(scene: BreakfastBoxScene) -> bool:
    return scene.cereals and scene.toppings == {"almonds", "bananas"}


def _ratio(scene: BreakfastBoxScene) -> bool:
    return not (scene.cereals and scene.toppings) or RATIO[0] <= scene.ratio <= RATIO[1]


def _filling(scene: BreakfastBoxScene) -> bool:
    return FILLING[0] <= scene.filling <= FILLING[1]


RULES: tuple[Rule[BreakfastBoxScene], ...] = (
    Rule("fruits", "there are exactly two tangerines and one nectarine", _fruits),
    Rule("sides", "the fruit is on the left, cereals and toppings are on the right", _sides),
    Rule(
        "cereals_and_toppings",
        "there are cereals, and toppings of almonds as well as banana chips",
        _cereals_and_toppings,
    ),
    Rule("ratio", f"the cereals take {RATIO[0]:.0%} to {RATIO[1]:.0%} of their compartment's height", _ratio),
    Rule("filling", "the compartment is full and does not overflow", _filling),
)
