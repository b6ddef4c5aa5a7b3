# SPDX-License-Identifier: Apache-2.0
"""INT8 models for OpenVINO: what is quantised, with which images, and how the result is judged.

Everything about INT8 is decided in this folder. NNCF does the work; here it gets calibration images that fit the
exported model, and is told which operations stay in floating point.
"""

from anomalib_scdae.model.deploy.int8.check import check_quantizable
from anomalib_scdae.model.deploy.int8.compress import quantize

__all__ = ["check_quantizable", "quantize"]
