# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of training: steps alone, and everything from file to file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from anomalib_scdae.benchmark.measure.timing import Spread, Timings, interleave
from anomalib_scdae.benchmark.speed.baseline import ModelName
from anomalib_scdae.benchmark.speed.data import write_dataset
from anomalib_scdae.benchmark.speed.effort import Effort
from anomalib_scdae.benchmark.speed.process import Trainee, trainees
from anomalib_scdae.benchmark.speed.trainee import Sample, Task
from anomalib_scdae.model.lightning_model import PAPER_STEPS

MODELS: tuple[ModelName, ModelName] = ("SCDAE", "EfficientAd")
#: Training images of a category of MVTec LOCO, about; so a training has 200 epochs.
TYPICAL_IMAGES = 350
TYPICAL_EPOCHS = PAPER_STEPS // TYPICAL_IMAGES


@dataclass(frozen=True)
class StepResult:
    """Training steps of both models.

    Attributes:
        timings: Seconds of a step, for each model.
        macs: Multiply-accumulate operations of a step.
        peak_mib: Peak memory of the process.
    """

    timings: Timings
    macs: dict[str, int]
    peak_mib: dict[str, dict[str, float | None]]


def measure_steps(task: Task, effort: Effort) -> StepResult:
    """Time training steps of both models in turn; ``task.model`` does not matter."""
    with trainees([replace(task, model=name) for name in MODELS]) as started:
        pair: dict[str, Trainee] = dict(zip(MODELS, started, strict=True))
        macs = {name: trainee.count_macs() for name, trainee in pair.items()}
        turns = {name: partial(_mean_step, trainee, effort.steps) for name, trainee in pair.items()}
        timings = interleave(turns, effort.step_rounds, effort.warm_up)
        return StepResult(timings, macs, {name: trainee.finish() for name, trainee in pair.items()})


def _mean_step(trainee: Trainee, steps: int) -> float:
    """Return the mean seconds of a step; the first one of a turn finds everything cold."""
    return float(np.mean([sample.seconds for sample in trainee.turn(steps + 1)[1:]]))


def measure_trainings(task: Task, effort: Effort) -> dict[str, list[list[Sample]]]:
    """Train both models in turn for some epochs, with a validation in each, and return each model's turns."""
    events = effort.epochs * (effort.files + 1)
    length = -(-(effort.files + 1) // effort.turns)
    taken: dict[str, list[list[Sample]]] = {name: [] for name in MODELS}

    def measurement(name: str, trainee: Trainee) -> Callable[[], float]:
        def measure() -> float:
            samples = trainee.turn(length)
            taken[name].append(samples)
            return sum(sample.seconds for sample in samples)

        return measure

    with trainees([replace(task, model=name) for name in MODELS]) as started:
        pair: dict[str, Trainee] = dict(zip(MODELS, started, strict=True))
        measurements = {name: measurement(name, trainee) for name, trainee in pair.items()}
        interleave(measurements, repeats=-(-events // length), warm_up=0)
        for trainee in started:
            trainee.finish()
    return taken


def seconds_per_image(turns: list[list[Sample]]) -> dict[str, float]:
    """Extrapolate from a few epochs of a few files to a training of the paper's length.

    An epoch's first image also pays for the epoch's start (processes that read images); where there are few files, it
    does so far too often. Hence the parts are taken apart and put together for :data:`TYPICAL_EPOCHS` epochs of
    :data:`TYPICAL_IMAGES` images, the first epoch of which reads them for the first time.

    Returns:
        Seconds: ``first_epoch`` and ``later_epochs`` of an image, ``epoch_start`` in addition once an epoch, and
        ``image``, the mean over the whole training, validations not counted.
    """
    first, later = (Spread.of(means).median for means in (_means(turns, first=True), _means(turns, first=False)))
    starts = [sample.seconds for turn in turns for sample in turn if _is_start(sample) and sample.epoch > 0]
    start = max(0.0, float(np.median(starts)) - later)
    mean = (first + (TYPICAL_EPOCHS - 1) * later) / TYPICAL_EPOCHS + start / TYPICAL_IMAGES
    return {"first_epoch": first, "later_epochs": later, "epoch_start": start, "image": mean}


def later_images(turns: Mapping[str, list[list[Sample]]]) -> Timings:
    """Return the mean seconds of an image in each turn after the first epoch, for each model."""
    return Timings({name: _means(taken, first=False) for name, taken in turns.items()})


def validations(turns: Mapping[str, list[list[Sample]]]) -> Timings:
    """Return the seconds of each validation but the first, for each model."""
    return Timings(
        {
            name: [s.seconds for turn in taken for s in turn if s.event == "validation" and s.epoch > 0]
            for name, taken in turns.items()
        }
    )


def _means(turns: list[list[Sample]], *, first: bool) -> list[float]:
    """Return the mean seconds of an image in each turn of the first epoch, or of the others."""
    chosen = [
        [s.seconds for s in turn if s.event == "image" and not _is_start(s) and (s.epoch == 0) is first]
        for turn in turns
    ]
    return [float(np.mean(seconds)) for seconds in chosen if seconds]


def _is_start(sample: Sample) -> bool:
    return sample.event == "image" and sample.batch == 0


def prepare_data(folder: Path, effort: Effort) -> dict[str, Path]:
    """Write the datasets: ``small`` of the networks' input size, ``large`` of the size that cameras have."""
    return {
        "small": write_dataset(folder / "small", (256, 256), effort.calibration_images, 1),
        "large": write_dataset(folder / "large", effort.file_size, effort.files, effort.validation_files),
    }


def describe(timings: Timings, **extra: Any) -> dict[str, Any]:
    """Return the seconds of both models and their ratio, for ``speed_details.json``."""
    seconds = {name: timings.spread(name).as_dict() for name in MODELS}
    return {"ratio": timings.ratio(*MODELS).as_dict(), "seconds": seconds, **extra}
