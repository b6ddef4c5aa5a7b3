# SPDX-License-Identifier: Apache-2.0
"""Exact quantiles of more values than fit into memory."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch

#: Gives the values, in pieces of any shape; called once per reading.
Readings = Callable[[], Iterable[torch.Tensor]]

_HALF = 16  # bits of a float32 that one histogram resolves


def quantiles(readings: Readings, probabilities: Sequence[float]) -> list[float]:
    """Interpolated quantiles of any number of float32 values, exact and in bounded memory.

    EfficientAd draws a random part of more than 2^24 values. Here none is left out: read as integers, floats keep their
    order; so one histogram of the upper 16 bits tells where each of the order statistics around a quantile lies, and a
    second one resolves the lower 16 bits there.

    Args:
        readings: Gives the values; called twice.
        probabilities: Each between 0 and 1.

    Returns:
        The values that ``numpy.quantile`` gives.

    Raises:
        ValueError: If there are no values.
    """
    coarse = torch.zeros(1 << _HALF, dtype=torch.int64)
    for values in readings():
        coarse += torch.bincount(ordered_keys(values).flatten().cpu() >> _HALF, minlength=1 << _HALF)
    total = int(coarse.sum())
    if total == 0:
        msg = "A quantile needs at least one value."
        raise ValueError(msg)
    ranks = [q * (total - 1) for q in probabilities]
    statistics = _order_statistics(readings, coarse, {f(rank) for rank in ranks for f in (math.floor, math.ceil)})
    return [_interpolate(statistics[math.floor(r)], statistics[math.ceil(r)], r % 1) for r in ranks]


def _order_statistics(readings: Readings, coarse: torch.Tensor, ranks: set[int]) -> dict[int, float]:
    """Return the values at ``ranks`` (0 is the smallest), given the histogram of the values' upper bits."""
    cumulated = coarse.cumsum(0)
    buckets = {rank: int(torch.searchsorted(cumulated, rank, right=True)) for rank in ranks}
    fine = {bucket: torch.zeros(1 << _HALF, dtype=torch.int64) for bucket in buckets.values()}
    for values in readings():
        keys = ordered_keys(values).flatten().cpu()
        for bucket, counts in fine.items():
            lower_bits = keys[keys >> _HALF == bucket] & ((1 << _HALF) - 1)
            counts.add_(torch.bincount(lower_bits, minlength=1 << _HALF))
    statistics = {}
    for rank, bucket in buckets.items():
        rank_in_bucket = rank - int(cumulated[bucket] - coarse[bucket])
        lower_half = int(torch.searchsorted(fine[bucket].cumsum(0), rank_in_bucket, right=True))
        statistics[rank] = float_of_key((bucket << _HALF) | lower_half)
    return statistics


def _interpolate(low: float, high: float, weight: float) -> float:
    # Not weighted when equal, which also keeps infinities from becoming NaN.
    return low if low == high else low + (high - low) * weight


def ordered_keys(values: torch.Tensor) -> torch.Tensor:
    """Map float values, without NaN, to int64 keys in [0, 2^32) of the same shape, order and ties.

    The bits of IEEE floats, read as integers, are ordered like the floats, the negative ones backwards. Double
    precision is rounded to float32; -0.0 has the key of 0.0.
    """
    bits = (values.detach().as_subclass(torch.Tensor).float().contiguous() + 0.0).view(torch.int32)
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).to(torch.int64) + 2**31


def float_of_key(key: int) -> float:
    """Return the float32 value that has ``key``."""
    bits = key - 2**31
    pattern = bits if bits >= 0 else (bits & 0xFFFFFFFF ^ 0x7FFFFFFF) - 2**32
    return torch.tensor(pattern, dtype=torch.int32).view(torch.float32).item()
