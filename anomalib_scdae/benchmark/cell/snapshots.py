# SPDX-License-Identifier: Apache-2.0
"""What a model can do after 1, 2, 4, 8, ... minutes of its training: kept while it trains, tested when it has ended."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from anomalib.data import AnomalibDataModule
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from anomalib_scdae.benchmark.cell.build import save_state
from anomalib_scdae.benchmark.cells import END

#: Seconds of training after which the first snapshot is taken; each further one after twice as many.
FIRST_SNAPSHOT = 60.0
#: How many test images a snapshot is tested on at most. Testing takes longer than training otherwise.
TEST_IMAGES = 150


class Snapshots(Callback):
    """Keeps the weights after 1, 2, 4, ... minutes of training and at its end.

    The time is that of the processor, which other programs on the machine hardly change; on an accelerator, that of the
    clock. It counts from the start of the training, with what a model computes there, but without validations and
    without the snapshots themselves; what SCDAE calibrates for a checkpoint on the way counts.

    Args:
        folder: Gets a file of weights for each snapshot.

    Attributes:
        taken: By minutes, or ``end``: ``step`` and ``seconds`` of the snapshot.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.taken: dict[str, dict[str, float]] = {}
        self._clock: Callable[[], float] = time.process_time
        self._seconds = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training so far."""
        return self._seconds + (0.0 if self._since is None else self._clock() - self._since)

    def _start_clock(self) -> None:
        self._since = self._clock()

    def _stop_clock(self) -> None:
        self._seconds, self._since = self.seconds, None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock before the model computes anything."""
        del trainer
        if pl_module.device.type != "cpu":
            self._clock = time.perf_counter
        self._start_clock()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock for a validation."""
        del pl_module
        if trainer.state.fn == TrainerFn.FITTING:
            self._stop_clock()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock go on."""
        del pl_module
        if trainer.state.fn == TrainerFn.FITTING:
            self._start_clock()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take a snapshot if its time has come."""
        del outputs, batch, batch_idx
        due = int(self.seconds // FIRST_SNAPSHOT)
        # The largest power of two: minutes that have passed before the first step have no snapshot of their own.
        key = str(1 << due.bit_length() - 1) if due else None
        if key is not None and key not in self.taken:
            self._take(key, trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the last snapshot."""
        self._take(END, trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return what must survive an interruption."""
        return {"taken": self.taken, "seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from an earlier part of the training."""
        self.taken, self._seconds = state_dict["taken"], state_dict["seconds"]

    def _take(self, key: str, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_clock()
        # What a model does to a checkpoint makes it fit for use: SCDAE adds the statistics of these weights.
        checkpoint = {"state_dict": pl_module.state_dict()}
        pl_module.on_save_checkpoint(checkpoint)
        save_state(checkpoint["state_dict"], self.folder / f"{key}.safetensors")
        step = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        self.taken[key] = {"step": step, "seconds": round(self._seconds, 1)}
        self._start_clock()


@contextmanager
def few_test_images(datamodule: AnomalibDataModule) -> Iterator[None]:
    """Leave ``datamodule`` no more than :data:`TEST_IMAGES` images to test, drawn once for all models.

    Not every second file: where kinds of anomalies take turns, as in SyntheticLOCO, half of them may be missing then.
    """
    datamodule.setup(TrainerFn.TESTING)
    whole = datamodule.test_data
    order = whole.samples["image_path"].astype(str).sort_values(kind="stable").index.to_numpy()
    drawn = np.random.default_rng(0).permutation(len(order))[:TEST_IMAGES]
    datamodule.test_data = whole.subsample(order[np.sort(drawn)].tolist())
    try:
        yield
    finally:
        datamodule.test_data = whole
