# SPDX-License-Identifier: Apache-2.0
"""DADF's two stages: the transformer's reconstructions, and the flows that tell normal ones from others."""

from collections.abc import Sequence
from typing import cast

import torch
from anomalib.data import InferenceBatch
from anomalib.models.image.fastflow.anomaly_map import AnomalyMapGenerator
from anomalib.models.image.fastflow.loss import FastflowLoss
from anomalib.models.image.fastflow.torch_model import create_fast_flow_block
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_scdae.benchmark.baselines.dadf.transformer import DualAttentionTransformer
from anomalib_scdae.benchmark.baselines.frozen_backbone import FrozenBackbone
from anomalib_scdae.errors import check_at_least_one

STRIDES = (4, 8, 16)


class DadfModel(nn.Module):
    """Dual-attention transformer and discriminative flow.

    Args:
        size: Height and width of the images.
        backbone: timm's name of the backbone.
        pre_trained: Whether the backbone has its weights.
        width: Channels that each stage has in a token.
        depth: Blocks of the transformer.
        heads: Attention heads.
        flow_steps: Coupling steps of each flow.
    """

    def __init__(
        self,
        size: tuple[int, int] = (256, 256),
        backbone: str = "resnet34.tv_in1k",
        pre_trained: bool = True,
        width: int = 480,
        depth: int = 8,
        heads: int = 8,
        flow_steps: int = 8,
    ) -> None:
        super().__init__()
        for name, value in (("width", width), ("depth", depth), ("heads", heads), ("flow_steps", flow_steps)):
            check_at_least_one(name, value)
        self.feature_extractor = FrozenBackbone(backbone, STRIDES, pre_trained)
        channels = self.feature_extractor.channels
        self.transformer = DualAttentionTransformer(channels, STRIDES, size, width, depth, heads)
        self.flows = nn.ModuleList(
            create_fast_flow_block(
                [3 * count, size[0] // stride, size[1] // stride],
                conv3x3_only=False,
                hidden_ratio=1.0,
                flow_steps=flow_steps,
            )
            for count, stride in zip(channels, STRIDES, strict=True)
        )
        self.flow_loss = FastflowLoss()
        self.anomaly_map_generator = AnomalyMapGenerator(input_size=size)

    def reconstruction_loss(self, images: Tensor) -> Tensor:
        """Return the first stage's loss: the squared errors of both reconstructions, summed over the scales."""
        stages = self.feature_extractor(images)
        local, whole = self.transformer(stages)
        errors = [
            F.mse_loss(found, stage) for each in (local, whole) for found, stage in zip(each, stages, strict=True)
        ]
        return torch.stack(errors).sum()

    def likelihood_loss(self, images: Tensor) -> Tensor:
        """Return the second stage's loss, the flows' negative log-likelihood, per number that they describe."""
        with torch.no_grad():
            features = self._features(images)
        hidden, jacobians = self._flown(features)
        return self.flow_loss(hidden, jacobians) / sum(feature[0].numel() for feature in features)

    def forward(self, images: Tensor) -> InferenceBatch:
        """Return scores ``(B,)`` and maps ``(B, 1, H, W)`` of images ``(B, 3, H, W)``."""
        hidden, _ = self._flown(self._features(images))
        anomaly_map = self.anomaly_map_generator(hidden)
        return InferenceBatch(pred_score=anomaly_map.amax(dim=(1, 2, 3)), anomaly_map=anomaly_map)

    def _features(self, images: Tensor) -> list[Tensor]:
        """Return what each flow sees: a stage and both its reconstructions, ``(B, 3 C_i, h_i, w_i)``."""
        stages = self.feature_extractor(images)
        return [torch.cat(each, dim=1) for each in zip(stages, *self.transformer(stages), strict=True)]

    def _flown(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        pairs = [flow(feature) for flow, feature in zip(self.flows, features, strict=True)]
        hidden, jacobians = zip(*pairs, strict=True)
        return cast("list[Tensor]", list(hidden)), cast("list[Tensor]", list(jacobians))
