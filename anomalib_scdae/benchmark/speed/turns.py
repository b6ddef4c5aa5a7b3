# SPDX-License-Identifier: Apache-2.0
"""A training in a process of its own, which proceeds when it is its turn and tells how long everything took."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from anomalib.callbacks import ModelCheckpoint
from anomalib.data import MVTecLOCO
from anomalib.engine import Engine
from anomalib.models import AnomalibModule
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.utils.benchmark.utils.timer import timer
from torch.utils.flop_counter import FlopCounterMode

from anomalib_scdae.benchmark.baselines import EfficientAdAsShipped
from anomalib_scdae.benchmark.cell.build import save_weights
from anomalib_scdae.benchmark.measure.memory import peak_memory_mib
from anomalib_scdae.benchmark.process import ChildError, ChildProcess
from anomalib_scdae.benchmark.speed.data import CATEGORY
from anomalib_scdae.model.lightning_model import SCDAE
from anomalib_scdae.model.training.schedule import PAPER_STEPS

MODELS = ("SCDAE", "EfficientAd")
#: SCDAE by its fast schedule, whose steps are others.
FAST = "SCDAE, fast"


def default_model(name: str, penalty_images: Path) -> AnomalibModule:
    """Build a model with its default arguments that needs no network.

    Args:
        name: One of :data:`MODELS`, or :data:`FAST`. ``EfficientAd`` reads ``penalty_images`` as it would Imagenette;
            ``SCDAE`` has those of the package. All have the bundled teacher.
        penalty_images: Images in folders, one for each class.
    """
    if name in (MODELS[0], FAST):
        return SCDAE(teacher="bundled", penalty_images="bundled", schedule="fast" if name == FAST else "paper")
    return EfficientAdAsShipped("bundled", str(penalty_images), anomalib_reads_penalty_images=True)


@dataclass(frozen=True)
class Task:
    """A training to be timed.

    Attributes:
        model: What it trains.
        event: ``step`` to time training steps alone, from the batch that is ready to the step that is done; ``image``
            to time everything, from image to image, and validations apart.
        data: The dataset's root.
        penalty_images: The images of EfficientAd's penalty.
        folder: Gets the log, and the weights of a whole training.
        precision: Lightning's name of the precision.
        device: ``cpu`` or ``cuda``.
        workers: Processes that read images; ``None`` for Anomalib's default.
        threads: Of PyTorch.
    """

    model: str
    event: Literal["step", "image"]
    data: Path
    penalty_images: Path
    folder: Path
    precision: str = "32-true"
    device: str = "cpu"
    workers: int | None = None
    threads: int = 1


class Sample(NamedTuple):
    """How long one thing took."""

    event: Literal["step", "image", "validation"]
    epoch: int
    batch: int
    seconds: float


class TimedTraining(ChildProcess):
    """A training that stands still unless it is its turn.

    Its process and the processes that read its images are halted in between, where the system can do that. So nothing
    is prepared in the other's time, and nothing that one does in the background slows the other down.

    Args:
        task: What is trained.
    """

    def __init__(self, task: Task) -> None:
        super().__init__(train, task, log=task.folder / f"{task.model}.log", converses=True)
        self.model = task.model

    def begin(self) -> int:
        """Wait for the first step and return its multiply-accumulate operations."""
        macs = self.receive()
        self.pause()
        return macs

    def turn(self, length: int) -> list[Sample]:
        """Let ``length`` events happen and return how long they took."""
        self.resume()
        self.send(length)
        samples = self.receive()
        self.pause()
        return samples

    def finish(self) -> dict[str, float | None]:
        """End the training and return its peak memory; see :func:`peak_memory_mib`."""
        self.resume()
        self.send(None)
        return self.receive()

    def receive(self) -> Any:
        """Wait for what the training sends next.

        Raises:
            ChildError: If the training has failed.
        """
        try:
            return super().receive()
        except ChildError as error:
            msg = f"The training of {self.model} failed: {error} (see {self.log})"
            raise ChildError(msg) from error


@contextmanager
def trainings(tasks: Sequence[Task]) -> Iterator[list[TimedTraining]]:
    """Start a process for each task, and leave none behind."""
    with ExitStack() as stack:
        started = []
        for task in tasks:
            started.append(TimedTraining(task))
            stack.enter_context(started[-1])
        yield started


class Finished(Exception):  # noqa: N818 - not an error
    """Ends a training that has been timed."""


class Turns(Callback):
    """Halts the training until it is its turn, and times what happens then.

    The first step, which finds everything cold, belongs to no turn: its arithmetic is counted and sent. From then on,
    the other side sends the number of events that make a turn, or ``None`` for the end.

    Args:
        connection: To the other side.
        event: See :class:`Task`.
        clock: Tells the time in seconds, once the accelerator has done its work.
    """

    def __init__(
        self, connection: Connection, event: Literal["step", "image"], clock: Callable[[], float] = timer
    ) -> None:
        self.connection, self.event, self.clock = connection, event, clock
        self._samples: list[Sample] = []
        self._length = 0
        self._counter: FlopCounterMode | None = FlopCounterMode(display=False)
        self._started = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start timing a step."""
        del trainer, pl_module, batch, batch_idx
        if self._counter is not None:
            self._counter.__enter__()
        elif self.event == "step":
            self._started = self.clock()

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
        self._started = self.clock()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop timing a validation, after SCDAE has calibrated."""
        del pl_module
        if self.event == "image":
            self._stop("validation", trainer.current_epoch, 0)

    def _stop(self, event: Literal["step", "image", "validation"], epoch: int, batch: int) -> None:
        self._samples.append(Sample(event, epoch, batch, self.clock() - self._started))
        if len(self._samples) >= self._length:
            samples, self._samples = self._samples, []
            self._wait(samples)
        else:
            self._started = self.clock()

    def _wait(self, result: object) -> None:
        """Hand over a result and wait for the next turn."""
        self.connection.send(result)
        self._length = self.connection.recv()
        if self._length is None:
            raise Finished
        self._started = self.clock()


def train(connection: Connection, task: Task) -> dict[str, float | None]:
    """Train as ``anomalib train`` does, turn by turn; leave a whole training's weights, and return the peak memory."""
    torch.set_num_threads(task.threads)
    seed_everything(0)
    workers: dict[str, Any] = {} if task.workers is None else {"num_workers": task.workers}
    no_validation: dict[str, Any] = {"limit_val_batches": 0} if task.event == "step" else {}
    model = default_model(task.model, task.penalty_images)
    datamodule = MVTecLOCO(root=task.data, category=CATEGORY, train_batch_size=1, **workers)
    engine = Engine(
        callbacks=[Turns(connection, task.event), ModelCheckpoint(save_top_k=0)],
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
        save_weights(model, weights_of(task.folder, task.model))
    return peak


def weights_of(folder: Path, model: str) -> Path:
    """Return where a whole training leaves its weights."""
    return folder / f"{model}.safetensors"
