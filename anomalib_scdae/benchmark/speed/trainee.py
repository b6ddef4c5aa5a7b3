# SPDX-License-Identifier: Apache-2.0
"""A training in a process of its own, which proceeds when it is its turn and tells how long everything took."""

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.utils.flop_counter import FlopCounterMode

from anomalib_scdae.benchmark.measure.memory import peak_memory_mib
from anomalib_scdae.benchmark.measure.timing import synchroniser
from anomalib_scdae.benchmark.speed.baseline import ModelName, build_model
from anomalib_scdae.benchmark.speed.data import CATEGORY
from anomalib_scdae.model.lightning_model import PAPER_STEPS

Event = Literal["step", "image", "validation"]


@dataclass(frozen=True)
class Task:
    """What a trainee does.

    Attributes:
        model: What it trains.
        event: ``step`` to time training steps alone, from the batch that is ready to the step that is done; ``image``
            to time everything, from image to image, and validations apart.
        data: The dataset's root.
        penalty_images: The images of EfficientAd's penalty.
        folder: Gets the log and the weights.
        precision: Lightning's name of the precision.
        device: ``cpu`` or ``cuda``.
        workers: Processes that read images; ``None`` for Anomalib's default.
        threads: Of PyTorch.
    """

    model: ModelName
    event: Literal["step", "image"]
    data: Path
    penalty_images: Path
    folder: Path
    precision: str = "32-true"
    device: str = "cpu"
    workers: int | None = None
    threads: int = 1

    @property
    def weights(self) -> Path:
        """Where the weights of a whole training are left."""
        return self.folder / f"{self.model}.pth"

    @property
    def log(self) -> Path:
        """Where everything goes that is printed."""
        return self.folder / f"{self.model}.log"


class Sample(NamedTuple):
    """How long one thing took."""

    event: Event
    epoch: int
    batch: int
    seconds: float


class Finished(Exception):  # noqa: N818 - not an error
    """Ends a training that has been timed."""


class Turns(Callback):
    """Halts the training until it is its turn, and times what happens then.

    The other side sends the number of events that make a turn, ``"count"`` for a step whose arithmetic is counted, or
    ``None`` for the end.

    Args:
        connection: To the other side.
        event: See :class:`Task`.
        synchronise: Waits for the accelerator.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self,
        connection: Connection,
        event: Literal["step", "image"],
        synchronise: Callable[[], object],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.connection, self.event, self.synchronise, self.clock = connection, event, synchronise, clock
        self._samples: list[Sample] = []
        self._length = 0
        self._counter: FlopCounterMode | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the first turn, once everything is prepared."""
        del pl_module
        if trainer.current_epoch == 0:
            self._wait("ready")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start timing a step."""
        del trainer, pl_module, batch, batch_idx
        if self.event == "step":
            self._start()
            if self._counter is not None:
                self._counter.__enter__()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop timing a step or an image."""
        del pl_module, outputs, batch
        if self._counter is not None:
            self._counter.__exit__(None, None, None)
            macs, self._counter = self._counter.get_total_flops() // 2, None
            self._wait(macs)
        else:
            self._stop(self.event, trainer.current_epoch, batch_idx)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start timing a validation, before EfficientAd looks for its quantiles."""
        del trainer, pl_module
        self._start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop timing a validation, after SCDAE has calibrated."""
        del pl_module
        if self.event == "image":
            self._stop("validation", trainer.current_epoch, 0)

    def _start(self) -> None:
        self.synchronise()
        self._started = self.clock()

    def _stop(self, event: Event, epoch: int, batch: int) -> None:
        self.synchronise()
        self._samples.append(Sample(event, epoch, batch, self.clock() - self._started))
        if len(self._samples) >= self._length:
            samples, self._samples = self._samples, []
            self._wait(samples)
        else:
            self._start()

    def _wait(self, result: object) -> None:
        """Hand over a result and wait for the next turn."""
        self.connection.send(result)
        command = self.connection.recv()
        if command is None:
            raise Finished
        if command == "count":
            self._counter = FlopCounterMode(display=False)
        else:
            self._length = command
        self._start()


def train(connection: Connection, task: Task) -> None:
    """Train as ``anomalib train`` does, turn by turn; at the end, send the peak memory and leave the weights.

    The main function of a process: what it prints goes to the task's log, an exception to the other side.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # so that it can be halted together with the processes that read its images
    # Those must start as in any training: by default, what a spawned process starts is spawned, which takes seconds.
    multiprocessing.set_start_method(None, force=True)
    task.folder.mkdir(parents=True, exist_ok=True)
    with task.log.open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        connection.send(_train(connection, task))
    except EOFError:  # the other side is gone
        return
    except BaseException as error:
        traceback.print_exc()
        connection.send(f"{type(error).__name__}: {error}")
        raise


def _train(connection: Connection, task: Task) -> dict[str, float | None]:
    torch.set_num_threads(task.threads)
    seed_everything(0)
    workers: dict[str, Any] = {} if task.workers is None else {"num_workers": task.workers}
    no_validation: dict[str, Any] = {"limit_val_batches": 0} if task.event == "step" else {}
    model = build_model(task.model, task.penalty_images)
    datamodule = MVTecLOCO(root=task.data, category=CATEGORY, train_batch_size=1, **workers)
    engine = Engine(
        callbacks=[Turns(connection, task.event, synchroniser(task.device)), ModelCheckpoint(save_top_k=0)],
        default_root_dir=task.folder / task.model,
        accelerator="gpu" if task.device == "cuda" else task.device,
        devices=1,
        precision=task.precision,
        max_steps=PAPER_STEPS,
        **no_validation,
    )
    with suppress(Finished):
        engine.fit(model, datamodule=datamodule)
    peak = peak_memory_mib()
    if task.event == "image":  # with quantiles and thresholds, which the steps alone do not need
        torch.save(model.state_dict(), task.weights)
    return peak
