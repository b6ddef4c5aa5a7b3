# SPDX-License-Identifier: Apache-2.0
"""DSKD's teacher and students put together."""

from collections.abc import Callable, Sequence

import torch
from anomalib.data import InferenceBatch
from anomalib.models.components import GaussianBlur2d
from anomalib.models.image.reverse_distillation.loss import ReverseDistillationLoss
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_scdae.benchmark.baselines.dskd.affinity import ContextualAffinityLoss, disagreement
from anomalib_scdae.benchmark.baselines.dskd.students import Student, cosine_distance
from anomalib_scdae.benchmark.baselines.frozen_backbone import FrozenBackbone
from anomalib_scdae.benchmark.baselines.map_scale import MapScale

#: Standard deviation of the maps' smoothing in pixels, as in reverse distillation.
SIGMA = 4.0


class DskdReconstructionModel(nn.Module):
    """Contextual affinity distillation, as far as its description tells.

    Args:
        backbone: timm's name of the teacher's backbone.
        pre_trained: Whether the backbone has its weights.

    Attributes:
        scale: Brings the local and the global map to one scale.
    """

    def __init__(self, backbone: str = "wide_resnet50_2.tv_in1k", pre_trained: bool = True) -> None:
        super().__init__()
        self.teacher = FrozenBackbone(backbone, (4, 8, 16), pre_trained)
        self.local_student = Student(backbone, self.teacher.channels, condenses=False)
        self.global_student = Student(backbone, self.teacher.channels, condenses=True)
        self.local_loss, self.global_loss = ReverseDistillationLoss(), ContextualAffinityLoss()
        self.scale = MapScale(2)
        self.blur = GaussianBlur2d(sigma=SIGMA)

    def losses(self, images: Tensor) -> dict[str, Tensor]:
        """Return what each student learns from, on images ``(B, 3, H, W)``."""
        stages = self.teacher(images)
        return {
            "local": self.local_loss(stages, self.local_student(stages)),
            "global": self.global_loss(stages, self.global_student(stages)),
        }

    def separate_maps(self, images: Tensor) -> Tensor:
        """Return the smoothed maps before they are standardised, local and global, ``(B, 2, H, W)``."""
        stages = self.teacher(images)
        size = (images.shape[-2], images.shape[-1])
        local = _summed(cosine_distance, stages, self.local_student(stages), size)
        whole = _summed(disagreement, stages, self.global_student(stages), size)
        return torch.cat([self.blur(local), self.blur(whole)], dim=1)

    def forward(self, images: Tensor) -> InferenceBatch:
        """Return scores ``(B,)`` and maps ``(B, 1, H, W)`` of images ``(B, 3, H, W)``."""
        anomaly_map = self.scale(self.separate_maps(images)).sum(dim=1, keepdim=True)
        return InferenceBatch(pred_score=anomaly_map.amax(dim=(1, 2, 3)), anomaly_map=anomaly_map)


def _summed(
    distance: Callable[[Tensor, Tensor], Tensor],
    teacher: Sequence[Tensor],
    student: Sequence[Tensor],
    size: tuple[int, int],
) -> Tensor:
    """Add up the stages' maps in the size of the images, ``(B, 1, H, W)``."""
    maps = [distance(*pair) for pair in zip(teacher, student, strict=True)]
    enlarged = [F.interpolate(each, size=size, mode="bilinear", align_corners=False) for each in maps]
    return torch.stack(enlarged).sum(dim=0)
