# SPDX-License-Identifier: Apache-2.0
"""Channel reunion module (paper, section 1.3)."""

from typing import Literal

import torch
from torch import nn

from anomalib_scdae.model.aggregation import Aggregation, aggregate
from anomalib_scdae.model.identity_init import silence

CRMGate = Literal["plain", "residual", "rescaled"]


class ChannelReunionModule(nn.Module):
    """CRM: weighs every channel by what the whole image holds.

    Two 1 x 1 convolutions give one weight per position (equation 8); the features summed up with those weights
    (equation 9) pass two fully connected layers and a sigmoid, which rate the channels (equation 10).
    The paper stops at the ratings ``X2``; that they multiply the input's channels is our reading.

    Args:
        channels: Number of feature channels ``C``.
        reduction: Divides ``C`` to give the width between the two layers of each pair; the paper states none.
        aggregation: How equation 9 sums over the positions; see :func:`~.aggregation.aggregate`.
        gate: ``"plain"`` is ``X2 * I``, which can only attenuate; ``"residual"`` is ``(1 + X2) * I``; ``"rescaled"``
            is ``2 X2 * I``, which amplifies as well as it attenuates and is the identity at ``X2 = 1/2``.
        identity_init: Start at ``X2 = 1/2``, by zeroing the last layer.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        aggregation: Aggregation = "mean",
        gate: CRMGate = "rescaled",
        identity_init: bool = True,
    ) -> None:
        super().__init__()
        self.aggregation = aggregation
        self.gate = gate
        width = max(1, channels // reduction)
        self.weight_convs = nn.Sequential(nn.Conv2d(channels, width, 1), nn.Conv2d(width, 1, 1))
        self.fc1 = nn.Linear(channels, width)
        self.fc2 = nn.Linear(width, channels)
        if identity_init:
            silence(self.fc2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map the autoencoder's output ``I`` to ``O2``, both of shape ``(B, C, H, W)``."""
        return self.factors(features)[..., None, None] * features

    def factors(self, features: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Return what ``I`` is multiplied by, per channel, ``(B, C)``.

        Args:
            features: ``I``, shape ``(B, C, H, W)``.
            weights: One weight per position (equation 8), ``(B, 1, H, W)``, if they are known already.
        """
        weights = self.weight_convs(features) if weights is None else weights
        summary = aggregate(weights, features, self.aggregation).flatten(1)
        ratings = torch.sigmoid(self.fc2(self.fc1(summary)))
        if self.gate == "residual":
            return 1 + ratings
        return (2 if self.gate == "rescaled" else 1) * ratings
