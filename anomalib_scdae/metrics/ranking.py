# SPDX-License-Identifier: Apache-2.0
"""Scores of any range for metrics that only rank them."""

from torch import Tensor

from anomalib_scdae.quantiles import ordered_keys


def to_unit_interval(values: Tensor) -> Tensor:
    """Map float scores to [0, 1] in double precision, keeping order and ties exactly.

    torchmetrics takes scores outside [0, 1] for logits and puts them through a float32 sigmoid, batch by batch:
    scores above 17 become equal, and batches that lie within [0, 1] are not mapped at all. A ranking metric is
    then wrong for raw anomaly scores. This map goes by the scores' :func:`~anomalib_scdae.quantiles.ordered_keys`.

    Args:
        values: Scores, any shape, without NaN; float32 or narrower (double precision is rounded to float32).

    Returns:
        Double-precision values of the same shape.
    """
    return ordered_keys(values).double() / 2**32
