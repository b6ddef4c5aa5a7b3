# SPDX-License-Identifier: Apache-2.0
"""Watches a training: its time, its losses, its progress."""

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from anomalib_scdae.benchmark.cells import CellFolder
from anomalib_scdae.model.double_precision import doubled

#: Points of a learning curve.
CURVE_POINTS = 100
PROGRESS_SECONDS = 1.0
#: Step times that are kept for the median; enough for a good one, little to store.
KEPT_STEP_TIMES = 1000


class OneSeed(Callback):
    """Makes what is drawn when training starts a function of the seed, whatever the model's constructor has drawn.

    :class:`~anomalib_scdae.model.training.exact_resume.ExactResume` then draws the same seed for every model, so that
    every model sees the images in the same order.

    Args:
        seed: The cell's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Seed torch's global generator."""
        del trainer, pl_module
        torch.manual_seed(self.seed)


class TrainingRecorder(Callback):
    """Takes the time of a training from its first step on, and the means of its loss terms.

    Args:
        folder: Gets told how far training is, for the display.

    Attributes:
        seconds_before: Those of earlier parts of an interrupted training.
    """

    def __init__(self, folder: CellFolder) -> None:
        self.folder = folder
        self.curve: list[dict[str, float]] = []
        self.step_times: list[float] = []
        self.steps = 0
        self.seconds_before = 0.0
        self._started: float | None = None
        self._ended: float | None = None
        self._last_start: float | None = None
        self._last_told = 0.0
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0

    @property
    def seconds(self) -> float:
        """Seconds from the first step to the end, validations included, set-up not."""
        if self._started is None:
            return self.seconds_before
        return self.seconds_before + (self._ended or time.perf_counter()) - self._started

    def summary(self) -> dict[str, Any]:
        """Return what the cell's result says of the training's time."""
        median = statistics.median(self.step_times) if self.step_times else None
        return {
            "steps": self.steps,
            "seconds": round(self.seconds, 3),
            "steps_per_second": 1 / median if median else None,
        }

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take the time from one start to the next, unless an epoch's end lies between them."""
        del trainer, pl_module, batch
        now = time.perf_counter()
        if self._started is None:
            self._started = now
        if batch_idx and self._last_start is not None:
            self.step_times = [*self.step_times[1 - KEPT_STEP_TIMES :], now - self._last_start]
        self._last_start = now

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add up the loss terms."""
        del pl_module, outputs, batch, batch_idx
        self.steps = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        for name, value in _losses(trainer.callback_metrics).items():
            self._sums[name] = self._sums.get(name, 0) + doubled(value)
        self._count += 1
        if self._count >= max(1, _total_steps(trainer) // CURVE_POINTS):
            self._add_point()
        self._tell(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        del trainer, pl_module
        self._ended = time.perf_counter()
        self._add_point()

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive an interruption."""
        return {"curve": self.curve, "step_times": self.step_times, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from an earlier part of the training."""
        self.curve, self.step_times = state_dict["curve"], state_dict["step_times"]
        self.seconds_before = state_dict["seconds"]

    def _add_point(self) -> None:
        if self._count and self._sums:
            means = {name: float(total) / self._count for name, total in self._sums.items()}
            self.curve.append({"step": self.steps, **means})
        self._sums, self._count = {}, 0

    def _tell(self, trainer: Trainer) -> None:
        if time.monotonic() - self._last_told >= PROGRESS_SECONDS:
            self._last_told = time.monotonic()
            self.folder.tell("training", self.steps, _total_steps(trainer) or None)


def _total_steps(trainer: Trainer) -> int:
    steps = trainer.estimated_stepping_batches
    return int(steps) if steps not in {float("inf"), -1} else 0


def _losses(metrics: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the last step's loss terms: Lightning adds ``_step`` where an epoch's mean is logged too."""
    names = [name for name in metrics if name.startswith("train_") and not name.endswith("_epoch")]
    steps = {name.removeprefix("train_").removesuffix("_step"): metrics[name].detach() for name in names}
    return {name: value for name, value in steps.items() if value.numel() == 1}
