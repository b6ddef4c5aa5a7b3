# SPDX-License-Identifier: Apache-2.0
"""Procedural textures with the statistics of natural images: 1/f noise and dead leaves.

Natural images have amplitude spectra that fall like 1/f (Field, 1987) and consist of objects of all sizes that hide
each other; the dead leaves model (Matheron, 1968; Lee, Mumford and Huang, 2001) reproduces both. Networks learn useful
features from such images (Baradad et al., "Learning to see by looking at noise", 2021).
"""

import math

import numpy as np
from PIL import Image, ImageDraw

MAX_LEAVES = 255  # leaf numbers are drawn into an 8-bit picture


def spectral_noise(generator: np.random.Generator, side: int, exponent: float, stretch: float = 1.0) -> np.ndarray:
    """Return Gaussian noise whose amplitude spectrum falls like ``1 / f ** exponent``.

    Args:
        generator: Source of the random numbers.
        side: Height and width, in pixels.
        exponent: About 1 for natural images; larger is smoother.
        stretch: How much longer structures are vertically than horizontally.

    Returns:
        ``(side, side, 3)`` ``float32``, three independent channels of mean 0 and standard deviation 1.
    """
    frequency = np.hypot(np.fft.fftfreq(side)[:, None] * stretch, np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = np.inf  # no constant part
    amplitude = (frequency**-exponent)[..., None]
    spectrum = generator.standard_normal((*amplitude.shape[:2], 6)).view(np.complex128) * amplitude
    noise = np.fft.irfft2(spectrum, s=(side, side), axes=(0, 1))
    return (noise / noise.std(axis=(0, 1))).astype(np.float32)


def dead_leaves(generator: np.random.Generator, size: tuple[int, int], count: int) -> np.ndarray:
    """Draw leaves over each other and return which one is seen at each pixel.

    The density of radii falls with their third power, which makes the picture look alike at every scale between the
    smallest radius, which varies, and the largest, half the picture.

    Args:
        generator: Source of the random numbers.
        size: Height and width, in pixels.
        count: Number of leaves, at most 255.

    Returns:
        ``(H, W)`` ``uint8``: 0 where no leaf is, else the number of the leaf on top.
    """
    height, width = size
    largest = 0.5 * math.sqrt(height * width)
    smallest = max(largest * math.exp(generator.uniform(math.log(1 / 30), math.log(1 / 3))), 2)
    uniform = generator.random(count)
    radii = 1 / np.sqrt(uniform / smallest**2 + (1 - uniform) / largest**2)
    outlines = _outlines(generator, count) * radii[:, None, None]
    outlines += generator.random((count, 1, 2)) * (width, height)
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for number, outline in enumerate(outlines, start=1):
        draw.polygon(outline.ravel().tolist(), fill=number)
    return np.asarray(canvas)


def _outlines(generator: np.random.Generator, count: int, corners: int = 24) -> np.ndarray:
    """Return ``(count, corners, 2)`` outlines of radius about 1: ellipses, blobs and polygons, rotated."""
    angles = np.linspace(0, 2 * math.pi, corners, endpoint=False)[None, :]
    phases = generator.random((2, count, 1)) * 2 * math.pi
    wobbles = generator.random((2, count, 1)) * (generator.random((1, count, 1)) < 0.6)
    radius = 1 + 0.3 * wobbles[0] * np.cos(2 * angles + phases[0]) + 0.2 * wobbles[1] * np.cos(5 * angles + phases[1])
    # A polygon with n sides has the radius cos(pi / n) / cos(angle from the middle of its side).
    sides = generator.integers(3, 7, (count, 1))
    sector = 2 * math.pi / sides
    polygon = np.cos(sector / 2) / np.cos(angles % sector - sector / 2)
    radius = np.where(generator.random((count, 1)) < 0.4, polygon * 1.2, radius)
    points = np.stack(
        (radius * np.cos(angles), radius * np.sin(angles) * generator.uniform(0.3, 1, (count, 1))), axis=-1
    )
    turn = generator.random(count) * 2 * math.pi
    rotation = np.stack((np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)), axis=-1).reshape(count, 2, 2)
    return points @ rotation
