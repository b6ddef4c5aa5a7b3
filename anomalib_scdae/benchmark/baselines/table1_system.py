# SPDX-License-Identifier: Apache-2.0
"""What the systems of the paper's Table 1 have in common as models of Anomalib."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from anomalib import LearningType
from anomalib.data import Batch
from anomalib.metrics import Evaluator

from anomalib_scdae.metrics import loco_evaluator
from anomalib_scdae.model.training.training_set import images_of


class Table1Mixin:
    """Trained on normal images, validated for thresholds, evaluated from raw scores.

    The networks in ``model`` return an ``InferenceBatch`` in evaluation mode. It comes before ``AnomalibModule`` in the
    order of bases, and is none itself, or Anomalib would list it among its models.
    """

    model: Any
    log: Callable[..., None]

    @staticmethod
    def configure_evaluator() -> Evaluator:
        """Return the benchmark's evaluation, from raw scores."""
        return loco_evaluator()

    def validation_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Any:
        """Compute scores and maps, from which the post-processor takes its thresholds."""
        del args, kwargs
        return batch.update(**self.model(images_of(batch))._asdict())

    def log_losses(self, losses: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Log losses by name, and return and log their sum."""
        for name, value in losses.items():
            self.log(f"train_{name}", value.detach(), on_step=True, on_epoch=False)
        loss = torch.stack(list(losses.values())).sum()
        self.log("train_loss", loss.detach(), on_step=True, on_epoch=True, prog_bar=True)
        return loss

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """Validation before the first step would only take time."""
        return {"num_sanity_val_steps": 0}

    @property
    def learning_type(self) -> LearningType:
        """Only normal images are needed."""
        return LearningType.ONE_CLASS
