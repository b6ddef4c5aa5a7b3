# SPDX-License-Identifier: Apache-2.0
"""Crops of several sizes, and how their scores become a map."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

#: Sides of the crops and the distance from one to the next, in sides of the padded image.
FRACTIONS = (0.25, 0.5, 0.7, 0.99)
STRIDE = 0.25


class Crop(NamedTuple):
    """A square part of the padded image, in pixels."""

    top: int
    left: int
    side: int


class Crops:
    """All crops of a square image: 16, 9, 4 and 1 of the four sizes.

    Args:
        side: Side of the image, in pixels.

    Attributes:
        boxes: The crops, one size after the other, row by row.
        starts: For each size, where its crops start in either direction.
        sizes: For each size, the crop's side.
    """

    def __init__(self, side: int) -> None:
        self.side = side
        step = round(STRIDE * side)
        self.sizes = [int(fraction * side) for fraction in FRACTIONS]
        self.starts = [list(range(0, side - size + 1, step)) for size in self.sizes]
        self.boxes = [
            Crop(top, left, size)
            for size, starts in zip(self.sizes, self.starts, strict=True)
            for top in starts
            for left in starts
        ]

    def maps(self, scores: Tensor) -> Tensor:
        """Spread the crops' scores ``(..., crops)`` over the image: ``(..., sizes, side, side)``.

        A position has the mean of the crops that it lies in. What a size leaves out at the right and at the bottom
        goes with its last crops.
        """
        groups = scores.split([len(starts) ** 2 for starts in self.starts], dim=-1)
        found = []
        for group, size, starts in zip(groups, self.sizes, self.starts, strict=True):
            covers = scores.new_zeros(len(starts), self.side)
            for index, start in enumerate(starts):
                covers[index, start : start + size] = 1
            covers[-1, starts[-1] :] = 1
            means = covers / covers.sum(dim=0)
            found.append(means.T @ group.unflatten(-1, (len(starts), len(starts))) @ means)
        return torch.stack(found, dim=-3)


def cut(images: Tensor, crop: Crop, side: int) -> Tensor:
    """Cut a crop out of images ``(B, 3, S, S)`` and bring it to ``(B, 3, side, side)``."""
    part = images[..., crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
    return F.interpolate(part, size=(side, side), mode="bilinear", align_corners=False, antialias=True)


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return height and width of an image of ``size`` whose larger side becomes ``side``."""
    scale = side / max(size)
    return max(1, round(scale * size[0])), max(1, round(scale * size[1]))


def padded(images: Tensor, side: int) -> Tensor:
    """Frame images ``(B, 3, h, w)`` with zeros to ``(B, 3, side, side)``; they stay in the middle."""
    height, width = images.shape[-2:]
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(images, (left, side - width - left, top, side - height - top))


def unpadded(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Take the part of maps ``(..., side, side)`` that :func:`padded` has put an image of ``size`` into."""
    top, left = (maps.shape[-2] - size[0]) // 2, (maps.shape[-1] - size[1]) // 2
    return maps[..., top : top + size[0], left : left + size[1]]
