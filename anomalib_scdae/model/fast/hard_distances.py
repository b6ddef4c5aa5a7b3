# SPDX-License-Identifier: Apache-2.0
"""The largest distances between a convolution's output and a target, with a gradient that computes only those."""

from typing import Any

import torch
from torch.nn import functional as F

#: Of how many outputs at most one is kept where only the gradient of those is computed.
FEW = 500


def largest_distances(
    features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, target: torch.Tensor, count: int
) -> torch.Tensor:
    """Return the ``count`` largest of ``(target - conv2d(features, weight, bias))^2`` of each image, in float32.

    The hard loss reads one output in a thousand, so that a thousandth of the convolution's gradient suffices; in
    backward it costs nothing beside the forward pass, where otherwise it costs twice as much. Where more than
    one in :data:`FEW` is kept, the whole gradient is the cheaper one.

    Args:
        features: ``(B, D, h, w)``.
        weight: Filters ``(C, D, k, k)`` of a convolution without padding and with stride 1.
        bias: ``(C,)``.
        target: ``(B, C, H, W)``; gets no gradient.
        count: How many to return.

    Returns:
        ``(B, count)``, in no particular order.
    """
    if count * FEW <= target[0].numel():
        return _LargestDistances.apply(features, weight, bias, target, count)
    distances = (F.conv2d(features, weight, bias).float() - target).square().flatten(1)
    return distances if count == distances.shape[1] else distances.topk(count, dim=1, sorted=False).values


class _LargestDistances(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        target: torch.Tensor,
        count: int,
    ) -> torch.Tensor:
        difference = F.conv2d(features, weight, bias).float().sub_(target)
        # Channels last, in which order flattening copies nothing where the memory is laid out so.
        flat = difference.permute(0, 2, 3, 1).flatten(1)
        distances, places = flat.square().topk(count, dim=1, sorted=False)
        ctx.save_for_backward(features, weight, flat.gather(1, places), places)
        ctx.size = difference.shape
        return distances

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        features, weight, differences, places = ctx.saved_tensors
        batch, channels, _, width = ctx.size
        depth, size = weight.shape[1], weight.shape[-1]
        scale = (2 * gradient * differences).flatten()[:, None]  # (n, 1): derivatives by the outputs that were kept
        channel = (places % channels).flatten()
        position = places // channels
        image = torch.arange(batch, device=places.device)[:, None]
        corner = (image * features.shape[2] + position // width) * features.shape[3] + position % width
        steps = torch.arange(size, device=places.device)
        window = (steps[:, None] * features.shape[3] + steps).flatten()
        rows = (corner.flatten()[:, None] + window).flatten()  # (n k k): what each kept output has seen

        pixels = features.permute(0, 2, 3, 1).reshape(-1, depth)
        seen = pixels[rows].float().view(len(channel), -1)
        filters = weight.permute(0, 2, 3, 1).reshape(channels, -1)
        by_filters = torch.zeros_like(filters, dtype=torch.float32).index_add_(0, channel, seen * scale)
        by_seen = (filters[channel].float() * scale).view(-1, depth)
        by_pixels = torch.zeros_like(pixels, dtype=torch.float32).index_add_(0, rows, by_seen)
        by_bias = torch.zeros(channels, device=scale.device).index_add_(0, channel, scale[:, 0])
        batch_rows = by_pixels.to(features.dtype).view(batch, *features.shape[2:], depth)
        by_weight = by_filters.to(weight.dtype).view(channels, size, size, depth)
        return batch_rows.permute(0, 3, 1, 2), by_weight.permute(0, 3, 1, 2), by_bias.to(weight.dtype), None, None
