# SPDX-License-Identifier: Apache-2.0
"""Floats as integers of the same order."""

import torch


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
