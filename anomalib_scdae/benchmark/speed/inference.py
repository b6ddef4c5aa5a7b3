# SPDX-License-Identifier: Apache-2.0
"""Speed of prediction: PyTorch and OpenVINO."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from anomalib.data import MVTecLOCO

from anomalib_scdae.benchmark.cell.build import load_weights
from anomalib_scdae.benchmark.measure.arithmetic import inference_macs
from anomalib_scdae.benchmark.measure.deployment import deploy, example_images, time_deployments, torch_prediction
from anomalib_scdae.benchmark.measure.timing import interleave, stopwatch
from anomalib_scdae.benchmark.process import Failure
from anomalib_scdae.benchmark.speed.data import CATEGORY
from anomalib_scdae.benchmark.speed.targets import Extent
from anomalib_scdae.benchmark.speed.timed_training import MODELS, default_model, weights_of

IMAGE_SIZE = (256, 256)
BATCHES = (1, 8)


@dataclass(frozen=True)
class Predictions:
    """What predictions cost.

    Attributes:
        macs: Multiply-accumulate operations of one image, by model.
        torch: Seconds of a batch with PyTorch in FP32, by batch size; a column for each model.
        openvino: Seconds of an image; the columns are ``<model>/openvino_<format>``.
        failures: Why formats are missing there.
    """

    macs: dict[str, int]
    torch: dict[int, pd.DataFrame]
    openvino: pd.DataFrame
    failures: dict[str, str]


def time_predictions(
    trained: Path, penalty_images: Path, data: Path, folder: Path, device: str, threads: int, extent: Extent
) -> Predictions:
    """Time predictions of both models in turn, with the weights, quantiles and thresholds that trainings have left.

    Args:
        trained: Folder of the trainings.
        penalty_images: As for the trainings.
        data: Root of a dataset, for the calibration of INT8.
        folder: Gets the exports.
        device: Where PyTorch is timed; OpenVINO is timed on the CPU.
        threads: Of PyTorch and OpenVINO.
        extent: How much is measured.
    """
    torch.set_num_threads(threads)
    models = {name: default_model(name, penalty_images) for name in MODELS}
    for name, model in models.items():
        load_weights(model, weights_of(trained, name))
        model.to(device)
    macs = {name: inference_macs(model, example_images(1, IMAGE_SIZE).to(device)) for name, model in models.items()}
    seconds = {}
    for batch in BATCHES:
        images = example_images(batch, IMAGE_SIZE).to(device)
        watches = {name: stopwatch(torch_prediction(model, images)) for name, model in models.items()}
        seconds[batch] = interleave(
            watches, max(1, extent.inference_rounds // (1 if batch == 1 else 2)), extent.warm_up
        )
    datamodule = MVTecLOCO(root=data, category=CATEGORY, num_workers=0)
    deployed = {
        name: deploy(model, datamodule, folder / name, IMAGE_SIZE, extent.calibration_images, "cpu")
        for name, model in models.items()
    }
    failures = {
        f"{name}/{kind}": predict.sentence
        for name, deployment in deployed.items()
        for kind, predict in deployment.predict.items()
        if isinstance(predict, Failure)
    }
    return Predictions(macs, seconds, time_deployments(deployed, extent.inference_rounds, extent.warm_up), failures)
