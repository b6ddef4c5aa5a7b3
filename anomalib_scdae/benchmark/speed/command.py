# SPDX-License-Identifier: Apache-2.0
"""SCDAE's speed beside that of the built-in EfficientAd: ``anomalib-scdae benchmark --what speed``."""

import json
import logging
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from anomalib_scdae.benchmark.measure.deployment import default_device
from anomalib_scdae.benchmark.measure.environment import environment
from anomalib_scdae.benchmark.measure.export import Failure
from anomalib_scdae.benchmark.measure.peak import measure_peaks
from anomalib_scdae.benchmark.measure.timing import Timings
from anomalib_scdae.benchmark.speed import inference, training
from anomalib_scdae.benchmark.speed.data import write_penalty_images
from anomalib_scdae.benchmark.speed.effort import Effort
from anomalib_scdae.benchmark.speed.goals import GOALS, print_table, verdict
from anomalib_scdae.benchmark.speed.trainee import Task
from anomalib_scdae.benchmark.speed.training import MODELS
from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing

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
        What is in ``speed.json``: a ratio for each key of :data:`GOALS`; ``None`` where it could not be measured.

    Raises:
        UserError: If the device is not there; or if a part could not be measured, when all others are written.
    """
    device = device or default_device().type
    if device not in {"cpu", "cuda"} or (device == "cuda" and not torch.cuda.is_available()):
        msg = f"Speed cannot be measured on {device!r}: use cpu, or cuda where PyTorch finds a CUDA device."
        raise UserError(msg)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="anomalib-scdae-speed-") as folder:
        measurement = _Measurement(output, Path(folder), device, workers, Effort.choose(device, quick=quick))
        return measurement.run()


class _Measurement:
    """One run: every part adds to the results, which are written after each."""

    def __init__(self, output: Path, folder: Path, device: str, workers: int | None, effort: Effort) -> None:
        self.output, self.folder, self.device, self.effort = output, folder, device, effort
        self.penalty_images = write_penalty_images(folder / "penalty")
        self.data = training.prepare_data(folder, effort)
        self.workers = workers
        self.ratios: dict[str, float | None] = dict.fromkeys(GOALS)
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
                **asdict(effort),
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
                self.details.setdefault("errors", {})[name] = str(Failure.of(error))
            self.write()
        spreads = {key: entry["ratio"] for key, entry in self.details["measurements"].items() if "ratio" in entry}
        print_table(self.ratios, spreads, f"Speed on {self.details['environment']['processor']}, {self.device}")
        if failed := self.details.get("errors"):
            msg = f"{', '.join(failed)} could not be measured; {self.output / 'speed_details.json'} says why."
            raise UserError(msg)
        return self.ratios

    def write(self) -> None:
        """Write what there is so far, each file as a whole or not at all."""
        self.details["goals"] = {
            key: {"at_most": goal.at_most, "ratio": self.ratios[key], "verdict": verdict(key, self.ratios[key])}
            for key, goal in GOALS.items()
        }
        for name, content in (("speed.json", self.ratios), ("speed_details.json", self.details)):
            with replacing(self.output / name) as file:
                file.write_text(json.dumps(content, indent=2) + "\n")

    def peaks(self) -> None:
        """Measure what the machine can do."""
        self.details["peak_gmac_per_second"] = measure_peaks(self.device, self.effort.peak_repeats)

    def steps(self, key: str, precision: str, peak: str) -> None:
        """Time training steps; those in FP32 also tell the peak memory."""
        result = training.measure_steps(self._task("step", key, self.data["small"], precision, workers=0), self.effort)
        self._add(key, result.timings, result.macs, peak)
        if key == "train_step_fp32":
            kind = "process" if self.device == "cpu" else "accelerator"
            ours, theirs = (result.peak_mib[name][kind] for name in MODELS)
            self.details["measurements"]["train_peak_memory"] = {"mib": result.peak_mib, "compared": kind}
            self.ratios["train_peak_memory"] = ours / theirs if ours and theirs else None

    def trainings(self) -> None:
        """Time whole trainings, and their validations."""
        task = self._task("image", "training", self.data["large"], "32-true", self.workers)
        turns = training.measure_trainings(task, self.effort)
        self._add("train_end_to_end", training.later_images(turns))
        parts = {name: training.seconds_per_image(turns[name]) for name in MODELS}
        entry = self.details["measurements"]["train_end_to_end"]
        entry["seconds_per_image"] = parts
        entry["hours_of_70000_steps"] = {name: part["image"] * 70_000 / 3600 for name, part in parts.items()}
        self.ratios["train_end_to_end"] = parts["SCDAE"]["image"] / parts["EfficientAd"]["image"]
        self._add("validation", training.validations(turns))

    def predictions(self) -> None:
        """Time predictions."""
        weights: dict[str, Path] = {name: self.output / "training" / f"{name}.pth" for name in MODELS}
        models = inference.trained_models(weights, self.penalty_images)
        macs = inference.macs_of_an_image(models)
        for batch in (1, 8):
            timings = inference.time_torch(models, batch, self.device, self.effort)
            self._add(
                f"torch_fp32_batch{batch}", timings, {name: batch * count for name, count in macs.items()}, "torch_fp32"
            )
        timings, failures = inference.time_openvino(models, self.data["small"], self.folder / "exports", self.effort)
        self.details["export_errors"] = failures
        for key, ours, theirs in (
            ("openvino_fp32", "fp32", "fp32"),
            ("openvino_int8_to_fp32", "int8", "fp32"),
            ("openvino_int8", "int8", "int8"),
        ):
            names = (f"SCDAE/openvino_{ours}", f"EfficientAd/openvino_{theirs}")
            if set(names) <= set(timings.seconds):
                chosen = Timings({model: timings.seconds[name] for model, name in zip(MODELS, names, strict=True)})
                self._add(key, chosen, macs, f"openvino_{ours}" if ours == theirs else None)

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

    def _add(self, key: str, timings: Timings, macs: dict[str, int] | None = None, peak: str | None = None) -> None:
        """Add a measurement, with what part of the machine's peak it reaches."""
        entry = training.describe(timings)
        if macs is not None:
            entry["macs"] = macs
            bound = self.details.get("peak_gmac_per_second", {}).get(peak)
            if isinstance(bound, float):
                reached = {name: macs[name] / timings.spread(name).median / 1e9 for name in MODELS}
                entry["gmac_per_second"] = reached
                entry["fraction_of_peak"] = {name: value / bound for name, value in reached.items()}
        self.details["measurements"][key] = entry
        self.ratios[key] = entry["ratio"]["median"]
