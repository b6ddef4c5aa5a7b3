# SPDX-License-Identifier: Apache-2.0
"""Double precision, wherever a device has it."""

import torch


def doubled(values: torch.Tensor) -> torch.Tensor:
    """Return ``values`` in float64: on their device, or on the CPU where that is one of Apple's GPUs, which lack it."""
    return (values.cpu() if values.device.type == "mps" else values).double()
