# SPDX-License-Identifier: Apache-2.0
"""Intervals by bootstrap: what a figure would be on other test images, with other seeds and on other categories.

Images are drawn anew within each anomaly type, as often as there are images of that type; then seeds within each
category, then categories. Two models that were tested on the same images get the same draws, so that what an image does
to both is not taken for a difference between them. Every draw is a function of names alone: data set, category, images.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from anomalib_scdae.metrics.anomaly_types import GOOD

RESAMPLES = 2000
#: Between these quantiles of the resampled figures lie 95 % of them.
QUANTILES = (0.025, 0.975)


def resampled_images(names: Sequence[str], types: NDArray[np.str_], resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """Draw images with replacement, within each type.

    Args:
        names: What the images are called; the same names give the same draws.
        types: Each image's anomaly type, shape ``[N]``.
        resamples: Number ``R`` of draws.

    Returns:
        How often each image is drawn, shape ``[R, N]``.
    """
    rng = np.random.default_rng(crc32("\n".join(names).encode()))
    counts = np.zeros((resamples, len(types)), dtype=np.int64)
    for name in np.unique(types):
        chosen = types == name
        counts[:, chosen] = rng.multinomial(chosen.sum(), np.full(chosen.sum(), 1 / chosen.sum()), size=resamples)
    return counts


def resampled_auroc(
    scores: NDArray[np.floating], types: NDArray[np.str_], counts: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Return the AUROC of each anomaly type against the good images, in [0, 1], for every draw of the images.

    It is the share of pairs of an anomalous and a good image of which the anomalous one scores higher; equal scores
    count half. How many good images score lower is read off the sum of counts over the sorted good scores.

    Args:
        scores: Image scores of any range, shape ``[N]``.
        types: Each image's type, shape ``[N]``; ``"good"`` for good images.
        counts: How often each image is drawn, shape ``[R, N]``; the same number of each type in every draw.

    Returns:
        For each type present, shape ``[R]``; empty without good images.
    """
    good = np.flatnonzero(types == GOOD)
    if not len(good):
        return {}
    good = good[np.argsort(scores[good], kind="stable")]
    below = np.pad(counts[:, good].cumsum(axis=1), ((0, 0), (1, 0)))
    found = {}
    for name in sorted(set(types.tolist()) - {GOOD}):
        chosen = types == name
        first, last = (np.searchsorted(scores[good], scores[chosen], side) for side in ("left", "right"))
        # Whole numbers up to the division: two models that rank alike get the same figure to the last digit.
        halves = (counts[:, chosen] * (below[:, first] + below[:, last])).sum(axis=1)
        found[name] = halves / (2 * below[:, -1] * counts[:, chosen].sum(axis=1))
    return found


def interval(categories: Sequence[NDArray[np.floating]]) -> tuple[float, float]:
    """Return the 95 % interval of the mean over seeds and categories.

    Args:
        categories: For each category a figure by seed and draw of the images, shape ``[seeds, R]``.
    """
    rng = np.random.default_rng(0)
    means = np.stack([_resampled_mean(figures, rng) for figures in categories])
    low, high = np.quantile(_resampled_mean(means, rng), QUANTILES)
    return float(low), float(high)


def _resampled_mean(figures: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.floating]:
    """Draw lines of ``figures``, ``[n, R]``, with replacement, anew for each column, and return their mean, ``[R]``.

    Of ``n`` lines ``n - 1`` are drawn: the mean of ``n`` would vary too little, which matters for two or three.
    """
    number, resamples = figures.shape
    if number == 1:
        return figures[0]
    drawn = rng.integers(number, size=(number - 1, resamples))
    return np.take_along_axis(figures, drawn, axis=0).mean(axis=0)
