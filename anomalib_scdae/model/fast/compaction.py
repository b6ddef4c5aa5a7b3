# SPDX-License-Identifier: Apache-2.0
"""What of the distances' arithmetic the score can do without, learnt from normal images.

Two findings make a compact model possible, and both are measured for each model anew:

- *Differences of features lie in few directions.* ``T - S'`` has 384 channels, but a quarter of as many directions hold
  about 98 % of its squared length; of ``Y_k - S''`` a twenty-fourth do. Of what lies outside of them a few random
  directions, made longer, give the squared length on average: little of little is uncertain then, and nothing is left
  out, wherever an anomaly may lie. As the last convolutions are linear, directions go into their weights, and the
  other channels are never computed.
- *Context modules that say the same of every image are constants.* SRM adds a term, CRM and SFM multiply by factors,
  one for each channel and image. Where these do not depend on the image, not even if its quarters change places, they
  are folded into the decoder's last convolution; where they do, they stay.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.double_precision import doubled
from anomalib_scdae.model.fast.folding import Affine, FoldedSCDAE


class Directions(NamedTuple):
    """How many directions stand for ``C`` channels: one of each kind for so many channels.

    Attributes:
        per_strongest: Those in which the differences of normal images are longest.
        per_random: Random ones of the others.
    """

    per_strongest: int
    per_random: int

    def of(self, channels: int) -> tuple[int, int]:
        """Return how many there are of each kind."""
        strongest = -(-channels // self.per_strongest)
        return strongest, min(channels - strongest, -(-channels // self.per_random))


#: Of the local map, 96 and 32 of 384 channels, and of the global maps, 16 and 16.
LOCAL, GLOBAL = Directions(4, 12), Directions(24, 24)
#: How large what the context modules change between images may be, against the squared distance of normal images, for
#: them to count as constants. Were all of it in the direction of a distance, that would change by a tenth.
CONSTANT_UNTIL = 2.5e-3


class Compaction(nn.Module):
    """Directions in which a compact model measures distances, and what stands for its context modules.

    Args:
        channels: Feature channels ``C``.
        branches: Number of autoencoders ``K``.

    Attributes:
        local: Orthogonal directions of the local map, ``(C, R)``.
        branches: Those of the global maps, ``(C, R')``.
        factors: Each branch's factor per channel, averaged over images, ``(K, C)``.
        terms: Each branch's term per channel, averaged over images, ``(K, C)``.
        change: How large what the factors and terms change between images is, against the global squared distance.
        constant: Whether factors and terms stand for SRM, CRM and SFM, 1 or 0, ``()``.
        is_fitted: Whether all of this has been learnt, 1 or 0, ``()``.
    """

    local: torch.Tensor
    branches: torch.Tensor
    factors: torch.Tensor
    terms: torch.Tensor
    change: torch.Tensor
    constant: torch.Tensor
    is_fitted: torch.Tensor

    def __init__(self, channels: int, branches: int) -> None:
        super().__init__()
        self.register_buffer("local", torch.zeros(channels, sum(LOCAL.of(channels))))
        self.register_buffer("branches", torch.zeros(channels, sum(GLOBAL.of(channels))))
        self.register_buffer("factors", torch.ones(branches, channels))
        self.register_buffer("terms", torch.zeros(branches, channels))
        self.register_buffer("change", torch.zeros(()))
        # Numbers, since callbacks that average weights subtract what they find, which truth values cannot be.
        self.register_buffer("constant", torch.zeros(()))
        self.register_buffer("is_fitted", torch.zeros(()))

    @torch.no_grad()
    def fit(self, folded: FoldedSCDAE, batches: Iterable[torch.Tensor]) -> None:
        """Learn from normal images.

        Args:
            folded: The model as it is, which stays so.
            batches: Normal images ``(B, 3, H, W)``.

        Raises:
            UserError: If there is no image, or if there are distances that are not finite.
        """
        local, branches = _Moments(), _Moments()
        factors, terms, changes = [], [], []
        for images in batches:
            first, *others = folded.differences(images)[0]
            local.add(first)
            for difference in others:
                branches.add(difference)
            usual, disturbed = (_FactorsAndTerms.of(folded.outputs(seen)) for seen in (images, quarters_moved(images)))
            factors.append(usual.factors)
            terms.append(usual.terms)
            changes += [usual, disturbed]
        if not factors:
            msg = "A compact model is fitted to normal images, and there is none: pass a datamodule that has some."
            raise UserError(msg)
        # First what may be refused, so that what is known stays whole.
        found = local.directions(*LOCAL.of(len(self.local))), branches.directions(*GLOBAL.of(len(self.branches)))
        for known, value in zip((self.local, self.branches), found, strict=True):
            known.copy_(value)
        self.factors.copy_(torch.cat(factors, dim=1).mean(dim=1))
        self.terms.copy_(torch.cat(terms, dim=1).mean(dim=1))
        change = torch.stack([each.change_from(self.factors, self.terms) for each in changes]).max()
        self.change.copy_(change / branches.squared_length())
        self.constant.copy_(self.change < CONSTANT_UNTIL)
        self.is_fitted.fill_(True)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Accept the weights of a model that was not compact: then there is everything still to learn."""
        if not any(name.startswith(prefix) for name in state_dict):
            self.is_fitted.fill_(False)
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def quarters_moved(images: torch.Tensor) -> torch.Tensor:
    """Return images ``(B, 3, H, W)`` whose quarters have changed places: all parts are there, and none where it was."""
    height, width = images.shape[-2:]
    return images.roll((height // 2, width // 2), dims=(-2, -1))


class _FactorsAndTerms(NamedTuple):
    """What the context modules make of the decoders' outputs, by image and channel, each ``(K, B, C)``.

    ``squares`` are the mean squares of these outputs.
    """

    factors: torch.Tensor
    terms: torch.Tensor
    squares: torch.Tensor

    @classmethod
    def of(cls, outputs: list[Affine]) -> "_FactorsAndTerms":
        squares = torch.stack([output.features.float().square().mean(dim=(-2, -1)) for output in outputs])
        factors = [torch.ones_like(squares[0]) if output.scale is None else output.scale for output in outputs]
        terms = [torch.zeros_like(squares[0]) if output.shift is None else output.shift for output in outputs]
        return cls(torch.stack(factors).float(), torch.stack(terms).float(), squares)

    def change_from(self, factors: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
        """Return the largest mean square by which an image's outputs differ with other factors and terms."""
        by_factors = (self.factors - factors[:, None]).square() * self.squares
        by_terms = (self.terms - terms[:, None]).square()
        return 2 * (by_factors + by_terms).mean(dim=-1).max()  # (a + b)^2 <= 2 (a^2 + b^2)


class _Moments:
    """Second moments of features over all images and positions, summed in double precision."""

    def __init__(self) -> None:
        self._sum, self._count = torch.zeros((), dtype=torch.double), 0

    def add(self, features: torch.Tensor) -> None:
        """Add features ``(B, C, h, w)``."""
        rows = features.movedim(1, -1).flatten(0, -2).float()
        squares = doubled(rows.T @ rows)
        self._sum = self._sum.to(squares) + squares
        self._count += len(rows)

    def squared_length(self) -> torch.Tensor:
        """Return the mean square of a channel."""
        return self._sum.diagonal().mean() / self._count

    def directions(self, strongest: int, random: int) -> torch.Tensor:
        """Return orthogonal directions along which features are as long as they are, but for chance.

        Args:
            strongest: Number of those in which the features are longest, each of length 1.
            random: Number of random ones of the others, whose lengths make up for those that are left out.

        Returns:
            ``(C, strongest + random)``, the same at every call.
        """
        if not self._sum.isfinite().all():
            msg = (
                "A compact model cannot be fitted, since the distances of normal images are not finite: look for NaN "
                "or infinite values among the weights and the images."
            )
            raise UserError(msg)
        _, directions = torch.linalg.eigh(self._sum.cpu())
        kept = directions[:, -strongest:]
        if not random:
            return kept
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(len(kept), random, generator=generator, dtype=kept.dtype)
        others, _ = torch.linalg.qr(drawn - kept @ (kept.T @ drawn))
        return torch.cat([kept, others * ((len(kept) - strongest) / random) ** 0.5], dim=1)
