# SPDX-License-Identifier: Apache-2.0
"""The optimiser of the distillation: Muon for the convolutions' matrices, Adam for the biases."""

import math
from typing import Any

import torch
from torch import nn

#: Share of the run over which the learning rate rises, and the share until which it then stays.
WARM_UP, HOLD = 0.02, 0.5


class MuonAdam:
    """Orthogonalised momentum (Muon) on the convolutions, AdamW on the biases, under one schedule.

    A PDN has no normalisation layers, and its convolutions' gradients are badly conditioned; Muon's steps are of the
    same size in every direction, which brings the error of the paper's Adam in a fraction of its steps.

    Args:
        network: The network to train.
        rate: Learning rate of both, in AdamW's scale (Muon's is matched to its root mean square).
        weight_decay: Of the convolutions.
        steps: Length of the whole run: 2 % warm-up, constant until half of it, then half a cosine down to zero.
    """

    def __init__(self, network: nn.Module, rate: float, weight_decay: float, steps: int) -> None:
        self.rate, self.steps = rate, steps
        self.kernels = [parameter for parameter in network.parameters() if parameter.ndim == 4]
        # torch's Muon takes matrices only; these are views, and so share the kernels' memory.
        self.matrices = [nn.Parameter(kernel.detach().view(len(kernel), -1)) for kernel in self.kernels]
        biases = [parameter for parameter in network.parameters() if parameter.ndim != 4]
        self.muon = torch.optim.Muon(
            self.matrices, lr=rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw", ns_steps=5
        )
        self.adam = torch.optim.AdamW(biases, lr=rate, weight_decay=0)
        self.network = network

    def step(self, index: int) -> None:
        """Take optimisation step ``index`` with the gradients in the network, and clear them."""
        rate = self.rate * schedule(index / self.steps)
        for matrix, kernel in zip(self.matrices, self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        for optimizer in (self.muon, self.adam):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        self.network.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return both optimisers' state, tensors and plain types only."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def schedule(progress: float) -> float:
    """Return the factor on the learning rate at ``progress`` in [0, 1] of the run."""
    if progress < WARM_UP:
        return max(progress, 1e-3) / WARM_UP
    if progress < HOLD:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - HOLD) / (1 - HOLD))))
