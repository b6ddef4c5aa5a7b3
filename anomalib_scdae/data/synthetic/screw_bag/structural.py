# SPDX-License-Identifier: Apache-2.0
"""Damage to one part."""

from anomalib_scdae.data.synthetic.category import StructuralDefect
from anomalib_scdae.data.synthetic.defects import contaminate, discolor
from anomalib_scdae.data.synthetic.screw_bag.scene import ScrewBagScene


def _parts(scene: ScrewBagScene) -> list[str]:
    return [f"part {index}" for index in range(len(scene.parts))]


def _bag(_scene: ScrewBagScene) -> list[str]:
    return ["bag"]


STRUCTURAL: tuple[StructuralDefect[ScrewBagScene], ...] = (
    StructuralDefect("bag_broken", _bag, "the film is torn", solid=True),
    StructuralDefect(
        "color",
        _parts,
        "a part is partly rusty or painted",
        discolor(((0.30, 0.10, 0.03), (0.42, 0.20, 0.06), (0.06, 0.16, 0.45), (0.5, 0.06, 0.06)), 96),
    ),
    StructuralDefect("contamination", _bag, "a foreign crumb, fibre, drop or chip lies in the bag", contaminate(84)),
    StructuralDefect("part_broken", _parts, "a screw has snapped, or a nut or washer has lost a piece"),
)
