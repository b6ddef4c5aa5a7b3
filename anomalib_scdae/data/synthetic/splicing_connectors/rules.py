# SPDX-License-Identifier: Apache-2.0
"""What every normal pair obeys."""

from anomalib_scdae.data.synthetic.category import Rule
from anomalib_scdae.data.synthetic.splicing_connectors.scene import (
    CABLE_LENGTH,
    COLORS,
    SplicingConnectorsScene,
    cable_length,
)


def _two_connectors(scene: SplicingConnectorsScene) -> bool:
    return scene.left is not None and scene.right is not None


def _same_size(scene: SplicingConnectorsScene) -> bool:
    return scene.left is None or scene.right is None or scene.left.clips == scene.right.clips


def _one_cable(scene: SplicingConnectorsScene) -> bool:
    alone = scene.left is None or scene.right is None
    return alone or len(scene.cables) == 1


def _color_tells_size(scene: SplicingConnectorsScene) -> bool:
    """With connectors of two sizes the colour may tell either."""
    sizes = {connector.clips for connector in (scene.left, scene.right) if connector is not None}
    return all(cable.color in {COLORS[clips] for clips in sizes} for cable in scene.cables)


def _same_clip(scene: SplicingConnectorsScene) -> bool:
    return not _two_connectors(scene) or all(cable.left == cable.right for cable in scene.cables)


def _long_enough(scene: SplicingConnectorsScene) -> bool:
    length = cable_length(scene)
    return length is None or not scene.cables or length >= CABLE_LENGTH[0]


RULES: tuple[Rule[SplicingConnectorsScene], ...] = (
    Rule("two_connectors", "there are two connectors", _two_connectors),
    Rule("same_size", "both connectors have the same number of clips", _same_size),
    Rule("one_cable", "exactly one cable joins them", _one_cable),
    Rule("same_clip", "the cable sits in the same clip on both sides", _same_clip),
    Rule("color_tells_size", "the cable is yellow for 2 clips, blue for 3, red for 5", _color_tells_size),
    Rule("cable_length", f"the cable is free over at least {CABLE_LENGTH[0]:.0f} units", _long_enough),
)
