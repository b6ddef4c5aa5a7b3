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
    weights, values = weights.float(), features.float()
    if how == "softmax":
        weights = weights.flatten(2).softmax(dim=-1).unflatten(2, features.shape[-2:])
    # A product and a sum in float32, whatever the precision: bf16 and fp16 lose digits (fp16 overflows) over the
    # thousands of terms. A matrix product would need another layout than the convolutions before and after it.
    product = weights * values
    total = product.mean(dim=(-2, -1), keepdim=True) if how == "mean" else product.sum(dim=(-2, -1), keepdim=True)
    return total.to(features.dtype)
