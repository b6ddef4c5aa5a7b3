# SPDX-License-Identifier: Apache-2.0
"""SPADE: the nearest training images, and within them the nearest features (Cohen and Hoshen, arXiv:2005.02357)."""

from anomalib_scdae.benchmark.baselines.spade.lightning_model import Spade

__all__ = ["Spade"]
