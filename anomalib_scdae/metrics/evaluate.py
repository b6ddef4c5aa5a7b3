# SPDX-License-Identifier: Apache-2.0
"""``anomalib-scdae evaluate``: the authors' figures from anomaly maps on disk or from an exported model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Column, Table

from anomalib_scdae.errors import UserError
from anomalib_scdae.files import write_json
from anomalib_scdae.image_files import image_shape, is_image
from anomalib_scdae.metrics.anomaly_types import GOOD, MEAN, auroc_per_type, short_name, with_mean
from anomalib_scdae.metrics.exported import Precision, write_predictions_of
from anomalib_scdae.metrics.ground_truth import (
    GroundTruth,
    Saturation,
    check_mask_sizes,
    mask_files,
    read_defects_config,
    read_ground_truth,
)
from anomalib_scdae.metrics.map_files import find_map, map_file
from anomalib_scdae.metrics.score_files import SCORES_NAME, part_files, scores_of
from anomalib_scdae.metrics.spro import FPR_LIMITS, SPROAccumulator

Metrics = dict[str, Any]

#: From this share of scores of 0 or 1 on, they are taken for clamped.
CLAMPED = 0.1


@dataclass(frozen=True)
class _TestImage:
    """A test image, its map, and its masks (none for a good image)."""

    path: Path
    anomaly_map: Path
    masks: Sequence[Path]

    @property
    def type(self) -> str:
        return self.path.parent.name


def evaluate(
    *,
    dataset: Path,
    category: str,
    maps: Path,
    exported: Path | None = None,
    precision: Precision = "f32",
    output: Path | None = None,
    limits: Sequence[float] = FPR_LIMITS,
    exact: bool = False,
) -> Metrics:
    """Evaluate anomaly maps as the authors of MVTec LOCO AD do: image AUROC and AU-sPRO per anomaly type.

    Maps are read from ``<maps>/<category>/test/<type>/<image>.tiff``, one for each test image of the data set and of
    its size, whoever made them; with ``exported`` they are first written there. The score of an image is the one in
    ``<maps>/<category>/scores.csv``, which a test or an exported model has written there, or else the maximum of its
    map. A type that the data set does not have, and the mean of fewer than two, are left out.

    Args:
        dataset: Folder of the data set, which holds the category's folder (with test and ground_truth).
        category: Name of the category, e.g. breakfast_box.
        maps: Folder of the maps, which holds a folder of the category's name.
        exported: Exported model (model.xml or model.onnx) that makes maps and scores; those in the folder are replaced.
        precision: What OpenVINO computes an exported model in; left to itself it takes bf16 where the processor can.
        output: JSON file to write, in the layout of the authors' metrics.json; by default figures are only printed.
        limits: False-positive rates up to which the sPRO curve is integrated.
        exact: Use every distinct score, in memory that grows with the images; by default AU-sPRO is within 1e-3.

    Returns:
        The figures, in the layout of the JSON file.

    Raises:
        UserError: If the data set, a map, a score or a mask is missing, cannot be read or used, or differs in size;
            before any map is evaluated.
    """
    if not limits or not all(0 < limit <= 1 for limit in limits):
        msg = f"limits must be false-positive rates in (0, 1], got {limits}."
        raise UserError(msg)
    if output is not None:
        _check_output(Path(output))
    root, map_folder = Path(dataset) / category, Path(maps) / category
    paths = _test_images(root)
    config = read_defects_config(root)
    masks = _masks(root, paths)
    if exported is not None:
        write_predictions_of(Path(exported), paths, map_folder, precision)
    if parts := part_files(map_folder):
        msg = (
            f"{parts[0]} is of a test that is running or was interrupted, so that the maps beside it may be of two "
            "models: run that test again, to its end, or delete the file if the maps are all of one."
        )
        raise UserError(msg)
    images = _match(masks, map_folder)
    scores_file = map_folder / SCORES_NAME
    given = scores_of(scores_file, paths) if scores_file.is_file() else None
    # All files are read twice: what is wrong with one of them is told before any map is evaluated.
    for image in track(images, description=f"checking {category}"):
        _read_map(image.anomaly_map)
        _ground_truth(image, config)
    accumulator = SPROAccumulator(exact=exact, lowest_limit=min(*limits, FPR_LIMITS[0]))
    maxima = np.empty(len(images))
    for index, image in enumerate(track(images, description=f"evaluating {category}")):
        anomaly_map, truth = _read_map(image.anomaly_map), _ground_truth(image, config)
        maxima[index] = anomaly_map.max()
        if truth is None:
            accumulator.add_good(anomaly_map)
        else:
            accumulator.add_anomalous(image.type, anomaly_map, truth)
    scores = maxima if given is None else given
    metrics = _metrics(accumulator, scores, np.array([image.type for image in images]), limits)
    notes = ["Image AUROC is of " + ("each map's maximum." if given is None else f"the scores in {scores_file}.")]
    if (clamped := np.isin(scores, (0, 1)).mean()) > CLAMPED:
        notes.append(
            f"{clamped:.0%} of the scores are exactly 0 or 1: the model's post-processor has clamped them, and raw "
            "scores may rank the images otherwise."
        )
    _print(metrics, category, limits, notes)
    if output is not None:
        write_json(Path(output), metrics)
    return metrics


def _check_output(output: Path) -> None:
    if output.is_dir():
        msg = f"--output {output} is a folder: name the JSON file to write, such as {output / 'metrics.json'}."
        raise UserError(msg)
    if blocked := next((parent for parent in output.parents if parent.exists() and not parent.is_dir()), None):
        msg = f"--output {output} cannot be written: {blocked} is a file and no folder; choose another place."
        raise UserError(msg)


def _test_images(root: Path) -> list[Path]:
    """Find the test images of a category."""
    paths = sorted(path for path in root.glob("test/*/*") if is_image(path))
    if not paths:
        msg = f"{root / 'test'} holds no images: --dataset must be the folder that holds the category's."
        raise UserError(msg)
    if not any(path.parent.name == GOOD for path in paths):
        msg = f"{root / 'test' / GOOD} holds no images: every figure compares anomalous images with good ones."
        raise UserError(msg)
    return paths


def _masks(root: Path, paths: Sequence[Path]) -> dict[Path, list[Path]]:
    """Find the masks of each test image, none for a good one, and check their sizes from the files' headers."""
    found = {path: [] if path.parent.name == GOOD else mask_files(path) for path in paths}
    for path, masks in found.items():
        if path.parent.name != GOOD and not masks:
            msg = (
                f"{path} has no mask in {root / 'ground_truth' / path.parent.name}, and AU-sPRO needs one of every "
                "anomalous image: put them there; `anomalib test` gives image AUROC without any."
            )
            raise UserError(msg)
        check_mask_sizes(path, masks)
    return found


def _match(masks: Mapping[Path, Sequence[Path]], maps: Path) -> list[_TestImage]:
    """Match test images and maps, and check the maps' sizes from the files' headers."""
    found = {path: find_map(maps, path) for path in masks}
    images = [_TestImage(path, file, masks[path]) for path, file in found.items() if file is not None]
    if missing := [map_file(maps, path).relative_to(maps / "test") for path, file in found.items() if file is None]:
        msg = (
            f"{maps / 'test'} lacks {len(missing)} of {len(masks)} maps, the first of them {missing[0]}: write one map "
            "for every test image."
        )
        raise UserError(msg)
    for image in images:
        _check_size(image)
    return images


def _check_size(image: _TestImage) -> None:
    height, width = image_shape(image.path)
    try:
        with tifffile.TiffFile(image.anomaly_map) as file:
            shape = file.series[0].shape
    except Exception as error:  # a damaged file provokes many kinds
        raise _unreadable_map(image.anomaly_map, error) from error
    if shape != (height, width):
        size = "x".join(map(str, reversed(shape)))
        msg = f"{image.anomaly_map} is {size} but its image {width}x{height}: resize the map to the image bilinearly."
        raise UserError(msg)


def _unreadable_map(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is not a readable TIFF file ({error}): write the map again.")


def _read_map(path: Path) -> NDArray[np.floating]:
    try:
        anomaly_map = tifffile.imread(path)
    except Exception as error:  # as above
        raise _unreadable_map(path, error) from error
    if not np.issubdtype(anomaly_map.dtype, np.floating):
        anomaly_map = anomaly_map.astype(np.float64)
    if not np.isfinite((anomaly_map.min(), anomaly_map.max())).all():
        msg = f"{path} holds NaN or infinite values: a map must have a finite score for every pixel."
        raise UserError(msg)
    return anomaly_map


def _ground_truth(image: _TestImage, config: Mapping[int, Saturation] | None) -> GroundTruth | None:
    return read_ground_truth(image.path, image.masks, config) if image.masks else None


def _metrics(
    accumulator: SPROAccumulator, scores: NDArray[np.float64], types: NDArray[np.str_], limits: Sequence[float]
) -> Metrics:
    accumulator.tell_apart()
    found = {name: accumulator.au_spro(name, limits) for name in accumulator.types}
    per_limit = {
        str(limit): with_mean({name: values[limit] for name, values in found.items() if values is not None})
        for limit in limits
    }
    names = [*found, *([MEAN] if len(found) > 1 else [])]
    localization = {
        name: {limit: values[name] for limit, values in per_limit.items() if name in values} for name in names
    }
    return {
        "classification": {"auc_roc": with_mean(auroc_per_type(scores, types))},
        "localization": {"auc_spro": localization},
    }


def _print(metrics: Mapping[str, Any], category: str, limits: Sequence[float], notes: Sequence[str]) -> None:
    names = Column(escape(category), no_wrap=True)
    table = Table(names, "image AUROC", *(f"AU-sPRO {limit}" for limit in limits))
    for name, auroc in metrics["classification"]["auc_roc"].items():
        spro = metrics["localization"]["auc_spro"].get(name, {})
        figures = [auroc, *(spro.get(str(limit)) for limit in limits)]
        table.add_row(
            escape(short_name(name)), *("" if figure is None else f"{100 * figure:.1f}" for figure in figures)
        )
    console = Console()
    console.print(table)
    for note in notes:
        console.print(escape(note), soft_wrap=True)
