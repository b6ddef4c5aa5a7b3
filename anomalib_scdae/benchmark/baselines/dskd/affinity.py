# SPDX-License-Identifier: Apache-2.0
"""Contextual affinity: how alike the positions of an image are, rather than what is at each of them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Positions along the larger side of a map that are compared; finer stages are averaged.
POSITIONS = 32


class ContextualAffinityLoss(nn.Module):
    """The mean disagreement of teacher and student about which positions are alike, summed over the stages."""

    def forward(self, teacher: Sequence[Tensor], student: Sequence[Tensor]) -> Tensor:
        """Return the loss of stages ``(B, C_i, h_i, w_i)``."""
        return torch.stack([disagreement(*pair).mean() for pair in zip(teacher, student, strict=True)]).sum()


def disagreement(teacher: Tensor, student: Tensor) -> Tensor:
    """Compare at every position the similarities to all positions, by their cosine.

    Args:
        teacher: A stage of the teacher, ``(B, C, h, w)``.
        student: The student's.

    Returns:
        One minus the cosine, ``(B, 1, h', w')`` with at most :data:`POSITIONS` along a side.
    """
    first, second = _averaged(teacher), _averaged(student)
    apart = 1 - F.cosine_similarity(affinities(first), affinities(second), dim=2)
    return apart.unflatten(1, (1, *first.shape[-2:]))


def affinities(features: Tensor) -> Tensor:
    """Return the cosine similarity of every two positions of features ``(B, C, h, w)``: ``(B, h w, h w)``."""
    directions = F.normalize(features.flatten(2), dim=1)
    return directions.transpose(1, 2) @ directions


def _averaged(features: Tensor) -> Tensor:
    cells = -(-max(features.shape[-2:]) // POSITIONS)
    # What is left over at the borders has cells of its own: no position goes unseen.
    return F.avg_pool2d(features, cells, ceil_mode=True) if cells > 1 else features
