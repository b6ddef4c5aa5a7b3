# SPDX-License-Identifier: Apache-2.0
"""SCDAE as it predicts and is exported where less arithmetic counts more than the last digit of a distance."""

from typing import cast

import torch
from torch import nn

from anomalib_scdae.model.fast.compaction import Compaction
from anomalib_scdae.model.fast.folding import Foldable, FoldedBranch, FoldedSCDAE, like


class CompactSCDAE(FoldedSCDAE):
    """A folded model that measures its distances in the directions of a :class:`~.compaction.Compaction`.

    Args:
        model: An SCDAEModel whose compaction is fitted; it is left as it is.
    """

    def __init__(self, model: Foldable) -> None:
        super().__init__(model)
        compaction = cast("Compaction", model.compaction)
        self.local_difference = projected(self.local_difference, compaction.local)
        self.minus_student_global = projected(self.minus_student_global, compaction.branches)
        #: From the channels of ``Y_k`` to the directions, where ``Y_k`` depends on more than the decoder's output.
        self.projection: nn.Conv2d | None = None
        if compaction.constant:
            self.fusion = None
            self.branches = nn.ModuleList(
                ProjectedBranch(cast("FoldedBranch", branch), factors, terms, compaction.branches)
                for branch, factors, terms in zip(self.branches, compaction.factors, compaction.terms, strict=True)
            )
        else:
            channels, directions = compaction.branches.shape
            self.projection = nn.Conv2d(channels, directions, kernel_size=1, bias=False).requires_grad_(False)
            with torch.no_grad():
                self.projection.weight.copy_(compaction.branches.T[..., None, None])
        self.to(memory_format=torch.channels_last)

    def global_differences(self, images: torch.Tensor, minus_student: torch.Tensor) -> list[torch.Tensor]:
        """Return ``Y_k - S''`` for every branch along the directions, ``(B, R', h, w)``, given ``-S''`` along them."""
        if self.projection is None:
            return [branch(images).float() + minus_student for branch in self.branches]
        return [self.projection(output.value()).float() + minus_student for output in self.outputs(images)]


class ProjectedBranch(nn.Module):
    """An autoencoder whose context modules are constants, along a few directions of its output.

    Args:
        branch: The branch as it is.
        factors: What stands for the modules: factors of the decoder's output, ``(C,)``.
        terms: What is added to it then, ``(C,)``.
        directions: ``(C, R)``.
    """

    def __init__(
        self, branch: FoldedBranch, factors: torch.Tensor, terms: torch.Tensor, directions: torch.Tensor
    ) -> None:
        super().__init__()
        self.trunk = branch.trunk
        last = branch.last
        assert last.bias is not None  # noqa: S101 - for the type checker
        scaled = like(last, last.weight * factors[:, None, None, None], last.bias * factors + terms)
        self.last = projected(scaled, directions)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(B, 3, H, W)`` to ``Y_k`` along the directions, ``(B, R, h, w)``."""
        return self.last(self.trunk(images, images.shape[-2:]))


def projected(convolution: nn.Conv2d, directions: torch.Tensor) -> nn.Conv2d:
    """Return the convolution whose outputs are those of ``convolution`` along ``directions`` ``(C, R)``."""
    assert convolution.bias is not None  # noqa: S101 - for the type checker
    weight = torch.tensordot(directions.T, convolution.weight, dims=1)
    return like(convolution, weight.contiguous(), directions.T @ convolution.bias)
