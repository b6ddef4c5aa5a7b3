# SPDX-License-Identifier: Apache-2.0
"""The reconstruction of DSKD as Anomalib sees it."""

from typing import Any

import torch
from anomalib.data import Batch
from anomalib.models import AnomalibModule

from anomalib_scdae.benchmark.baselines.dskd.torch_model import DskdReconstructionModel
from anomalib_scdae.benchmark.baselines.map_scale import MapScaleMixin
from anomalib_scdae.benchmark.baselines.table1_system import Table1Mixin
from anomalib_scdae.model.training.training_set import images_of


class DskdReconstruction(MapScaleMixin, Table1Mixin, AnomalibModule):  # type: ignore[misc]
    """DSKD (Zhang, Suganuma and Okatani, "Contextual affinity distillation for image anomaly detection", WACV, 2024).

    A reconstruction from its description, since its details are not public: figures of this class are not the
    authors'. A local student is reverse distillation's. A global student sees the image as one condensed vector, and
    must agree with the teacher on which positions are alike.

    Args:
        backbone: timm's name of the teacher's backbone.
        pre_trained: Whether the backbone has its weights.
        lr: Adam's learning rate; that of reverse distillation.
        **components: Pre-processor, post-processor, evaluator and visualizer, as Anomalib's models take them.
    """

    model: DskdReconstructionModel

    def __init__(
        self,
        backbone: str = "wide_resnet50_2.tv_in1k",
        pre_trained: bool = True,
        lr: float = 0.005,
        **components: Any,
    ) -> None:
        super().__init__(**components)
        self.lr = lr
        self.model = DskdReconstructionModel(backbone, pre_trained)

    def training_step(self, batch: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the sum of both students' losses, which share no weights."""
        del args, kwargs
        return self.log_losses(self.model.losses(images_of(batch)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return reverse distillation's optimizer."""
        students = (self.model.local_student, self.model.global_student)
        learnt = [value for student in students for value in student.parameters()]
        return torch.optim.Adam(learnt, lr=self.lr, betas=(0.5, 0.99))
