# SPDX-License-Identifier: Apache-2.0
"""SCDAE's training loss (paper, section 1.5)."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

#: Part of the distances that the hard loss leaves out (the paper's p_hard).
HARD_QUANTILE = 0.999

CosineScale = Literal["norm", "mean"]


class SCDAELoss(nn.Module):
    """Distillation loss plus autoencoder losses, term by term (equations 11 to 19).

    Every term is the mean over the images of the batch of that image's own value, so a batch of ``B`` images gives the
    mean of the gradients that the images would give alone. Everything is computed in float32.

    The Euclidean terms of the paper's equations are squared norms of the ``C`` differences at a position; those of
    EfficientAD, kept here, are their means, ``C`` times smaller. Adam does not see a common factor; the cosine term
    does.

    Args:
        cosine_weight: ``lambda`` of equation 17, the weight of the cosine term in the CSF loss; 0 leaves it out.
        cosine_scale: ``"norm"`` weighs the cosine term as the equations do against squared norms, that is by
            ``lambda / C`` here; ``"mean"`` by ``lambda`` against the means, under which it holds the autoencoders back.
    """

    def __init__(self, cosine_weight: float = 0.5, cosine_scale: CosineScale = "norm") -> None:
        super().__init__()
        self.cosine_weight = cosine_weight
        self.cosine_scale = cosine_scale

    def forward(
        self,
        hard_distances: torch.Tensor,
        student_penalty: torch.Tensor,
        teacher_augmented: torch.Tensor,
        student_augmented: torch.Tensor,
        outputs: Sequence[torch.Tensor],
        fused: Sequence[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Compute the named terms; their sum is the total loss of equation 19.

        All arguments but the first are features of shape ``(B, C, H, W)``.

        Args:
            hard_distances: The largest of ``(T - S')^2`` of each clean image, ``(B, n)`` with ``n`` from
                :func:`hard_count`; :func:`~.fast.hard_distances.largest_distances` gives them.
            student_penalty: ``S'`` of the penalty images.
            teacher_augmented: ``T`` of the augmented images, normalised.
            student_augmented: ``S''`` of the augmented images.
            outputs: ``O_k`` of the augmented images, one per branch.
            fused: ``Y_k`` of the augmented images, one per branch; ``O_k`` again where nothing is fused.

        Returns:
            ``hard`` and ``penalty``; per branch ``ta_k`` (teacher-autoencoder), ``sa_k`` (student-autoencoder) and, if
            it has a weight, ``cosine_k``, already weighted. Scalars.
        """
        with torch.autocast(teacher_augmented.device.type, enabled=False):
            terms = {"hard": hard_distances.float().mean(), "penalty": student_penalty.float().square().mean()}
            for k, (output, fused_output) in enumerate(zip(outputs, fused, strict=True), start=1):
                terms[f"ta_{k}"] = F.mse_loss(output.float(), teacher_augmented.float())
                terms[f"sa_{k}"] = F.mse_loss(fused_output.float(), student_augmented.float())
                if self.cosine_weight:
                    weight = self.cosine_weight / (output.shape[1] if self.cosine_scale == "norm" else 1)
                    terms[f"cosine_{k}"] = weight * cosine_loss(fused_output, student_augmented)
        return terms


def hard_count(elements: int, quantile: float = HARD_QUANTILE) -> int:
    """Return how many of an image's ``C H W`` distances lie at or above one of their interpolated quantiles.

    The hard loss is the mean of these (section 1.5, 1); as in EfficientAD the quantile is taken over all elements. The
    number is found without sorting: the 0.999 quantile lies at rank ``0.999 (n - 1)``, and the rank is rounded as
    ``torch.quantile`` rounds it, in float32.
    """
    rank = _float32(_float32(quantile) * _float32(elements - 1))
    return elements - math.ceil(rank)


def _float32(number: float) -> float:
    """Round to the nearest float32, without a tensor: one would wait for its value, and stop a compiler."""
    mantissa, exponent = math.frexp(number)
    return math.ldexp(round(mantissa * 2**24), exponent - 24)


def cosine_loss(output: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """Mean over all positions of one minus the cosine between the two feature vectors (equation 16)."""
    return (1 - F.cosine_similarity(output.float(), student.float(), dim=1)).mean()
