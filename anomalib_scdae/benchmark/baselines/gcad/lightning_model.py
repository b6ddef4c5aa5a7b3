# SPDX-License-Identifier: Apache-2.0
"""GCAD as Anomalib sees it."""

from typing import Any

import torch
from anomalib.data import Batch
from anomalib.models import AnomalibModule
from lightning.pytorch.utilities.seed import isolate_rng

from anomalib_scdae.benchmark.baselines.gcad.distillation import distil
from anomalib_scdae.benchmark.baselines.gcad.torch_model import GcadModel
from anomalib_scdae.benchmark.baselines.map_scale import MapScaleMixin
from anomalib_scdae.benchmark.baselines.table1_system import Table1Mixin
from anomalib_scdae.errors import check_at_least_one
from anomalib_scdae.inputs.penalty import load_penalty_images
from anomalib_scdae.model.deploy.pre_processing import transformed
from anomalib_scdae.model.training.training_set import images_of

#: Side of the photographs that patches are cut out of, in pixels.
PHOTOGRAPH_SIZE = (256, 256)


class Gcad(MapScaleMixin, Table1Mixin, AnomalibModule):  # type: ignore[misc]
    """GCAD (Bergmann, Batzner, Fauser, Sattlegger and Steger, "Beyond dents and scratches", IJCV, 2022).

    A local branch regresses descriptors of patches, a global one a map that an encoder makes of 32 numbers for the
    whole image; where the regressions fail, something is new. The descriptors are distilled from a backbone on
    photographs before the training begins. The paper trains 500 epochs.

    Args:
        backbone: timm's name of the backbone that the descriptors are distilled from.
        pre_trained: Whether the backbone has its weights.
        photographs: Natural images for the distillation, as SCDAE's ``penalty_images`` names them.
        descriptor_steps: Steps of the distillation.
        lr: Adam's learning rate.
        weight_decay: Adam's weight decay.
        **components: Pre-processor, post-processor, evaluator and visualizer, as Anomalib's models take them.
    """

    model: GcadModel

    def __init__(
        self,
        backbone: str = "resnet18.tv_in1k",
        pre_trained: bool = True,
        photographs: str = "auto",
        descriptor_steps: int = 50_000,
        lr: float = 1e-4,
        weight_decay: float = 1e-5,
        **components: Any,
    ) -> None:
        super().__init__(**components)
        check_at_least_one("descriptor_steps", descriptor_steps)
        self.photographs, self.descriptor_steps = photographs, descriptor_steps
        self.lr, self.weight_decay = lr, weight_decay
        self.model = GcadModel(backbone, pre_trained)

    def on_train_start(self) -> None:
        """Make the descriptors, unless a checkpoint has them, without touching the training's random numbers."""
        if self.model.is_distilled:
            return
        with isolate_rng():
            images = load_penalty_images(self.photographs, PHOTOGRAPH_SIZE)
            encoders = [pair.local_encoder for pair in self.model.pairs]
            for encoder in encoders:
                encoder.requires_grad_(True)
            distil(encoders, self.model.backbone, images, self._normalised, self.descriptor_steps, self.device)
            for encoder in encoders:
                encoder.requires_grad_(False)
            self.model.learn_statistics(self._training_images())
        self.model.is_distilled.fill_(True)

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        """Return photographs as the networks see images, in a size that holds the patches."""
        return transformed(self.pre_processor, images)

    def training_step(self, batch: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the sum of the losses of both branches at both receptive fields."""
        del args, kwargs
        return self.log_losses(self.model.losses(images_of(batch)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam over all but the backbone and the descriptors."""
        learnt = [value for pair in self.model.pairs for value in pair.parameters() if value.requires_grad]
        return torch.optim.Adam(learnt, lr=self.lr, weight_decay=self.weight_decay)
