# SPDX-License-Identifier: Apache-2.0
"""What every normal bag obeys."""

from collections.abc import Callable

from anomalib_scdae.data.synthetic.category import Rule
from anomalib_scdae.data.synthetic.screw_bag.scene import ScrewBagScene


def of_kind(scene: ScrewBagScene, kind: str) -> list[int]:
    """Return the indices of the parts of a kind."""
    return [index for index, part in enumerate(scene.parts) if part.kind == kind]


def _counts(kind: str) -> Callable[[ScrewBagScene], bool]:
    return lambda scene: len(of_kind(scene, kind)) == 2


def _one_long_one_short(scene: ScrewBagScene) -> bool:
    screws = of_kind(scene, "screw")
    return len(screws) != 2 or sum(scene.parts[index].long for index in screws) == 1


RULES: tuple[Rule[ScrewBagScene], ...] = (
    Rule("two_washers", "the bag holds two washers", _counts("washer")),
    Rule("two_nuts", "the bag holds two nuts", _counts("nut")),
    Rule("two_screws", "the bag holds two screws", _counts("screw")),
    Rule("one_long_one_short", "of two screws, one is long and one is short", _one_long_one_short),
)
