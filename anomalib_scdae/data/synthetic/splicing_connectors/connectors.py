# SPDX-License-Identifier: Apache-2.0
"""Connectors with their levers."""

import numpy as np

from anomalib_scdae.data.synthetic.render import Canvas, Material, Patch
from anomalib_scdae.data.synthetic.scene import pick
from anomalib_scdae.data.synthetic.shapes import Array, bevel, box, smoothstep
from anomalib_scdae.data.synthetic.splicing_connectors.scene import (
    CABLE_RADIUS,
    CLIP,
    HALF_DEPTH,
    Connector,
    SplicingConnectorsScene,
)
from anomalib_scdae.data.synthetic.textures import noise

_HOUSING = Material(specular=0.30, gloss=34)
_LEVER = Material(specular=0.34, gloss=30)


def paint_connector(scene: SplicingConnectorsScene, canvas: Canvas, name: str, connector: Connector, side: int) -> None:
    """Paint a connector with its clips and levers; ``side`` is where its cable leaves, -1 or 1."""
    half_v = connector.clips * CLIP / 2
    patch = canvas.patch(connector.pose, HALF_DEPTH, half_v, margin=90)
    damage = scene.damage_of(name)
    fate = np.random.default_rng(damage.seed if damage is not None else 0)
    kind = damage.name if damage is not None else ""
    # From here on +u looks to the cable.
    u, v = patch.u * (-side if kind == "flipped_connector" else side), patch.v
    outline = box(u, v, HALF_DEPTH, half_v - 2, 12)
    if damage is not None and kind == "broken_connector":
        corner = np.hypot(u - pick(fate, (-1, 1)) * HALF_DEPTH, v - pick(fate, (-1, 1)) * half_v)
        outline = np.maximum(outline, fate.uniform(50, 85) - corner + 7 * noise(u, v, 24, damage.seed))
    coverage = patch.coverage(outline)
    canvas.shade(patch, coverage, 44, 15)
    scuffs = noise(u, v, (9, 60), connector.seed) * 0.5 + noise(u, v, 70, connector.seed + 1, 2)
    clip_v = np.mod(v + half_v, CLIP) - CLIP / 2
    # Clear plastic: the metal of each clamp shines through, ribs stand between the clips.
    cage = smoothstep(-box(u + 5, clip_v, 120, 33, 8), -6, 10)
    tone = (1 + 0.03 * scuffs) * (1 - 0.38 * cage * (0.7 + 0.3 * np.sin(u / 9)))
    rib = 5 * smoothstep(np.abs(clip_v), CLIP / 2 - 9, CLIP / 2 - 4)
    mouth = box(u - HALF_DEPTH + 14, clip_v, 22, CABLE_RADIUS + 7, 10)
    height = bevel(outline, 11) + rib + 9 * smoothstep(mouth, -6, 6)
    canvas.paint(patch, coverage, (0.40, 0.41, 0.41), _HOUSING, height, name, tone)
    canvas.tint(patch, 0.55 * patch.coverage(mouth) * coverage, (0.45, 0.45, 0.45))
    raised = int(fate.integers(connector.clips)) if kind == "open_lever" else -1
    for clip in range(connector.clips):
        centre = (clip - (connector.clips - 1) / 2) * CLIP
        _paint_lever(canvas, patch, u, v - centre, coverage, name, open_=clip == raised)


def _paint_lever(canvas: Canvas, patch: Patch, u: Array, v: Array, inside: Array, name: str, *, open_: bool) -> None:
    """An orange lever on top of a clip; an open one stands up and leans over the back."""
    reach, back = (60.0, -128.0) if open_ else (92.0, -38.0)
    outline = box(u - back, v, reach, 36, 9)
    coverage = patch.coverage(outline) * (1.0 if open_ else inside)
    canvas.shade(patch, coverage, 40 if open_ else 12, 10 if open_ else 6, strength=0.6)
    grip = 2.6 * np.sin((u - back) / 5.0) * smoothstep(-(u - back), reach - 58, reach - 48)
    height = bevel(outline, 9) + grip.astype(np.float32)
    hollow = box(u - back - 0.35 * reach, v, 0.42 * reach, 20, 8)
    height = height - 6 * smoothstep(-hollow, -4, 6)
    shade = 1.25 if open_ else 1.0
    canvas.paint(patch, coverage, (0.78 * shade, 0.19 * shade, 0.012), _LEVER, height=height, part=name)
