# SPDX-License-Identifier: Apache-2.0
"""SCDAE's speed beside that of the built-in EfficientAd: ``anomalib-scdae benchmark --what speed``."""

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from anomalib_scdae.benchmark.cells import write_json
from anomalib_scdae.benchmark.measure.deployment import default_device
from anomalib_scdae.benchmark.measure.environment import environment
from anomalib_scdae.benchmark.measure.peak import measure_peaks
from anomalib_scdae.benchmark.measure.timing import interleave, quartiles, ratio
from anomalib_scdae.benchmark.process import call, in_one_sentence
from anomalib_scdae.benchmark.speed.data import write_dataset, write_penalty_images
from anomalib_scdae.benchmark.speed.inference import COMPACT, IMAGE_SIZE, OPENVINO, Predictions, time_predictions
from anomalib_scdae.benchmark.speed.targets import EXTENTS, TARGETS, Extent, print_table, verdict
from anomalib_scdae.benchmark.speed.turns import FAST, MODELS, Sample, Task, TimedTraining, trainings
from anomalib_scdae.errors import UserError
from anomalib_scdae.model.training.schedule import PAPER_STEPS

logger = logging.getLogger(__name__)

#: Training images of a category of MVTec LOCO, about; so a training has 200 epochs.
TYPICAL_IMAGES = 350
TYPICAL_EPOCHS = PAPER_STEPS // TYPICAL_IMAGES


def measure_speed(output: Path, extent: Extent | None = None) -> dict[str, float | None]:
    """Measure SCDAE's speed as ratios to that of Anomalib's EfficientAd.

    Both have their default arguments, the same teacher, 256 x 256 images and batch size 1, and take turns, so that
    drift hits both. OpenVINO is always timed on the CPU. Nothing else should run on the machine. Takes about ten
    minutes on two cores.

    Args:
        output: Folder that gets ``speed.json`` (the ratios), ``speed_details.json`` (spreads, absolute figures,
            arithmetic, peaks of the machine, environment) and the logs of the trainings.
        extent: How much is measured; default: what takes minutes on the accelerator at hand, or on the CPU.

    Returns:
        What is in ``speed.json``: a ratio for each key of :data:`TARGETS`; ``None`` where it could not be measured.

    Raises:
        UserError: If the device is not there; or if a part could not be measured, when all others are written.
    """
    device = default_device().type
    if device not in EXTENTS:
        msg = f"Speed cannot be measured on {device!r}, but on {' and '.join(EXTENTS)}: hide the accelerator first."
        raise UserError(msg)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="anomalib-scdae-speed-") as folder:
        return Measurement(output, Path(folder), device, extent or EXTENTS[device]).run()


class Measurement:
    """One run: every part adds to the results, which are written after each.

    Args:
        output: See :func:`measure_speed`.
        folder: Gets what need not be kept.
        device: ``cpu`` or ``cuda``.
        extent: How much is measured.
    """

    def __init__(self, output: Path, folder: Path, device: str, extent: Extent) -> None:
        self.output, self.folder, self.device, self.extent = output, folder, device, extent
        self.penalty_images = write_penalty_images(folder / "penalty")
        # Of the networks' input size, and of the size that cameras have.
        self.small = write_dataset(folder / "small", IMAGE_SIZE, extent.calibration_images, 1)
        self.large = write_dataset(folder / "large", extent.file_size, extent.files, extent.validation_files)
        self.ratios: dict[str, float | None] = dict.fromkeys(TARGETS)
        self.details: dict[str, Any] = {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "environment": environment(),
            "settings": {
                "device": device,
                "threads": torch.get_num_threads(),
                "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
                "image_size": IMAGE_SIZE,
                "openvino_inference_precision_hint": "f32",
                "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
                **asdict(extent),
                "workers": "Anomalib's default (8)" if extent.workers is None else extent.workers,
            },
            "measurements": {},
        }

    def run(self) -> dict[str, float | None]:
        """Measure part by part; one that fails costs its own keys only."""
        parts: dict[str, Callable[[], None]] = {
            "peaks": self.peaks,
            "train_step_fp32": lambda: self.steps("train_step_fp32", "32-true", "torch_fp32"),
            "train_step_bf16": lambda: self.steps("train_step_bf16", "bf16-mixed", "torch_bf16"),
            "train_end_to_end": self.trainings,
            "inference": self.predictions,
        }
        for name, part in parts.items():
            logger.info("Measuring speed: %s.", name)
            try:
                part()
            except Exception as error:
                logger.exception("This part of the measurement failed.")
                self.details.setdefault("errors", {})[name] = in_one_sentence(error)
            self.write()
        title = f"Speed on {self.details['environment']['processor']}, {self.device}"
        print_table(self.ratios, self.details["measurements"], title)
        if failed := self.details.get("errors"):
            msg = f"{', '.join(failed)} could not be measured; {self.output / 'speed_details.json'} says why."
            raise UserError(msg)
        return self.ratios

    def write(self) -> None:
        """Write what there is so far, each file as a whole or not at all."""
        self.details["goals"] = {
            key: {"at_most": target.at_most, "ratio": self.ratios[key], "verdict": verdict(key, self.ratios[key])}
            for key, target in TARGETS.items()
        }
        write_json(self.output / "speed.json", self.ratios)
        write_json(self.output / "speed_details.json", self.details)

    def peaks(self) -> None:
        """Measure what the machine can do."""
        log = self.output / "peaks" / "peaks.log"
        self.details["peak_gmac_per_second"] = call(measure_peaks, self.device, self.extent.peak_repeats, log=log)

    def steps(self, key: str, precision: str, peak: str) -> None:
        """Time training steps, those of the fast schedule at its start too; in FP32 also tell the peak memory."""
        tasks = self._tasks("step", key, self.small, precision, workers=0, models=(*MODELS, FAST))
        with trainings(tasks) as started:
            macs = {training.model: training.begin() for training in started}
            turns = {training.model: partial(_mean_step, training, self.extent.steps) for training in started}
            seconds = interleave(turns, self.extent.step_rounds, self.extent.warm_up)
            peak_mib = {training.model: training.finish() for training in started}
        other = MODELS[1]
        for suffix, name in (("", MODELS[0]), ("_fast", FAST)):
            compared = seconds[[name, other]].set_axis(list(MODELS), axis="columns")
            self._add(f"{key}{suffix}", compared, dict(zip(MODELS, (macs[name], macs[other]), strict=True)), peak)
            if key == "train_step_fp32":
                kind = "process" if self.device == "cpu" else "accelerator"
                ours, theirs = peak_mib[name][kind], peak_mib[other][kind]
                self.ratios[f"train_peak_memory{suffix}"] = ours / theirs if ours and theirs else None
        if key == "train_step_fp32":
            self.details["measurements"]["train_peak_memory"] = {"mib": peak_mib, "compared": kind}

    def trainings(self) -> None:
        """Time whole trainings, from file to file for some epochs, and the validations in them."""
        extent = self.extent
        length = -(-(extent.files + 1) // extent.turns)  # of a turn; a validation is an event, too
        taken: dict[str, list[list[Sample]]] = {name: [] for name in MODELS}

        def turn(training: TimedTraining) -> float:
            taken[training.model].append(training.turn(length))
            return sum(sample.seconds for sample in taken[training.model][-1])

        with trainings(self._tasks("image", "training", self.large, "32-true", extent.workers)) as started:
            for training in started:
                training.begin()
            turns = {training.model: partial(turn, training) for training in started}
            interleave(turns, repeats=-(-extent.epochs * (extent.files + 1) // length), warm_up=0)
            for training in started:
                training.finish()
        samples = {name: sample_frame(of_model) for name, of_model in taken.items()}
        self._add("train_end_to_end", pd.DataFrame({name: later_images(frame) for name, frame in samples.items()}))
        parts = {name: seconds_per_image(frame) for name, frame in samples.items()}
        entry = self.details["measurements"]["train_end_to_end"]
        entry["later_epochs_ratio"] = entry.pop("ratio")  # the quartiles of the images after the first epoch alone
        entry["seconds_per_image"] = parts
        entry["hours_of_70000_steps"] = {name: part["image"] * PAPER_STEPS / 3600 for name, part in parts.items()}
        self.ratios["train_end_to_end"] = parts["SCDAE"]["image"] / parts["EfficientAd"]["image"]
        self._add("validation", pd.DataFrame({name: validations(frame) for name, frame in samples.items()}))

    def predictions(self) -> None:
        """Time predictions, by the weights that the whole trainings have left."""
        found: Predictions = call(
            time_predictions,
            self.output / "training",
            self.penalty_images,
            self.small,
            self.folder / "exports",
            self.device,
            torch.get_num_threads(),
            self.extent,
            log=self.output / "inference" / "inference.log",
        )
        self.details["export_errors"], self.details["compaction"] = found.failures, found.compaction
        for key, seconds in found.seconds.items():
            plain = key.removesuffix("_compact")
            ours, theirs = COMPACT if plain != key else MODELS[0], MODELS[1]
            batch = int(plain.removeprefix("torch_fp32_batch")) if plain.startswith("torch") else 1
            macs = dict(zip(MODELS, (batch * found.macs[ours], batch * found.macs[theirs]), strict=True))
            formats = OPENVINO.get(plain, ("torch_fp32",))
            peak = {f"openvino_{kind}" if plain in OPENVINO else kind for kind in formats}
            self._add(key, seconds, macs, peak.pop() if len(peak) == 1 else None)

    def _tasks(
        self,
        event: Any,
        name: str,
        data: Path,
        precision: str,
        workers: int | None,
        models: Sequence[str] = MODELS,
    ) -> list[Task]:
        common = (event, data, self.penalty_images, self.output / name, precision, self.device, workers)
        return [Task(model, *common, torch.get_num_threads()) for model in models]

    def _add(
        self, key: str, seconds: pd.DataFrame, macs: dict[str, int] | None = None, peak: str | None = None
    ) -> None:
        """Add a measurement, with what part of the machine's peak it reaches."""
        entry: dict[str, Any] = {
            "ratio": ratio(seconds, *MODELS),
            "seconds": {name: quartiles(seconds[name]) for name in MODELS},
        }
        if macs is not None:
            entry["macs"] = macs
            bound = self.details.get("peak_gmac_per_second", {}).get(peak)
            if isinstance(bound, float):
                reached = {name: macs[name] / entry["seconds"][name]["median"] / 1e9 for name in MODELS}
                entry["gmac_per_second"] = reached
                entry["fraction_of_peak"] = {name: value / bound for name, value in reached.items()}
        self.details["measurements"][key] = entry
        self.ratios[key] = entry["ratio"]["median"]


def _mean_step(training: TimedTraining, steps: int) -> float:
    """Return the mean seconds of a step; the first one of a turn finds everything cold."""
    return float(np.mean([sample.seconds for sample in training.turn(steps + 1)[1:]]))


def sample_frame(turns: list[list[Sample]]) -> pd.DataFrame:
    """Put a training's samples into one table; ``starts`` tells whether an image is its epoch's first one.

    Such an image also pays for the epoch's start, that is for processes that read images.
    """
    frame = pd.DataFrame([(turn, *sample) for turn, samples in enumerate(turns) for sample in samples])
    frame.columns = pd.Index(["turn", *Sample._fields])
    return frame.assign(starts=(frame["event"] == "image") & (frame["batch"] == 0))


def _images_by_turn(samples: pd.DataFrame, *, first_epoch: bool) -> pd.Series:
    """Return the mean seconds of an image in each turn of the first epoch, or of the others."""
    chosen = (samples["event"] == "image") & ~samples["starts"] & ((samples["epoch"] == 0) == first_epoch)
    return samples[chosen].groupby("turn")["seconds"].mean()


def later_images(samples: pd.DataFrame) -> pd.Series:
    """Return the mean seconds of an image in each turn after the first epoch."""
    return _images_by_turn(samples, first_epoch=False)


def validations(samples: pd.DataFrame) -> pd.Series:
    """Return the seconds of each validation but the first, by epoch."""
    chosen = samples[(samples["event"] == "validation") & (samples["epoch"] > 0)]
    return chosen.set_index("epoch")["seconds"]


def seconds_per_image(samples: pd.DataFrame) -> dict[str, float]:
    """Extrapolate from a few epochs of a few files to a training of the paper's length.

    Where there are few files, epochs start far too often. Hence the parts are taken apart and put together for
    :data:`TYPICAL_EPOCHS` epochs of :data:`TYPICAL_IMAGES` images, the first epoch of which reads them for the first
    time.

    Returns:
        Seconds: ``first_epoch`` and ``later_epochs`` of an image, ``epoch_start`` in addition once an epoch, and
        ``image``, the mean over the whole training, validations not counted.
    """
    first, later = (float(_images_by_turn(samples, first_epoch=which).median()) for which in (True, False))
    starts = samples["seconds"][samples["starts"] & (samples["epoch"] > 0)]
    start = max(0.0, float(starts.median()) - later)
    mean = (first + (TYPICAL_EPOCHS - 1) * later) / TYPICAL_EPOCHS + start / TYPICAL_IMAGES
    return {"first_epoch": first, "later_epochs": later, "epoch_start": start, "image": mean}
