# SPDX-License-Identifier: Apache-2.0
"""How a restored optimizer's state must lie in memory."""

import torch


def lay_out_like_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Lay out a restored optimizer's state in memory as its parameters are, which fused Adam takes for granted."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape and value.dim():
                state[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
