# SPDX-License-Identifier: Apache-2.0
"""SCDAE's speed beside that of the built-in EfficientAd."""

from anomalib_scdae.benchmark.speed.measurement import measure_speed

__all__ = ["measure_speed"]
