# SPDX-License-Identifier: Apache-2.0
"""Saturated per-region overlap: the benchmark's measure of localisation, in one pass over the images.

Bergmann, Batzner, Fauser, Sattlegger and Steger, "Beyond Dents and Scratches: Logical Constraints in Unsupervised
Anomaly Detection and Localization", IJCV 2022, section 4.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomalib_scdae.metrics.anomaly_types import ANOMALOUS, are_types
from anomalib_scdae.metrics.ground_truth import GroundTruth, Region
from anomalib_scdae.metrics.score_summary import ScoreSummary, first_of_each

FPR_LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
"""Limits of the false-positive rate up to which the authors integrate."""

RESOLUTION = 2**15
"""Keeps the bound on the error of AU-sPRO below 1e-3 up to 10 reductions, that is 8^9 images."""


class Curve(NamedTuple):
    """Mean sPRO over false-positive rate, from (0, 0) to (1, 1), one point per threshold; both of shape ``[N]``."""

    fpr: NDArray[np.float64]
    spro: NDArray[np.float64]


@dataclass
class _TypeSummary:
    """What one anomaly type's own images add to the good ones."""

    false_positives: ScoreSummary
    overlap: ScoreSummary
    regions: int = 0

    def merge(self, other: "_TypeSummary") -> None:
        self.false_positives.merge(other.false_positives)
        self.overlap.merge(other.overlap)
        self.regions += other.regions


@dataclass
class SPROAccumulator:
    """Collects what AU-sPRO needs, image by image, for each anomaly type apart.

    As the threshold falls, a region's sPRO, ``min(|found| / saturation area, 1)``, grows by ``1 / saturation area``
    at each of the region's highest scores, until it is saturated. The mean over all regions is then a distribution
    of weighted scores, like the false positives: neither needs thresholds chosen beforehand, and memory does not
    grow with the number of images (but for its logarithm, see :class:`ScoreSummary`).

    Args:
        exact: Keep every distinct score (for tests and small sets); otherwise AU-sPRO is within
            :meth:`error_bound`, at most 1e-3, of the exact value at every limit.
        lowest_limit: The lowest false-positive rate that one will integrate to; the top of the scores is resolved
            accordingly.
        resolution: Steps of the summaries; the default keeps the promise above.
    """

    exact: bool = False
    lowest_limit: float = FPR_LIMITS[0]
    resolution: int = RESOLUTION
    _good: ScoreSummary = field(init=False)
    _types: dict[str, _TypeSummary] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._good = self._false_positive_summary()

    @property
    def types(self) -> list[str]:
        """The anomaly types seen, in alphabetical order."""
        return sorted(self._types)

    def add_good(self, anomaly_map: NDArray[np.floating]) -> None:
        """Add the map of a good image, shape ``[H, W]``; its pixels count for every anomaly type.

        Raises:
            ValueError: If the map holds NaN.
        """
        self._good.add(_flat(anomaly_map))

    def add_anomalous(self, anomaly_type: str, anomaly_map: NDArray[np.floating], truth: GroundTruth) -> None:
        """Add the map of an anomalous image, shape ``[H, W]``, at the resolution of its ground truth.

        Raises:
            ValueError: If the map and the ground truth differ in size, or the map holds NaN.
        """
        if anomaly_map.shape != truth.shape:
            msg = f"the anomaly map has the shape {anomaly_map.shape}, its ground truth {truth.shape}"
            raise ValueError(msg)
        scores = _flat(anomaly_map)
        summary = self._types.setdefault(anomaly_type, self._type_summary())
        defect_free = np.ones(scores.size, dtype=bool)
        for region in truth.regions:
            defect_free[region.pixels] = False
            _add_overlap(summary.overlap, scores, region)
        summary.regions += len(truth.regions)
        summary.false_positives.add(scores[defect_free])

    def merge(self, other: "SPROAccumulator") -> None:
        """Add all that ``other``, made with the same arguments, has seen; ``other`` must not be used afterwards."""
        self._good.merge(other._good)
        for name, theirs in other._types.items():
            ours = self._types.setdefault(name, self._type_summary())
            ours.merge(theirs)

    def merge_types(self, name: str, types: Collection[str]) -> None:
        """Make one type, ``name``, of these, and forget all others."""
        merged = {name: self._type_summary()} if types else {}
        for each in types:
            merged[name].merge(self._types[each])
        self._types = merged

    def tell_apart(self, left_out: Collection[str] = ()) -> None:
        """Make one type of all, but those that are ``left_out``, where there are too many to be types."""
        if not are_types({*self._types, *left_out}):
            self.merge_types(ANOMALOUS, self._types.keys() - set(left_out))

    def curve(self, anomaly_type: str) -> Curve | None:
        """Return the curve of one type, over its own images and the good ones; ``None`` without a defect-free pixel."""
        summary = self._types[anomaly_type]
        defect_free = self._good.mass + summary.false_positives.mass
        if not defect_free or not summary.regions:
            return None
        good, own, overlap = (s.points() for s in (self._good, summary.false_positives, summary.overlap))
        scores = np.sort(np.concatenate([good.scores, own.scores, overlap.scores]))[::-1]
        thresholds = scores[first_of_each(scores)]
        fpr = (good.mass_from(thresholds) + own.mass_from(thresholds)) / defect_free
        spro = np.minimum(overlap.mass_from(thresholds) / summary.regions, 1.0)
        return Curve(np.concatenate(([0.0], fpr)), np.concatenate(([0.0], spro)))

    def au_spro(self, anomaly_type: str, limits: Sequence[float] = FPR_LIMITS) -> dict[float, float] | None:
        """Return AU-sPRO of one type at each limit, in [0, 1]; ``None`` without a defect-free pixel."""
        curve = self.curve(anomaly_type)
        return None if curve is None else {limit: area_under_curve(curve, limit) for limit in limits}

    def error_bound(self, anomaly_type: str) -> float:
        """Return the guaranteed bound on the error of :meth:`au_spro`, the same for every limit; 0 when exact."""
        summary = self._types[anomaly_type]
        return max(self._good.error, summary.false_positives.error) + summary.overlap.error

    def _false_positive_summary(self) -> ScoreSummary:
        return ScoreSummary(None if self.exact else self.resolution, tail=self.lowest_limit)

    def _type_summary(self) -> _TypeSummary:
        return _TypeSummary(self._false_positive_summary(), ScoreSummary(None if self.exact else self.resolution))


def area_under_curve(curve: Curve, limit: float) -> float:
    """Integrate sPRO over the false-positive rate up to ``limit`` in (0, 1], and divide by ``limit``.

    Points are joined by straight lines, at the limit as well.
    """
    within = int(np.searchsorted(curve.fpr, limit, side="right"))
    fpr, spro = curve.fpr[:within], curve.spro[:within]
    if within < curve.fpr.size:
        share = (limit - fpr[-1]) / (curve.fpr[within] - fpr[-1])
        fpr = np.append(fpr, limit)
        spro = np.append(spro, spro[-1] + share * (curve.spro[within] - spro[-1]))
    return float(np.sum(np.diff(fpr) * (spro[1:] + spro[:-1])) / (2 * limit))


def _add_overlap(overlap: ScoreSummary, scores: NDArray[np.floating], region: Region) -> None:
    inside = scores[region.pixels]
    saturation = region.saturation_area
    highest = np.partition(inside, inside.size - saturation)[inside.size - saturation :]
    overlap.add(highest, 1.0 / saturation)


def _flat(anomaly_map: NDArray[np.floating]) -> NDArray[np.floating]:
    # Half precision has no fast sort; integers would overflow when negated.
    keeps = anomaly_map.dtype in (np.float32, np.float64)
    scores = anomaly_map.ravel() if keeps else anomaly_map.ravel().astype(np.float32)
    if np.isnan(scores.min(initial=np.inf)):
        msg = "the anomaly map holds NaN"
        raise ValueError(msg)
    return scores
