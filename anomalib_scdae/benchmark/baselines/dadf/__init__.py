# SPDX-License-Identifier: Apache-2.0
"""DADF: reconstructions by two kinds of attention, told apart by a flow (Yao, Luo and Yu, arXiv:2303.17882)."""

from anomalib_scdae.benchmark.baselines.dadf.lightning_model import Dadf

__all__ = ["Dadf"]
