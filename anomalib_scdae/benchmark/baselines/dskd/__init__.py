# SPDX-License-Identifier: Apache-2.0
"""DSKD, reconstructed from its description: a local and a global student (Zhang, Suganuma and Okatani, WACV 2024)."""

from anomalib_scdae.benchmark.baselines.dskd.lightning_model import DskdReconstruction

__all__ = ["DskdReconstruction"]
