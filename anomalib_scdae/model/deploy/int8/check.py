# SPDX-License-Identifier: Apache-2.0
"""Mistakes in a compressed export, told before anything is exported."""

from anomalib.data import AnomalibDataModule
from anomalib.deploy import CompressionType

from anomalib_scdae.errors import UserError

#: Compression types that need images.
CALIBRATED = (CompressionType.INT8_PTQ, CompressionType.INT8_ACQ)


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
