# SPDX-License-Identifier: Apache-2.0
"""Which images a gallery shows, and where their maps come from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import tifffile
from numpy.typing import NDArray

from anomalib_scdae.errors import UserError
from anomalib_scdae.gallery.compose import AnyMap, GalleryRow
from anomalib_scdae.metrics.ground_truth import mask_files, read_mask
from anomalib_scdae.metrics.map_files import find_map, map_file
from anomalib_scdae.metrics.score_files import Prediction


def worst_misses(predictions: Sequence[Prediction], count: int = 8) -> list[Prediction]:
    """Return the images that cost the most AUROC, worst first; no threshold is needed.

    An anomalous image is as bad as the share of good images that score at least as high, a good one as bad as the
    share of anomalous images that score at most as high.

    Args:
        predictions: A test's predictions with labels, as
            :func:`~anomalib_scdae.metrics.score_files.read_predictions` returns them.
        count: Return at most so many.

    Returns:
        Predictions that at least one other image contradicts.
    """
    good = np.array([prediction.score for prediction in predictions if prediction.label == 0])
    anomalous = np.array([prediction.score for prediction in predictions if prediction.label == 1])

    middle = float(np.median([prediction.score for prediction in predictions])) if predictions else 0.0

    def badness(prediction: Prediction) -> tuple[float, float]:
        contradicted = good >= prediction.score if prediction.label == 1 else anomalous <= prediction.score
        share = float(contradicted.mean()) if contradicted.size else 0.0
        return share, abs(prediction.score - middle)  # the distance only settles ties

    misses = [p for p in predictions if p.label is not None and badness(p)[0] > 0]
    return sorted(misses, key=badness, reverse=True)[:count]


def gallery_rows(
    predictions: Iterable[Prediction],
    maps_of: Callable[[Path], Mapping[str, AnyMap]],
    masks: Mapping[Path, Path] = MappingProxyType({}),
) -> list[GalleryRow]:
    """Make gallery rows of predictions, with ground truth from the data set's folder.

    Args:
        predictions: The images to show, top to bottom.
        maps_of: Gives an image's maps by column title from its path: a model's branch maps, or
            :func:`maps_in_folder`.
        masks: One mask of each image, where the data set names it; others are looked for in the data set's folder.
    """
    return [
        GalleryRow(
            image=prediction.path,
            maps=maps_of(path),
            ground_truth=anomalous_pixels(path, masks.get(path)) if prediction.label else None,
            name=f"{prediction.type}/{path.stem}",
            score=prediction.score,
            label=prediction.label,
            prediction=prediction.prediction,
        )
        for prediction in predictions
        for path in [Path(prediction.path)]
    ]


def maps_in_folder(folder: str | Path) -> Callable[[Path], Mapping[str, AnyMap]]:
    """Return a function for :func:`gallery_rows` that reads maps as ``PredictionWriter`` wrote them.

    Args:
        folder: ``<dir>/<category>``, which holds ``test/<type>/<image>.tiff``.
    """

    def maps_of(image_path: Path) -> Mapping[str, AnyMap]:
        file = find_map(Path(folder), image_path)
        if file is None:
            missing = map_file(Path(folder), image_path)
            msg = f"{missing} is not there: run `anomalib test` with the callback PredictionWriter first."
            raise UserError(msg)
        return {"anomaly map": tifffile.imread(file)}

    return maps_of


def anomalous_pixels(image_path: Path, mask_path: Path | None = None) -> NDArray[np.bool_] | None:
    """Return the anomalous pixels of a test image over all its masks, shape ``[H, W]``; ``None`` if it has none."""
    masks = [read_mask(file) > 0 for file in mask_files(image_path, mask_path)]
    return np.logical_or.reduce(masks) if masks else None
