# SPDX-License-Identifier: Apache-2.0
"""Size and latency of a trained model, beside those of a baseline."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from anomalib.data import AnomalibDataModule
from anomalib.models import AnomalibModule

from anomalib_scdae.benchmark.measure.arithmetic import count_parameters, inference_macs
from anomalib_scdae.benchmark.measure.export import CALIBRATION_IMAGES, FORMATS, attempt, export_openvino, size_on_disk
from anomalib_scdae.benchmark.measure.timing import interleave, quartiles, ratio, stopwatch
from anomalib_scdae.benchmark.process import Failure

LATENCIES = ("torch_fp32", *(f"openvino_{name}" for name in FORMATS))
Predict = Callable[[], object]


@dataclass(frozen=True)
class Deployment:
    """A model in every format that it could be brought into.

    Attributes:
        model: The model, on the device where PyTorch is timed.
        predict: For each of :data:`LATENCIES`, what predicts one image, or why it cannot.
        exports: The OpenVINO files, or why there is none.
    """

    model: AnomalibModule
    predict: dict[str, Predict | Failure]
    exports: dict[str, Path | Failure]


def measure_deployment(
    model: AnomalibModule,
    baseline: AnomalibModule | None,
    datamodule: AnomalibDataModule,
    folder: Path,
    *,
    image_size: tuple[int, int],
    checkpoint: Path,
    repeats: int = 30,
    device: torch.device | str | None = None,
) -> dict[str, dict[str, Any]]:
    """Measure size and latency of ``model``; the latency in turn with that of ``baseline``, one image at a time.

    Everything is timed with pre- and post-processing on an image of ``image_size``. A format that fails costs only
    itself: its entry is ``{"error": "<why>"}``.

    Args:
        model: A trained model.
        baseline: What it is compared with; ``None`` if with nothing.
        datamodule: Its normal training images calibrate INT8.
        folder: Gets the exports; those of an earlier call are used again if the weights are the same.
        image_size: Height and width.
        checkpoint: The file of the model's weights, for its size.
        repeats: Rounds of timing, after 3 to warm up.
        device: Where PyTorch is timed; default: the accelerator at hand. OpenVINO is timed on the CPU.

    Returns:
        ``size`` (parameters, multiply-accumulate operations of one image, bytes) and ``latency``.
    """
    models = {"model": model, **({} if baseline is None else {"baseline": baseline})}
    deployed = {name: deploy(one, datamodule, folder / name, image_size, device=device) for name, one in models.items()}
    seconds = time_deployments(deployed, repeats, warm_up=3)
    latency = {kind: _latency(deployed, seconds, kind) for kind in LATENCIES}
    return {"size": _sizes(deployed["model"], image_size, checkpoint), "latency": latency}


def deploy(
    model: AnomalibModule,
    datamodule: AnomalibDataModule,
    folder: Path,
    image_size: tuple[int, int],
    calibration_images: int = CALIBRATION_IMAGES,
    device: torch.device | str | None = None,
) -> Deployment:
    """Export ``model`` and load every format; see :func:`measure_deployment` for the arguments."""
    exports = export_openvino(
        model.eval().cpu(), folder, image_size=image_size, datamodule=datamodule, calibration_images=calibration_images
    )
    image = example_images(1, image_size)
    device = torch.device(device) if device is not None else default_device()
    predict = {"torch_fp32": attempt(lambda: _tried(torch_prediction(model.to(device), image.to(device))))}
    for name, path in exports.items():
        load = partial(lambda file: _tried(openvino_prediction(file, image)), path)
        predict[f"openvino_{name}"] = path if isinstance(path, Failure) else attempt(load)
    return Deployment(model, predict, exports)


def time_deployments(deployed: Mapping[str, Deployment], repeats: int, warm_up: int) -> pd.DataFrame:
    """Time all that runs, in turn; the columns are ``<model>/<format>``.

    PyTorch and OpenVINO are not mixed: threads of the one spin for a while after its last call.
    """
    parts = []
    for group in (LATENCIES[:1], LATENCIES[1:]):
        watches = {
            f"{name}/{kind}": stopwatch(predict)
            for kind in group
            for name, deployment in deployed.items()
            if not isinstance(predict := deployment.predict[kind], Failure)
        }
        parts.append(interleave(watches, repeats, warm_up))
    return pd.concat(parts, axis="columns")


def torch_prediction(model: AnomalibModule, images: torch.Tensor) -> Predict:
    """Return what predicts ``images`` ``(B, 3, H, W)`` with PyTorch, pre- and post-processing included."""
    model.eval()

    @torch.inference_mode()
    def predict() -> object:
        return model(images)

    return predict


def openvino_prediction(path: Path, images: torch.Tensor) -> Predict:
    """Return what predicts ``images`` ``(B, 3, H, W)`` with OpenVINO on the CPU, on as many threads as PyTorch uses.

    What is not quantised is computed in FP32: left to itself, OpenVINO would use BF16 on processors that have it.
    """
    import openvino as ov

    options = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": str(torch.get_num_threads()),
    }
    request = ov.Core().compile_model(path, "CPU", options).create_infer_request()
    inputs = {0: images.cpu().numpy()}
    return lambda: request.infer(inputs)


def example_images(count: int, image_size: tuple[int, int]) -> torch.Tensor:
    """Return images to be timed on, ``(count, 3, H, W)`` in [0, 1]; the same at every call."""
    return torch.rand(count, 3, *image_size, generator=torch.Generator().manual_seed(0))


def default_device() -> torch.device:
    """Return the accelerator at hand, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def _tried(predict: Predict) -> Predict:
    """Predict once, so that what cannot run is found before the timing."""
    predict()
    return predict


def _latency(deployed: Mapping[str, Deployment], seconds: pd.DataFrame, kind: str) -> dict[str, Any]:
    """Return the latency in one format for a table, with the ratio to the baseline, if there is one, or why not."""
    if isinstance(failure := deployed["model"].predict[kind], Failure):
        return {"error": failure.sentence}
    name, baseline = f"model/{kind}", f"baseline/{kind}"
    spread = quartiles(seconds[name])
    figures: dict[str, Any] = {f"{key}_ms": 1000 * value for key, value in spread.items()}
    figures["images_per_second"] = 1 / spread["median"]
    if baseline in seconds:
        figures["ratio"] = ratio(seconds, name, baseline)
    elif "baseline" in deployed and isinstance(failure := deployed["baseline"].predict[kind], Failure):
        figures["ratio_error"] = f"no ratio, as the baseline could not be measured: {failure.sentence}"
    return figures


def _sizes(deployment: Deployment, image_size: tuple[int, int], checkpoint: Path) -> dict[str, Any]:
    """Return parameters, multiply-accumulate operations of one image, and bytes on disk (``None``: there is none)."""
    model = deployment.model
    macs = attempt(lambda: inference_macs(model, example_images(1, image_size).to(model.device)))
    return {
        **count_parameters(model.model),
        "macs": None if isinstance(macs, Failure) else macs,
        "checkpoint_bytes": checkpoint.stat().st_size,
        **{
            f"openvino_{name}_bytes": None if isinstance(path, Failure) else size_on_disk(path)
            for name, path in deployment.exports.items()
        },
    }
