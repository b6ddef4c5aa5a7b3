# SPDX-License-Identifier: Apache-2.0
"""The share of good images that are refused: the one figure that a test without anomalies has."""

from anomalib.metrics import AnomalibMetric
from torch import Tensor
from torchmetrics.classification import BinarySpecificity


class _FPR(BinarySpecificity):
    higher_is_better = False

    def compute(self) -> Tensor:
        return 1 - super().compute()


class FPR(AnomalibMetric, _FPR):  # type: ignore[misc]
    """False-positive rate of decisions: the share of good images (or of normal pixels) that are called anomalous."""
