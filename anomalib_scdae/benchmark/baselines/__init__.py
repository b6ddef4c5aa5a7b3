# SPDX-License-Identifier: Apache-2.0
"""What SCDAE is compared with, on equal terms."""

from anomalib_scdae.benchmark.baselines.dadf import Dadf
from anomalib_scdae.benchmark.baselines.dskd import DskdReconstruction
from anomalib_scdae.benchmark.baselines.efficient_ad import EfficientAdAsShipped, EfficientAdMended
from anomalib_scdae.benchmark.baselines.efficient_ad_context import EfficientAdWithContext
from anomalib_scdae.benchmark.baselines.gcad import Gcad
from anomalib_scdae.benchmark.baselines.reverse_distillation import ReverseDistillationAdapted
from anomalib_scdae.benchmark.baselines.sinbad import Sinbad
from anomalib_scdae.benchmark.baselines.spade import Spade

__all__ = [
    "Dadf",
    "DskdReconstruction",
    "EfficientAdAsShipped",
    "EfficientAdMended",
    "EfficientAdWithContext",
    "Gcad",
    "ReverseDistillationAdapted",
    "Sinbad",
    "Spade",
]
