# SPDX-License-Identifier: Apache-2.0
"""Figures for each anomaly type apart: its own images against the good ones, and the mean over the types."""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from anomalib.data import Batch
from anomalib.metrics import AnomalibMetric
from torch import Tensor
from torch import distributed as dist
from torchmetrics import Metric

from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics.anomaly_types import GOOD, anomaly_type, auroc_per_type, short_name, with_mean


class PerTypeMetric(AnomalibMetric, Metric):
    """A metric whose :meth:`compute` returns named figures, ``{name: scalar tensor}``.

    :class:`~anomalib_scdae.metrics.RawScoreEvaluator` logs each under its name. What cannot be computed, because
    a type is absent, is not among them.

    Args:
        fields: Batch fields that it needs.
        prefix: Goes before the names of its figures.
        strict: Whether a batch without these fields is an error; otherwise it is passed over.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False

    def __init__(self, fields: Sequence[str] | None = None, prefix: str = "", strict: bool = True) -> None:
        super().__init__(fields=fields, prefix=prefix, strict=strict)
        self.prefix = prefix
        self.clear()

    @abstractmethod
    def clear(self) -> None:
        """Forget all images."""

    @abstractmethod
    def add(self, batch: Batch, *values: Any) -> None:
        """Add a batch, given also the values of its :attr:`fields`."""

    @abstractmethod
    def figures(self) -> dict[str, float]:
        """Return the figures by name, without the prefix, over the images of all processes."""

    def update(self, batch: Batch) -> None:
        """Add a batch."""
        values = [getattr(batch, name, None) for name in self.fields]
        if all(value is not None for value in values):
            self.add(batch, *values)
            return
        self._update_count -= 1
        if self.strict:
            msg = f"{type(self).__name__} needs the fields {', '.join(self.fields)} in a batch; one of them is absent."
            raise ValueError(msg)

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]  # several figures
        """Return the figures by name, each in [0, 1]."""
        return {f"{self.prefix}{name}": torch.tensor(value) for name, value in self.figures().items()}

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.clear()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Add a batch, and return the figures of this batch alone."""
        alone = copy.deepcopy(self)
        alone.reset()
        alone.update(batch)
        self.update(batch)
        return alone.compute()


class AUROCPerType(PerTypeMetric):
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
        super().__init__(fields, prefix, strict)

    def clear(self) -> None:
        """Forget all images."""
        self._scores: list[float] = []
        self._types: list[str] = []
        self._paths: list[str] = []

    def add(self, batch: Batch, *values: Any) -> None:
        """Add images: scores ``[B]`` of any range, labels ``[B]`` (0: good), and the paths that name their types."""
        del batch
        scores, labels, paths = values
        self._scores += scores.flatten().tolist()
        self._paths += map(str, paths)
        self._types += [anomaly_type(path) if label else GOOD for label, path in zip(labels, paths, strict=True)]

    def figures(self) -> dict[str, float]:
        """Return the AUROC of each type that was seen, and their mean.

        Raises:
            UserError: If a score is not finite.
        """
        parts = gather((self._scores, self._types, self._paths))
        scores = np.array([score for part, *_ in parts for score in part])
        types = np.array([name for _, part, _ in parts for name in part], dtype=str)
        for path, score in zip((path for *_, part in parts for path in part), scores, strict=True):
            if not np.isfinite(score):
                msg = (
                    f"The score of {path} is {score}: the model's weights or statistics are damaged, or half precision "
                    "overflows; test with --trainer.precision 32, or train again."
                )
                raise UserError(msg)
        return {f"AUROC_{short_name(name)}": value for name, value in with_mean(auroc_per_type(scores, types)).items()}


def gather(own: Any) -> list[Any]:
    """Return what every process passes, in the order of their ranks; ``[own]`` where there is one process."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return [own]
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, own)
    return parts
