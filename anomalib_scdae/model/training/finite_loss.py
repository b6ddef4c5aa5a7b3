# SPDX-License-Identifier: Apache-2.0
"""Stops a training that has left the numbers, before it leaves a checkpoint of nothing."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from anomalib_scdae.errors import UserError

#: A GPU works ahead of Python, and would wait at every look at a loss: it is looked at once in so many steps.
STEPS_BETWEEN_LOOKS = 50


class FiniteLoss(Callback):
    """Raises a :class:`UserError` at the first loss that is not finite.

    On a CPU before its gradients are computed; on other devices some steps later, but before a checkpoint is written.
    """

    def __init__(self) -> None:
        self._wrong: torch.Tensor | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier training."""
        del trainer
        #: The first step whose loss was not finite, counted from 1; 0 for none yet.
        self._wrong = torch.zeros((), dtype=torch.int64, device=pl_module.device)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        """Note whether the loss is finite, and look at the note where that takes no time."""
        step = trainer.global_step + 1
        if self._wrong is None:
            return
        self._wrong = torch.where((self._wrong == 0) & ~torch.isfinite(loss.detach()), step, self._wrong)
        if self._wrong.device.type == "cpu" or step % STEPS_BETWEEN_LOOKS == 0:
            self.check(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the last steps' notes, before anything is calibrated."""
        self.check(trainer, pl_module)

    def check(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise the error if a loss was not finite; call it before the weights are used or saved."""
        step = int(self._wrong) if self._wrong is not None else 0
        if step == 0:
            return
        precision = f", or in float32 instead of {trainer.precision}" if trainer.precision != "32-true" else ""
        msg = (
            f"The loss of step {step} is not finite any more: train with a smaller learning rate (--model.lr, now "
            f"{getattr(pl_module, 'lr', 'unknown')}){precision}; checkpoints of earlier steps are kept."
        )
        raise UserError(msg)
