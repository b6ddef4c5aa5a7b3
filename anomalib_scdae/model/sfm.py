# SPDX-License-Identifier: Apache-2.0
"""Selective fusion module (paper, section 1.4)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from anomalib_scdae.model.identity_init import silence

FusionGate = Literal["plain", "rescaled"]


class SelectiveFusionModule(nn.Module):
    """SFM: weighs the channels of the parallel branches against each other.

    The branches' sum is averaged over all positions and mixed by a fully connected layer; one 1 x 1 convolution per
    branch and a softmax across the branches give every branch its channel weights. All outputs are kept, not summed.

    Args:
        channels: Number of feature channels ``C``.
        branches: Number of parallel branches; the paper has two.
        reduction: Divides ``C`` to give the width of the fully connected layer; the paper states none.
        gate: ``"plain"`` is ``N_k * O_k``, where equal weights halve both branches; ``"rescaled"`` multiplies by the
            number of branches, so that equal weights change nothing.
        identity_init: Start with equal weights, by zeroing the last convolutions.
    """

    def __init__(
        self,
        channels: int,
        branches: int = 2,
        reduction: int = 16,
        gate: FusionGate = "rescaled",
        identity_init: bool = True,
    ) -> None:
        super().__init__()
        self.scale = branches if gate == "rescaled" else 1
        width = max(1, channels // reduction)
        self.fc = nn.Linear(channels, width)
        # A 1 x 1 convolution of a 1 x 1 map is a linear layer.
        self.selectors = nn.ModuleList(nn.Linear(width, channels) for _ in range(branches))
        if identity_init:
            for selector in self.selectors:
                silence(selector)

    def forward(self, outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Map the branches' outputs ``O_k`` to ``Y_k``, all of shape ``(B, C, H, W)``."""
        summed = torch.stack(list(outputs)).sum(dim=0)
        weights = self.factors(summed.float().mean(dim=(-2, -1)).to(summed.dtype))
        return [weight[..., None, None] * output for weight, output in zip(weights, outputs, strict=True)]

    def factors(self, average: torch.Tensor) -> torch.Tensor:
        """Return what the branches are multiplied by, per channel, ``(K, B, C)``.

        Args:
            average: Average of the branches' sum over all positions, ``(B, C)``.
        """
        squeezed = self.fc(average)
        logits = torch.stack([selector(squeezed) for selector in self.selectors])
        return self.scale * logits.float().softmax(dim=0).to(average.dtype)
