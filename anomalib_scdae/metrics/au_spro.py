# SPDX-License-Identifier: Apache-2.0
"""AU-sPRO as a metric for Anomalib's evaluator."""

import copy
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from anomalib.data import Batch
from anomalib.metrics import AnomalibMetric
from numpy.typing import NDArray
from torch import Tensor
from torch import distributed as dist

from anomalib_scdae.metrics.anomaly_types import anomaly_type, short_name, with_mean
from anomalib_scdae.metrics.ground_truth import (
    GroundTruth,
    Saturation,
    image_shape,
    mask_files,
    read_defects_config,
    read_ground_truth,
)
from anomalib_scdae.metrics.per_type import PerTypeMetric
from anomalib_scdae.metrics.spro import FPR_LIMITS, SPROAccumulator

logger = logging.getLogger(__name__)


class _AUsPRO(PerTypeMetric):
    """Collects maps against the ground truth on disk; see :class:`AUsPRO`."""

    def __init__(self, limits: Sequence[float], exact: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not limits or not all(0 < limit <= 1 for limit in limits):
            msg = f"limits must be false-positive rates in (0, 1], got {list(limits)}"
            raise ValueError(msg)
        self.limits = tuple(limits)
        self.exact = exact
        self._configs: dict[Path, Mapping[int, Saturation] | None] = {}
        self._clear()

    def update(
        self, maps: Tensor, labels: Tensor, image_paths: Sequence[str], mask_paths: Sequence[str] | None = None
    ) -> None:
        """Add images.

        Args:
            maps: Anomaly maps of any size and range, shape ``[B, H, W]`` or ``[B, 1, H, W]``.
            labels: 0 for good images, shape ``[B]``.
            image_paths: Where the images are; their ground truth is beside them.
            mask_paths: Masks that the data set names, for layouts other than the benchmarks'.
        """
        for index, path in enumerate(map(Path, image_paths)):
            if not labels[index]:
                self._accumulator.add_good(resize_map(maps[index], image_shape(path)))
                continue
            truth = self._ground_truth(path, mask_paths[index] if mask_paths else None)
            if truth is None:
                self._incomplete.add(anomaly_type(path))
            else:
                self._accumulator.add_anomalous(anomaly_type(path), resize_map(maps[index], truth.shape), truth)

    def per_type(self) -> dict[float, dict[str, float]]:
        """Return AU-sPRO at each limit for each type with complete ground truth, over all processes."""
        accumulator, incomplete = self._gather()
        found: dict[float, dict[str, float]] = {limit: {} for limit in self.limits}
        for name in accumulator.types:
            values = None if name in incomplete else accumulator.au_spro(name, self.limits)
            if values is None:
                logger.warning("AU-sPRO of %s is left out: some of its images have no mask or no normal pixel.", name)
                continue
            for limit, value in values.items():
                found[limit][name] = value
        return found

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._clear()

    def _clear(self) -> None:
        self._accumulator = SPROAccumulator(exact=self.exact, lowest_limit=min(*self.limits, FPR_LIMITS[0]))
        self._incomplete: set[str] = set()

    def _ground_truth(self, image_path: Path, mask_path: str | None) -> GroundTruth | None:
        files = mask_files(image_path, Path(mask_path) if mask_path else None)
        if not files:
            return None
        category = image_path.parents[min(2, len(image_path.parents) - 1)]
        if category not in self._configs:
            self._configs[category] = read_defects_config(category)
        return read_ground_truth(image_path, files, self._configs[category])

    def _gather(self) -> tuple[SPROAccumulator, set[str]]:
        own = (self._accumulator, self._incomplete)
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return own
        parts: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(parts, own)
        accumulator, incomplete = parts[0]
        for other, more in parts[1:]:
            accumulator.merge(other)
            incomplete |= more
        return accumulator, incomplete


class AUsPRO(AnomalibMetric, _AUsPRO):
    """Area under the curve of saturated per-region overlap (sPRO) for each anomaly type, and the mean of the types.

    Follows Bergmann et al. 2022 (IJCV), section 4, and the authors' evaluation: the ground truth is read from disk
    beside each image, every channel of it and at the image's own resolution; maps are resized to it bilinearly; the
    saturation thresholds come from ``defects_config.json``. A type's curve is over its own images and all good ones,
    for false-positive rate and mean sPRO alike. Figures are named ``pixel_AUsPRO_<type>_<limit>``.

    On data without ``defects_config.json`` a region saturates when all of it is found, which makes this AU-PRO.
    A type is left out if any of its images has no mask, and so is the mean of fewer than two types.

    Args:
        limits: False-positive rates in (0, 1] up to which the curve is integrated.
        exact: Use every distinct score, in memory that grows with the images; otherwise memory is bounded and the
            error at every limit at most 1e-3.
        fields: Batch fields for anomaly map, label and path.
        prefix: Goes before ``AUsPRO_<type>_<limit>``.
        strict: Whether a batch without these fields is an error; by default the figures are left out.
    """

    default_fields = ("anomaly_map", "gt_label", "image_path")

    def __init__(
        self,
        limits: Sequence[float] = FPR_LIMITS,
        exact: bool = False,
        fields: Sequence[str] | None = None,
        prefix: str = "pixel_",
        strict: bool = False,
    ) -> None:
        super().__init__(fields=fields, prefix=prefix, strict=strict, limits=limits, exact=exact)
        self.prefix = prefix

    def update(self, batch: Batch) -> None:  # type: ignore[override]  # AnomalibMetric takes the fields out
        """Add a batch."""
        super().update(batch, mask_paths=getattr(batch, "mask_path", None))

    def compute(self) -> dict[str, Tensor]:  # type: ignore[override]  # see PerTypeMetric
        """Return the figures by name, each in [0, 1]."""
        figures = {}
        for limit, values in self.per_type().items():
            for name, value in with_mean(values).items():
                figures[f"{self.prefix}AUsPRO_{short_name(name)}_{limit}"] = torch.tensor(value)
        return figures

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Add a batch, and return the figures of this batch alone."""
        alone = copy.deepcopy(self)
        alone.reset()
        alone.update(batch)
        self.update(batch)
        return alone.compute()


def resize_map(anomaly_map: Tensor, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a map ``[H, W]`` or ``[1, H, W]`` to ``shape`` (height, width) bilinearly: the authors' protocol."""
    plain = anomaly_map.detach().as_subclass(Tensor).float().reshape(1, 1, *anomaly_map.shape[-2:])
    if plain.shape[-2:] != shape:
        plain = F.interpolate(plain, size=shape, mode="bilinear", align_corners=False)
    return plain[0, 0].cpu().numpy()
