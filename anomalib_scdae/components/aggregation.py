# SPDX-License-Identifier: Apache-2.0
"""How a feature map is summed up over its positions, which SRM and CRM both do (equations 6 and 9)."""

from typing import Literal

import torch

Aggregation = Literal["sum", "mean", "softmax"]


def aggregate(weights: torch.Tensor, features: torch.Tensor, how: Aggregation) -> torch.Tensor:
    """Weight ``features`` by position and sum over all ``H x W`` positions, in float32.

    Args:
        weights: One weight per position, shape ``(B, 1, H, W)``.
        features: Features, shape ``(B, C, H, W)``.
        how: ``"sum"`` is the product of the equations as they stand; ``"mean"`` divides it by ``H W``, so that its size
            does not grow with the image; ``"softmax"`` turns the weights into a distribution over the positions
            first, as global-context blocks do.

    Returns:
        One vector per image, shape ``(B, C, 1, 1)``, in the dtype of ``features``.
    """
    # With the channels last, as the fast convolutions leave them, so that nothing has to be copied.
    flat_weights = weights.float().flatten(2)
    flat_features = features.float().permute(0, 2, 3, 1).flatten(1, 2)
    if how == "softmax":
        flat_weights = flat_weights.softmax(dim=-1)
    # bf16 and fp16 lose digits (fp16 overflows) over the thousands of terms of this sum.
    with torch.autocast(features.device.type, enabled=False):
        total = torch.matmul(flat_weights, flat_features)
    if how == "mean":
        total = total / (features.shape[-2] * features.shape[-1])
    return total.transpose(1, 2).unsqueeze(-1).to(features.dtype)
