# SPDX-License-Identifier: Apache-2.0
"""How much arithmetic a computation takes."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_macs(function: Callable[[], object]) -> int:
    """Return the multiply-accumulate operations of ``function``, of its convolutions and matrix products.

    Backward passes inside ``function`` count too.
    """
    counter = FlopCounterMode(display=False)
    with counter:
        function()
    return counter.get_total_flops() // 2


def inference_macs(module: nn.Module, images: torch.Tensor) -> int:
    """Return the multiply-accumulate operations of ``module(images)`` in evaluation mode, once it is warm."""
    module.eval()
    with torch.no_grad():  # under inference_mode, the counter would not see convolutions
        module(images)  # SCDAE folds its weights at the first call
        return count_macs(lambda: module(images))


def count_parameters(module: nn.Module) -> dict[str, int]:
    """Return the numbers of parameters, all and trainable ones."""
    parameters = list(module.parameters())
    return {
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trainable_parameters": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
    }
