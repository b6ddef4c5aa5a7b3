# SPDX-License-Identifier: Apache-2.0
"""Size and latency of a trained model, beside those of a baseline."""

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from anomalib.data import AnomalibDataModule
from anomalib.models import AnomalibModule

from anomalib_scdae.benchmark.measure.arithmetic import count_parameters, inference_macs
from anomalib_scdae.benchmark.measure.export import FORMATS, Failure, attempt, export_openvino, size_on_disk
from anomalib_scdae.benchmark.measure.latency import describe, openvino_runner, torch_runner
from anomalib_scdae.benchmark.measure.timing import Timings, interleave, stopwatch, synchroniser

LATENCIES = ("torch_fp32", *(f"openvino_{name}" for name in FORMATS))
Runner = Callable[[], object]


@dataclass(frozen=True)
class Deployment:
    """A model in every format that it could be brought into.

    Attributes:
        model: The model, on the device where PyTorch is timed.
        runners: For each of :data:`LATENCIES`, what predicts one image, or why it cannot.
        exports: The OpenVINO files, or why there is none.
    """

    model: AnomalibModule
    runners: dict[str, Runner | Failure]
    exports: dict[str, Path | Failure]


def measure_deployment(
    model: AnomalibModule,
    baseline: AnomalibModule | None,
    datamodule: AnomalibDataModule,
    folder: Path,
    *,
    image_size: tuple[int, int],
    repeats: int = 30,
    warm_up: int = 3,
    calibration_images: int = 128,
    checkpoint: Path | None = None,
    device: torch.device | str | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure size and latency of ``model``; the latency in turn with that of ``baseline``, one image at a time.

    Everything is timed with pre- and post-processing on an image of ``image_size``. A format that fails costs only
    itself: its entry is ``{"error": "<why>"}``.

    Args:
        model: A trained model.
        baseline: What it is compared with; ``None``, or ``model`` itself, if with nothing.
        datamodule: Its normal training images calibrate INT8.
        folder: Gets the exports; those of an earlier call are used again if the weights are the same.
        image_size: Height and width.
        repeats: Rounds of timing.
        warm_up: Rounds before them.
        calibration_images: Images for the calibration of INT8.
        checkpoint: The model's checkpoint, for its size; default: that of the weights as ``torch.save`` writes them.
        device: Where PyTorch is timed; default: the accelerator at hand. OpenVINO is timed on the CPU.

    Returns:
        ``size`` (parameters, multiply-accumulate operations of one image, bytes) and ``latency``.
    """
    models = {"model": model} if baseline is None or baseline is model else {"model": model, "baseline": baseline}
    deployed = {
        name: deploy(one, datamodule, folder / name, image_size, calibration_images, device)
        for name, one in models.items()
    }
    timings = time_deployments(deployed, repeats, warm_up)
    latency = {kind: latency_of(deployed, timings, kind) for kind in LATENCIES}
    return {"size": sizes(deployed["model"], image_size, checkpoint), "latency": latency}


def deploy(
    model: AnomalibModule,
    datamodule: AnomalibDataModule,
    folder: Path,
    image_size: tuple[int, int],
    calibration_images: int = 128,
    device: torch.device | str | None = None,
) -> Deployment:
    """Export ``model`` and load every format; see :func:`measure_deployment` for the arguments."""
    folder.mkdir(parents=True, exist_ok=True)
    model.eval().cpu()
    exports = export_openvino(
        model, folder, image_size=image_size, datamodule=datamodule, calibration_images=calibration_images
    )
    image = example_images(1, image_size)
    device = torch.device(device) if device is not None else default_device()
    runners: dict[str, Runner | Failure] = {
        "torch_fp32": attempt(lambda: _tried(torch_runner(model.to(device), image.to(device))))
    }
    for name, path in exports.items():
        runners[f"openvino_{name}"] = path if isinstance(path, Failure) else attempt(partial(_load, path, image))
    return Deployment(model, runners, exports)


def time_deployments(deployed: Mapping[str, Deployment], repeats: int, warm_up: int) -> Timings:
    """Time all that runs, in turn; the names are ``<model>/<format>``.

    PyTorch and OpenVINO are not mixed: threads of the one spin for a while after its last call.
    """
    seconds: dict[str, list[float]] = {}
    for group in (LATENCIES[:1], LATENCIES[1:]):
        watches = {
            f"{name}/{kind}": stopwatch(runner, synchroniser(deployment.model.device))
            for kind in group
            for name, deployment in deployed.items()
            if not isinstance(runner := deployment.runners[kind], Failure)
        }
        seconds |= interleave(watches, repeats, warm_up).seconds
    return Timings(seconds)


def latency_of(deployed: Mapping[str, Deployment], timings: Timings, kind: str, name: str = "model") -> dict[str, Any]:
    """Return the latency of the model ``name`` in the format ``kind``, with the ratio to the baseline if it has one."""
    runner = deployed[name].runners[kind]
    if isinstance(runner, Failure):
        return {"error": str(runner)}
    baseline = f"baseline/{kind}"
    return describe(timings, f"{name}/{kind}", baseline if baseline in timings.seconds and name == "model" else None)


def sizes(deployment: Deployment, image_size: tuple[int, int], checkpoint: Path | None = None) -> dict[str, Any]:
    """Return parameters, multiply-accumulate operations of one image, and bytes on disk (``None``: there is none)."""
    model = deployment.model
    macs = attempt(lambda: inference_macs(model, example_images(1, image_size).to(model.device)))
    return {
        **count_parameters(model.model),
        "macs": None if isinstance(macs, Failure) else macs,
        "checkpoint_bytes": checkpoint.stat().st_size if checkpoint else _saved_bytes(model),
        **{
            f"openvino_{name}_bytes": None if isinstance(path, Failure) else size_on_disk(path)
            for name, path in deployment.exports.items()
        },
    }


def example_images(count: int, image_size: tuple[int, int]) -> torch.Tensor:
    """Return images to be timed on, ``(count, 3, H, W)`` in [0, 1]; the same at every call."""
    return torch.rand(count, 3, *image_size, generator=torch.Generator().manual_seed(0))


def default_device() -> torch.device:
    """Return the accelerator at hand, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _load(path: Path, image: torch.Tensor) -> Runner:
    return _tried(openvino_runner(path, image))


def _tried(runner: Runner) -> Runner:
    """Predict once, so that what cannot run is found before the timing."""
    runner()
    return runner


def _saved_bytes(model: AnomalibModule) -> int:
    descriptor, name = tempfile.mkstemp(suffix=".pth")
    os.close(descriptor)
    try:
        torch.save(model.state_dict(), name)
        return Path(name).stat().st_size
    finally:
        Path(name).unlink()
