# SPDX-License-Identifier: Apache-2.0
"""Speed of prediction: PyTorch and OpenVINO."""

from pathlib import Path
from typing import NamedTuple

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
from anomalib_scdae.benchmark.speed.turns import MODELS, default_model, weights_of

IMAGE_SIZE = (256, 256)
BATCHES = (1, 8)

#: What is compared of OpenVINO: format of SCDAE and format of EfficientAd.
OPENVINO = {
    "openvino_fp32": ("fp32", "fp32"),
    "openvino_int8_to_fp32": ("int8", "fp32"),
    "openvino_int8": ("int8", "int8"),
}


class Predictions(NamedTuple):
    """What predictions cost.

    Attributes:
        macs: Multiply-accumulate operations of one image, by model.
        seconds: By key, see :data:`~.targets.TARGETS`; a column for each model.
        failures: Why formats are missing there.
    """

    macs: dict[str, int]
    seconds: dict[str, pd.DataFrame]
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
        rounds = max(1, extent.inference_rounds // min(batch, 2))
        seconds[f"torch_fp32_batch{batch}"] = interleave(watches, rounds, extent.warm_up)
    datamodule = MVTecLOCO(root=data, category=CATEGORY, num_workers=0)
    deployed = {
        name: deploy(model, datamodule, folder / name, IMAGE_SIZE, extent.calibration_images, "cpu")
        for name, model in models.items()
    }
    timed = time_deployments(deployed, extent.inference_rounds, extent.warm_up)
    for key, formats in OPENVINO.items():
        columns = [f"{name}/openvino_{kind}" for name, kind in zip(MODELS, formats, strict=True)]
        if set(columns) <= set(timed):
            seconds[key] = timed[columns].set_axis(list(MODELS), axis="columns")
    failures = {
        f"{name}/{kind}": predict.sentence
        for name, deployment in deployed.items()
        for kind, predict in deployment.predict.items()
        if isinstance(predict, Failure)
    }
    return Predictions(macs, seconds, failures)
