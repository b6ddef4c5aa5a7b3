# SPDX-License-Identifier: Apache-2.0
"""Figures for each anomaly type apart: its own images against the good ones, and the mean over the types."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from anomalib.data import Batch
from anomalib.metrics import AnomalibMetric
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from anomalib_scdae.metrics.anomaly_types import GOOD, anomaly_type, auroc_per_type, short_name, with_mean

NAME_BYTES = 255  # the longest name that a folder may have


class PerTypeMetric(Metric):
    """A metric whose :meth:`compute` returns named figures, ``{name: scalar tensor}``.

    :class:`~anomalib_scdae.metrics.RawScoreEvaluator` logs each under its name. What cannot be computed, because
    a type is absent, is not among them.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False


class _AUROCPerType(PerTypeMetric):
    """Keeps scores and types; see :class:`AUROCPerType`."""

    scores: list[Tensor]
    labels: list[Tensor]
    types: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for state in ("scores", "labels", "types"):
            self.add_state(state, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, labels: Tensor, image_paths: Sequence[str]) -> None:
        """Add images: scores ``[B]`` of any range, labels ``[B]`` (0: good), and the paths that name their types."""
        self.scores.append(scores.detach().flatten())
        self.labels.append(labels.detach().flatten().bool())
        self.types.append(torch.stack([_encode(anomaly_type(path)) for path in image_paths]).to(scores.device))

    def per_type(self) -> dict[str, float]:
        """Return the AUROC of each type that was seen, in [0, 1]; empty without good images."""
        if len(self.scores) == 0:  # a list, or a tensor once gathered from several processes
            return {}
        scores = dim_zero_cat(self.scores).float().cpu().numpy()
        anomalous = dim_zero_cat(self.labels).bool().cpu().numpy()
        types = np.array([_decode(row) for row in dim_zero_cat(self.types)])
        return auroc_per_type(scores, np.where(anomalous, types, GOOD))


class AUROCPerType(AnomalibMetric, _AUROCPerType):
    """Image AUROC for each anomaly type, and the mean of the types: the paper's figures (section 2.1).

    The type of an anomalous image is the name of its folder, so that MVTec LOCO AD gives ``image_AUROC_logical``,
    ``image_AUROC_structural`` and ``image_AUROC_mean``, and MVTec AD one figure for each kind of defect and their
    mean. Each is computed over the type's own images and all good ones. A type without images, and the mean of
    fewer than two, are left out.

    Args:
        fields: Batch fields for score, label and path.
        prefix: Goes before ``AUROC_<type>``.
        strict: Whether a batch without these fields is an error.
    """

    default_fields = ("pred_score", "gt_label", "image_path")

    def __init__(self, fields: Sequence[str] | None = None, prefix: str = "image_", strict: bool = True) -> None:
        super().__init__(fields=fields, prefix=prefix, strict=strict)
        self.prefix = prefix

    def update(self, batch: Batch) -> None:  # type: ignore[override]  # AnomalibMetric takes the fields out
        """Add a batch."""
        super().update(batch)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]  # see PerTypeMetric
        """Return the figures by name, each in [0, 1]."""
        values = with_mean(self.per_type())
        return {f"{self.prefix}AUROC_{short_name(name)}": torch.tensor(value) for name, value in values.items()}


def _encode(name: str) -> Tensor:
    # As numbers, so that torchmetrics can gather them from several processes.
    data = name.encode()[:NAME_BYTES].ljust(NAME_BYTES, b"\0")
    return torch.tensor(list(data), dtype=torch.uint8)


def _decode(row: Tensor) -> str:
    return bytes(row.tolist()).rstrip(b"\0").decode(errors="replace")
