# SPDX-License-Identifier: Apache-2.0
"""Scores of any range for metrics that only rank them."""

import torch
from torch import Tensor


def to_unit_interval(values: Tensor) -> Tensor:
    """Map float scores to [0, 1] in double precision, keeping order and ties exactly.

    torchmetrics takes scores outside [0, 1] for logits and puts them through a float32 sigmoid, batch by batch:
    scores above 17 become equal, and batches that lie within [0, 1] are not mapped at all. A ranking metric is
    then wrong for raw anomaly scores. This map uses the fact that the bits of IEEE floats, read as integers, are
    ordered like the floats.

    Args:
        values: Scores, any shape, without NaN; float32 or narrower (double precision is rounded to float32).

    Returns:
        Double-precision values of the same shape.
    """
    bits = (values.detach().as_subclass(Tensor).float().contiguous() + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered.double() + 2**31) / 2**32
