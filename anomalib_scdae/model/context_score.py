# SPDX-License-Identifier: Apache-2.0
"""A score for what no map shows: the image as a whole, beside the paper's maximum of the anomaly map.

A map is compared with normal ones position by position, and its maximum is the image's score. A part that is missing
raises no position much, and one part too many raises none; both change what the image holds on the whole. So here the
teacher's channels are averaged over each quarter of the image, and the averages are compared with those of the training
images by their Mahalanobis distance, as PUAD does with the student's averages over the whole image (Sugawara & Imamura,
arXiv 2402.15143).
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import nn

from anomalib_scdae.errors import UserError, check_not_negative

#: Cells along each side of the image: *where* a channel is strong counts a little.
CELLS = 2
#: With fewer training images nothing can be said about how normal ones differ.
MIN_IMAGES = 5
#: Parts that the training images are divided into, to learn how large the distance of an unseen image is.
FOLDS = 5
#: Images count as copies of one below this difference, in deviations of their averages. Of others it is about 1.
SAME = 1e-3
#: What a usual image's mean contribution counts in pictures. A single place of it contributes up to ten times as much.
PICTURE_UNIT = 0.01


class ContextScore(nn.Module):
    """Mahalanobis distance of an image's averaged features from those of the training images.

    The covariance is Ledoit and Wolf's: it exists for five images as for thousands. Its inverse is kept as ``n - 1``
    directions and one number for all others, which is as exact as the whole matrix and takes a fraction of its memory.
    Until it is fitted, every distance is 0, and :meth:`join` returns the score as it is.

    Args:
        channels: Feature channels ``C`` of the teacher.
        weight: Weight of the distance against the maximum of the anomaly map, both in units of their spread over normal
            images.

    Attributes:
        mean, std: Of each average over the training images, ``(F,)`` with ``F = C`` times the number of cells.
        directions: Orthonormal directions in which the standardised averages vary, ``(R, F)``.
        gains: What a unit in each of them contributes to the distance, ``(R,)``.
        other_gain: What a unit in any other direction contributes.
        unseen: Mean and deviation of the distance over images that the covariance has not seen, by cross-fitting.
        centre: Distance of a usual normal image.
        scale: What a unit of distance beyond it adds to the score.
    """

    mean: torch.Tensor
    std: torch.Tensor
    directions: torch.Tensor
    gains: torch.Tensor
    other_gain: torch.Tensor
    unseen: torch.Tensor
    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, channels: int, weight: float = 1.0) -> None:
        super().__init__()
        check_not_negative("context_weight", weight)
        self.weight = weight
        averages = channels * CELLS**2
        self.register_buffer("mean", torch.zeros(averages))
        self.register_buffer("std", torch.ones(averages))
        self.register_buffer("directions", torch.zeros(1, averages))
        self.register_buffer("gains", torch.zeros(1))
        self.register_buffer("other_gain", torch.zeros(()))
        self.register_buffer("unseen", torch.zeros(2))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("scale", torch.zeros(()))

    @property
    def is_fitted(self) -> bool:
        """Whether there is anything to compare with."""
        return bool(self.unseen[1] > 0)

    def forward(self, averages: torch.Tensor) -> torch.Tensor:
        """Return the distances ``(B,)`` of images from their averaged features ``(B, F)``, see :func:`cell_means`."""
        with full_precision(averages):
            along, others = self._decomposed(averages)
            return torch.linalg.vector_norm(torch.cat([along * self.gains, others * self.other_gain], dim=1), dim=1)

    def _decomposed(self, averages: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Standardise averages; return their parts along the directions, ``(B, R)``, and the rest, ``(B, F)``."""
        standardised = (averages - self.mean) / self.std
        along = standardised @ self.directions.T
        return along, standardised - along @ self.directions

    def contributions(self, features: torch.Tensor) -> torch.Tensor:
        """Return what every position contributes to the squared distance, which is their mean.

        Args:
            features: The teacher's features, ``(B, C, h, w)``.

        Returns:
            ``(B, 1, h, w)``; a position may also contribute less than nothing.
        """
        count, channels, height, width = features.shape
        along, others = self._decomposed(cell_means(features))
        gradient = (along * self.gains.square()) @ self.directions + others * self.other_gain.square()
        by_cell = (gradient / self.std).view(count, channels, CELLS, CELLS)
        rows, columns = windows(height, 1, features), windows(width, 1, features)

        def at_every_position(values: torch.Tensor) -> torch.Tensor:
            return height * width * (rows.T @ values @ columns)

        expected = (by_cell * self.mean.view(channels, CELLS, CELLS)).sum(dim=1, keepdim=True)
        found = (at_every_position(by_cell) * features).sum(dim=1, keepdim=True)
        return found - at_every_position(expected)

    def picture(self, features: torch.Tensor) -> torch.Tensor:
        """Return :meth:`contributions` like the other maps: 0 for a usual image's mean, 0.1 about its peak."""
        return PICTURE_UNIT * (self.contributions(features) / self.centre.square().clamp(min=1e-6) - 1)

    def join(self, score: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        """Add the distance ``(B,)`` to the paper's score, of any shape that holds ``B`` numbers."""
        return score + self.scale * (distance - self.centre).reshape(score.shape)

    @torch.no_grad()
    def fit(self, averages: torch.Tensor) -> None:
        """Learn what is normal from the training images' averaged features ``(n, F)``, in any order.

        With fewer than :data:`MIN_IMAGES` images, or if they are all alike, a warning says that the score is left out.

        Raises:
            UserError: If there are values that are not finite.
        """
        values = averages.double().cpu().numpy()
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            msg = (
                f"The teacher's features of {bad.sum()} training images are not finite: look for NaN or infinite "
                "pixels among them, or leave the context score out (--model.context_weight 0)."
            )
            raise UserError(msg)
        self.scale.zero_()
        self.unseen.zero_()
        values = values[np.lexsort(values.T)]  # the folds must not depend on the order of the images
        kinds = _kinds(values)
        different = kinds[-1] + 1
        unseen = _cross_fitted_distances(values, kinds) if different >= MIN_IMAGES else np.zeros(1)
        if not unseen.std() > 0:
            rank_zero_warn(
                f"The context score is left out, since it needs {MIN_IMAGES} or more training images that differ, and "
                f"there are {different}."
            )
            return
        fitted = _Normal(values)
        for name in ("mean", "std", "directions", "gains", "other_gain"):
            setattr(self, name, torch.as_tensor(getattr(fitted, name)).to(self.mean))
        self.unseen.copy_(_mean_and_std(unseen))
        self.centre.copy_(self.unseen[0])

    @torch.no_grad()
    def standardise(self, scores: torch.Tensor, distances: torch.Tensor, seen: bool = False) -> None:
        """Learn from normal images how distances compare with the maxima of their anomaly maps.

        Args:
            scores: Those maxima, ``(n,)``.
            distances: The images' distances, ``(n,)``.
            seen: Whether these are training images; the distance of unseen ones is then taken from cross-fitting.
        """
        if not self.is_fitted:
            return
        few = seen or len(distances) < MIN_IMAGES or not distances.std() > 0
        centre, spread = self.unseen if few else _mean_and_std(distances)
        spread_of_scores = scores.float().std(correction=min(len(scores) - 1, 1))
        if not spread_of_scores > 0:  # of one image, or of copies of it
            spread_of_scores = scores.float().abs().mean()
        self.centre.copy_(centre)
        self.scale.copy_(self.weight * spread_of_scores / spread)

    def as_if_unseen(self, distances: torch.Tensor) -> torch.Tensor:
        """Return what the distances ``(n,)`` of training images would be, had the covariance not seen them.

        They nearly agree with each other, so that what mixed precision changes in all of them would count for much more
        than their differences: they are compared with each other only, not with those of the pass that was fitted to.
        """
        if not self.is_fitted:
            return distances
        centre, spread = self.unseen.to(distances)
        differences = distances - distances.mean()
        return centre + spread * differences / differences.square().mean().sqrt().clamp(min=1e-12)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        """Make room for as many directions as were found when the score was fitted."""
        state_dict.pop(f"{prefix}seen", None)  # which earlier commits have saved
        for name in ("directions", "gains"):
            if f"{prefix}{name}" in state_dict:
                setattr(self, name, getattr(self, name).new_empty(state_dict[f"{prefix}{name}"].shape))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def full_precision(like: torch.Tensor) -> AbstractContextManager[Any]:
    """Leave mixed precision for a while, in which differences of averages would be lost; nothing where there is none.

    An export, which has none, knows no such thing.
    """
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def cell_means(features: torch.Tensor) -> torch.Tensor:
    """Average features ``(B, C, h, w)`` over each of ``CELLS x CELLS`` cells; ``(B, C CELLS^2)`` in float32."""
    return window_means(features, 1)[:, :, :, 0, :, 0].flatten(1)


def window_means(features: torch.Tensor, kernel: int) -> torch.Tensor:
    """Average over each cell what a convolution without padding sees at each place of its kernel.

    The average of a convolution's output is what it makes of these averages, see :mod:`.fast.folding`.

    Args:
        features: Its input, ``(B, D, H, W)``.
        kernel: Side ``k`` of its kernel.

    Returns:
        ``(B, D, CELLS, k, CELLS, k)`` in float32.
    """
    rows, columns = windows(features.shape[-2], kernel, features), windows(features.shape[-1], kernel, features)
    with full_precision(features):
        # Channels last, in which this is one product over memory as it lies.
        pixels = features.float().permute(0, 2, 3, 1)
        along_rows = (rows @ pixels.flatten(2)).unflatten(2, pixels.shape[2:])
        means = (columns @ along_rows).permute(0, 3, 1, 2)
    return means.unflatten(3, (CELLS, kernel)).unflatten(2, (CELLS, kernel))


def windows(size: int, kernel: int, like: torch.Tensor) -> torch.Tensor:
    """Return ``(CELLS k, size)`` weights: for each cell and place in the kernel, the average of what is seen there."""
    outputs = size - kernel + 1
    place = torch.arange(size, device=like.device)
    rows = []
    for cell in range(CELLS):
        first, last = cell * outputs // CELLS, (cell + 1) * outputs // CELLS
        rows += [(place >= first + shift) & (place < last + shift) for shift in range(kernel)]
    weights = torch.stack(rows).float()
    return weights / weights.sum(dim=1, keepdim=True)


class _Normal:
    """Mean and Ledoit-Wolf covariance of ``(n, F)`` values, each on its own scale, in double precision."""

    def __init__(self, values: np.ndarray) -> None:
        self.mean, std = values.mean(axis=0), values.std(axis=0)
        self.std = np.where(std > 1e-9, std, 1.0)
        standardised = (values - self.mean) / self.std
        count, size = values.shape
        shrinkage = ledoit_wolf_shrinkage(standardised, assume_centered=True)
        _, singular, directions = np.linalg.svd(standardised, full_matrices=False)
        varying = singular > 1e-9 * singular[0]
        self.directions = directions[varying]
        shared = shrinkage * np.square(singular).sum() / (count * size)
        # With no shrinkage at all nothing is known of directions in which nothing varied: they count as the last one.
        floor = 1e-6 * np.square(singular).sum() / (count * size)
        variances = shared + (1 - shrinkage) * np.square(singular[varying]) / count
        self.gains, self.other_gain = variances**-0.5, max(shared, floor) ** -0.5

    def distances(self, values: np.ndarray) -> np.ndarray:
        standardised = (values - self.mean) / self.std
        along = standardised @ self.directions.T
        others = standardised - along @ self.directions
        return np.linalg.norm(np.hstack([along * self.gains, others * self.other_gain]), axis=1)


def _kinds(values: np.ndarray) -> np.ndarray:
    """Number the images in order, copies of one with the same number; they need not agree to the last bit."""
    std = values.std(axis=0)
    varies = std > 1e-6 * np.abs(values).mean(axis=0) + 1e-9  # by more than rounding
    steps = np.diff(values, axis=0) / np.where(varies, std, np.inf)
    return np.concatenate([[0], np.cumsum(np.sqrt(np.square(steps).mean(axis=1)) > SAME)])


def _cross_fitted_distances(values: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return every image's distance by a covariance of the images in other folds, none of which is a copy of it."""
    fold = kinds % FOLDS
    distances = np.full(len(values), np.nan)
    for number in range(FOLDS):
        distances[fold == number] = _Normal(values[fold != number]).distances(values[fold == number])
    return distances


def _mean_and_std(values: np.ndarray | torch.Tensor) -> torch.Tensor:
    values = torch.as_tensor(values).double()
    return torch.stack([values.mean(), values.std()]).float()
