# SPDX-License-Identifier: Apache-2.0
"""Pairs that break one rule, with normal parts."""

from collections.abc import Callable
from dataclasses import replace

from anomalib_scdae.data.synthetic.category import LogicalDefect
from anomalib_scdae.data.synthetic.scene import Area, Fault, Pose, Rng, Silhouette, pick
from anomalib_scdae.data.synthetic.splicing_connectors.cables import cable_path
from anomalib_scdae.data.synthetic.splicing_connectors.scene import (
    CABLE_AREA,
    CABLE_LENGTH,
    CLIP,
    CLIP_AREA,
    COLORS,
    HALF_DEPTH,
    SHORT_CABLE_LENGTH,
    Connector,
    SplicingConnectorsScene,
    cable_length,
    sample_cable,
    sample_pair,
)

Broken = tuple[SplicingConnectorsScene, tuple[Fault, ...]]


def _between(scene: SplicingConnectorsScene) -> Area:
    """The area between the two connectors' faces, across all their clips."""
    assert scene.left is not None  # noqa: S101 - what is normal has both
    assert scene.right is not None  # noqa: S101
    width = max(scene.left.clips, scene.right.clips) * CLIP / 2
    middle = ((scene.left.pose.x + scene.right.pose.x) / 2, (scene.left.pose.y + scene.right.pose.y) / 2)
    return Area.turned_box(Pose(*middle), (cable_length(scene) or 0.0) / 2, width)


def _around(connector: Connector) -> Area:
    return Area.turned_box(connector.pose, HALF_DEPTH, connector.clips * CLIP / 2)


def _resized(name: str, one: int, other: int) -> Callable[[SplicingConnectorsScene, Rng], Broken]:
    """One connector of the pair gets the other size."""

    def apply(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
        sizes = (one, other) if rng.integers(2) else (other, one)
        left, right = sample_pair(rng, 1.0, sizes, cable_length(scene) or 0.0)
        cable = replace(sample_cable(rng, 1.0, min(sizes)), color=COLORS[pick(rng, sizes)])
        changed = replace(scene, left=left, right=right, cables=(cable,))
        return _lengthened(changed), (Fault(name, (Silhouette("left"), Silhouette("right"))),)

    return apply


def _lengthened(scene: SplicingConnectorsScene) -> SplicingConnectorsScene:
    """Move the right connector out if the new pair happens to be closer than a cable must be long."""
    assert scene.right is not None  # noqa: S101 - only called with a pair
    lacking = max(0.0, CABLE_LENGTH[0] + 1 - (cable_length(scene) or 0.0))
    return replace(scene, right=replace(scene.right, pose=replace(scene.right.pose, x=scene.right.pose.x + lacking)))


def _shortened(name: str, clips: int) -> Callable[[SplicingConnectorsScene, Rng], Broken]:
    def apply(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
        left, right = sample_pair(rng, 1.0, (clips, clips), float(rng.uniform(*SHORT_CABLE_LENGTH)))
        cable = sample_cable(rng, 1.0, clips)
        changed = replace(scene, left=left, right=right, cables=(cable,))
        return changed, (Fault(name, (Silhouette("left"), Silhouette("right"), Silhouette("cable 0"))),)

    return apply


def _without_connector(name: str, *, cable: bool) -> Callable[[SplicingConnectorsScene, Rng], Broken]:
    def apply(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
        side = pick(rng, ("left", "right"))
        gone = getattr(scene, side)
        changed = replace(scene, cables=scene.cables if cable else ())
        changed = replace(changed, left=None) if side == "left" else replace(changed, right=None)
        if not cable:
            return changed, (Fault(name, (_around(gone), _between(scene))),)
        # The connector would sit at the cable's free end.
        x, y = cable_path(changed, scene.cables[0])[0 if side == "left" else -1]
        reach = -HALF_DEPTH if side == "left" else HALF_DEPTH
        offset = gone.pose.y - gone.face(scene.cables[0].left, 1)[1]
        moved = replace(gone, pose=Pose(float(x) + reach, float(y) + offset))
        return changed, (Fault(name, (_around(moved),)),)

    return apply


def _without_cable(scene: SplicingConnectorsScene, _rng: Rng) -> Broken:
    return replace(scene, cables=()), (Fault("missing_cable", (_between(scene),)),)


def _with_extra_cable(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
    assert scene.left is not None  # noqa: S101 - what is normal has both
    free = [clip for clip in range(scene.left.clips) if clip != scene.cables[0].left]
    clip = pick(rng, free)
    extra = replace(sample_cable(rng, 1.0, scene.left.clips), left=clip, right=clip, bow=scene.cables[0].bow)
    parts = (Silhouette("cable 0"), Silhouette("cable 1"))
    return replace(scene, cables=(*scene.cables, extra)), (Fault("extra_cable", parts),)


def _with_wrong_color(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
    cable = scene.cables[0]
    color = pick(rng, [color for color in COLORS.values() if color != cable.color])
    parts = (Silhouette("cable 0"), Silhouette("left"), Silhouette("right"))
    return replace(scene, cables=(replace(cable, color=color),)), (Fault("cable_color", parts),)


def _with_wrong_clip(scene: SplicingConnectorsScene, rng: Rng) -> Broken:
    assert scene.left is not None  # noqa: S101 - what is normal has both
    cable = scene.cables[0]
    clip = pick(rng, [clip for clip in range(scene.left.clips) if clip != cable.left])
    return replace(scene, cables=(replace(cable, right=clip),)), (
        Fault("wrong_cable_location", (Silhouette("cable 0"),)),
    )


def _wrong_type(one: int, other: int) -> LogicalDefect:
    name = f"wrong_connector_type_{one}_{other}"
    text = "both connectors; saturates at the area by which they differ"
    return LogicalDefect(name, "same_size", _resized(name, one, other), text, abs(one - other) * CLIP_AREA)


def _too_short(clips: int) -> LogicalDefect:
    name = f"cable_too_short_t{clips}"
    text = "cable and both connectors; saturates at the area of one connector"
    return LogicalDefect(name, "cable_length", _shortened(name, clips), text, clips * CLIP_AREA)


LOGICAL: tuple[LogicalDefect[SplicingConnectorsScene], ...] = (
    _wrong_type(5, 2),
    _wrong_type(5, 3),
    _wrong_type(3, 2),
    _too_short(2),
    _too_short(3),
    _too_short(5),
    LogicalDefect(
        "missing_connector",
        "two_connectors",
        _without_connector("missing_connector", cable=True),
        "where the connector would lie",
    ),
    LogicalDefect(
        "missing_connector_and_cable",
        "two_connectors",
        _without_connector("missing_connector_and_cable", cable=False),
        "where the connector and the cable would lie; saturates at the smallest connector's and a cable's area",
        2 * CLIP_AREA + CABLE_AREA,
    ),
    LogicalDefect(
        "missing_cable",
        "one_cable",
        _without_cable,
        "between the connectors, across all clips; saturates at the area of one cable",
        CABLE_AREA,
    ),
    LogicalDefect(
        "extra_cable",
        "one_cable",
        _with_extra_cable,
        "both cables; saturates at the area of one cable",
        CABLE_AREA,
    ),
    LogicalDefect(
        "cable_color",
        "color_tells_size",
        _with_wrong_color,
        "the cable and both connectors; saturates at the area of one cable",
        CABLE_AREA,
    ),
    LogicalDefect(
        "wrong_cable_location",
        "same_clip",
        _with_wrong_clip,
        "the cable; saturates at the area of one cable",
        CABLE_AREA,
    ),
)
