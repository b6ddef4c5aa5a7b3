# SPDX-License-Identifier: Apache-2.0
"""SPADE's two searches: for images that look alike, and in these for features that look alike."""

import torch
from anomalib.data import InferenceBatch
from anomalib.models.components import DynamicBufferMixin, GaussianBlur2d
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_scdae.benchmark.baselines.frozen_backbone import FrozenBackbone
from anomalib_scdae.errors import check_at_least_one

#: What is kept of the training images: the averages, and the stages from fine to coarse.
PARTS = ("pooled", "layer1", "layer2", "layer3")

#: Positions compared at a time on a processor: with their distances in its cache, all take 0.6 times as long.
POSITIONS_IN_CACHE = 128


class SpadeModel(DynamicBufferMixin, nn.Module):
    """Sub-image anomaly detection with deep pyramid correspondences.

    Args:
        backbone: timm's name of the backbone.
        pre_trained: Whether the backbone has its weights.
        neighbours: Training images ``K`` that an image is compared with (the first stage).
        pixel_neighbours: Features ``kappa`` of these that a position is compared with (the second stage).
        sigma: Standard deviation of the map's smoothing, in pixels.

    Attributes:
        pooled: The training images' averages of the last stage, ``(n, C_4)``.
        layer1, layer2, layer3: Their other stages, ``(n, C_i, h_i, w_i)``.
    """

    pooled: Tensor
    layer1: Tensor
    layer2: Tensor
    layer3: Tensor

    def __init__(
        self,
        backbone: str = "wide_resnet50_2.tv_in1k",
        pre_trained: bool = True,
        neighbours: int = 50,
        pixel_neighbours: int = 1,
        sigma: float = 4.0,
    ) -> None:
        super().__init__()
        check_at_least_one("neighbours", neighbours)
        check_at_least_one("pixel_neighbours", pixel_neighbours)
        self.neighbours, self.pixel_neighbours = neighbours, pixel_neighbours
        self.feature_extractor = FrozenBackbone(backbone, (4, 8, 16, 32), pre_trained)
        self.blur = GaussianBlur2d(sigma=sigma)
        for name in PARTS:
            self.register_buffer(name, torch.empty(0))
        self._filled = 0

    def bytes_of(self, count: int, images: Tensor) -> int:
        """Return the bytes that ``count`` images such as ``images`` ``(B, 3, H, W)`` will take."""
        return count * sum(feature[0].numel() * feature.element_size() for feature in self._features(images))

    def reserve(self, count: int, images: Tensor) -> None:
        """Make room for ``count`` such images."""
        for name, feature in zip(PARTS, self._features(images), strict=True):
            setattr(self, name, feature.new_empty(count, *feature.shape[1:]))
        self._filled = 0

    def add(self, images: Tensor) -> None:
        """Put training images ``(B, 3, H, W)`` into the gallery."""
        end = self._filled + len(images)
        for name, feature in zip(PARTS, self._features(images), strict=True):
            getattr(self, name)[self._filled : end] = feature
        self._filled = end

    def close(self) -> None:
        """Give back the room of images that have not come."""
        for name in PARTS:
            setattr(self, name, getattr(self, name)[: self._filled])

    def forward(self, images: Tensor) -> InferenceBatch:
        """Return scores ``(B,)`` and maps ``(B, 1, H, W)`` of images ``(B, 3, H, W)``."""
        pooled, *stages = self._features(images)
        distances, nearest = self.nearest_images(pooled)
        maps = torch.stack(
            [
                self.pixel_distances([stage[index] for stage in stages], neighbours)
                for index, neighbours in enumerate(nearest)
            ]
        )
        enlarged = F.interpolate(maps[:, None], size=images.shape[-2:], mode="bilinear", align_corners=False)
        return InferenceBatch(pred_score=distances.mean(dim=1), anomaly_map=self.blur(enlarged))

    def nearest_images(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Find the nearest training images (the first stage).

        Args:
            pooled: Averages of the last stage, ``(B, C_4)``.

        Returns:
            Squared distances to the ``K`` nearest and their indices, both ``(B, K)``, nearest first; fewer where the
            gallery has fewer.
        """
        distances = torch.cdist(pooled, self.pooled, compute_mode="donot_use_mm_for_euclid_dist").square()
        found = distances.topk(min(self.neighbours, len(self.pooled)), largest=False)
        return found.values, found.indices

    def pixel_distances(self, stages: list[Tensor], nearest: Tensor) -> Tensor:
        """Compare every position with all positions of the nearest images (the second stage).

        Args:
            stages: Of one image, ``(C_i, h_i, w_i)``.
            nearest: Indices of training images, ``(K,)``.

        Returns:
            Mean squared distance to the ``kappa`` nearest features, ``(h_1, w_1)``.
        """
        query = _pyramid(stages)
        norms = query.square().sum(dim=1, keepdim=True)
        # One image of the gallery after the other: enlarged, they would take many times the gallery's memory.
        best = query.new_empty(len(query), 0)
        for index in nearest.tolist():
            reference = _pyramid([self.layer1[index], self.layer2[index], self.layer3[index]])
            best = self._smallest(torch.cat([best, self._smallest_distances(query, reference)], dim=1))
        return (best + norms).clamp(min=0).mean(dim=1).reshape(stages[0].shape[-2:])

    def _smallest_distances(self, query: Tensor, reference: Tensor) -> Tensor:
        """Return the squared distances, less the query's norms, to the ``kappa`` nearest: ``(len(query), kappa)``."""
        norms = reference.square().sum(dim=1)[None]
        parts = query.split(POSITIONS_IN_CACHE) if query.device.type == "cpu" else [query]
        return torch.cat([self._smallest(torch.addmm(norms, part, reference.T, alpha=-2)) for part in parts])

    def _smallest(self, distances: Tensor) -> Tensor:
        if self.pixel_neighbours == 1:  # much faster than the general way
            return distances.amin(dim=1, keepdim=True)
        return distances.topk(min(self.pixel_neighbours, distances.shape[1]), largest=False).values

    def _features(self, images: Tensor) -> list[Tensor]:
        *stages, last = self.feature_extractor(images)
        return [last.mean(dim=(2, 3)), *stages]


def _pyramid(stages: list[Tensor]) -> Tensor:
    """Join the stages ``(C_i, h_i, w_i)`` at the size of the first, as ``(h_1 w_1, C_1 + C_2 + C_3)``."""
    size = stages[0].shape[-2:]
    enlarged = [F.interpolate(stage[None], size=size, mode="bilinear", align_corners=False)[0] for stage in stages]
    return torch.cat(enlarged).flatten(1).T.contiguous()
