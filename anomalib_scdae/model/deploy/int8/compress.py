# SPDX-License-Identifier: Apache-2.0
"""An exported SCDAE in INT8."""

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from anomalib.data import AnomalibDataModule
from anomalib.deploy import CompressionType
from lightning.pytorch.utilities import rank_zero_info
from torchmetrics import Metric

from anomalib_scdae.model.deploy.int8.images import CalibrationImages, abnormal_validation_set, calibration_set
from anomalib_scdae.model.deploy.int8.judging import agreement_with, figure_of
from anomalib_scdae.model.deploy.int8.operations import floating_point_operations

if TYPE_CHECKING:
    from openvino import Model


#: Images that ``INT8_ACQ`` ranks the operations with; it runs the model on them once for every operation.
RANKING_IMAGES = 25
#: NNCF's exact correction of the biases, layer after layer with quantised inputs, takes some seconds longer than its
#: fast one. The maps are differences of features that are nearly equal: they show what the fast one leaves.
FAST_BIAS_CORRECTION = False


def quantize(
    model: "Model",
    compression_type: CompressionType,
    datamodule: AnomalibDataModule | None,
    metric: Metric | None,
    max_drop: float,
) -> "Model":
    """Quantise an exported SCDAE, after :func:`check_quantizable` has let its arguments pass.

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
        UserError: If there is no normal image.
    """
    import nncf

    ignored = nncf.IgnoredScope(names=floating_point_operations(model), validate=False)
    if compression_type is CompressionType.INT8:
        return nncf.compress_weights(model, ignored_scope=ignored)
    assert datamodule is not None  # noqa: S101 - for the type checker; that was checked
    images = CalibrationImages(*calibration_set(datamodule, compression_type), model)
    calibration = nncf.Dataset(images, attrgetter("pixels"))
    options: dict[str, Any] = {
        "subset_size": len(images),
        "ignored_scope": ignored,
        "fast_bias_correction": FAST_BIAS_CORRECTION,
    }
    if compression_type is CompressionType.INT8_PTQ:
        return nncf.quantize(model, calibration, **options)
    abnormal = abnormal_validation_set(datamodule)
    if metric is not None and abnormal is not None:
        validation = nncf.Dataset(CalibrationImages(abnormal, range(len(abnormal)), model), attrgetter("pixels"))
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
