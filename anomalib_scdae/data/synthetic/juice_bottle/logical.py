# SPDX-License-Identifier: Apache-2.0
"""Bottles that break one rule, with normal labels and juices."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from anomalib_scdae.data.synthetic.category import LogicalDefect
from anomalib_scdae.data.synthetic.juice_bottle.profile import LIQUID_END, inside_of, place_of_label
from anomalib_scdae.data.synthetic.juice_bottle.scene import (
    DISTANCE,
    FRUIT_LABEL_AREA,
    FRUITS,
    ICON_AREA,
    ICON_REACH,
    LEVEL,
    TEXT_LABEL_AREA,
    JuiceBottleScene,
    label_of,
    sample_label,
)
from anomalib_scdae.data.synthetic.scene import Area, Fault, Rng, Silhouette, pick

Broken = tuple[JuiceBottleScene, tuple[Fault, ...]]
Breaks = Callable[[JuiceBottleScene, Rng], Broken]


def _without_label(name: str, kind: str) -> Breaks:
    def apply(scene: JuiceBottleScene, _rng: Rng) -> Broken:
        kept = tuple(label for label in scene.labels if label.kind != kind)
        gone = label_of(scene, kind)
        area = place_of_label(scene, kind, gone.height, gone.around)
        return replace(scene, labels=kept), (Fault(name, (area,)),)

    return apply


def _swap_labels(scene: JuiceBottleScene, rng: Rng) -> Broken:
    upper, lower = label_of(scene, "fruit"), label_of(scene, "text")
    fruit = sample_label(rng, 1.0, "fruit", upper.height + DISTANCE, upper.around, scene.juice)
    swapped = (fruit, replace(lower, height=upper.height))
    return replace(scene, labels=swapped), (
        Fault("swapped_labels", (Silhouette("label fruit"), Silhouette("label text"), Silhouette("icon"))),
    )


def _misplace_label(name: str, kind: str) -> Breaks:
    def apply(scene: JuiceBottleScene, rng: Rng) -> Broken:
        other = label_of(scene, "text" if kind == "fruit" else "fruit")
        place = other.height + DISTANCE * (-1 if kind == "fruit" else 1)
        # Up or down, but on the bottle's straight part; around the bottle, to the side on which it stays in sight.
        away = float(rng.uniform(50, 95))
        down = place + (away if place < (-10 if kind == "fruit" else 480) + away else -away)
        aside = other.around + float(rng.uniform(45, 95)) * (-1 if other.around > 0 else 1)
        change = pick(rng, ({"height": down}, {"around": aside}))
        labels = tuple(replace(label, **change) if label.kind == kind else label for label in scene.labels)
        parts = (Silhouette(f"label {kind}"), *((Silhouette("icon"),) if kind == "fruit" else ()))
        return replace(scene, labels=labels), (Fault(name, (*parts, place_of_label(scene, kind, place, other.around))),)

    return apply


def _relabel(scene: JuiceBottleScene, **changes: object) -> JuiceBottleScene:
    labels = tuple(replace(label, **changes) if label.kind == "fruit" else label for label in scene.labels)  # type: ignore[arg-type]
    return replace(scene, labels=labels)


def _without_icon(scene: JuiceBottleScene, rng: Rng) -> Broken:
    del rng
    changed = _relabel(scene, icon=None, icon_shift=(0.0, 0.0))
    label = label_of(scene, "fruit")
    pose = scene.bottle.at(float(196 * np.sin(label.around / 196)), label.height)
    return changed, (Fault("missing_fruit_icon", (Area.turned_box(pose, 0.9 * ICON_REACH, 0.9 * ICON_REACH),)),)


def _misplace_icon(scene: JuiceBottleScene, rng: Rng) -> Broken:
    angle, far = float(rng.uniform(-np.pi, np.pi)), float(rng.uniform(32, 48))
    shift = (far * float(np.cos(angle)), far * float(np.sin(angle)))
    return _relabel(scene, icon_shift=shift), (Fault("misplaced_fruit_icon", (Silhouette("icon"),)),)


def _wrong_juice(scene: JuiceBottleScene, rng: Rng) -> Broken:
    juice = pick(rng, [fruit for fruit in FRUITS if fruit != scene.juice])
    return replace(scene, juice=juice), (Fault("wrong_juice_type", (Silhouette("juice"), Silhouette("icon"))),)


def _wrong_level(name: str, low: float, high: float) -> Breaks:
    def apply(scene: JuiceBottleScene, rng: Rng) -> Broken:
        level = float(rng.uniform(low, high))
        top, bottom = (level, LEVEL[0]) if level < LEVEL[0] else (LEVEL[1], level)
        return replace(scene, level=level), (Fault(name, (inside_of(scene, top, bottom),)),)

    return apply


def _empty(scene: JuiceBottleScene, _rng: Rng) -> Broken:
    return replace(scene, juice=None), (Fault("empty_bottle", (inside_of(scene, LEVEL[1], LIQUID_END),)),)


LOGICAL: tuple[LogicalDefect[JuiceBottleScene], ...] = (
    LogicalDefect(
        "missing_top_label",
        "both_labels",
        _without_label("missing_top_label", "fruit"),
        "where the label belongs; saturates at its area",
        FRUIT_LABEL_AREA,
    ),
    LogicalDefect(
        "missing_bottom_label",
        "both_labels",
        _without_label("missing_bottom_label", "text"),
        "where the label belongs; saturates at its area",
        TEXT_LABEL_AREA,
    ),
    LogicalDefect(
        "swapped_labels",
        "fruit_above_text",
        _swap_labels,
        "both labels; saturates at the area of both",
        FRUIT_LABEL_AREA + TEXT_LABEL_AREA,
    ),
    LogicalDefect(
        "misplaced_label_top",
        "labels_in_place",
        _misplace_label("misplaced_label_top", "fruit"),
        "the label and where it belongs; saturates at its area",
        FRUIT_LABEL_AREA,
    ),
    LogicalDefect(
        "misplaced_label_bottom",
        "labels_in_place",
        _misplace_label("misplaced_label_bottom", "text"),
        "the label and where it belongs; saturates at its area",
        TEXT_LABEL_AREA,
    ),
    LogicalDefect("empty_bottle", "fill_level", _empty, "where the juice would be; saturates at all of it"),
    LogicalDefect(
        "wrong_fill_level_too_much",
        "fill_level",
        _wrong_level("wrong_fill_level_too_much", -585, -525),
        "between the juice's surface and the band; saturates at all of it",
    ),
    LogicalDefect(
        "wrong_fill_level_not_enough",
        "fill_level",
        _wrong_level("wrong_fill_level_not_enough", -340, -170),
        "between the band and the juice's surface; saturates at all of it",
    ),
    LogicalDefect("misplaced_fruit_icon", "fruit_in_middle", _misplace_icon, "the fruit; saturates at all of it"),
    LogicalDefect(
        "missing_fruit_icon",
        "fruit_printed",
        _without_icon,
        "where the fruit would be; saturates at its area",
        ICON_AREA,
    ),
    LogicalDefect(
        "wrong_juice_type",
        "fruit_tells_juice",
        _wrong_juice,
        "the juice and the fruit; saturates at the area of the fruit",
        ICON_AREA,
    ),
)
