# SPDX-License-Identifier: Apache-2.0
"""DADF as Anomalib sees it: two trainings, one after the other, as one."""

from typing import Any

import torch
from anomalib.data import Batch
from anomalib.models import AnomalibModule

from anomalib_scdae.benchmark.baselines.dadf.torch_model import DadfModel
from anomalib_scdae.benchmark.baselines.table1_system import Table1Mixin
from anomalib_scdae.errors import UserError
from anomalib_scdae.model.training.training_set import images_of

#: Optimizer steps of the paper's two trainings for ``n`` images, in images: 200 epochs of batches of 8, 15 of 16.
PAPER_STEPS = (200 / 8, 15 / 16)


class Dadf(Table1Mixin, AnomalibModule):  # type: ignore[misc]
    """DADF (Yao, Luo and Yu, "Normal reference attention and defective feature perception", arXiv:2303.17882, 2023).

    A transformer learns to reconstruct a backbone's features in two ways, then flows learn how features and
    reconstructions go together on normal images. Both trainings share the trainer's steps. The weights are the last
    ones: no epoch is chosen by figures of the test.

    Args:
        backbone: timm's name of the backbone.
        pre_trained: Whether the backbone has its weights.
        width: Channels that each stage has in a token.
        depth: Blocks of the transformer.
        heads: Attention heads.
        flow_steps: Coupling steps of each flow.
        lr: AdamW's learning rate for the transformer.
        flow_lr: Adam's learning rate for the flows.
        reconstruction_share: Share of the steps that the transformer gets; the paper's is 0.96.
        **components: Pre-processor, post-processor, evaluator and visualizer, as Anomalib's models take them.

    Raises:
        UserError: If the pre-processor gives images no fixed size, or sides that are no multiples of 16.
    """

    model: DadfModel

    def __init__(
        self,
        backbone: str = "resnet34.tv_in1k",
        pre_trained: bool = True,
        width: int = 480,
        depth: int = 8,
        heads: int = 8,
        flow_steps: int = 8,
        lr: float = 1e-4,
        flow_lr: float = 1e-3,
        reconstruction_share: float = PAPER_STEPS[0] / sum(PAPER_STEPS),
        **components: Any,
    ) -> None:
        super().__init__(**components)
        if not 0 < reconstruction_share < 1:
            msg = f"reconstruction_share must be between 0 and 1; it is {reconstruction_share}."
            raise UserError(msg)
        if self.input_size is None:
            msg = "DADF's flows need images of one size: give its pre-processor a Resize to height and width."
            raise UserError(msg)
        self.lr, self.flow_lr, self.reconstruction_share = lr, flow_lr, reconstruction_share
        self.networks: dict[str, Any] = {
            "backbone": backbone,
            "width": width,
            "depth": depth,
            "heads": heads,
            "flow_steps": flow_steps,
        }
        self.size = self.input_size
        self.model = DadfModel(self.size, pre_trained=pre_trained, **self.networks)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make room for the images' size in the checkpoint's pre-processor, whose weights follow."""
        super().on_load_checkpoint(checkpoint)
        size = self.input_size
        if size is not None and size != self.size:
            self.size = size
            self.model = DadfModel(size, pre_trained=False, **self.networks)

    def on_train_start(self) -> None:
        """Find out when the flows' turn is.

        Raises:
            UserError: If the training has no known length, or too few steps for both trainings.
        """
        total = self.trainer.estimated_stepping_batches
        if total == float("inf") or total < 2:
            msg = (
                "DADF divides its training in two and needs to know its length: set max_steps or max_epochs, so that "
                f"there are 2 steps or more; there are {total}."
            )
            raise UserError(msg)

    @property
    def flows_learn(self) -> bool:
        """Whether the transformer's training is over and the flows' has begun."""
        total = int(self.trainer.estimated_stepping_batches)
        return self.global_step >= min(total - 1, max(1, round(self.reconstruction_share * total)))

    def training_step(self, batch: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the loss of the training whose turn it is; the other one's weights get no gradient and stay."""
        del args, kwargs
        images = images_of(batch)
        if self.flows_learn:
            return self.log_losses({"likelihood": self.model.likelihood_loss(images)})
        return self.log_losses({"reconstruction": self.model.reconstruction_loss(images)})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW for the transformer and, as AdamW without decay is Adam, for the flows."""
        transformer: dict[str, Any] = {"params": self.model.transformer.parameters()}
        flows: dict[str, Any] = {"params": self.model.flows.parameters(), "lr": self.flow_lr, "weight_decay": 0.0}
        return torch.optim.AdamW([transformer, flows], lr=self.lr)
