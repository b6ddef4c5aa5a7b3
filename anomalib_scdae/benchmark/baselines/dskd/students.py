# SPDX-License-Identifier: Apache-2.0
"""The two students, both with reverse distillation's bottleneck and decoder, which are Anomalib's."""

from collections.abc import Sequence

import torch
from anomalib.models.components.backbone import get_decoder
from anomalib.models.image.reverse_distillation.components import get_bottleneck_layer
from torch import Tensor, nn
from torch.nn import functional as F

#: Channels of a decoder's stages and of the embedding that it starts from.
BASIC_WIDTHS, BOTTLENECK_WIDTHS = (64, 128, 256, 512), (256, 512, 1024, 2048)
#: The decoder for backbones that have none of their own, with layers before and behind it that change the channels.
STAND_IN = "resnet18"
#: Positions along a side of the embedding that the context is condensed from, and the numbers that it is condensed to.
GRID, CODE = 8, 128


class GlobalContextCondensing(nn.Module):
    """Condenses an embedding to one vector for the whole image, and makes an embedding of it again.

    Args:
        channels: Channels of the embedding.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, CODE, 1)
        self.condense = nn.Sequential(nn.Conv2d(CODE, CODE, GRID), nn.ReLU())
        self.spread = nn.Sequential(nn.ConvTranspose2d(CODE, CODE, GRID), nn.ReLU())
        self.widen = nn.Conv2d(CODE, channels, 1)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return an embedding of the same shape ``(B, C, h, w)``."""
        grid = F.interpolate(self.narrow(embedding), size=(GRID, GRID), mode="bilinear", align_corners=False)
        spread = self.spread(self.condense(grid))
        return self.widen(F.interpolate(spread, size=embedding.shape[-2:], mode="bilinear", align_corners=False))


class Student(nn.Module):
    """From the teacher's stages to what the student takes for them.

    Args:
        backbone: timm's name of the teacher's backbone.
        channels: Channels of its stages.
        condenses: Whether the decoder gets the condensed context instead of the embedding.
    """

    def __init__(self, backbone: str, channels: Sequence[int], condenses: bool) -> None:
        super().__init__()
        name = backbone.split(".", maxsplit=1)[0]
        try:
            self.decoder: nn.Module = get_decoder(name)
        except ValueError:
            name = STAND_IN
            self.decoder = get_decoder(name)
        self.bottleneck = get_bottleneck_layer(name)
        widths = BASIC_WIDTHS if name in {"resnet18", "resnet34"} else BOTTLENECK_WIDTHS
        self.before = nn.ModuleList(_between(*pair) for pair in zip(channels, widths[:3], strict=True))
        self.behind = nn.ModuleList(_between(*pair) for pair in zip(widths[:3], channels, strict=True))
        self.context = GlobalContextCondensing(widths[3]) if condenses else nn.Identity()

    def forward(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """Return stages of the shapes ``(B, C_i, h_i, w_i)`` of the teacher's."""
        adapted = [part(stage) for part, stage in zip(self.before, stages, strict=True)]
        decoded = self.decoder(self.context(self.bottleneck(adapted)))
        return [part(stage) for part, stage in zip(self.behind, decoded, strict=True)]


def _between(before: int, after: int) -> nn.Module:
    return nn.Identity() if before == after else nn.Conv2d(before, after, 1)


def cosine_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Return one minus the cosine of the features at every position, ``(B, 1, h, w)``."""
    return 1 - torch.cosine_similarity(teacher, student, dim=1)[:, None]
