# SPDX-License-Identifier: Apache-2.0
"""How a module can start as the identity."""

from torch import nn


def silence(layer: nn.Module) -> None:
    """Zero all parameters of a module's last layer: its output is zero until training changes that.

    The layer itself gets gradients from the first step on; those before it follow once it is no longer zero.
    """
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
