# SPDX-License-Identifier: Apache-2.0
"""Sets of elements as histograms of random projections, and how far such a set is from those of the training images."""

import numpy as np
import torch
from anomalib.models.components import DynamicBufferMixin
from torch import Tensor, nn

#: Quantiles of the projections between which the histograms' thresholds lie.
QUANTILES = (0.01, 0.99)
#: Elements of a set that thresholds are taken from, at most: raw pixels are 256 times as many as those of layer 3.
QUANTILE_ELEMENTS = 196
#: Projected values that are held at a time.
BLOCK = 4_000_000
#: Below any variance that tells images apart.
FLOOR = 1e-12


class SetGallery(DynamicBufferMixin, nn.Module):
    """The training images' sets at one level, for each place that crops are taken from.

    Every crop has thresholds and a covariance of its own, from the training images. Its inverse is never written out:
    with shrinkage, it is a scale for each of the ``k`` directions in which the ``n`` images vary and one for all
    others, so that distances are those of ``k + 1`` numbers, exactly.

    Args:
        elements: Channels ``C`` of an element.
        crops: Number of crops.
        projections: Random directions ``P`` that elements are projected on.
        thresholds: Bins ``T`` of a cumulative histogram.
        shrinkage: Share of the mean variance in the covariance.
        repetitions: Sets of projections ``R``; distances are the median over them.

    Attributes:
        projections: ``(R P, C)``.
        limits: Thresholds, ``(crops, R P, T)``.
        mean: ``(crops, R, P T)``.
        directions: Orthonormal, ``(crops, R, k, P T)``.
        gains: What a unit in each direction and in any other one counts, ``(crops, R, k + 1)``.
        gallery: The training images, whitened, ``(crops, R, n, k + 1)``.
    """

    projections: Tensor
    limits: Tensor
    mean: Tensor
    directions: Tensor
    gains: Tensor
    gallery: Tensor

    def __init__(
        self,
        elements: int,
        crops: int,
        projections: int = 1000,
        thresholds: int = 5,
        shrinkage: float = 0.1,
        repetitions: int = 1,
    ) -> None:
        super().__init__()
        self.crops, self.thresholds, self.shrinkage, self.repetitions = crops, thresholds, shrinkage, repetitions
        self.register_buffer("projections", torch.randn(repetitions * projections, elements))
        for name in ("limits", "mean", "directions", "gains", "gallery"):
            self.register_buffer(name, torch.empty(0))

    @property
    def features(self) -> int:
        """Numbers that describe a set, in one repetition."""
        return len(self.projections) // self.repetitions * self.thresholds

    def bytes_of(self, count: int) -> int:
        """Return the bytes that ``count`` training images will take."""
        return sum(4 * int(np.prod(shape)) for shape in self._shapes(count).values())

    def reserve(self, count: int) -> None:
        """Make room for ``count`` training images."""
        for name, shape in self._shapes(count).items():
            setattr(self, name, self.projections.new_empty(shape))

    def _shapes(self, count: int) -> dict[str, tuple[int, ...]]:
        each, kept = (self.crops, self.repetitions), min(count, self.features)
        return {
            "limits": (self.crops, len(self.projections), self.thresholds),
            "mean": (*each, self.features),
            "directions": (*each, kept, self.features),
            "gains": (*each, kept + 1),
            "gallery": (*each, count, kept + 1),
        }

    def fit(self, crop: int, sets: Tensor) -> None:
        """Learn what is normal at a crop from the training images' sets ``(n, N, C)``."""
        self.limits[crop] = self.thresholds_of(sets)
        described = self.describe(crop, sets)
        self.mean[crop] = described.mean(dim=0)
        centred = (described - self.mean[crop]).transpose(0, 1).double()
        _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
        variances = singular.square() / len(sets)
        shared = self.shrinkage * variances.sum(dim=1, keepdim=True) / self.features
        shrunk = torch.cat([(1 - self.shrinkage) * variances + shared, shared], dim=1)
        self.directions[crop] = directions.float()
        self.gains[crop] = shrunk.clamp(min=FLOOR).rsqrt().float()
        self.gallery[crop] = self.whiten(crop, described)

    def thresholds_of(self, sets: Tensor) -> Tensor:
        """Place thresholds evenly between two quantiles of every projection of all elements: ``(R P, T)``."""
        elements = sets[:, :: max(1, sets.shape[1] // QUANTILE_ELEMENTS)].flatten(0, 1)
        limits = []
        for directions in self.projections.split(max(1, BLOCK // len(elements))):
            values = (elements @ directions.T).cpu().numpy()
            limits.append(torch.from_numpy(np.quantile(values, QUANTILES, axis=0)))
        low, high = torch.cat(limits, dim=1).to(sets)[..., None]
        return low + (high - low) * torch.linspace(0, 1, self.thresholds).to(sets)

    def describe(self, crop: int, sets: Tensor) -> Tensor:
        """Return the cumulative histograms ``(B, R, P T)`` of sets ``(B, N, C)``.

        For each projection and threshold, this is the share of the elements that are not above it.
        """
        blocks = []
        size = max(1, BLOCK // sets.shape[1])
        for directions, limits in zip(self.projections.split(size), self.limits[crop].split(size), strict=True):
            shares = sets.new_empty(len(sets), len(directions), self.thresholds)
            for index, one in enumerate(sets):
                values = directions @ one.T
                for number, limit in enumerate(limits.T):
                    shares[index, :, number] = (values <= limit[:, None]).float().mean(dim=1)
            blocks.append(shares)
        return torch.cat(blocks, dim=1).reshape(len(sets), self.repetitions, self.features)

    def whiten(self, crop: int, described: Tensor) -> Tensor:
        """Bring descriptions ``(B, R, P T)`` to where the covariance is the identity: ``(R, B, k + 1)``.

        The last number is the length of what lies in none of the directions, which training images have none of.
        """
        centred = (described - self.mean[crop]).transpose(0, 1)
        along = centred @ self.directions[crop].transpose(1, 2)
        others = torch.linalg.vector_norm(centred - along @ self.directions[crop], dim=2, keepdim=True)
        return torch.cat([along, others], dim=2) * self.gains[crop][:, None]

    def forward(self, crop: int, sets: Tensor) -> Tensor:
        """Return the distances ``(B,)`` of sets ``(B, N, C)`` from the nearest training image's at the same crop."""
        found = torch.cdist(self.whiten(crop, self.describe(crop, sets)), self.gallery[crop])
        return found.amin(dim=2).quantile(0.5, dim=0)

    def among_themselves(self) -> Tensor:
        """Return every training image's distance from the nearest other one, ``(crops, n)``."""
        found = []
        for gallery in self.gallery:
            distances = torch.cdist(gallery, gallery)
            distances.diagonal(dim1=1, dim2=2).fill_(float("inf"))
            found.append(distances.amin(dim=2).quantile(0.5, dim=0))
        return torch.stack(found)
