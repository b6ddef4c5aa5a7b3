# SPDX-License-Identifier: Apache-2.0
"""What every normal bottle obeys."""

from anomalib_scdae.data.synthetic.category import Rule
from anomalib_scdae.data.synthetic.juice_bottle.scene import (
    ALIGNMENT,
    DISTANCE,
    ICON_PLAY,
    LEVEL,
    PLAY,
    JuiceBottleScene,
    Label,
)


def _both_labels(scene: JuiceBottleScene) -> bool:
    return sorted(label.kind for label in scene.labels) == ["fruit", "text"]


def _fruit_above_text(scene: JuiceBottleScene) -> bool:
    heights = {label.kind: label.height for label in scene.labels}
    return not _both_labels(scene) or heights["fruit"] < heights["text"]


def _labels_in_place(scene: JuiceBottleScene) -> bool:
    if len(scene.labels) != 2:
        return True
    one, other = scene.labels
    apart = abs(abs(one.height - other.height) - DISTANCE)
    return apart <= PLAY and abs(one.around - other.around) <= ALIGNMENT


def _fruit_label(scene: JuiceBottleScene) -> Label | None:
    return next((label for label in scene.labels if label.kind == "fruit"), None)


def _has_icon(scene: JuiceBottleScene) -> bool:
    label = _fruit_label(scene)
    return label is None or label.icon is not None


def _icon_in_middle(scene: JuiceBottleScene) -> bool:
    label = _fruit_label(scene)
    return label is None or max(abs(shift) for shift in label.icon_shift) <= ICON_PLAY


def _icon_tells_juice(scene: JuiceBottleScene) -> bool:
    label = _fruit_label(scene)
    return label is None or None in {label.icon, scene.juice} or label.icon == scene.juice


def _filled(scene: JuiceBottleScene) -> bool:
    return scene.juice is not None and LEVEL[0] <= scene.level <= LEVEL[1]


RULES: tuple[Rule[JuiceBottleScene], ...] = (
    Rule("both_labels", "the bottle carries one fruit label and one text label", _both_labels),
    Rule("fruit_above_text", "the fruit label is above the text label", _fruit_above_text),
    Rule(
        "labels_in_place",
        f"the labels are {DISTANCE:.0f} ± {PLAY:.0f} units apart and at most {ALIGNMENT:.0f} out of line",
        _labels_in_place,
    ),
    Rule("fruit_printed", "a fruit is printed on the fruit label", _has_icon),
    Rule("fruit_in_middle", f"the fruit is at most {ICON_PLAY:.0f} units from its label's middle", _icon_in_middle),
    Rule("fruit_tells_juice", "the fruit is the one that the juice is made of", _icon_tells_juice),
    Rule("fill_level", "the bottle is filled, and the juice's surface lies in the neck's band", _filled),
)
