# SPDX-License-Identifier: Apache-2.0
"""Boxes that break one rule, with normal contents."""

from collections.abc import Callable
from dataclasses import replace

from anomalib_scdae.data.synthetic.breakfast_box.places import cereal_room, fruit_room
from anomalib_scdae.data.synthetic.breakfast_box.scene import (
    IN_U,
    IN_V,
    NECTARINE_AREA,
    RATIO,
    TANGERINE_AREA,
    BreakfastBoxScene,
    place_fruits,
)
from anomalib_scdae.data.synthetic.category import LogicalDefect
from anomalib_scdae.data.synthetic.scene import Area, Fault, Rng, Silhouette, pick

Broken = tuple[BreakfastBoxScene, tuple[Fault, ...]]
Breaks = Callable[[BreakfastBoxScene, Rng], Broken]


def _with_fruits(name: str, nectarines: int, tangerines: int) -> Breaks:
    """Too few: the whole compartment; too many or of the wrong kind: the kind of which there are too many."""

    def apply(scene: BreakfastBoxScene, rng: Rng) -> Broken:
        kinds = ["nectarine"] * nectarines + ["tangerine"] * tangerines
        changed = replace(scene, fruits=place_fruits(kinds, rng, 1.0))
        surplus = "nectarine" if nectarines > 1 else "tangerine" if tangerines > 2 else ""
        parts = tuple(
            Silhouette(f"fruit {index}") for index, fruit in enumerate(changed.fruits) if fruit.kind == surplus
        )
        return changed, (Fault(name, parts or (fruit_room(scene),)),)

    return apply


def _without_toppings(name: str, *gone: str) -> Breaks:
    def apply(scene: BreakfastBoxScene, _rng: Rng) -> Broken:
        changed = replace(scene, toppings=scene.toppings - set(gone))
        # Where only one kind is missing, the other one fills the place.
        return changed, (Fault(name, (cereal_room(scene, scene.ratio, 1.0),)),)

    return apply


def _without_cereals(scene: BreakfastBoxScene, _rng: Rng) -> Broken:
    return replace(scene, cereals=False), (Fault("missing_cereals", (cereal_room(scene, 0.0, scene.ratio),)),)


def _without_both(scene: BreakfastBoxScene, _rng: Rng) -> Broken:
    changed = replace(scene, cereals=False, toppings=frozenset())
    return changed, (Fault("missing_cereals_and_toppings", (cereal_room(scene),)),)


def _swap_sides(scene: BreakfastBoxScene, _rng: Rng) -> Broken:
    changed = replace(scene, mirrored=True)
    return changed, (Fault("compartments_swapped", (Area.turned_box(scene.box, IN_U, IN_V),)),)


def _refill(name: str, low: float, high: float) -> Breaks:
    def apply(scene: BreakfastBoxScene, rng: Rng) -> Broken:
        changed = replace(scene, filling=float(rng.uniform(low, high)))
        if changed.filling > 1:
            return changed, (Fault(name, (Silhouette("cereals"), Silhouette("toppings"))),)
        return changed, (Fault(name, (cereal_room(scene),)),)

    return apply


def _wrong_ratio(scene: BreakfastBoxScene, rng: Rng) -> Broken:
    low, high = pick(rng, ((0.26, 0.40), (0.72, 0.86)))
    changed = replace(scene, ratio=float(rng.uniform(low, high)))
    edges = (changed.ratio, RATIO[0]) if changed.ratio < RATIO[0] else (RATIO[1], changed.ratio)
    return changed, (Fault("wrong_ratio", (cereal_room(changed, *edges),)),)


def _fruit_defect(nectarines: int, tangerines: int, area: float) -> LogicalDefect:
    name = (
        f"nectarine{'' if nectarines == 1 else 's'}_{nectarines}_tangerine{'' if tangerines == 1 else 's'}_{tangerines}"
    )
    crowded = nectarines > 1 or tangerines > 2
    text = (
        "all fruits of the kind of which there are too many; saturates at the area of the surplus"
        if crowded
        else "the fruits' compartment; saturates at the area of the missing fruits"
    )
    return LogicalDefect(name, "fruits", _with_fruits(name, nectarines, tangerines), text, float(area))


_T, _N = TANGERINE_AREA, NECTARINE_AREA
LOGICAL: tuple[LogicalDefect[BreakfastBoxScene], ...] = (
    LogicalDefect(
        "missing_almonds",
        "cereals_and_toppings",
        _without_toppings("missing_almonds", "almonds"),
        "the toppings; saturates at all of it",
    ),
    LogicalDefect(
        "missing_bananas",
        "cereals_and_toppings",
        _without_toppings("missing_bananas", "bananas"),
        "the toppings; saturates at all of it",
    ),
    LogicalDefect(
        "missing_toppings",
        "cereals_and_toppings",
        _without_toppings("missing_toppings", "almonds", "bananas"),
        "where the toppings would be; saturates at all of it",
    ),
    LogicalDefect(
        "missing_cereals",
        "cereals_and_toppings",
        _without_cereals,
        "where the cereals would be; saturates at all of it",
    ),
    LogicalDefect(
        "missing_cereals_and_toppings",
        "cereals_and_toppings",
        _without_both,
        "the whole compartment; saturates at all of it",
    ),
    _fruit_defect(2, 1, _N),
    _fruit_defect(1, 1, _T),
    _fruit_defect(0, 2, _N),
    _fruit_defect(0, 3, _T),
    _fruit_defect(3, 0, 2 * _N),
    _fruit_defect(0, 1, _N + _T),
    _fruit_defect(0, 0, _N + 2 * _T),
    _fruit_defect(0, 4, 2 * _T),
    LogicalDefect("compartments_swapped", "sides", _swap_sides, "the box's inside; saturates at all of it"),
    LogicalDefect(
        "overflow",
        "filling",
        _refill("overflow", 1.07, 1.11),
        "cereals and toppings; saturates at all of it",
    ),
    LogicalDefect(
        "underflow",
        "filling",
        _refill("underflow", 0.55, 0.82),
        "the compartment; saturates at all of it",
    ),
    LogicalDefect("wrong_ratio", "ratio", _wrong_ratio, "between the boundary and its band; saturates at all of it"),
)
