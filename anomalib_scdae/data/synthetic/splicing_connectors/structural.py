# SPDX-License-Identifier: Apache-2.0
"""Damage to one part."""

from anomalib_scdae.data.synthetic.category import StructuralDefect
from anomalib_scdae.data.synthetic.defects import contaminate, discolor
from anomalib_scdae.data.synthetic.splicing_connectors.scene import SplicingConnectorsScene


def _connectors(_scene: SplicingConnectorsScene) -> list[str]:
    return ["left", "right"]


def _cables(_scene: SplicingConnectorsScene) -> list[str]:
    return ["cable 0"]


def _table(_scene: SplicingConnectorsScene) -> list[str]:
    return ["table", "table", "left", "right"]


STRUCTURAL: tuple[StructuralDefect[SplicingConnectorsScene], ...] = (
    StructuralDefect("broken_cable", _cables, "the insulation is torn open"),
    StructuralDefect("cable_not_plugged", _cables, "one end has slipped out of its clip"),
    StructuralDefect("unknown_cable_color", _cables, "the cable has a colour that no size has"),
    StructuralDefect("flipped_connector", _connectors, "a connector is turned back to front", solid=True),
    StructuralDefect("broken_connector", _connectors, "a corner of a connector is broken off"),
    StructuralDefect("open_lever", _connectors, "a lever stands open"),
    StructuralDefect(
        "color",
        _connectors,
        "a connector is partly discoloured",
        discolor(((0.05, 0.12, 0.40), (0.06, 0.30, 0.08), (0.30, 0.06, 0.25), (0.04, 0.04, 0.04)), 84),
    ),
    StructuralDefect("contamination", _table, "a foreign crumb, fibre, drop or chip lies about", contaminate(50)),
)
