# SPDX-License-Identifier: Apache-2.0
"""Reverse distillation with a backbone that has no decoder of its own."""

from typing import Any

import torch
from anomalib.data import InferenceBatch
from anomalib.models import ReverseDistillation
from anomalib.models.image.reverse_distillation.anomaly_map import AnomalyMapGenerationMode, AnomalyMapGenerator
from torch import Tensor, nn

from anomalib_scdae.benchmark.baselines.dskd.students import Student
from anomalib_scdae.benchmark.baselines.frozen_backbone import FrozenBackbone


class ReverseDistillationAdapted(ReverseDistillation):
    """Anomalib's reverse distillation, which mirrors a ResNet, with any backbone of timm's.

    Layers of one pixel before the bottleneck and behind the decoder, which are then ResNet-18's, change the channels.
    For a ResNet it is Anomalib's model.

    Args:
        backbone: timm's name of the backbone.
        pre_trained: Whether the backbone has its weights.
        **components: Pre-processor, post-processor, evaluator and visualizer, as Anomalib's models take them.
    """

    def __init__(self, backbone: str = "wide_resnet50_2.tv_in1k", pre_trained: bool = True, **components: Any) -> None:
        super().__init__(backbone="resnet18", pre_trained=False, **components)
        self.model = _AdaptedModel(backbone, pre_trained, self.input_size or (256, 256))

    def configure_optimizers(self) -> torch.optim.Adam:
        """Return the optimizer of the original, over the adapting layers too."""
        networks: Any = self.model
        return torch.optim.Adam(networks.student.parameters(), lr=0.005, betas=(0.5, 0.99))


class _AdaptedModel(nn.Module):
    """The networks; as Anomalib's, they return both sides' features in training."""

    def __init__(self, backbone: str, pre_trained: bool, size: tuple[int, int]) -> None:
        super().__init__()
        self.encoder = FrozenBackbone(backbone, (4, 8, 16), pre_trained)
        self.student = Student(backbone, self.encoder.channels, condenses=False)
        self.anomaly_map_generator = AnomalyMapGenerator(image_size=size, mode=AnomalyMapGenerationMode.ADD)

    def forward(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]] | InferenceBatch:
        stages = self.encoder(images)
        found = self.student(stages)
        if self.training:
            return stages, found
        anomaly_map = self.anomaly_map_generator(stages, found)
        return InferenceBatch(pred_score=anomaly_map.amax(dim=(-2, -1)), anomaly_map=anomaly_map)
