# SPDX-License-Identifier: Apache-2.0
"""Thresholds that mean something without anomalous images: a false-positive rate on normal ones."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)


def threshold_for_fpr(normal_scores: Sequence[float] | NDArray[np.floating], target_fpr: float) -> float:
    """Return the lowest threshold with at most ``target_fpr`` false positives among normal scores.

    A score above the threshold is anomalous, as in Anomalib's post-processor, so that the threshold is itself one of
    the scores: the largest for a target of 0. Ties can only lower the rate.

    Args:
        normal_scores: Scores of normal images, or of the pixels of normal images; any shape, at least one.
        target_fpr: Share of them in [0, 1) that may be called anomalous.

    Returns:
        The threshold; at most ``floor(target_fpr * N)`` of the ``N`` scores lie above it.

    Raises:
        ValueError: If there is no score, one is NaN, or the target is not in [0, 1).
    """
    scores = np.asarray(normal_scores).ravel()
    if not 0 <= target_fpr < 1:
        msg = f"target_fpr must be in [0, 1), got {target_fpr}"
        raise ValueError(msg)
    if scores.size == 0 or np.isnan(scores).any():
        msg = "a threshold needs at least one normal score, and none may be NaN"
        raise ValueError(msg)
    allowed = min(int(target_fpr * scores.size + 1e-9), scores.size - 1)  # 0.07 * 100 may be just below 7
    if target_fpr and not allowed:
        logger.warning(
            "%d normal scores cannot show a false-positive rate of %g: the threshold is the largest of them; at least "
            "%.0f are needed.",
            scores.size,
            target_fpr,
            np.ceil(1 / target_fpr),
        )
    position = scores.size - 1 - allowed
    return float(np.partition(scores, position)[position])
