# SPDX-License-Identifier: Apache-2.0
"""Says now and then, in words, what a training has learnt and how long it will go on."""

import time
from statistics import fmean
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

#: Seconds of training before the first sentence; each further one comes after twice as many.
FIRST_SENTENCE = 15.0
#: Weight of the last step in the running mean of the loss.
LAST_STEP = 0.1


class ProgressSentences(Callback):
    """Tells after 15, 30, 60, ... seconds how much is done, what is left, and how far the autoencoders are.

    The teacher's features have a variance of 1, so that the teacher-autoencoder loss is the share of it that an
    autoencoder does not explain yet.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._started = time.perf_counter()
        self._next = FIRST_SENTENCE
        self._share_before: float | None = None
        self._unexplained: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del trainer, pl_module
        self._begin()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Follow the loss, and say a sentence if it is time."""
        del outputs, batch, batch_idx
        share = pl_module.share_done(trainer.global_step - 1)
        if self._share_before is None:  # of an earlier part of the training, which took time of its own
            self._share_before, self._started = share, time.perf_counter()
            return
        elapsed = time.perf_counter() - self._started
        if trainer.is_global_zero and trainer.global_step % 4 == 0:  # reading a metric makes a GPU wait
            losses = [float(value) for name, value in trainer.callback_metrics.items() if name.startswith("train_ta_")]
            if losses:
                last, before = fmean(losses), self._unexplained
                self._unexplained = last if before is None else before + LAST_STEP * (last - before)
        if elapsed < self._next or share >= 1 or self._unexplained is None:
            return
        while self._next <= elapsed:
            self._next *= 2
        done = share - self._share_before
        left = f", about {_spoken(elapsed * (1 - share) / done)} left" if done > 0 else ""
        rank_zero_info(
            f"SCDAE, step {trainer.global_step:,} ({share:.0%} done{left}): the autoencoders rebuild "
            f"{max(0.0, 1 - self._unexplained):.0%} of what the teacher sees in a normal image."
        )


def _spoken(seconds: float) -> str:
    """Give a time as one says it."""
    if seconds < 90:
        return f"{max(1, round(seconds / 5)) * 5} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
