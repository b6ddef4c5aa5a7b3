# SPDX-License-Identifier: Apache-2.0
"""Speed and memory of training: steps alone, and everything from file to file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from anomalib_scdae.benchmark.measure.timing import interleave
from anomalib_scdae.benchmark.speed.targets import Extent
from anomalib_scdae.benchmark.speed.timed_training import MODELS, Sample, Task, TimedTraining, trainings
from anomalib_scdae.model.lightning_model import PAPER_STEPS

#: Training images of a category of MVTec LOCO, about; so a training has 200 epochs.
TYPICAL_IMAGES = 350
TYPICAL_EPOCHS = PAPER_STEPS // TYPICAL_IMAGES

#: What one model's training has told, turn by turn.
SampledTurns = Sequence[Sequence[Sample]]


class StepResult(NamedTuple):
    """Training steps of both models.

    Attributes:
        seconds: Of a step, a column for each model.
        macs: Multiply-accumulate operations of a step.
        peak_mib: Peak memory of the process.
    """

    seconds: pd.DataFrame
    macs: dict[str, int]
    peak_mib: dict[str, dict[str, float | None]]


def measure_steps(task: Task, extent: Extent) -> StepResult:
    """Time training steps of both models in turn; ``task.model`` does not matter."""
    with trainings([replace(task, model=name) for name in MODELS]) as started:
        macs = {training.task.model: training.turn("count") for training in started}
        turns = {training.task.model: partial(_mean_step, training, extent.steps) for training in started}
        seconds = interleave(turns, extent.step_rounds, extent.warm_up)
        return StepResult(seconds, macs, {training.task.model: training.finish() for training in started})


def measure_trainings(task: Task, extent: Extent) -> dict[str, list[list[Sample]]]:
    """Train both models in turn for some epochs, with a validation in each, and return each model's turns."""
    events = extent.epochs * (extent.files + 1)
    length = -(-(extent.files + 1) // extent.turns)
    taken: dict[str, list[list[Sample]]] = {name: [] for name in MODELS}

    def measure(training: TimedTraining) -> float:
        samples = training.turn(length)
        taken[training.task.model].append(samples)
        return sum(sample.seconds for sample in samples)

    with trainings([replace(task, model=name) for name in MODELS]) as started:
        measurements = {training.task.model: partial(measure, training) for training in started}
        interleave(measurements, repeats=-(-events // length), warm_up=0)
        for training in started:
            training.finish()
    return taken


def seconds_per_image(turns: SampledTurns) -> dict[str, float]:
    """Extrapolate from a few epochs of a few files to a training of the paper's length.

    An epoch's first image also pays for the epoch's start (processes that read images); where there are few files, it
    does so far too often. Hence the parts are taken apart and put together for :data:`TYPICAL_EPOCHS` epochs of
    :data:`TYPICAL_IMAGES` images, the first epoch of which reads them for the first time.

    Returns:
        Seconds: ``first_epoch`` and ``later_epochs`` of an image, ``epoch_start`` in addition once an epoch, and
        ``image``, the mean over the whole training, validations not counted.
    """
    first, later = (float(np.median(_means(turns, first=which))) for which in (True, False))
    starts = [sample.seconds for turn in turns for sample in turn if _is_start(sample) and sample.epoch > 0]
    start = max(0.0, float(np.median(starts)) - later)
    mean = (first + (TYPICAL_EPOCHS - 1) * later) / TYPICAL_EPOCHS + start / TYPICAL_IMAGES
    return {"first_epoch": first, "later_epochs": later, "epoch_start": start, "image": mean}


def later_images(turns: Mapping[str, SampledTurns]) -> pd.DataFrame:
    """Return the mean seconds of an image in each turn after the first epoch, a column for each model."""
    return pd.DataFrame({name: _means(taken, first=False) for name, taken in turns.items()})


def validations(turns: Mapping[str, SampledTurns]) -> pd.DataFrame:
    """Return the seconds of each validation but the first, a column for each model."""
    return pd.DataFrame(
        {
            name: [s.seconds for turn in taken for s in turn if s.event == "validation" and s.epoch > 0]
            for name, taken in turns.items()
        }
    )


def _mean_step(training: TimedTraining, steps: int) -> float:
    """Return the mean seconds of a step; the first one of a turn finds everything cold."""
    samples: Any = training.turn(steps + 1)
    return float(np.mean([sample.seconds for sample in samples[1:]]))


def _means(turns: SampledTurns, *, first: bool) -> list[float]:
    """Return the mean seconds of an image in each turn of the first epoch, or of the others."""
    chosen = [
        [s.seconds for s in turn if s.event == "image" and not _is_start(s) and (s.epoch == 0) is first]
        for turn in turns
    ]
    return [float(np.mean(seconds)) for seconds in chosen if seconds]


def _is_start(sample: Sample) -> bool:
    return sample.event == "image" and sample.batch == 0
