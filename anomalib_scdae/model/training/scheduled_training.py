# SPDX-License-Identifier: Apache-2.0
"""How long SCDAE trains and at which learning rate, by its schedule."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from anomalib_scdae.model.training.schedule import SCHEDULES, Schedule, share_done


class ScheduledTraining(LightningModule):
    """A training whose optimiser and length follow from its schedule.

    Attributes:
        schedule: See :mod:`~anomalib_scdae.model.training.schedule`.
        lr: Learning rate of Adam, the schedule's or the user's, or what a callback has found.
        weight_decay: Weight decay of Adam.
    """

    model: torch.nn.Module
    schedule: Schedule
    lr: float
    weight_decay: float
    _has_own_length = False

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, with the learning rate of the schedule."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        # One pass over the memory instead of a dozen. Lightning cannot clip the gradients of a fused optimizer in fp16.
        fused = self.device.type in ("cpu", "cuda") and not self.trainer.gradient_clip_val
        optimizer = torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=fused)

        start = self.lr

        def factor(step: int) -> float:
            # A learning rate that a callback has found meanwhile, as LearningRateFinder does, takes the place of ours.
            return self.schedule.factor(step, self.share_done(step)) * (self.lr / start if start else 1.0)

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def share_done(self, step: int) -> float:
        """Return which share of the training is done with a step, see :func:`~.training.schedule.share_done`."""
        return share_done(self.trainer, step, self.schedule.steps)

    @LightningModule.trainer.setter  # type: ignore[attr-defined]
    def trainer(self, trainer: Trainer | None) -> None:
        """Attach the trainer, and give it the schedule's number of steps if the user gave no limit at all.

        A hook would come too late: Lightning replaces a missing limit by 1000 epochs before it calls the first one.
        """
        LightningModule.trainer.fset(self, trainer)  # type: ignore[attr-defined]
        if (
            trainer is not None
            and trainer.state.fn == TrainerFn.FITTING
            and trainer.max_epochs is None
            and trainer.max_steps == -1
            and not any(isinstance(callback, Timer) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        ):
            trainer.fit_loop.epoch_loop.max_steps = self.schedule.steps
            self._has_own_length = True
            rank_zero_info(
                f"Neither max_steps nor max_epochs is given: training for the {self.hparams['schedule']} schedule's "
                f"{self.schedule.steps:,} steps (--trainer.max_steps changes that)."
            )

    def adopt_schedule(self, saved: dict[str, Any]) -> None:
        """Go on training by the checkpoint's schedule, to which its optimizer's state belongs."""
        name = saved.get("schedule", "paper")
        if SCHEDULES[name] is self.schedule:
            return
        rank_zero_info(f"From the checkpoint: schedule={name!r}.")
        self.schedule = SCHEDULES[name]
        self.hparams["schedule"] = name
        if self._has_own_length:
            self.trainer.fit_loop.epoch_loop.max_steps = self.schedule.steps
