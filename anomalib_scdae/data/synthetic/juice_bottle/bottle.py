# SPDX-License-Identifier: Apache-2.0
"""Glass, juice, cap and what they reflect."""

import numpy as np

from anomalib_scdae.data.synthetic.juice_bottle.profile import CAP_END, GLASS, LIQUID_END
from anomalib_scdae.data.synthetic.juice_bottle.scene import LABELS, JuiceBottleScene
from anomalib_scdae.data.synthetic.render import Canvas, Material, Patch
from anomalib_scdae.data.synthetic.scene import pick
from anomalib_scdae.data.synthetic.shapes import Array, dome, norm, smoothstep
from anomalib_scdae.data.synthetic.textures import noise

JUICES = {"banana": (0.80, 0.62, 0.27), "cherry": (0.30, 0.006, 0.018), "orange": (0.86, 0.29, 0.008)}
STRANGE_JUICES = ((0.05, 0.30, 0.05), (0.10, 0.05, 0.30), (0.02, 0.22, 0.30), (0.10, 0.05, 0.02))
_LIQUID = Material(specular=0.0, gloss=10)
_CAP = Material(specular=0.35, gloss=30)


def paint_glass(canvas: Canvas, bottle: Patch, inside: Array, across: Array) -> None:
    """The empty bottle: what lies behind is seen through it, darkened and bent at the edges."""
    rim = smoothstep(np.abs(across), 0.80, 1.0)
    bright = np.exp(-np.square((np.abs(across) - 0.86) / 0.035))
    bottom = smoothstep(bottle.v, 640, 690)
    shade = 0.90 - 0.50 * rim + 0.22 * bright - 0.25 * bottom * (1 - rim)
    tone = shade[..., None] * np.array([0.96, 1.0, 0.98], np.float32)
    canvas.tint(bottle, inside, tone)


def paint_juice(scene: JuiceBottleScene, canvas: Canvas, bottle: Patch, radius: Array) -> None:
    """Paint the juice, down to where the glass is thick."""
    u, v = bottle.u, bottle.v
    damage = scene.damage_called("juice_color")
    pigment = np.array(JUICES[scene.juice or ""], np.float32)
    if damage is not None:
        pigment = np.array(pick(np.random.default_rng(damage.seed), STRANGE_JUICES), np.float32)
    inner = radius - GLASS
    across = np.clip(u / inner, -1, 1)
    surface = np.float32(scene.level) + 7 * (1 - np.sqrt(1 - np.square(across)))
    body = np.maximum(np.maximum(np.abs(u) - inner, surface - v), v - LIQUID_END)
    body = np.maximum(body, norm(np.maximum(np.abs(u) - 150, 0), np.maximum(v - 632, 0)) - 40)
    cloudy = noise(u, v, (120, 260), scene.seed + 5, 2) + 0.5 * noise(u, v, 18, scene.seed + 6)
    thick = np.sqrt(1 - np.square(across))
    light = 0.58 + 0.42 * thick - 0.10 * smoothstep(v, 200, 690) + 0.025 * cloudy
    light += 0.16 * np.exp(-np.square((across - 0.55) / 0.28))
    color = pigment * (1 - 0.14 * scene.ripeness) * light[..., None]
    # Thin layers at the edge let more light through and look more saturated.
    color = color * (1 - 0.25 * (1 - thick)[..., None] * (1 - pigment))
    coverage = bottle.coverage(body)
    canvas.paint(bottle, 0.97 * coverage, color, _LIQUID)
    canvas.claim(bottle, coverage, "juice")
    ring = np.exp(-np.square((v - surface - 5) / 5)) * (np.abs(u) < inner)
    canvas.tint(bottle, (0.35 * ring).astype(np.float32), pigment + (1 - pigment) * 0.4)
    foam = np.exp(-np.square((v - surface + 3) / 3.5)) * (np.abs(u) < inner)
    canvas.add_glow(bottle, 0.10 * foam * (0.3 + pigment)[:, None, None])


def paint_cap(scene: JuiceBottleScene, canvas: Canvas, bottle: Patch, radius: Array) -> None:
    """Paint the cap."""
    u, v = bottle.u, bottle.v
    cap = np.maximum(np.abs(u) - radius - 6, np.abs(v + 655) - 50)
    ridges = 2.2 * np.sin(np.arcsin(np.clip(u / 74, -1, 1)) * 22) * smoothstep(-np.abs(v + 655), -36, -32)
    tone = 1 + 0.01 * noise(u, v, 40, scene.seed + 9)
    height = 0.8 * dome(u, radius + 6) + ridges + 5 * smoothstep(-np.abs(v + 655), -50, -44)
    canvas.paint(bottle, bottle.coverage(cap), (0.72, 0.73, 0.74), _CAP, height, "cap", tone)


def paint_reflections(scene: JuiceBottleScene, canvas: Canvas, bottle: Patch, inside: Array, across: Array) -> None:
    """Soft boxes in the glass: a broad strip on the light's side, a thin one on the other."""
    v = bottle.v
    below_cap = smoothstep(v, CAP_END, CAP_END + 14) * smoothstep(-v, -682, -650)
    waviness = 0.012 * noise(bottle.u, v, (300, 90), scene.seed + 10)
    window = smoothstep(np.abs(np.mod(v + 190, 900) - 450), 0, 10)
    broad = smoothstep(0.055 - np.abs(across + 0.66 + waviness), -0.02, 0.03) * (0.75 + 0.25 * window)
    thin = np.exp(-np.square((across - 0.78 + waviness) / 0.022))
    edge = np.exp(-np.square((np.abs(across) - 0.965) / 0.02))
    shoulder = np.exp(-np.square((across + 0.35) / 0.14)) * np.exp(-np.square((v + 290) / 46))
    labelled = np.ones_like(v)
    for label in scene.labels:
        half_s, half_t = LABELS[label.kind]
        on_label = smoothstep(half_t - np.abs(v - label.height), -2, 4)
        reach = np.float32(np.sin(min((half_s + abs(label.around)) / 196, 1.5)))
        labelled *= 1 - 0.75 * on_label * (np.abs(across) < reach)
    light = (0.34 * broad + 0.16 * thin + 0.22 * shoulder) * labelled + 0.10 * edge
    canvas.add_glow(bottle, (light * inside * below_cap).astype(np.float32))
