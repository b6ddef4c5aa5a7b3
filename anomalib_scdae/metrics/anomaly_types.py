# SPDX-License-Identifier: Apache-2.0
"""Anomaly types: what they are called, and image AUROC for each apart."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from anomalib_scdae.metrics.score_files import Prediction

GOOD = "good"
MEAN = "mean"
ANOMALOUS = "anomalous"

#: Folders of so many names number parts, as Kolektor's and Real-IAD's do, and are no types of anomalies.
MANY_TYPES = 20


def anomaly_type(image_path: str | Path) -> str:
    """Return the anomaly type of a test image: the name of its folder."""
    return Path(image_path).parent.name


def are_types(names: Collection[str]) -> bool:
    """Tell whether folders' names can be types of anomalies: there are too many where they number parts."""
    return len(names) <= MANY_TYPES


def told_apart(types: NDArray[np.str_]) -> NDArray[np.str_]:
    """Return each image's type, ``[N]``, with one name for all anomalous ones where there are too many to be types."""
    if are_types(set(types.tolist()) - {GOOD}):
        return types
    return np.where(types == GOOD, GOOD, ANOMALOUS)


def types_of(predictions: Iterable[Prediction]) -> NDArray[np.str_]:
    """Return each image's type as figures have it, ``[N]``; a normal image is good whatever its folder is called."""
    return told_apart(np.array([GOOD if one.label == 0 else one.type for one in predictions], dtype=str))


def short_name(type_name: str) -> str:
    """Return a type's name for logs: ``logical`` for ``logical_anomalies``, any other name as it is."""
    return type_name.removesuffix("_anomalies")


def with_mean(values: Mapping[str, float]) -> dict[str, float]:
    """Add the unweighted mean over the types, if there are at least two.

    With one type alone a mean would only repeat it, and on MVTec LOCO AD, where it is half of each of two types,
    it would be taken for more than it is.
    """
    return {**values, MEAN: sum(values.values()) / len(values)} if len(values) > 1 else dict(values)


def auroc_per_type(scores: NDArray[np.floating], types: NDArray[np.str_]) -> dict[str, float]:
    """Return the AUROC of each anomaly type against the good images, in [0, 1].

    Args:
        scores: Image scores of any range, shape ``[N]``.
        types: Each image's type, shape ``[N]``; ``"good"`` for good images.

    Returns:
        One value for each type present, or one for all if there are more than :data:`MANY_TYPES`; empty without good
        images.
    """
    types = told_apart(types)
    normal = scores[types == GOOD]
    if normal.size == 0:
        return {}
    found = {}
    for name in sorted(set(types.tolist()) - {GOOD}):
        anomalous = scores[types == name]
        labels = np.repeat([0, 1], [normal.size, anomalous.size])
        found[name] = float(roc_auc_score(labels, np.concatenate([normal, anomalous])))
    return found
