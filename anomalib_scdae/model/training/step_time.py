# SPDX-License-Identifier: Apache-2.0
"""Tells early how long a training with large batches will take on a CPU."""

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from anomalib_scdae.model.training.schedule import known_steps

#: Batches below this size are what the paper and its readers use; nothing need be said about them.
LARGE_BATCH = 4


class StepTimeNotice(Callback):
    """Measures a step of a training on a CPU and says what all of them will take, if the batch is large.

    It is the second one: the first may wait for a compiler.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here."""
        del trainer, pl_module
        self._batches = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take the time."""
        del trainer, pl_module, batch, batch_idx
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say the estimate after the second batch."""
        del outputs, batch_idx
        self._batches += 1
        if self._batches != 2 or pl_module.device.type != "cpu" or len(batch.image) < LARGE_BATCH:
            return
        seconds = (time.perf_counter() - self._start) * trainer.accumulate_grad_batches
        steps = known_steps(trainer)
        total = (
            "" if steps == float("inf") else f", {steps:,.0f} steps about {timedelta(seconds=round(seconds * steps))}"
        )
        rank_zero_warn(
            f"Batch size {len(batch.image)} on a CPU: a step takes about {seconds:.0f} s{total}. The paper trains with "
            "batch size 1 (--data.train_batch_size 1), whose steps are as many times shorter."
        )
