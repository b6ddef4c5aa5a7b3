# SPDX-License-Identifier: Apache-2.0
"""INT8 models for OpenVINO: what is quantised, with which images, and how the result is judged.

Everything about INT8 is decided in this file. NNCF does the work; here it gets calibration images that fit the exported
model, and is told which operations stay in floating point.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from anomalib.data import AnomalibDataModule, AnomalibDataset, ImageBatch
from anomalib.data.utils import ValSplitMode
from anomalib.deploy import CompressionType
from lightning.pytorch.utilities import rank_zero_info
from torchmetrics import Metric
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from anomalib_scdae.errors import UserError

if TYPE_CHECKING:
    from openvino import CompiledModel, Model, Node

#: Images that the ranges of the activations are measured on; each has thousands of positions.
CALIBRATION_IMAGES = 100

#: Images that ``INT8_ACQ`` ranks the operations with; it runs the model on them once for every operation.
RANKING_IMAGES = 25

#: NNCF's exact correction of the biases, layer after layer with quantised inputs, takes some seconds longer than its
#: fast one. The maps are differences of features that are nearly equal: they show what the fast one leaves.
FAST_BIAS_CORRECTION = False

#: Compression types that need images.
CALIBRATED = (CompressionType.INT8_PTQ, CompressionType.INT8_ACQ)

#: Operations that may be in INT8. All others stay in floating point: antialiased resizing (matrix products), the
#: products and sums of SRM, CRM and SFM, the distances (differences of features that are nearly equal) and their
#: normalisation. They are few, and 8 bits of each would show in the maps.
INT8_OPERATIONS = frozenset({"Convolution", "GroupConvolution", "AvgPool"})


#: What NNCF asks for: a model's figure, the higher the better, and the figure of every image where there is one.
ValidationFunction = Callable[["CompiledModel", Iterable["CalibrationImage"]], tuple[float, list[float] | None]]


OUTPUTS = ("pred_score", "pred_label", "anomaly_map", "pred_mask")


class CalibrationImage(NamedTuple):
    """One image as the exported model takes it, and what is known about it."""

    pixels: np.ndarray  # (B, 3, H, W), float32; every entry of the batch is the same image
    item: Any  # Anomalib's dataset item


class CalibrationImages:
    """Images of a dataset, read when they are needed and as the exported model takes them.

    Args:
        dataset: Anomalib's dataset; its augmentations are left out.
        indices: Which of its images.
        model: The exported model: images are resized to its input size, if that is fixed, and repeated to its batch
            size, if that is.
    """

    def __init__(self, dataset: AnomalibDataset, indices: Sequence[int], model: "Model") -> None:
        self._dataset = copy.copy(dataset)
        self._dataset.augmentations = None
        self._indices = indices
        batch, _, *size = model.input(0).partial_shape
        self._size = None if any(side.is_dynamic for side in size) else [side.get_length() for side in size]
        self._batch = 1 if batch.is_dynamic else batch.get_length()

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[CalibrationImage]:
        for index in self._indices:
            item: Any = self._dataset[index]
            image = torch.as_tensor(item.image).float()
            if self._size is not None and list(image.shape[-2:]) != self._size:
                image = TF.resize(image, self._size, antialias=True)
            yield CalibrationImage(image.expand(self._batch, *image.shape).numpy(), item)


def quantize(
    model: "Model",
    compression_type: CompressionType,
    datamodule: AnomalibDataModule | None = None,
    metric: Metric | None = None,
    max_drop: float = 0.01,
) -> "Model":
    """Quantise an exported SCDAE.

    Args:
        model: The model in floating point.
        compression_type: ``INT8`` stores the weights in 8 bits and computes in floating point; ``INT8_PTQ`` computes
            the convolutions in 8 bits; ``INT8_ACQ`` does so for as many of them as ``max_drop`` allows.
        datamodule: Where calibration images come from: normal validation images or, if validation is a copy of the test
            set or has none, normal training images. Never test images.
        metric: What ``INT8_ACQ`` watches, if validation has abnormal images (and is no copy of the test set). Otherwise
            it watches how well the maps agree with those of ``model``; see :func:`agreement`.
        max_drop: How much of the metric ``INT8_ACQ`` may lose.

    Raises:
        UserError: If images or NNCF are missing.
    """
    import nncf

    ignored = nncf.IgnoredScope(names=floating_point_operations(model), validate=False)
    if compression_type is CompressionType.INT8:
        return nncf.compress_weights(model, ignored_scope=ignored)
    images = CalibrationImages(*calibration_set(datamodule, compression_type), model)
    calibration = nncf.Dataset(images, _pixels)
    options: dict[str, Any] = {
        "subset_size": len(images),
        "ignored_scope": ignored,
        "fast_bias_correction": FAST_BIAS_CORRECTION,
    }
    if compression_type is CompressionType.INT8_PTQ:
        return nncf.quantize(
            model,
            calibration,
            subset_size=len(images),
            ignored_scope=ignored,
            fast_bias_correction=FAST_BIAS_CORRECTION,
        )
    abnormal = abnormal_validation_set(datamodule)
    if metric is not None and abnormal is not None:
        validation = nncf.Dataset(CalibrationImages(abnormal, range(len(abnormal)), model), _pixels)
        validation_fn = figure_of(metric)
        rank_zero_info(f"INT8_ACQ watches {type(metric).__name__} on {len(abnormal)} validation images.")
    else:
        validation, validation_fn = calibration, agreement_with(model, images)
        rank_zero_info(f"INT8_ACQ watches how well the maps of {len(images)} normal images agree with float32's.")
    return nncf.quantize_with_accuracy_control(
        model,
        calibration_dataset=calibration,
        validation_dataset=validation,
        validation_fn=validation_fn,
        max_drop=max_drop,
        **options,
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            ranking_subset_size=RANKING_IMAGES
        ),
    )


def check_quantizable(
    compression_type: CompressionType | None, datamodule: AnomalibDataModule | None, max_drop: float = 0.01
) -> None:
    """Raise a :class:`UserError` if a compressed export could not end well, before anything is exported."""
    if compression_type is None or compression_type is CompressionType.FP16:
        return
    try:
        import nncf  # noqa: F401
    except ModuleNotFoundError as error:
        msg = 'INT8 export needs NNCF, which is not installed: run pip install "anomalib-scdae[openvino]".'
        raise UserError(msg) from error
    if compression_type is CompressionType.INT8_ACQ and not 0 <= max_drop <= 1:
        msg = f"max_drop must be between 0 and 1, a share of the metric; it is {max_drop}."
        raise UserError(msg)
    if compression_type in CALIBRATED and datamodule is None:
        msg = (
            f"Export with {compression_type.name} measures the networks' activations on normal images, but has no "
            "datamodule: pass datamodule=... (on the command line --data, as in training)."
        )
        raise UserError(msg)


def calibration_set(
    datamodule: AnomalibDataModule | None, compression_type: CompressionType = CompressionType.INT8_PTQ
) -> tuple[AnomalibDataset, list[int]]:
    """Return a dataset and the indices of its normal images to calibrate with, evenly spread."""
    check_quantizable(compression_type, datamodule)
    assert datamodule is not None  # noqa: S101 - for the type checker; checked above
    datamodule.setup("fit")
    for dataset in (_validation_set(datamodule), getattr(datamodule, "train_data", None)):
        normal = [] if dataset is None else [int(i) for i in np.flatnonzero(dataset.samples["label_index"] == 0)]
        if dataset is not None and normal:
            return dataset, normal[:: max(1, -(-len(normal) // CALIBRATION_IMAGES))]
    msg = f"{compression_type.name} found no normal image of training or validation: pass a datamodule that has some."
    raise UserError(msg)


def abnormal_validation_set(datamodule: AnomalibDataModule | None) -> AnomalibDataset | None:
    """Return the validation set, if it holds normal and abnormal images and is not the test set."""
    dataset = _validation_set(datamodule) if datamodule is not None else None
    return dataset if dataset is not None and dataset.samples["label_index"].nunique() > 1 else None


def _validation_set(datamodule: AnomalibDataModule) -> AnomalibDataset | None:
    if datamodule.val_split_mode == ValSplitMode.SAME_AS_TEST:
        return None
    return getattr(datamodule, "val_data", None)


def floating_point_operations(model: "Model") -> list[str]:
    """Return the names of the operations that stay in floating point: all but :data:`INT8_OPERATIONS`.

    The average pooling between two convolutions may pass 8 bits on, which saves half of the time. That of SRM reads
    features that are needed in floating point too.
    A bias is part of its convolution, although it is an operation of its own in the graph.
    """
    return [node.get_friendly_name() for node in model.get_ordered_ops() if _stays_in_floating_point(node)]


def _stays_in_floating_point(node: "Node") -> bool:
    kind = node.get_type_name()
    if kind in {"Constant", "Parameter", "Result"} or _is_bias(node):
        return False
    return kind not in INT8_OPERATIONS or _pools_features(node)


def _pools_features(node: "Node") -> bool:
    """Tell SRM's pooling from that of the networks, which comes after ReLU."""
    return node.get_type_name() == "AvgPool" and node.input_value(0).get_node().get_type_name() != "Relu"


def _is_bias(node: "Node") -> bool:
    if node.get_type_name() != "Add":
        return False
    inputs = {source.get_source_output().get_node().get_type_name() for source in node.inputs()}
    return inputs == {"Convolution", "Constant"}


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


def _pixels(image: CalibrationImage) -> np.ndarray:
    return image.pixels
