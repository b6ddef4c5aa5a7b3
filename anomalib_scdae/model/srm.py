# SPDX-License-Identifier: Apache-2.0
"""Spatial reunion module (paper, section 1.2)."""

import torch
from torch import nn
from torch.nn import functional as F

from anomalib_scdae.model.aggregation import Aggregation, aggregate
from anomalib_scdae.model.identity_init import silence


class SpatialReunionModule(nn.Module):
    """SRM: adds to every position a summary of the whole feature map.

    Two scales of 3 x 3 convolutions find out which positions matter (equations 1 to 4); the features summed up with
    those weights (equation 6) are added to every position (equation 7). Where equation 6 is not taken literally, its
    weights are divided by the root of the number of products in each, so that all branches learn at the same pace.

    Args:
        channels: Number of feature channels ``C``.
        pool_size: Factor ``r`` of the average pooling and of the upsampling (equations 1 and 2).
        aggregation: How equation 6 sums over the positions; see :func:`~.aggregation.aggregate`.
        identity_init: Start as the identity, by zeroing the last convolution.
    """

    def __init__(
        self,
        channels: int,
        pool_size: int = 4,
        aggregation: Aggregation = "mean",
        identity_init: bool = True,
    ) -> None:
        super().__init__()
        self.pool_size = pool_size
        self.aggregation = aggregation
        self.pooled_conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.weight_conv = nn.Conv2d(channels, 1, kernel_size=3, padding=1)
        # As attention does: a sum of thousands of products changes by far more per step of Adam than one weight does,
        # and what is added to every position would then swing as no other output does. A mere constant, which the
        # weights can make up for; the literal sum of the equations goes without it.
        self.weight_scale = 1.0 if aggregation == "sum" else self.weight_conv.weight.numel() ** -0.5
        if identity_init:
            silence(self.weight_conv)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map the autoencoder's output ``I`` to ``O1``, both of shape ``(B, C, H, W)``."""
        return features + self.summary(features)

    def summary(self, features: torch.Tensor, convolved: torch.Tensor | None = None) -> torch.Tensor:
        """Return ``X1``, the summary of ``I`` (equations 1 to 6), ``(B, C, 1, 1)``.

        Args:
            features: ``I``, shape ``(B, C, H, W)``.
            convolved: ``A1`` of equation 3, if it is known already.
        """
        pooled = F.avg_pool2d(features, self.pool_size)
        context = F.interpolate(self.pooled_conv(pooled), size=features.shape[-2:], mode="bilinear")
        convolved = self.conv(features) if convolved is None else convolved
        weights = self.weight_scale * self.weight_conv(convolved * torch.sigmoid(context + features))
        return aggregate(weights, features, self.aggregation)
