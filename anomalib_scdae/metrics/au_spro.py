# SPDX-License-Identifier: Apache-2.0
"""AU-sPRO as a metric for Anomalib's evaluator."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch.nn.functional as F
from anomalib.data import Batch
from numpy.typing import NDArray
from torch import Tensor

from anomalib_scdae.errors import UserError
from anomalib_scdae.image_files import image_shape
from anomalib_scdae.metrics.anomaly_types import anomaly_type, short_name, with_mean
from anomalib_scdae.metrics.ground_truth import GroundTruthReader
from anomalib_scdae.metrics.per_type import PerTypeMetric, gather
from anomalib_scdae.metrics.spro import FPR_LIMITS, SPROAccumulator

logger = logging.getLogger(__name__)


class AUsPRO(PerTypeMetric):
    """Area under the curve of saturated per-region overlap (sPRO) for each anomaly type, and the mean of the types.

    Follows Bergmann et al. 2022 (IJCV), section 4, and the authors' evaluation: the ground truth is read from disk
    beside each image, every channel of it and at the image's own resolution; maps are resized to it bilinearly; the
    saturation thresholds come from ``defects_config.json``. A type's curve is over its own images and all good ones,
    for false-positive rate and mean sPRO alike. Figures are named ``pixel_AUsPRO_<type>_<limit>``.

    On data without ``defects_config.json`` a region saturates when all of it is found, which makes this AU-PRO.
    A type is left out if any of its images has no mask that can be used, and so is the mean of fewer than two types.

    Args:
        limits: False-positive rates in (0, 1] up to which the curve is integrated.
        exact: Use every distinct score, in memory that grows with the images; otherwise memory is bounded and the
            error at every limit at most 1e-3.
        fields: Batch fields for anomaly map, label and path.
        prefix: Goes before ``AUsPRO_<type>_<limit>``.
        strict: Whether a batch without these fields is an error; by default the figures are left out.
    """

    default_fields = ("anomaly_map", "gt_label", "image_path")
    #: Masks that the data set names, by image, for batches that do not; see :mod:`.data_sets`.
    named_masks: Mapping[Path, Path] = MappingProxyType({})

    def __init__(
        self,
        limits: Sequence[float] = FPR_LIMITS,
        exact: bool = False,
        fields: Sequence[str] | None = None,
        prefix: str = "pixel_",
        strict: bool = False,
    ) -> None:
        if not limits or not all(0 < limit <= 1 for limit in limits):
            msg = f"limits must be false-positive rates in (0, 1], got {list(limits)}"
            raise ValueError(msg)
        self.limits = tuple(limits)
        self.exact = exact
        super().__init__(fields, prefix, strict)

    def clear(self) -> None:
        """Forget all images."""
        self._accumulator = SPROAccumulator(exact=self.exact, lowest_limit=min(*self.limits, FPR_LIMITS[0]))
        self._left_out: dict[str, str] = {}
        self._truths = GroundTruthReader()

    def add(self, batch: Batch, *values: Any) -> None:
        """Add images: maps ``[B, H, W]`` or ``[B, 1, H, W]`` of any size and range, labels ``[B]`` (0: good), paths."""
        maps, labels, image_paths = values
        mask_paths = getattr(batch, "mask_path", None) or [None] * len(image_paths)
        for anomaly_map, label, path, mask_path in zip(maps, labels, map(Path, image_paths), mask_paths, strict=True):
            if not label:
                self._accumulator.add_good(resize_map(anomaly_map, image_shape(path)))
                continue
            try:
                truth = self._truths.read(path, Path(mask_path) if mask_path else self.named_masks.get(path))
            except UserError as error:
                self._left_out.setdefault(anomaly_type(path), str(error))
            else:
                self._accumulator.add_anomalous(anomaly_type(path), resize_map(anomaly_map, truth.shape), truth)

    def figures(self) -> dict[str, float]:
        """Return AU-sPRO at each limit for each type with complete ground truth, and their mean."""
        (accumulator, left_out), *others = gather((self._accumulator, self._left_out))
        for other, more in others:
            accumulator.merge(other)
            left_out = {**more, **left_out}
        accumulator.tell_apart(left_out)
        found: dict[str, dict[float, float]] = {}
        for name in sorted({*accumulator.types, *left_out}):
            values = None if name in left_out else accumulator.au_spro(name, self.limits)
            if values is None:
                reason = left_out.get(name, "none of its images has a normal pixel.")
                logger.warning("AU-sPRO of %s is left out: %s", name, reason)
            else:
                found[name] = values
        return {
            f"AUsPRO_{short_name(name)}_{limit}": value
            for limit in self.limits
            for name, value in with_mean({name: values[limit] for name, values in found.items()}).items()
        }


def resize_map(anomaly_map: Tensor, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize a map ``[H, W]`` or ``[1, H, W]`` to ``shape`` (height, width) bilinearly: the authors' protocol."""
    plain = anomaly_map.detach().as_subclass(Tensor).float().reshape(1, 1, *anomaly_map.shape[-2:])
    if plain.shape[-2:] != shape:
        plain = F.interpolate(plain, size=shape, mode="bilinear", align_corners=False)
    return plain[0, 0].cpu().numpy()
