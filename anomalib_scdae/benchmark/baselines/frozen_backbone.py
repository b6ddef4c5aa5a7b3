# SPDX-License-Identifier: Apache-2.0
"""What the field's methods look at an image with: stages of a pretrained network that no training changes."""

import math
from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from anomalib_scdae.benchmark.baselines.backbones import check_hub_backbone, is_packaged
from anomalib_scdae.errors import UserError

#: How images are normalised for most of timm's weights.
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class FrozenBackbone(nn.Module):
    """Stages of a timm backbone by their strides, whatever the backbone calls them, always in evaluation mode.

    Args:
        backbone: timm's name; with the tag ``.tv_in1k`` it has torchvision's first weights, those of the older papers.
        strides: Pixels of the image to a position of each stage: 4, 8, 16 and 32 are a ResNet's layers 1 to 4.
        pre_trained: Whether timm loads its weights; ``False`` leaves them random.

    Attributes:
        channels: Channels of each stage.
        strides: As given.

    Raises:
        UserError: If the backbone is unknown, has no such stages, or its weights cannot be had.
    """

    def __init__(self, backbone: str, strides: Sequence[int] = (4, 8, 16), pre_trained: bool = True) -> None:
        super().__init__()
        if pre_trained and not is_packaged():
            check_hub_backbone(backbone)
        stages = [int(math.log2(stride)) - 1 for stride in strides]
        try:
            self.network = timm.create_model(backbone, pretrained=pre_trained, features_only=True, out_indices=stages)
        except UserError:
            raise
        except Exception as error:  # timm, the hub and the disk raise many kinds
            msg = f"The backbone {backbone} cannot be had ({str(error).splitlines()[0]}): name another of timm's."
            raise UserError(msg) from error
        stage_info: Any = self.network.feature_info
        self.channels: list[int] = stage_info.channels()
        self.strides: list[int] = stage_info.reduction()
        if self.strides != list(strides):
            msg = f"The backbone {backbone} has no stages of strides {list(strides)}: choose one laid out as a ResNet."
            raise UserError(msg)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrozenBackbone":
        """Stay in evaluation mode, so that the statistics of its normalisation stay those of ImageNet."""
        del mode
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the stages ``(B, C_i, H / stride_i, W / stride_i)`` of normalised images ``(B, 3, H, W)``."""
        return self.network(images)
