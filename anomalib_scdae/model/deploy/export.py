# SPDX-License-Identifier: Apache-2.0
"""SCDAE's exports: the folded networks to ONNX, and INT8 that is calibrated as the exported model needs it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from anomalib import TaskType
from anomalib.data import AnomalibDataModule
from anomalib.deploy import CompressionType, ExportType
from anomalib.models.components.base.export_mixin import ExportMixin
from anomalib.models.components.base.export_mixin.utils import create_export_root
from torchmetrics import Metric

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.deploy.int8 import check_quantizable, quantize
from anomalib_scdae.model.image_size import check_image_size
from anomalib_scdae.model.training.checks import check_exportable


class FoldedExport(ExportMixin):
    """Anomalib's exports, of networks that can be folded; with a warning if these were never trained."""

    model: Any
    pre_processor: Any

    def to_torch(self, *args: Any, **kwargs: Any) -> Path:
        """Export the module whole, as Anomalib does, without gradients of the weights, which nobody asks it for."""
        check_exportable(self.model)
        learnt = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        try:
            for parameter in learnt:
                parameter.requires_grad_(requires_grad=False)
            return super().to_torch(*args, **kwargs)
        finally:
            for parameter in learnt:
                parameter.requires_grad_()

    def to_onnx(
        self,
        export_root: Path | str,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        **kwargs: Any,
    ) -> Path:
        """Export to ONNX as Anomalib does, in the opset that torch writes, as one file with its weights.

        Anomalib's default of 14 makes the exporter convert the graph back, which fails with a traceback that looks like
        an error, and leaves the graph as it was.
        """
        check_exportable(self.model)
        self._check_input_size(input_size)
        kwargs.setdefault("opset_version", 18)
        kwargs.setdefault("external_data", False)
        networks = self.model
        # A graph is traced from modules that are registered, which the folded model otherwise is not.
        self.model = networks.folded()
        try:
            return super().to_onnx(export_root, model_file_name, input_size, **kwargs)
        finally:
            self.model = networks

    def _check_input_size(self, input_size: tuple[int, int] | None) -> None:
        """Raise a :class:`UserError` if the exported networks would be given too small images."""
        if self.pre_processor is not None:  # which resizes
            return
        if input_size is None:
            msg = "Without a pre-processor the exported model cannot resize: give --input_size, as in training."
            raise UserError(msg)
        check_image_size(input_size)

    def to_openvino(
        self,
        export_root: Path | str,
        model_file_name: str = "model",
        input_size: tuple[int, int] | None = None,
        compression_type: CompressionType | None = None,
        datamodule: AnomalibDataModule | None = None,
        metric: Metric | None = None,
        task: TaskType | None = None,
        max_drop: float = 0.01,
        ov_kwargs: dict[str, Any] | None = None,
        onnx_kwargs: dict[str, Any] | None = None,
    ) -> Path:
        """Export to OpenVINO as Anomalib does; INT8 as :func:`~anomalib_scdae.model.deploy.int8.quantize` says.

        Anomalib's own calibration fails with a fixed input size, and its ``INT8_ACQ`` watches the test images.
        """
        del task
        compression_type = None if compression_type is None else CompressionType(compression_type)
        check_quantizable(compression_type, datamodule, max_drop)
        options: dict[str, Any] = {"ov_kwargs": ov_kwargs, "onnx_kwargs": onnx_kwargs}
        if compression_type in {None, CompressionType.FP16}:
            return super().to_openvino(export_root, model_file_name, input_size, compression_type, **options)
        import openvino

        # OpenVINO keeps the file open that it has read; Windows does not delete such a file.
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            path = super().to_openvino(folder, model_file_name, input_size, **options)
            model = openvino.Core().read_model(path)
            quantized = quantize(model, compression_type, datamodule, metric, max_drop)
            target = create_export_root(export_root, ExportType.OPENVINO) / path.name
            openvino.save_model(quantized, target, compress_to_fp16=False)
        return target
