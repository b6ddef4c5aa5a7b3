# SPDX-License-Identifier: Apache-2.0
"""Boxes that break one rule, with normal pins."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from anomalib_scdae.data.synthetic.category import LogicalDefect
from anomalib_scdae.data.synthetic.pushpins.scene import (
    COLUMNS,
    FREE_V,
    OFFSET,
    PIN_AREA,
    PITCH_U,
    PITCH_V,
    ROWS,
    Pin,
    PushpinsScene,
    floor_of,
    sample_pin,
)
from anomalib_scdae.data.synthetic.scene import Area, Fault, Pose, Rng, Silhouette

Broken = tuple[PushpinsScene, tuple[Fault, ...]]


def _with_pins(scene: PushpinsScene, index: int, pins: tuple[Pin, ...]) -> PushpinsScene:
    compartments = list(scene.compartments)
    compartments[index] = pins
    return replace(scene, compartments=tuple(compartments))


def _remove_pin(scene: PushpinsScene, rng: Rng) -> tuple[PushpinsScene, tuple[Fault, ...]]:
    index = int(rng.integers(ROWS * COLUMNS))
    return _with_pins(scene, index, ()), (Fault("missing_pushpin", (floor_of(scene, index),)),)


def _add_pins(count: int, name: str) -> Callable[[PushpinsScene, Rng], Broken]:
    def apply(scene: PushpinsScene, rng: Rng) -> Broken:
        index = int(rng.integers(ROWS * COLUMNS))
        pins = _spread(count + 1, rng)
        parts = tuple(Silhouette(f"pin {index} {number}") for number in range(count + 1))
        return _with_pins(scene, index, pins), (Fault(name, parts),)

    return apply


def _spread(count: int, rng: Rng) -> tuple[Pin, ...]:
    """Pins that touch at most: two as chance has it, more side by side, head to tail."""
    if count == 2:
        for _ in range(200):
            pair = (sample_pin(rng, 1.0), sample_pin(rng, 1.0))
            if _gap(*pair) > 0:
                return pair
    pins = []
    turned = int(rng.integers(2))
    for number in range(count):
        pin = sample_pin(rng, 1.0, 0.0)
        y = (number - (count - 1) / 2) * 2 * (FREE_V - 50) / (count - 1)
        angle = rng.uniform(-0.1, 0.1) + np.pi * ((number + turned) % 2)
        x = (rng.uniform(12, 26) + OFFSET) * np.cos(angle)
        pins.append(replace(pin, pose=Pose(float(x), float(y + rng.uniform(-3, 3)), float(angle))))
    return tuple(pins)


def _gap(one: Pin, other: Pin) -> float:
    """Distance between two pins, each taken for a row of discs."""
    along = np.array([-110, -82, -50, -22, 0, 30, 60, 75])
    radius = np.array([7, 7, 7, 42, 26, 30, 47, 47])
    x, y = (
        np.stack([pin.pose.x + along * np.cos(pin.pose.angle), pin.pose.y + along * np.sin(pin.pose.angle)])
        for pin in (one, other)
    )
    apart = np.hypot(*(x[:, :, None] - y[:, None, :]))
    return float((apart - radius[:, None] - radius[None, :]).min())


def _remove_separator(scene: PushpinsScene, rng: Rng) -> tuple[PushpinsScene, tuple[Fault, ...]]:
    row, column = int(rng.integers(ROWS)), int(rng.integers(COLUMNS - 1))
    separators = [list(line) for line in scene.separators]
    separators[row][column] = False
    broken = replace(scene, separators=tuple(tuple(line) for line in separators))
    pose = scene.box.at((column - (COLUMNS - 2) / 2) * PITCH_U, (row - (ROWS - 1) / 2) * PITCH_V)
    return broken, (Fault("missing_separator", (Area.turned_box(pose, 14, FREE_V),)),)


LOGICAL: tuple[LogicalDefect[PushpinsScene], ...] = (
    LogicalDefect(
        "additional_1_pushpin",
        "one_pin_per_compartment",
        _add_pins(1, "additional_1_pushpin"),
        "both pins in the compartment; saturates at the area of one pin",
        PIN_AREA,
    ),
    LogicalDefect(
        "additional_2_pushpins",
        "one_pin_per_compartment",
        _add_pins(2, "additional_2_pushpins"),
        "all three pins in the compartment; saturates at the area of two pins",
        2 * PIN_AREA,
    ),
    LogicalDefect(
        "missing_pushpin",
        "one_pin_per_compartment",
        _remove_pin,
        "the empty compartment's whole floor; saturates at the area of one pin",
        PIN_AREA,
    ),
    LogicalDefect(
        "missing_separator", "all_separators", _remove_separator, "the strip where the separator would stand"
    ),
)
