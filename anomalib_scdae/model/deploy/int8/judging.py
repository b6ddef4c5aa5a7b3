# SPDX-License-Identifier: Apache-2.0
"""How good a partly quantised model is: what ``INT8_ACQ`` decides by."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from anomalib.data import ImageBatch
from torchmetrics import Metric
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from anomalib_scdae.model.deploy.int8.images import CalibrationImage, CalibrationImages

if TYPE_CHECKING:
    from openvino import CompiledModel, Model


#: What NNCF asks for: a model's figure, the higher the better, and the figure of every image where there is one.
ValidationFunction = Callable[["CompiledModel", Iterable["CalibrationImage"]], tuple[float, list[float] | None]]
OUTPUTS = ("pred_score", "pred_label", "anomaly_map", "pred_mask")


def agreement(found: np.ndarray, expected: np.ndarray, variance: float) -> float:
    """Return how well two maps agree: 1 minus their mean squared difference in units of ``variance``.

    With the variance of several expected maps, the mean over these maps is the coefficient of determination. Unlike a
    correlation, it also falls where all maps shift, which would move every score against its threshold.
    """
    return 1 - float(np.square(found - expected).mean()) / max(variance, float(np.finfo(np.float32).tiny))


def agreement_with(reference: "Model", images: CalibrationImages) -> ValidationFunction:
    """Return a function that measures how well a model's maps agree with those of ``reference``, by image too."""
    import openvino

    # Said outright, since OpenVINO would compute the reference in bf16 where the processor has it.
    compiled = openvino.compile_model(reference, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = {image.item.image_path: _anomaly_map(compiled(image.pixels)) for image in images}
    variance = float(np.var(list(expected.values())))

    def validate(model: "CompiledModel", items: Iterable[CalibrationImage]) -> tuple[float, list[float]]:
        values = [
            agreement(_anomaly_map(model(item.pixels)), expected[item.item.image_path], variance) for item in items
        ]
        return float(np.mean(values)), values

    return validate


def figure_of(metric: Metric) -> ValidationFunction:
    """Return a function that computes ``metric`` from a model's predictions and the ground truth."""

    def validate(model: "CompiledModel", items: Iterable[CalibrationImage]) -> tuple[float, None]:
        metric.reset()
        for image in items:
            metric.update(_predictions(model(image.pixels), image.item))
        return float(metric.compute()), None

    return validate


def _predictions(outputs: Any, item: Any) -> ImageBatch:
    """Return what the metrics of Anomalib read, for the first image of a batch."""
    found = {name: torch.from_numpy(np.array(outputs[name][:1])) for name in OUTPUTS}
    maps = found["anomaly_map"]
    mask = item.gt_mask
    if mask is not None:
        # At the size of the maps, which is the pre-processor's.
        mask = torch.as_tensor(mask).float().reshape(1, *mask.shape[-2:])
        mask = TF.resize(mask, list(maps.shape[-2:]), InterpolationMode.NEAREST).bool()
    return ImageBatch(
        image=torch.as_tensor(item.image)[None],
        gt_label=torch.as_tensor(item.gt_label).reshape(1),
        gt_mask=mask,
        image_path=[item.image_path],
        mask_path=None if item.mask_path is None else [item.mask_path],
        pred_score=found["pred_score"].reshape(1),
        pred_label=found["pred_label"].reshape(1),
        anomaly_map=maps[:, 0],
        pred_mask=found["pred_mask"][:, 0],
    )


def _anomaly_map(outputs: Any) -> np.ndarray:
    return np.array(outputs["anomaly_map"][0])
