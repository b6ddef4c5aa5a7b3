# SPDX-License-Identifier: Apache-2.0
"""From the distances of one local and several global branches to one anomaly map (paper, end of section 1.5)."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

from anomalib_scdae.errors import UserError
from anomalib_scdae.quantiles import quantiles

#: Quantiles of a map's values on normal images that are mapped to 0 and to 0.1 (EfficientAD, section 3.4).
LOWER_QUANTILE, UPPER_QUANTILE = 0.9, 0.995
NORMALISED_UPPER = 0.1

#: Rows and columns that a PDN without padding loses at each side of its output.
MAP_PADDING = 4


class AnomalyMapMerger(nn.Module):
    """Normalises every branch's map, weighs them, and enlarges the sum to the image.

    The local map has a weight of its own, half of all by default as in EfficientAD; the global ones share the rest.
    Normalisation, padding and bilinear enlargement are all linear, so the small maps are merged first and only their
    sum is enlarged, which gives the same map for a third of the work.

    Args:
        global_maps: Number of global maps, one per autoencoder.
        pad_maps: Whether to frame the maps with zeros where a PDN without padding has lost its border.
        local_weight: Weight of the local map, from 0 to 1.

    Raises:
        UserError: If that weight is none.
    """

    lower: torch.Tensor
    upper: torch.Tensor
    weights: torch.Tensor

    def __init__(self, global_maps: int, pad_maps: bool = True, local_weight: float = 0.5) -> None:
        super().__init__()
        if not 0 <= local_weight <= 1:
            msg = f"local_weight is the local map's share of the anomaly map, from 0 to 1; it is {local_weight}."
            raise UserError(msg)
        self.pad_maps = pad_maps
        maps = 1 + global_maps
        # Until quantiles are known, these leave the maps as they are.
        self.register_buffer("lower", torch.zeros(maps))
        self.register_buffer("upper", torch.full((maps,), NORMALISED_UPPER))
        weights = torch.tensor([local_weight] + [(1 - local_weight) / global_maps] * global_maps)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, maps: torch.Tensor, image_size: tuple[int, int] | torch.Size) -> torch.Tensor:
        """Merge maps ``(B, M, h, w)`` to one of shape ``(B, 1, H, W)``."""
        return self.enlarge(self.combine(self.normalise(self.pad(maps.float()))), image_size)

    def separate(self, maps: torch.Tensor, image_size: tuple[int, int] | torch.Size) -> torch.Tensor:
        """Return every map normalised and enlarged, ``(B, M, H, W)``, the local one first."""
        return self.enlarge(self.normalise(self.pad(maps.float())), image_size)

    def combine(self, maps: torch.Tensor) -> torch.Tensor:
        """Weigh normalised maps ``(B, M, h, w)`` against each other; shape ``(B, 1, h, w)``."""
        return (maps * self.weights[:, None, None]).sum(dim=1, keepdim=True)

    def normalise(self, maps: torch.Tensor) -> torch.Tensor:
        """Map each branch's lower quantile to 0 and its upper one to 0.1; shape ``(B, M, h, w)`` in and out."""
        lower, upper = self.lower[:, None, None], self.upper[:, None, None]
        return NORMALISED_UPPER * (maps - lower) / (upper - lower)

    def pad(self, maps: torch.Tensor) -> torch.Tensor:
        """Frame the maps with zeros, if configured."""
        return F.pad(maps, (MAP_PADDING,) * 4) if self.pad_maps else maps

    @staticmethod
    def enlarge(maps: torch.Tensor, image_size: tuple[int, int] | torch.Size) -> torch.Tensor:
        """Enlarge the maps to the image bilinearly."""
        return F.interpolate(maps, size=tuple(image_size), mode="bilinear")

    @torch.no_grad()
    def fit(self, maps: Iterable[tuple[torch.Tensor, tuple[int, int]]]) -> None:
        """Take the quantiles from normal images.

        Args:
            maps: Raw maps ``(B, M, h, w)`` with their image size. Read several times; so no iterator.
        """
        for index in range(len(self.weights)):

            def readings(index: int = index) -> Iterable[torch.Tensor]:
                for small, image_size in maps:
                    yield self.enlarge(self.pad(small[:, index : index + 1].float()), image_size)

            lower, upper = quantiles(readings, (LOWER_QUANTILE, UPPER_QUANTILE))
            self.lower[index] = lower
            # A map that is constant on normal images keeps its scale instead of dividing by zero.
            self.upper[index] = upper if upper > lower else lower + NORMALISED_UPPER
