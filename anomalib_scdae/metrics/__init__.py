# SPDX-License-Identifier: Apache-2.0
"""Evaluation as the benchmark's authors do it: AUROC per anomaly type and AU-sPRO, from raw scores.

Names are imported when first used: the numbers behind AU-sPRO need neither torch nor Anomalib.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomalib_scdae.metrics.au_spro import AUsPRO
    from anomalib_scdae.metrics.evaluator import RawScoreEvaluator, loco_evaluator
    from anomalib_scdae.metrics.per_type import AUROCPerType, PerTypeMetric
    from anomalib_scdae.metrics.raw_outputs import RawOutputs
    from anomalib_scdae.metrics.spro import FPR_LIMITS, SPROAccumulator
    from anomalib_scdae.metrics.threshold import threshold_for_fpr

__all__ = [
    "FPR_LIMITS",
    "AUROCPerType",
    "AUsPRO",
    "PerTypeMetric",
    "RawOutputs",
    "RawScoreEvaluator",
    "SPROAccumulator",
    "loco_evaluator",
    "threshold_for_fpr",
]

_HOMES = {
    "FPR_LIMITS": "spro",
    "AUROCPerType": "per_type",
    "AUsPRO": "au_spro",
    "PerTypeMetric": "per_type",
    "RawOutputs": "raw_outputs",
    "RawScoreEvaluator": "evaluator",
    "SPROAccumulator": "spro",
    "loco_evaluator": "evaluator",
    "threshold_for_fpr": "threshold",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
