# SPDX-License-Identifier: Apache-2.0
"""SINBAD: crops as sets of features, told apart by histograms (Cohen, Tzachor and Hoshen, arXiv:2302.12245)."""

from anomalib_scdae.benchmark.baselines.sinbad.lightning_model import Sinbad

__all__ = ["Sinbad"]
