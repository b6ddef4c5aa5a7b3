# SPDX-License-Identifier: Apache-2.0
"""Mean and standard deviation of the teacher's channels over the training images."""

from collections.abc import Iterable

import torch


@torch.no_grad()
def channel_mean_std(features: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the mean and the population standard deviation of every channel, over all images and positions.

    Sums are kept in float64 and combined as deviations from the means, so that a large mean costs no digits.

    Args:
        features: Pieces of shape ``(B, C, h, w)``.

    Returns:
        Mean and standard deviation, ``(1, C, 1, 1)`` in float32. A channel that does not vary gets the deviation 1, so
        that dividing by it is safe.

    Raises:
        ValueError: If there are no features.
    """
    count, mean, squares = 0, torch.tensor(0.0), torch.tensor(0.0)
    for piece in features:
        values = piece.double().transpose(0, 1).flatten(1)
        piece_mean = values.mean(dim=1)
        piece_squares = (values - piece_mean[:, None]).square().sum(dim=1)
        new = values.shape[1]
        shift = piece_mean - mean.to(piece_mean)
        squares = squares.to(piece_mean) + piece_squares + shift.square() * (count * new / (count + new))
        mean = mean.to(piece_mean) + shift * (new / (count + new))
        count += new
    if count == 0:
        msg = "Statistics need at least one image."
        raise ValueError(msg)
    std = (squares / count).sqrt()
    # Rounding leaves a trace of variance in a constant channel; relative to its mean it is below float32's digits.
    std = torch.where(std > 1e-6 * mean.abs().clamp(min=1e-6), std, torch.ones_like(std))
    return mean.float()[None, :, None, None], std.float()[None, :, None, None]
