# SPDX-License-Identifier: Apache-2.0
"""AU-sPRO written straight from its definition, over all thresholds; slow and without any of the package's code."""

import itertools
from dataclasses import dataclass

import numpy as np


@dataclass
class Channel:
    """A ground-truth channel: one anomalous region, and how it saturates."""

    mask: np.ndarray
    threshold: float
    relative: bool

    @property
    def saturation_area(self):
        area = int(self.mask.sum())
        return max(int(self.threshold * area) if self.relative else min(int(self.threshold), area), 1)


def brute_force_curve(maps, channels):
    """FPR and mean sPRO at every distinct score of ``maps``; ``channels[i]`` is empty for a good image."""
    thresholds = np.unique(np.concatenate([m.ravel() for m in maps]))[::-1]
    points = [(0.0, 0.0)]
    for threshold in thresholds:
        false_positives = defect_free = 0
        spros = []
        for anomaly_map, own in zip(maps, channels, strict=True):
            predicted = anomaly_map >= threshold
            anomalous = np.zeros(anomaly_map.shape, dtype=bool)
            for channel in own:
                anomalous |= channel.mask
                spros.append(min(int((predicted & channel.mask).sum()) / channel.saturation_area, 1.0))
            false_positives += int((predicted & ~anomalous).sum())
            defect_free += int((~anomalous).sum())
        points.append((false_positives / defect_free, sum(spros) / len(spros)))
    return points


def brute_force_au_spro(maps, channels, limits=(0.01, 0.05, 0.1, 0.3, 1.0)):
    """Area under the curve up to each limit, divided by the limit."""
    points = brute_force_curve(maps, channels)
    return {limit: area_up_to(points, limit) / limit for limit in limits}


def area_up_to(points, limit):
    """Area under the straight lines between the points, up to ``limit``."""
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit:
            break
        if x1 > limit:
            x1, y1 = limit, y0 + (y1 - y0) * (limit - x0) / (x1 - x0)  # noqa: PLW2901
        area += (x1 - x0) * (y0 + y1) / 2
    return area
