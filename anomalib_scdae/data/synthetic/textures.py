# SPDX-License-Identifier: Apache-2.0
"""Procedural surface texture: band-limited noise that can be looked up anywhere, and printed text."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from anomalib_scdae.data.synthetic.shapes import Array

_TILE = 1024
#: Size of the blobs in the two tiles, in their pixels. Looking a tile up is exact to 1/32 pixel only: for large blobs,
#: the coarse tile keeps these steps invisible.
_FINE, _COARSE = 4.0, 48.0
#: Blobs larger than this, in the caller's units, come from the coarse tile.
_LARGE = 24.0


@lru_cache(maxsize=2)
def _tile(blob: float) -> Array:
    """A tile of periodic noise with zero mean, unit deviation and blobs of ``blob`` pixels."""
    white = np.random.default_rng(20220301).standard_normal((_TILE, _TILE)).astype(np.float32)
    margin = int(4 * blob)
    padded = np.pad(white, margin, mode="wrap")
    smooth = cv2.GaussianBlur(padded, (0, 0), blob / 2)[margin:-margin, margin:-margin]
    # One more row and column, so that interpolation reaches over the seam.
    return np.pad((smooth - smooth.mean()) / smooth.std(), ((0, 1), (0, 1)), mode="wrap")


def _place(u: Array, v: Array, along: float, across: float, offset: float) -> Array:
    """Tile coordinate ``along * u + across * v + offset``, wrapped into the tile.

    Several times faster than ``numpy.mod`` or OpenCV's wrapping border.
    """
    place = u * np.float32(along) + np.float32(offset)
    if across != 0:
        place += v * np.float32(across)
    place -= np.float32(_TILE) * np.floor(place * np.float32(1 / _TILE))
    return place


def noise(u: Array, v: Array, blob: float | tuple[float, float], seed: int, octaves: int = 1) -> Array:
    """Smooth noise at the points ``(u, v)``: zero mean, about unit deviation.

    Args:
        u: Coordinates, any shape ``(H, W)``.
        v: Coordinates, as ``u``.
        blob: Size of a blob in units of the coordinates; a pair stretches the noise along ``u`` and ``v``.
        seed: Picks the place in the noise's plane, so that no two parts look the same.
        octaves: How many layers to add, each half as large and half as strong as the one before.

    Returns:
        Array ``(H, W)``.
    """
    blob_u, blob_v = blob if isinstance(blob, tuple) else (blob, blob)
    offset_u, offset_v, angle = np.random.default_rng(seed).uniform(0, 1, 3)
    # Isotropic noise is turned as well, so that parts from one corner of the tile still differ.
    angle = 2 * np.pi * angle if blob_u == blob_v else 0.0
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    u, v = u.astype(np.float32, copy=False), v.astype(np.float32, copy=False)
    total = np.zeros(u.shape, np.float32)
    for octave in range(octaves):
        grain = _COARSE if min(blob_u, blob_v) / 2**octave > _LARGE else _FINE
        scale_u, scale_v = grain * 2**octave / blob_u, grain * 2**octave / blob_v
        columns = _place(u, v, cosine * scale_u, -sine * scale_u, _TILE * offset_u + 37 * octave)
        rows = _place(v, u, cosine * scale_v, sine * scale_v, _TILE * offset_v + 91 * octave)
        layer = cv2.remap(_tile(grain), columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        total += layer / np.float32(2**octave)
    return total / np.float32(np.sqrt(sum(0.25**octave for octave in range(octaves))))


@lru_cache(maxsize=32)
def text(lines: tuple[str, ...], size: int = 64) -> Array:
    """Ink coverage of centred lines of text, ``(H, W)`` in [0, 1], in the font that comes with Pillow.

    Args:
        lines: The lines, top to bottom.
        size: Font height in pixels of the result.
    """
    font = ImageFont.load_default(size)
    width = max(int(font.getlength(line)) for line in lines) + size
    image = Image.new("L", (width, int(size * (1.25 * len(lines) + 0.5))))
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        draw.text((width / 2, size * (0.9 + 1.25 * index)), line, fill=255, font=font, anchor="mm")
    return np.asarray(image, np.float32) / 255


def lookup(texture: Array, u: Array, v: Array, half_u: float, half_v: float) -> Array:
    """Sample a texture ``(H, W[, C])`` laid over ``[-half_u, half_u] x [-half_v, half_v]``; zero beyond it."""
    rows, columns = texture.shape[:2]
    x = (u / np.float32(2 * half_u) + np.float32(0.5)) * np.float32(columns) - np.float32(0.5)
    y = (v / np.float32(2 * half_v) + np.float32(0.5)) * np.float32(rows) - np.float32(0.5)
    found = cv2.remap(
        texture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    return np.asarray(found, np.float32)


@dataclass(frozen=True)
class Heap:
    """Small pieces that lie on each other, seen from above: what each pixel shows.

    Attributes:
        u: First coordinate within the piece on top, in [-1, 1] along its longer half axis, ``(H, W)``.
        v: Second coordinate, in [-1, 1] along its shorter half axis.
        size: The piece's longer half axis in the caller's units; 0 where no piece lies.
        kind: A random number in [0, 1) that is the same all over the piece.
        rank: How far up the piece lies, in [0, 1).
    """

    u: Array
    v: Array
    size: Array
    kind: Array
    rank: Array


def heap(
    u: Array,
    v: Array,
    pitch: float,
    seed: int,
    slim: tuple[float, float],
    inside: Callable[[Array, Array], npt.NDArray[np.bool_]],
) -> Heap:
    """Strew irregular pieces over the plane, about one for each square of side ``pitch``.

    Args:
        u: Coordinates of the pixels, an affine map of columns and rows, ``(H, W)``.
        v: Coordinates, as ``u``.
        pitch: Side of a square.
        seed: Fixes the pieces.
        slim: Range of the ratio of a piece's shorter to its longer half axis.
        inside: Which of the pieces with their centres at the given coordinates are there at all, ``(N,)``.

    Returns:
        The piece on top at each pixel.
    """
    rng = np.random.default_rng(seed)
    reach = int(np.ceil(max(np.abs(u).max(), np.abs(v).max()) / pitch)) + 1
    grid = np.arange(-reach, reach + 1, dtype=np.float32) + np.float32(0.5)
    count = grid.size**2
    jitter = rng.uniform(-0.35, 0.35, (2, count))
    centre_u = ((np.repeat(grid, grid.size) + jitter[0]) * pitch).astype(np.float32)
    centre_v = ((np.tile(grid, grid.size) + jitter[1]) * pitch).astype(np.float32)
    size = pitch * rng.uniform(0.62, 1.04, count)
    slender = size * rng.uniform(*slim, count)
    turn, kind = rng.uniform(0, 2 * np.pi, count), rng.uniform(0, 1, count)
    rough = 1 + rng.uniform(-0.16, 0.16, (count, _CORNERS))
    # Row 0 stands for "nothing"; the later a piece, the higher it lies.
    pieces = np.stack(
        [centre_u, centre_v, np.cos(turn) / size, np.sin(turn) / size, size / slender, size, kind], axis=-1
    )
    pieces = np.concatenate([np.zeros((1, 7)), pieces]).astype(np.float32)
    there = np.flatnonzero(inside(centre_u, centre_v)) + 1
    number = np.zeros(u.shape, np.float32)
    for piece, outline in zip(there, _outlines(pieces[there], rough[there - 1], u, v), strict=True):
        cv2.fillConvexPoly(number, outline, float(piece), cv2.LINE_8, 4)
    top = number.astype(np.int32)
    found = pieces[top]
    du, dv = u - found[..., 0], v - found[..., 1]
    local_u = found[..., 2] * du + found[..., 3] * dv
    local_v = (found[..., 2] * dv - found[..., 3] * du) * found[..., 4]
    # The order of painting follows the grid; the rank is what looks like chance again.
    return Heap(local_u, local_v, found[..., 5], found[..., 6], np.mod(found[..., 6] * np.float32(41), 1))


_CORNERS = 11


def _outlines(pieces: Array, rough: npt.NDArray[np.floating], u: Array, v: Array) -> npt.NDArray[np.int32]:
    """Corners of pieces in sixteenths of a pixel, ``(N, _CORNERS, 2)``."""
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    along, across = rough * np.cos(angles), rough * np.sin(angles) / pieces[:, 4:5]
    size = pieces[:, 5:6]
    cosine, sine = pieces[:, 2:3] * size, pieces[:, 3:4] * size
    corner_u = pieces[:, 0:1] + size * (cosine * along - sine * across)
    corner_v = pieces[:, 1:2] + size * (sine * along + cosine * across)
    rows, columns = u.shape
    step = np.array(
        [
            [(u[0, -1] - u[0, 0]) / (columns - 1), (u[-1, 0] - u[0, 0]) / (rows - 1)],
            [(v[0, -1] - v[0, 0]) / (columns - 1), (v[-1, 0] - v[0, 0]) / (rows - 1)],
        ],
        np.float64,
    )
    offset = np.stack([corner_u - u[0, 0], corner_v - v[0, 0]], axis=-1)
    return np.round(offset @ np.linalg.inv(step).T * 16).astype(np.int32)
