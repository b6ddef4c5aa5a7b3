# SPDX-License-Identifier: Apache-2.0
"""From the evaluator's named figures to the benchmark's layout."""

from collections.abc import Iterable, Mapping
from typing import Any

from anomalib_scdae.metrics.anomaly_types import GOOD, MEAN, short_name
from anomalib_scdae.metrics.spro import FPR_LIMITS


def accuracy(figures: Mapping[str, float], types: Iterable[str]) -> dict[str, Any]:
    """Arrange the figures that :func:`~anomalib_scdae.metrics.loco_evaluator` logs.

    Args:
        figures: By their logged names, in [0, 1].
        types: Anomaly types of the test images.
    """
    names = [*sorted(set(types) - {GOOD}), MEAN]
    spro = {
        name: {
            str(limit): figures[key]
            for limit in FPR_LIMITS
            if (key := f"pixel_AUsPRO_{short_name(name)}_{limit}") in figures
        }
        for name in names
    }
    return {
        "image_auroc": {name: figures[key] for name in names if (key := f"image_AUROC_{short_name(name)}") in figures},
        "image_auroc_all": figures.get("image_AUROC"),
        "image_f1": figures.get("image_F1Score"),
        "pixel_auroc": figures.get("pixel_AUROC"),
        "au_spro": {name: values for name, values in spro.items() if values},
    }
