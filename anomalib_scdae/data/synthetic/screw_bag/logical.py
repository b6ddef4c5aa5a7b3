# SPDX-License-Identifier: Apache-2.0
"""Bags that break one rule, with normal parts."""

from collections.abc import Callable
from dataclasses import replace

from anomalib_scdae.data.synthetic.category import LogicalDefect
from anomalib_scdae.data.synthetic.scene import Area, Fault, Rng, Silhouette, pick
from anomalib_scdae.data.synthetic.screw_bag.filling import make_part, put
from anomalib_scdae.data.synthetic.screw_bag.rules import of_kind
from anomalib_scdae.data.synthetic.screw_bag.scene import (
    LENGTH_LIMIT,
    LONG,
    LONG_AREA,
    NUT_AREA,
    ROOM_BOTTOM,
    ROOM_TOP,
    ROOM_U,
    SHORT,
    SHORT_AREA,
    WASHER_AREA,
    ScrewBagScene,
)

Broken = tuple[ScrewBagScene, tuple[Fault, ...]]


def _room(scene: ScrewBagScene) -> Area:
    """Where a part that is missing could lie."""
    middle = scene.bag.at(0, (ROOM_TOP + ROOM_BOTTOM) / 2)
    return Area.turned_box(middle, ROOM_U, (ROOM_BOTTOM - ROOM_TOP) / 2)


def _remove(name: str, kind: str, count: int, long: bool | None = None) -> Callable[[ScrewBagScene, Rng], Broken]:
    def apply(scene: ScrewBagScene, rng: Rng) -> Broken:
        candidates = [index for index in of_kind(scene, kind) if long is None or scene.parts[index].long == long]
        gone = set(rng.permutation(candidates)[:count].tolist())
        kept = tuple(part for index, part in enumerate(scene.parts) if index not in gone)
        return replace(scene, parts=kept), (Fault(name, (_room(scene),)),)

    return apply


def _add(name: str, kind: str, count: int, length: float = 0.0) -> Callable[[ScrewBagScene, Rng], Broken]:
    def apply(scene: ScrewBagScene, rng: Rng) -> Broken:
        parts = list(scene.parts)
        for _ in range(count):
            chute = pick(rng, (0, 1))
            parts.append(put(make_part(kind, rng, 1.0, length), chute, parts, rng, 1.0))
        changed = replace(scene, parts=tuple(parts))
        long = length > LENGTH_LIMIT
        alike = [index for index in of_kind(changed, kind) if parts[index].long == long]
        return changed, (Fault(name, tuple(Silhouette(f"part {index}") for index in alike)),)

    return apply


def _resize(name: str, length: float) -> Callable[[ScrewBagScene, Rng], Broken]:
    """Replace the screw of the other length by one of this length."""

    def apply(scene: ScrewBagScene, rng: Rng) -> Broken:
        parts = list(scene.parts)
        long = length > LENGTH_LIMIT
        index = next(index for index in of_kind(scene, "screw") if parts[index].long != long)
        parts.pop(index)
        chute = 1 if long else 0  # that of the screw whose place it takes
        parts.append(put(make_part("screw", rng, 1.0, length), chute, parts, rng, 1.0))
        changed = replace(scene, parts=tuple(parts))
        return changed, (Fault(name, tuple(Silhouette(f"part {index}") for index in of_kind(changed, "screw"))),)

    return apply


def _missing(name: str, rule: str, kind: str, count: int, area: float, long: bool | None = None) -> LogicalDefect:
    text = "the bag's room, where the missing part could lie; saturates at the missing parts' area"
    return LogicalDefect(name, rule, _remove(name, kind, count, long), text, count * float(area))


def _extra(name: str, rule: str, kind: str, count: int, area: float, length: float = 0.0) -> LogicalDefect:
    text = "all parts of that kind; saturates at the area of the extra ones"
    return LogicalDefect(name, rule, _add(name, kind, count, length), text, count * float(area))


LOGICAL: tuple[LogicalDefect[ScrewBagScene], ...] = (
    LogicalDefect(
        "screw_too_long",
        "one_long_one_short",
        _resize("screw_too_long", LONG),
        "both screws; saturates at the difference in area of a long and a short screw",
        LONG_AREA - SHORT_AREA,
    ),
    LogicalDefect(
        "screw_too_short",
        "one_long_one_short",
        _resize("screw_too_short", SHORT),
        "both screws; saturates at the difference in area of a long and a short screw",
        LONG_AREA - SHORT_AREA,
    ),
    _extra("additional_1_long_screw", "two_screws", "screw", 1, LONG_AREA, LONG),
    _extra("additional_1_short_screw", "two_screws", "screw", 1, SHORT_AREA, SHORT),
    _extra("additional_1_nut", "two_nuts", "nut", 1, NUT_AREA),
    _extra("additional_2_nuts", "two_nuts", "nut", 2, NUT_AREA),
    _extra("additional_1_washer", "two_washers", "washer", 1, WASHER_AREA),
    _extra("additional_2_washers", "two_washers", "washer", 2, WASHER_AREA),
    _missing("missing_1_long_screw", "two_screws", "screw", 1, LONG_AREA, long=True),
    _missing("missing_1_short_screw", "two_screws", "screw", 1, SHORT_AREA, long=False),
    _missing("missing_1_nut", "two_nuts", "nut", 1, NUT_AREA),
    _missing("missing_2_nuts", "two_nuts", "nut", 2, NUT_AREA),
    _missing("missing_1_washer", "two_washers", "washer", 1, WASHER_AREA),
    _missing("missing_2_washers", "two_washers", "washer", 2, WASHER_AREA),
)
