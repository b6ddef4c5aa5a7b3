# SPDX-License-Identifier: Apache-2.0
"""Blemishes: structural defects that can happen to the surface of any part.

Each blemish takes the canvas, the name of the part, and a generator that fixes its place and shape; it changes a small
neighbourhood. Damage that is particular to a part (a bent needle, a torn label) is drawn by the part's own painter.
"""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from anomalib_scdae.data.synthetic.render import Canvas, Color, Material, Patch
from anomalib_scdae.data.synthetic.scene import Pose, Rng, draw_seed, pick
from anomalib_scdae.data.synthetic.shapes import Array, bevel, ellipse, polyline, smoothstep
from anomalib_scdae.data.synthetic.textures import noise

Blemish = Callable[[Canvas, str, Rng], None]

_MATT = Material(0.05, 12)
_WET = Material(0.7, 80)
_CHIP = Material(0.3, 40, metal=0.9)


def spot(canvas: Canvas, part: str, rng: Rng, clearance: float = 0.5) -> Pose:
    """Choose a place on a part that is in sight, with a random turn.

    Args:
        canvas: Where the part is painted.
        part: Its name.
        rng: Source of the choice.
        clearance: Distance from the part's outline, as a share of the largest that there is.
    """
    depth = cv2.distanceTransform(np.pad(canvas.silhouette(part).astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    # A part that is hidden altogether offers every place, where nothing will happen to it.
    rows, columns = np.nonzero(depth >= clearance * depth.max())
    index = int(rng.integers(len(rows)))
    x, y = canvas.unproject(np.array([[columns[index] + 0.5, rows[index] + 0.5]]))[0]
    return Pose(float(x), float(y), float(rng.uniform(-np.pi, np.pi)))


def discolor(colors: tuple[tuple[float, float, float], ...], size: float) -> Blemish:
    """Make a blemish: a place of the part has another colour, with a soft ragged edge."""

    def apply(canvas: Canvas, part: str, rng: Rng) -> None:
        patch = canvas.patch(spot(canvas, part, rng), size, size, margin=0.4 * size)
        blot = _blot(patch, size * rng.uniform(0.6, 0.9), size * rng.uniform(0.4, 0.7), rng)
        coverage = smoothstep(-blot, -0.05 * size, 0.08 * size) * _on(canvas, patch, part)
        canvas.dye(patch, np.float32(rng.uniform(0.85, 1.0)) * coverage, pick(rng, colors))

    return apply


def stain(size: float) -> Blemish:
    """Make a blemish: a dried drop, darker at its rim."""

    def apply(canvas: Canvas, part: str, rng: Rng) -> None:
        half = size * rng.uniform(0.6, 1.0)
        patch = canvas.patch(spot(canvas, part, rng), half, half, margin=0.5 * half)
        blot = _blot(patch, half, half * rng.uniform(0.6, 0.95), rng)
        rim = np.exp(-np.square(blot / np.float32(0.12 * half)))
        coverage = (smoothstep(-blot, 0, 0.15 * half) * 0.6 + 0.4 * rim) * _on(canvas, patch, part)
        canvas.tint(patch, coverage, pick(rng, [(0.5, 0.36, 0.2), (0.35, 0.3, 0.28), (0.6, 0.5, 0.3)]))

    return apply


def rot(size: float) -> Blemish:
    """Make a blemish: a soft brown place that has sunk in."""

    def apply(canvas: Canvas, part: str, rng: Rng) -> None:
        half = size * rng.uniform(0.7, 1.0)
        patch = canvas.patch(spot(canvas, part, rng), half, half, margin=0.6 * half)
        blot = _blot(patch, half, half * rng.uniform(0.6, 0.95), rng)
        coverage = smoothstep(-blot, -0.1 * half, 0.25 * half) * _on(canvas, patch, part)
        canvas.tint(patch, 0.92 * coverage, pick(rng, [(0.25, 0.2, 0.2), (0.4, 0.35, 0.4), (0.15, 0.15, 0.2)]))
        wrinkles = noise(patch.u, patch.v, 0.25 * half, draw_seed(rng))
        canvas.emboss(patch, (0.03 * half * wrinkles - 0.25 * half) * coverage)

    return apply


def scratch(length: float, color: Color = (0.9, 0.9, 0.9), width: float = 2.2) -> Blemish:
    """Make a blemish: one or two nearly straight scratches that lay bare what is below."""

    def apply(canvas: Canvas, part: str, rng: Rng) -> None:
        for _ in range(int(rng.integers(1, 3))):
            pose = spot(canvas, part, rng)
            patch = canvas.patch(pose, 0.6 * length, 0.25 * length)
            path = _path(rng, length * rng.uniform(0.6, 1.0), 0.05, 6)
            distance, along = polyline(patch.u, patch.v, path)
            taper = np.sin(np.pi * np.clip(along / (len(path) - 1), 0.03, 0.97))
            line = patch.coverage(distance - width * taper) * _on(canvas, patch, part)
            canvas.emboss(patch, -1.5 * np.exp(-np.square(distance / np.float32(width))) * _on(canvas, patch, part))
            canvas.paint(patch, 0.75 * line, color, _MATT)

    return apply


def crack(length: float, width: float = 3.0) -> Blemish:
    """Make a blemish: a dark, jagged line."""

    def apply(canvas: Canvas, part: str, rng: Rng) -> None:
        patch = canvas.patch(spot(canvas, part, rng), 0.6 * length, 0.5 * length)
        path = _path(rng, length * rng.uniform(0.7, 1.0), 0.28, 9)
        distance, along = polyline(patch.u, patch.v, path)
        taper = np.sin(np.pi * np.clip(along / (len(path) - 1), 0.04, 0.96))
        inside = _on(canvas, patch, part)
        canvas.tint(patch, 0.85 * patch.coverage(distance - width * taper) * inside, (0.12, 0.1, 0.09))
        canvas.emboss(patch, -3 * np.exp(-np.square(distance / np.float32(2.2 * width))) * inside)

    return apply


def dent(size: float) -> Blemish:
    """Make a blemish: the surface is pressed in."""

    def apply(canvas: Canvas, part: str, rng: Rng) -> None:
        half = size * rng.uniform(0.6, 1.0)
        patch = canvas.patch(spot(canvas, part, rng), half, half, margin=0.8 * half)
        blot = np.maximum(_blot(patch, half, half * rng.uniform(0.5, 0.8), rng), -half)
        canvas.emboss(patch, -0.7 * half * smoothstep(-blot, -0.35 * half, 0.55 * half) * _on(canvas, patch, part))
        canvas.tint(patch, 0.45 * smoothstep(-blot, 0, 0.5 * half) * _on(canvas, patch, part), (0.45, 0.38, 0.32))

    return apply


def contaminate(size: float) -> Blemish:
    """Make a blemish: something lies there that belongs elsewhere (a crumb, a fibre, a drop or a chip of metal)."""

    def apply(canvas: Canvas, part: str, rng: Rng) -> None:
        pick(rng, [_crumb, _fibre, _drop, _chip])(canvas, spot(canvas, part, rng, 0.35), size, rng)

    return apply


def _crumb(canvas: Canvas, pose: Pose, size: float, rng: Rng) -> None:
    color = pick(rng, [(0.05, 0.04, 0.035), (0.12, 0.3, 0.08), (0.25, 0.04, 0.03), (0.04, 0.07, 0.25)])
    for _ in range(int(rng.integers(1, 4))):
        half = 0.5 * size * rng.uniform(0.4, 0.9)
        moved = replace(pose, x=pose.x + rng.normal(0, 0.35 * size), y=pose.y + rng.normal(0, 0.35 * size))
        patch = canvas.patch(moved, half, half, margin=1.2 * half)
        blot = _blot(patch, half, half * rng.uniform(0.6, 0.9), rng)
        coverage = patch.coverage(blot)
        canvas.shade(patch, coverage, 0.5 * half, 0.3 * half)
        rough = 0.15 * half * noise(patch.u, patch.v, 0.4 * half, draw_seed(rng), 2)
        canvas.paint(patch, coverage, color, _MATT, height=bevel(blot, 0.6 * half) + rough)


def _fibre(canvas: Canvas, pose: Pose, size: float, rng: Rng) -> None:
    length = 3.2 * size * rng.uniform(0.7, 1.1)
    patch = canvas.patch(pose, 0.6 * length, 0.6 * length, margin=12)
    distance, _ = polyline(patch.u, patch.v, _path(rng, length, 0.22, 14))
    width = rng.uniform(2.0, 3.2)
    coverage = patch.coverage(distance - width)
    canvas.shade(patch, coverage, 5, 4, strength=0.6)
    color = pick(rng, [(0.03, 0.03, 0.035), (0.3, 0.05, 0.05), (0.05, 0.1, 0.3)])
    canvas.paint(patch, coverage, color, _MATT, height=bevel(distance - width, width))


def _drop(canvas: Canvas, pose: Pose, size: float, rng: Rng) -> None:
    half = 0.7 * size * rng.uniform(0.6, 1.0)
    patch = canvas.patch(pose, half, half, margin=0.8 * half)
    blot = _blot(patch, half, half * rng.uniform(0.7, 1.0), rng)
    coverage = patch.coverage(blot)
    canvas.shade(patch, coverage, 0.2 * half, 0.25 * half, strength=0.5)
    color = pick(rng, [(0.10, 0.03, 0.02), (0.03, 0.05, 0.03), (0.16, 0.09, 0.02)])
    canvas.paint(patch, 0.9 * coverage, color, _WET, height=bevel(blot, 0.7 * half))


def _chip(canvas: Canvas, pose: Pose, size: float, rng: Rng) -> None:
    half = 0.6 * size * rng.uniform(0.7, 1.1)
    patch = canvas.patch(pose, half, half, margin=half)
    cut = ellipse(patch.u, patch.v, half, 0.32 * half)
    cut = np.maximum(cut, np.abs(patch.u + rng.uniform(-0.3, 0.3) * patch.v) - 0.75 * half)
    coverage = patch.coverage(cut)
    canvas.shade(patch, coverage, 0.3 * half, 0.25 * half)
    curl = 0.4 * half * np.sin(patch.u / np.float32(0.3 * half))
    canvas.paint(patch, coverage, (0.6, 0.6, 0.62), _CHIP, height=curl.astype(np.float32))


def _on(canvas: Canvas, patch: Patch, part: str) -> Array:
    """1 where the part is in sight, 0 elsewhere."""
    return canvas.silhouette(part)[patch.window].astype(np.float32)


def _blot(patch: Patch, half_u: float, half_v: float, rng: Rng) -> Array:
    """Distance to a ragged ellipse."""
    rough = noise(patch.u, patch.v, 0.9 * half_v, draw_seed(rng), 2)
    return ellipse(patch.u, patch.v, half_u, half_v) + np.float32(0.16 * half_v) * rough


def _path(rng: Rng, length: float, wander: float, count: int) -> npt.NDArray[np.floating]:
    """Points of a random path along u, centred on the origin, ``(count, 2)``."""
    headings = np.cumsum(rng.normal(0, wander, count - 1))
    steps = np.stack([np.cos(headings), np.sin(headings)], axis=-1) * length / (count - 1)
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, axis=0)])
    return points - points.mean(axis=0)
