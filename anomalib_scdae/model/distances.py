# SPDX-License-Identifier: Apache-2.0
"""From the distances of an image to its score and its anomaly map."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from anomalib.data import InferenceBatch
from torch import nn

from anomalib_scdae.model.anomaly_map import AnomalyMapMerger
from anomalib_scdae.model.context_score import ContextScore


class Distances(NamedTuple):
    """How far images are from normal, in float32.

    Attributes:
        maps: Mean squared distances ``(B, M, h, w)``: the local map, then one per branch.
        context: Distance of the image as a whole ``(B,)``; None without a context score.
    """

    maps: torch.Tensor
    context: torch.Tensor | None

    def of_images(self, chosen: slice | torch.Tensor) -> "Distances":
        """Return the distances of some of the images."""
        return Distances(self.maps[chosen], None if self.context is None else self.context[chosen])

    def detached(self, device: torch.device | str) -> "Distances":
        """Return them on ``device``, without gradients."""
        context = None if self.context is None else self.context.detach().float().to(device)
        return Distances(self.maps.detach().float().to(device), context)


class DistanceModel(nn.Module, ABC):
    """Networks whose predictions follow from distances: SCDAE, and SCDAE folded.

    Attributes:
        anomaly_map: Makes one anomaly map of the distances' maps.
        context_score: Joins the distance of the image as a whole to the map's maximum, if there is one.
    """

    anomaly_map: AnomalyMapMerger
    context_score: ContextScore | None

    @abstractmethod
    def distances(self, images: torch.Tensor) -> Distances:
        """Return how far images ``(B, 3, H, W)`` are from normal."""

    def prediction(self, distances: Distances, image_size: Sequence[int]) -> InferenceBatch:
        """Return score and anomaly map of images of ``image_size`` (height, width)."""
        anomaly_map = self.anomaly_map(distances.maps, (image_size[0], image_size[1]))
        score = anomaly_map.amax(dim=(-2, -1))
        if self.context_score is not None and distances.context is not None:
            score = self.context_score.join(score, distances.context)
        return InferenceBatch(pred_score=score, anomaly_map=anomaly_map)
