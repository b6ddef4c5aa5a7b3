# SPDX-License-Identifier: Apache-2.0
"""ReLU and average pooling as one step, for the largest activations of the patch description network."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def relu_pool(features: torch.Tensor, pool: nn.AvgPool2d) -> torch.Tensor:
    """Return ``pool(relu(features))``; ``features`` are overwritten.

    The result is the same everywhere. On a CPU with channels last, where the memory's speed is what limits both steps,
    the gradient takes one pass over the memory instead of four.

    Args:
        features: A convolution's output ``(B, C, H, W)``, which nothing else reads.
        pool: The pooling that follows.
    """
    fused = (
        features.requires_grad
        and torch.is_grad_enabled()
        and features.device.type == "cpu"
        and pool.padding == 0
        and pool.kernel_size == pool.stride
        and not pool.ceil_mode
        and features.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()  # a compiler fuses by itself
    )
    if not fused:
        return pool(F.relu(features, inplace=True))
    return _ReluPool.apply(features, pool.kernel_size)[1]


class _ReluPool(torch.autograd.Function):
    """ReLU in place, then pooling by windows that do not overlap."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.size = size
        ctx.set_materialize_grads(False)
        ctx.mark_dirty(features.relu_())
        ctx.save_for_backward(features)
        return features, F.avg_pool2d(features, size)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, None]:
        (features,) = ctx.saved_tensors
        gradient = gradients[1]
        if gradient is None:
            return None, None
        size, (height, width) = ctx.size, gradient.shape[-2:]
        result = torch.empty_like(features)  # keeps the memory format
        # What a last, incomplete window would cover is not pooled.
        result[..., height * size :, :] = 0
        result[..., width * size :] = 0
        torch.ops.aten.threshold_backward.grad_input(
            (gradient / size**2)[..., :, None, :, None].expand(-1, -1, -1, size, -1, size),
            _windows(features, height, width, size),
            0,
            grad_input=_windows(result, height, width, size),
        )
        return result, None


def _windows(features: torch.Tensor, height: int, width: int, size: int) -> torch.Tensor:
    """View ``(B, C, H, W)`` as ``(B, C, height, size, width, size)``, without the margin."""
    whole = features[..., : height * size, : width * size]
    return whole.unflatten(3, (width, size)).unflatten(2, (height, size))
