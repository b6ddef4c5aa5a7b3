# SPDX-License-Identifier: Apache-2.0
"""Speed of prediction: PyTorch and OpenVINO."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from anomalib.data import MVTecLOCO
from anomalib.models import AnomalibModule

from anomalib_scdae.benchmark.measure.arithmetic import inference_macs
from anomalib_scdae.benchmark.measure.deployment import Deployment, deploy, example_images, time_deployments
from anomalib_scdae.benchmark.measure.latency import torch_runner
from anomalib_scdae.benchmark.measure.timing import Timings, interleave, stopwatch, synchroniser
from anomalib_scdae.benchmark.speed.baseline import build_model
from anomalib_scdae.benchmark.speed.data import CATEGORY
from anomalib_scdae.benchmark.speed.effort import Effort
from anomalib_scdae.benchmark.speed.training import MODELS

IMAGE_SIZE = (256, 256)


def trained_models(weights: Mapping[str, Path], penalty_images: Path) -> dict[str, AnomalibModule]:
    """Build both models with the weights, quantiles and thresholds that their trainings have left."""
    models: dict[str, AnomalibModule] = {name: build_model(name, penalty_images) for name in MODELS}
    for name, model in models.items():
        model.load_state_dict(torch.load(weights[name], weights_only=True))
    return models


def time_torch(models: Mapping[str, AnomalibModule], batch: int, device: str, effort: Effort) -> Timings:
    """Time predictions of ``batch`` images with PyTorch in FP32, both models in turn."""
    images = example_images(batch, IMAGE_SIZE).to(device)
    watches = {
        name: stopwatch(torch_runner(model.to(device), images), synchroniser(device)) for name, model in models.items()
    }
    return interleave(watches, max(1, effort.inference_rounds // (1 if batch == 1 else 2)), warm_up=effort.warm_up)


def macs_of_an_image(models: Mapping[str, AnomalibModule]) -> dict[str, int]:
    """Return the multiply-accumulate operations of a prediction."""
    return {
        name: inference_macs(model, example_images(1, IMAGE_SIZE).to(model.device)) for name, model in models.items()
    }


def time_openvino(
    models: Mapping[str, AnomalibModule], data: Path, folder: Path, effort: Effort
) -> tuple[Timings, dict[str, Any]]:
    """Export both models in every format and time all of these in turn.

    Returns:
        Timings under the names ``<model>/openvino_<format>``, and the reason for each format that has none.
    """
    datamodule = MVTecLOCO(root=data, category=CATEGORY, num_workers=0)
    deployed: dict[str, Deployment] = {
        name: deploy(model, datamodule, folder / name, IMAGE_SIZE, effort.calibration_images, "cpu")
        for name, model in models.items()
    }
    failures = {
        f"{name}/{kind}": str(runner)
        for name, deployment in deployed.items()
        for kind, runner in deployment.runners.items()
        if isinstance(runner, str)
    }
    return time_deployments(deployed, effort.inference_rounds, warm_up=effort.warm_up), failures
