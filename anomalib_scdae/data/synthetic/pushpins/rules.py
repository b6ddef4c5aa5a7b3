# SPDX-License-Identifier: Apache-2.0
"""What every normal box obeys."""

from anomalib_scdae.data.synthetic.category import Rule
from anomalib_scdae.data.synthetic.pushpins.scene import PushpinsScene


def _one_pin_each(scene: PushpinsScene) -> bool:
    return all(len(pins) == 1 for pins in scene.compartments)


def _separated(scene: PushpinsScene) -> bool:
    return all(all(row) for row in scene.separators)


RULES: tuple[Rule[PushpinsScene], ...] = (
    Rule("one_pin_per_compartment", "each of the 15 compartments holds exactly one pin", _one_pin_each),
    Rule("all_separators", "a separator stands between any two neighbouring compartments", _separated),
)
