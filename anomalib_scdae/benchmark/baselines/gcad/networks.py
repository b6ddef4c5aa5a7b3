# SPDX-License-Identifier: Apache-2.0
"""GCAD's networks. The paper gives their roles and the widths of what they exchange; their layers are our choice."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Channels of local descriptors, of the bottleneck and of global ones.
DESCRIPTOR, BOTTLENECK, GLOBAL = 128, 32, 10
#: Kernels of the four convolutions by receptive field, with a pooling by two behind each of the first two.
KERNELS = {17: (4, 4, 2, 1), 33: (4, 4, 3, 4)}
#: Pixels from one position of all maps to the next.
STRIDE = 4
#: Positions along a side of what enters the bottleneck.
GRID = 8


class Descriptor(nn.Module):
    """A descriptor of the patch around every fourth pixel, at a patch's size of 17 or 33 pixels.

    Args:
        receptive_field: Side of the patch, in pixels.
    """

    def __init__(self, receptive_field: int) -> None:
        super().__init__()
        self.receptive_field = receptive_field
        first, second, third, fourth = KERNELS[receptive_field]
        self.layers = nn.Sequential(
            nn.Conv2d(3, 128, first),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(128, 256, second),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(256, 256, third),
            nn.ReLU(),
            nn.Conv2d(256, DESCRIPTOR, fourth),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Describe all patches of images ``(B, 3, H, W)``, framed with zeros: ``(B, 128, H / 4, W / 4)``."""
        return self.of_patches(F.pad(images, [self.receptive_field // 2] * 4))

    def of_patches(self, patches: Tensor) -> Tensor:
        """Describe patches ``(B, 3, p, p)``: ``(B, 128, 1, 1)``."""
        return self.layers(patches)


class GlobalEncoder(nn.Module):
    """A map of 10 channels out of 32 numbers that stand for the whole image."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 32, 64, 64, 64)
        self.encoder = nn.Sequential(
            *(part for before, after in pairwise(widths) for part in (_halving(before, after), nn.ReLU())),
        )
        self.bottleneck = nn.Conv2d(widths[-1], BOTTLENECK, GRID)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(BOTTLENECK, 64, GRID),
            nn.ReLU(),
            *(part for _ in range(3) for part in (_Double(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU())),
            nn.Conv2d(64, GLOBAL, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(B, 10, H / 4, W / 4)`` for images ``(B, 3, H, W)``."""
        whole = F.interpolate(self.encoder(images), size=(GRID, GRID), mode="bilinear", align_corners=False)
        return _resized(self.decoder(self.bottleneck(whole)), images)


class GlobalRegressor(nn.Module):
    """A U-Net that learns what the global encoder says: it sees details and can be wrong where an image is new."""

    def __init__(self, widths: Sequence[int] = (32, 64, 128, 256, 256)) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(_halving(before, after), nn.ReLU(), nn.Conv2d(after, after, 3, padding=1), nn.ReLU())
            for before, after in pairwise((3, *widths))
        )
        # From the coarsest stage up to the one of stride 4, the second.
        rising = list(reversed(widths[1:]))
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before + after, after, 3, padding=1), nn.ReLU())
            for before, after in pairwise(rising)
        )
        self.output = nn.Conv2d(widths[1], GLOBAL, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(B, 10, H / 4, W / 4)`` for images ``(B, 3, H, W)``."""
        stages = [images]
        for part in self.down:
            stages.append(part(stages[-1]))
        found = stages[-1]
        for part, stage in zip(self.up, reversed(stages[2:-1]), strict=True):
            enlarged = F.interpolate(found, size=stage.shape[-2:], mode="bilinear", align_corners=False)
            found = part(torch.cat([enlarged, stage], dim=1))
        return _resized(self.output(found), images)


class _Double(nn.Module):
    """Enlarges to twice the size."""

    def forward(self, features: Tensor) -> Tensor:
        return F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)


def upsampler() -> nn.Module:
    """Return what raises the global map's 10 channels to those of the local descriptors."""
    return nn.Sequential(nn.Conv2d(GLOBAL, 64, 1), nn.ReLU(), nn.Conv2d(64, DESCRIPTOR, 1))


def _halving(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 4, stride=2, padding=1)


def _resized(maps: Tensor, images: Tensor) -> Tensor:
    """Bring maps to the positions of the local descriptors."""
    size = (-(-images.shape[-2] // STRIDE), -(-images.shape[-1] // STRIDE))
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
