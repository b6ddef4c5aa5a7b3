# SPDX-License-Identifier: Apache-2.0
"""SCDAE's speed beside that of the built-in EfficientAd: ``anomalib-scdae benchmark --what speed``."""

import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from anomalib_scdae.benchmark.cells import write_json
from anomalib_scdae.benchmark.measure.deployment import default_device
from anomalib_scdae.benchmark.measure.environment import environment
from anomalib_scdae.benchmark.measure.peak import measure_peaks
from anomalib_scdae.benchmark.measure.timing import quartiles, ratio
from anomalib_scdae.benchmark.process import call, in_one_sentence
from anomalib_scdae.benchmark.speed import inference, rounds
from anomalib_scdae.benchmark.speed.data import write_dataset, write_penalty_images
from anomalib_scdae.benchmark.speed.targets import EXTENTS, QUICK, TARGETS, Extent, print_table, verdict
from anomalib_scdae.benchmark.speed.timed_training import MODELS, Task
from anomalib_scdae.errors import UserError

logger = logging.getLogger(__name__)


def measure_speed(
    output: Path, *, device: str | None = None, workers: int | None = None, quick: bool = False
) -> dict[str, float | None]:
    """Measure SCDAE's speed as ratios to that of Anomalib's EfficientAd.

    Both have their default arguments, the same teacher, 256 x 256 images and batch size 1, and take turns, so that
    drift hits both. Nothing else should run on the machine. Takes about ten minutes on two cores.

    Args:
        output: Folder that gets ``speed.json`` (the ratios), ``speed_details.json`` (spreads, absolute figures,
            arithmetic, peaks of the machine, environment) and the logs of the trainings.
        device: ``cpu`` or ``cuda``; default: the accelerator at hand. OpenVINO is always timed on the CPU.
        workers: Processes that read images in the whole training; default: Anomalib's default.
        quick: Whether to measure next to nothing, to see that everything runs.

    Returns:
        What is in ``speed.json``: a ratio for each key of :data:`TARGETS`; ``None`` where it could not be measured.

    Raises:
        UserError: If the device is not there; or if a part could not be measured, when all others are written.
    """
    device = device or default_device().type
    if device not in {"cpu", "cuda"} or (device == "cuda" and not torch.cuda.is_available()):
        msg = f"Speed cannot be measured on {device!r}: use cpu, or cuda where PyTorch finds a CUDA device."
        raise UserError(msg)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="anomalib-scdae-speed-") as folder:
        extent = QUICK if quick else EXTENTS[device]
        return Measurement(output, Path(folder), device, workers, extent).run()


class Measurement:
    """One run: every part adds to the results, which are written after each.

    Args:
        output: See :func:`measure_speed`.
        folder: Gets what need not be kept.
        device: See :func:`measure_speed`.
        workers: See :func:`measure_speed`.
        extent: How much is measured.
    """

    def __init__(self, output: Path, folder: Path, device: str, workers: int | None, extent: Extent) -> None:
        self.output, self.folder, self.device, self.workers, self.extent = output, folder, device, workers, extent
        self.penalty_images = write_penalty_images(folder / "penalty")
        # Of the networks' input size, and of the size that cameras have.
        self.small = write_dataset(folder / "small", inference.IMAGE_SIZE, extent.calibration_images, 1)
        self.large = write_dataset(folder / "large", extent.file_size, extent.files, extent.validation_files)
        self.ratios: dict[str, float | None] = dict.fromkeys(TARGETS)
        self.details: dict[str, Any] = {
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "environment": environment(),
            "settings": {
                "device": device,
                "threads": torch.get_num_threads(),
                "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
                "image_size": inference.IMAGE_SIZE,
                "openvino_inference_precision_hint": "f32",
                "cudnn_allow_tf32": torch.backends.cudnn.allow_tf32,
                "workers": workers if workers is not None else "Anomalib's default (8)",
                **asdict(extent),
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
        """Time training steps; those in FP32 also tell the peak memory."""
        result = rounds.measure_steps(self._task("step", key, self.small, precision, workers=0), self.extent)
        self._add(key, result.seconds, result.macs, peak)
        if key == "train_step_fp32":
            kind = "process" if self.device == "cpu" else "accelerator"
            ours, theirs = (result.peak_mib[name][kind] for name in MODELS)
            self.details["measurements"]["train_peak_memory"] = {"mib": result.peak_mib, "compared": kind}
            self.ratios["train_peak_memory"] = ours / theirs if ours and theirs else None

    def trainings(self) -> None:
        """Time whole trainings, and their validations."""
        task = self._task("image", "training", self.large, "32-true", self.workers)
        turns = rounds.measure_trainings(task, self.extent)
        self._add("train_end_to_end", rounds.later_images(turns))
        parts = {name: rounds.seconds_per_image(turns[name]) for name in MODELS}
        entry = self.details["measurements"]["train_end_to_end"]
        entry["seconds_per_image"] = parts
        entry["hours_of_70000_steps"] = {name: part["image"] * 70_000 / 3600 for name, part in parts.items()}
        self.ratios["train_end_to_end"] = parts["SCDAE"]["image"] / parts["EfficientAd"]["image"]
        self._add("validation", rounds.validations(turns))

    def predictions(self) -> None:
        """Time predictions, by the weights that the whole trainings have left."""
        found: inference.Predictions = call(
            inference.time_predictions,
            self.output / "training",
            self.penalty_images,
            self.small,
            self.folder / "exports",
            self.device,
            torch.get_num_threads(),
            self.extent,
            log=self.output / "inference" / "inference.log",
        )
        self.details["export_errors"] = found.failures
        for batch, seconds in found.torch.items():
            macs = {name: batch * count for name, count in found.macs.items()}
            self._add(f"torch_fp32_batch{batch}", seconds, macs, "torch_fp32")
        for key, ours, theirs in (
            ("openvino_fp32", "fp32", "fp32"),
            ("openvino_int8_to_fp32", "int8", "fp32"),
            ("openvino_int8", "int8", "int8"),
        ):
            columns = [f"SCDAE/openvino_{ours}", f"EfficientAd/openvino_{theirs}"]
            if set(columns) <= set(found.openvino):
                seconds = found.openvino[columns].set_axis(list(MODELS), axis="columns")
                self._add(key, seconds, found.macs, f"openvino_{ours}" if ours == theirs else None)

    def _task(self, event: Any, name: str, data: Path, precision: str, workers: int | None) -> Task:
        return Task(
            model="SCDAE",
            event=event,
            data=data,
            penalty_images=self.penalty_images,
            folder=self.output / name,
            precision=precision,
            device=self.device,
            workers=workers,
            threads=torch.get_num_threads(),
        )

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
