# SPDX-License-Identifier: Apache-2.0
"""GCAD: local and global descriptors of normal images, regressed (Bergmann et al., IJCV 130(4), 2022)."""

from anomalib_scdae.benchmark.baselines.gcad.lightning_model import Gcad

__all__ = ["Gcad"]
