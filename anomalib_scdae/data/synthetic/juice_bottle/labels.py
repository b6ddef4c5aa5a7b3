# SPDX-License-Identifier: Apache-2.0
"""Paper labels, and what is printed on them."""

import numpy as np

from anomalib_scdae.data.synthetic.juice_bottle.icons import (
    FRUIT_SHAPES,
    GRAPES,
    ICON_SCALE,
    TINTS,
    grapes,
    icon_outline,
)
from anomalib_scdae.data.synthetic.juice_bottle.scene import BATCHES, LABELS, JuiceBottleScene, Label
from anomalib_scdae.data.synthetic.render import Canvas, Material, Patch
from anomalib_scdae.data.synthetic.scene import Damage, Rng, pick
from anomalib_scdae.data.synthetic.shapes import Array, box, circle, dome, ellipse, segment, smoothstep
from anomalib_scdae.data.synthetic.textures import lookup, noise, text

PAPER = Material(specular=0.06, gloss=14)


def paint_label(scene: JuiceBottleScene, canvas: Canvas, bottle: Patch, radius: Array, label: Label) -> None:
    """Paint a label around the bottle, with its print and its damage."""
    part = f"label {label.kind}"
    damage = scene.damage_of(part, "icon")
    if damage is not None and damage.part == "icon" and label.kind != "fruit":
        damage = None
    kind = damage.name if damage is not None else ""
    fate = np.random.default_rng(damage.seed if damage is not None else 0)
    arc = np.arcsin(np.clip(bottle.u / radius, -1, 1)) * radius - np.float32(label.around)
    down = bottle.v - np.float32(label.height)
    turn = label.turn
    if kind == "rotated_label":
        turn += fate.uniform(0.12, 0.3) * pick(fate, (-1, 1))
    cosine, sine = float(np.cos(turn)), float(np.sin(turn))
    s, t = cosine * arc + sine * down, -sine * arc + cosine * down
    half_s, half_t = LABELS[label.kind]
    outline = box(s, t, half_s, half_t, 16)
    torn = np.full_like(s, -np.inf)
    if damage is not None and kind == "damaged_label":
        torn = _torn(s, t, half_s, half_t, damage, fate)
        outline = np.maximum(outline, torn)
    coverage = bottle.coverage(outline) * (np.abs(bottle.u) < radius * 0.995)
    canvas.shade(bottle, coverage, 3, 4, strength=0.35)
    ink = (
        print_fruit_label(s, t, label, scene.batch, damage)
        if label.kind == "fruit"
        else print_text_label(s, t, scene.batch, damage)
    )
    # The paper's white core shows where it has torn.
    ink = ink + smoothstep(torn, -15, -5)[..., None] * (np.array([0.93, 0.92, 0.89], np.float32) - ink)
    grain = 1 + 0.010 * noise(s, t, 6, scene.seed + 8)
    canvas.paint(bottle, coverage, ink, PAPER, 0.55 * dome(bottle.u, radius), part, grain)
    if label.kind == "fruit" and label.icon is not None:
        icon = icon_outline(s, t, label, damage)
        canvas.claim(bottle, bottle.coverage(icon) * coverage, "icon")


def _torn(s: Array, t: Array, half_s: float, half_t: float, damage: Damage, fate: Rng) -> Array:
    """Distance to what a tear leaves of a label: a corner is gone, or a strip from the edge inwards."""
    ragged = 7 * noise(s, t, 22, damage.seed)
    corner = np.hypot(s - pick(fate, (-1, 1)) * half_s, t - pick(fate, (-1, 1)) * half_t)
    gone = fate.uniform(0.85, 1.35) * min(half_s, half_t) - corner
    slit, _ = segment(
        s, t, (fate.uniform(-0.7, 0.7) * half_s, half_t), (fate.uniform(-0.5, 0.5) * half_s, -0.1 * half_t)
    )
    return pick(fate, (gone, fate.uniform(13, 20) - slit)) + ragged


def ink(under: Array, distance: Array, color: tuple[float, float, float] | Array, blur: float = 2.0) -> Array:
    """Print a shape on the label."""
    cover = smoothstep(-distance, -blur, blur)[..., None]
    return under + cover * (np.asarray(color, np.float32) - under)


def print_fruit_label(s: Array, t: Array, label: Label, batch: int, damage: Damage | None) -> Array:
    """Colours of the fruit label, ``(H, W, 3)``."""
    half_s, half_t = LABELS["fruit"]
    plain, frame_color = BATCHES[batch]
    paper = np.broadcast_to(np.array(plain, np.float32), (*s.shape, 3))
    paper = ink(paper, np.abs(box(s, t, half_s - 12, half_t - 12, 12)) - 2.5, frame_color)
    if label.icon is None:
        return paper
    tint = TINTS[label.icon]
    x, y = (s - label.icon_shift[0]) / ICON_SCALE, (t - label.icon_shift[1]) / ICON_SCALE
    outline = FRUIT_SHAPES[label.icon](x, y)
    leaf = ellipse(x * 0.8 + (y + 84) * 0.6 - 30, (y + 84) * 0.8 - x * 0.6, 34, 13)
    printed = paper
    if damage is not None and damage.name == "unknown_fruit_icon":
        printed = ink(printed, grapes(x, y), (0.17, 0.05, 0.28))
        printed = ink(printed, leaf, (0.10, 0.28, 0.06))
        gleams = np.minimum.reduce([circle(x - cx + 7, y - cy + 7, 5) for cx, cy in GRAPES])
        return ink(printed, gleams, (0.40, 0.28, 0.5))
    if label.icon == "cherry":
        stems = np.minimum(segment(x, y, (-38, -2), (12, -86))[0], segment(x, y, (42, -16), (12, -86))[0])
        printed = ink(printed, stems - 4, (0.15, 0.20, 0.05))
    shading = 1 + 0.22 * np.clip(-(x + y) / 90, -1, 1)
    printed = ink(printed, outline, np.array(tint, np.float32) * shading[..., None])
    printed = ink(printed, np.maximum(outline + 6, circle(x + 26, y + 22, 13)), (0.9, 0.8, 0.6), 6.0)
    if label.icon != "banana":
        printed = ink(printed, leaf, (0.10, 0.30, 0.06))
    else:
        printed = ink(printed, np.minimum(circle(x + 82, y + 33, 10), circle(x - 82, y + 33, 9)), (0.16, 0.10, 0.03))
    if damage is not None and damage.name == "incomplete_fruit_icon":
        fate = np.random.default_rng(damage.seed)
        angle = fate.uniform(-np.pi, np.pi)
        cut = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle)) - np.float32(fate.uniform(-10, 25))
        printed = ink(printed, np.maximum(-cut, box(s, t, half_s - 22, half_t - 22)), plain)
    return printed


def print_text_label(s: Array, t: Array, batch: int, damage: Damage | None) -> Array:
    """Colours of the text label, ``(H, W, 3)``."""
    half_s, half_t = LABELS["text"]
    plain, frame_color = BATCHES[batch]
    paper = np.broadcast_to(np.array(plain, np.float32), (*s.shape, 3))
    paper = ink(paper, np.abs(box(s, t, half_s - 9, half_t - 9, 10)) - 2.0, frame_color)
    letters = text(("100 %", "JUICE"), 48)
    rows, columns = letters.shape
    scale = 0.92
    cover = lookup(letters, s, t, scale * columns / 2, scale * rows / 2)
    if damage is not None and damage.name == "label_text_incomplete":
        fate = np.random.default_rng(damage.seed)
        place, reach = fate.uniform(-55, 55), fate.uniform(38, 66)
        cover = cover * smoothstep(np.abs(s - place) + 3 * noise(s, t, 12, damage.seed), reach - 4, reach + 4)
    return paper + cover[..., None] * (np.array([0.07, 0.09, 0.05], np.float32) - paper)
