# SPDX-License-Identifier: Apache-2.0
"""How long SCDAE trains and at which learning rate, by its schedule."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch.optim.lr_scheduler import LambdaLR

from anomalib_scdae.model.training.schedule import SCHEDULES, Schedule, share_done, timers_of, warn_of_little_time


def tell_adopted(options: Mapping[str, Any]) -> None:
    """Say which options are taken from a checkpoint in place of those that were given, if there are any."""
    if options:
        rank_zero_info("From the checkpoint: " + ", ".join(f"{name}={v!r}" for name, v in options.items()) + ".")


class ScheduledTraining(LightningModule):
    """A training whose optimiser and length follow from its schedule.

    Attributes:
        schedule: See :mod:`~anomalib_scdae.model.training.schedule`.
        lr: Learning rate of Adam, the schedule's or the user's, or what a callback has found.
        weight_decay: Weight decay of Adam.
        _unlimited: A trainer to which the user has given no limit, so that it trains as long as the schedule says.
    """

    model: torch.nn.Module
    schedule: Schedule
    lr: float
    weight_decay: float
    _unlimited: Trainer | None = None
    _set_up_seconds = 0.0

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam, with the learning rate of the schedule."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        # One pass over the memory instead of a dozen. Lightning cannot clip the gradients of a fused optimizer in fp16.
        fused = self.device.type in ("cpu", "cuda") and not self.trainer.gradient_clip_val
        optimizer = torch.optim.Adam(parameters, lr=self.lr, weight_decay=self.weight_decay, fused=fused)

        def factor(step: int) -> float:
            return self.schedule.factor(step, self.share_done(step))

        scheduler = LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def share_done(self, step: int) -> float:
        """Return which share of the training is done with a step, see :func:`~.training.schedule.share_done`."""
        return share_done(self.trainer, step, self.schedule.steps, self._set_up_seconds)

    def start_learning(self, since: float) -> None:
        """Count the training's time from now on: what went by since ``since`` (``time.perf_counter``) was set-up."""
        self._set_up_seconds = time.perf_counter() - since
        warn_of_little_time(self.trainer, self._set_up_seconds)

    @LightningModule.trainer.setter  # type: ignore[attr-defined]
    def trainer(self, trainer: Trainer | None) -> None:
        """Attach the trainer, and give it the schedule's number of steps if the user gave no limit at all.

        A hook would come too late: Lightning replaces a missing limit by 1000 epochs before it calls the first one.
        """
        LightningModule.trainer.fset(self, trainer)  # type: ignore[attr-defined]
        if trainer is not self._unlimited:
            self._unlimited = None
        if (
            trainer is not None
            and trainer.state.fn == TrainerFn.FITTING
            and trainer.max_epochs is None
            and trainer.max_steps == -1
            and not timers_of(trainer)
        ):
            trainer.fit_loop.epoch_loop.max_steps = self.schedule.steps
            self._unlimited = trainer
            rank_zero_info(
                f"Neither max_steps nor max_epochs is given: training for the {self.hparams['schedule']} schedule's "
                f"{self.schedule.steps:,} steps (--trainer.max_steps changes that)."
            )

    def apply_learning_rate(self) -> None:
        """Train with the present learning rate, also where a callback has found it or a checkpoint has another one.

        LearningRateFinder looks for one with a scheduler of its own, which is left alone.
        """
        scheduler = self.lr_schedulers()
        if not isinstance(scheduler, LambdaLR):
            return
        scheduler.base_lrs = [self.lr for _ in scheduler.base_lrs]
        for group, factor in zip(scheduler.optimizer.param_groups, scheduler.lr_lambdas, strict=True):
            group["initial_lr"] = self.lr
            group["lr"] = self.lr * factor(scheduler.last_epoch)

    def adopt_training(self, saved: dict[str, Any]) -> None:
        """Go on training as the checkpoint's training was, to which its optimizer's state belongs.

        A learning rate that was given with the command is the one that counts: it may be what helps.

        Args:
            saved: The checkpoint's hyper-parameters.
        """
        name = saved.get("schedule", "paper")
        known = {"schedule": name, "weight_decay": saved.get("weight_decay", self.weight_decay)}
        if self.hparams["lr"] is None:
            known["lr"] = saved.get("lr")
            self.lr = SCHEDULES[name].lr if known["lr"] is None else known["lr"]
        different = {key: value for key, value in known.items() if value != self.hparams[key]}
        tell_adopted(different)
        self.hparams.update(different)
        self.schedule, self.weight_decay = SCHEDULES[name], known["weight_decay"]
        if self._unlimited is not None:
            self._unlimited.fit_loop.epoch_loop.max_steps = self.schedule.steps
