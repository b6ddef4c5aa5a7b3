# SPDX-License-Identifier: Apache-2.0
"""Ground truth as the benchmark's authors store it: every channel, at the image's own resolution."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from anomalib_scdae.errors import UserError
from anomalib_scdae.image_files import image_shape, is_image, opened

CONFIG_NAME = "defects_config.json"


@dataclass(frozen=True)
class Saturation:
    """How much of a region must be found for it to count as found (Bergmann et al. 2022, section 4.2).

    Args:
        threshold: Number of pixels, or share of the region's area in (0, 1] where ``relative``.
        relative: Whether ``threshold`` is a share.
    """

    threshold: float
    relative: bool

    def area(self, region_area: int) -> int:
        """Return the saturation area in pixels of a region of ``region_area`` pixels, at least 1.

        A share is rounded down, and an absolute number never exceeds the region, as in the authors' evaluation.
        """
        area = int(self.threshold * region_area) if self.relative else min(int(self.threshold), region_area)
        return max(area, 1)

    def enlarged(self, factor: float) -> "Saturation":
        """Return the same of a mask that has ``factor`` times as many pixels."""
        return self if self.relative else replace(self, threshold=self.threshold * factor)


WHOLE_REGION = Saturation(threshold=1.0, relative=True)
"""Without ``defects_config.json`` a region must be found entirely: sPRO is then PRO."""


@dataclass(frozen=True)
class Region:
    """One anomalous region of an image.

    Args:
        pixels: Its pixels, as indices into the flattened image, shape ``[area]``.
        saturation_area: Number of its pixels that must be found.
    """

    pixels: NDArray[np.intp]
    saturation_area: int


@dataclass(frozen=True)
class GroundTruth:
    """The regions of one image; they may overlap. None for a good image.

    Args:
        shape: Height and width of the image in pixels.
        regions: Its anomalous regions.
    """

    shape: tuple[int, int]
    regions: tuple[Region, ...] = ()


def read_defects_config(category: Path) -> Mapping[int, Saturation] | None:
    """Read ``defects_config.json`` in a category's folder.

    Returns:
        The saturation for each pixel value in the masks, or ``None`` where there is no such file.

    Raises:
        UserError: If the file is not in the benchmark's format.
    """
    path = category / CONFIG_NAME
    if not path.is_file():
        return None
    try:
        return {int(entry["pixel_value"]): _saturation(entry) for entry in json.loads(path.read_text("utf-8"))}
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        msg = (
            f"{path} is not a list of defects with pixel_value, saturation_threshold and relative_saturation "
            f"({error!r}): restore the file that comes with the data set."
        )
        raise UserError(msg) from error


def _saturation(entry: Mapping[str, Any]) -> Saturation:
    saturation = Saturation(float(entry["saturation_threshold"]), bool(entry["relative_saturation"]))
    if saturation.threshold <= 0 or (saturation.relative and saturation.threshold > 1):
        msg = f"saturation_threshold {entry['saturation_threshold']} is out of range"
        raise ValueError(msg)
    return saturation


def mask_files(image_path: Path, mask_path: Path | None = None) -> list[Path]:
    """Return the mask files of an anomalous image, every channel: those that Anomalib's data sets choose.

    Args:
        image_path: ``<category>/test/<type>/<image>.png``, of any image suffix.
        mask_path: One of its masks, where the data set names it; this decides then.

    Returns:
        The files in ``<category>/ground_truth/<type>/<image>/`` (MVTec LOCO AD), or the one file
        ``<category>/ground_truth/<type>/<image>_mask.png`` or ``<image>.png`` (MVTec AD); empty if there is none.
    """
    if mask_path is not None:
        return _channels(mask_path.parent) if _is_channel(mask_path, image_path) else [mask_path]
    if len(image_path.parts) <= 3:
        return []
    folder = image_path.parents[2] / "ground_truth" / image_path.parent.name
    channels = _channels(folder / image_path.stem)
    if channels or not folder.is_dir():
        return channels
    names = (f"{image_path.stem}_mask", image_path.stem)
    found = [path for path in folder.iterdir() if path.stem in names and is_image(path) and path.is_file()]
    # Of `000_mask.png` and `000_mask.jpg`, the one whose suffix the image has.
    return sorted(found, key=lambda path: (names.index(path.stem), path.suffix != image_path.suffix, path))[:1]


def _is_channel(mask_path: Path, image_path: Path) -> bool:
    """Tell whether a mask lies in a folder of its image's own, as in MVTec LOCO AD."""
    return mask_path.parts[-3:-1] == (image_path.parent.name, image_path.stem)


def _channels(folder: Path) -> list[Path]:
    """Return the masks in an image's folder; beside PNG files Anomalib's MVTecLOCO passes others over."""
    files = sorted(path for path in folder.glob("*") if is_image(path))
    return [path for path in files if path.suffix.lower() == ".png"] or files


def read_ground_truth(
    image_path: Path, files: Sequence[Path], config: Mapping[int, Saturation] | None = None
) -> GroundTruth:
    """Read the regions of an anomalous image.

    Each file in a folder named like the image is one region, whatever its shape: the benchmark's channel. A
    single mask beside others (MVTec AD) has one region for each 8-connected component, as in Anomalib's AUPRO.
    Masks of another size than their image are brought to its size, so that a pixel weighs the same in all images, and
    saturations that are numbers of pixels with them.

    Args:
        image_path: The image; names its folder of channels.
        files: Its mask files, at least one.
        config: Saturation by pixel value; ``None`` takes every region whole.

    Raises:
        UserError: If a mask cannot be read or marks no pixel (at the image's size), the masks differ in size, or
            ``config`` lacks a mask's pixel value.
    """
    shape, regions = image_shape(image_path), list[Region]()
    mask_shape(files)  # one for all of them
    for file in files:
        mask = read_mask(file)
        saturation = _saturation_of(file, mask, config)
        if mask.shape != shape:
            saturation = saturation.enlarged(shape[0] * shape[1] / mask.size)
            mask = np.asarray(cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
            if not mask.any():
                msg = f"{file} marks no pixel once it has the size of its image {image_path}: give it that size."
                raise UserError(msg)
        pixels = [np.flatnonzero(mask)] if _is_channel(file, image_path) else _components(mask)
        regions.extend(Region(region, saturation.area(region.size)) for region in pixels)
    return GroundTruth(shape, tuple(regions))


def mask_shape(files: Sequence[Path]) -> tuple[int, int]:
    """Return height and width of one image's masks ``files``, at least one, as their headers say.

    Raises:
        UserError: If one cannot be read, or they differ in size.
    """
    shape = image_shape(files[0])
    for file in files[1:]:
        if (found := image_shape(file)) != shape:
            msg = (
                f"{file} is {size_of(found)}, {files[0]} is {size_of(shape)}: one image's masks must be equal in size."
            )
            raise UserError(msg)
    return shape


class GroundTruthReader:
    """Reads regions as :func:`read_ground_truth` does, with the saturations of each image's category."""

    def __init__(self) -> None:
        self._configs: dict[Path, Mapping[int, Saturation] | None] = {}

    def read(self, image_path: Path, mask_path: Path | None) -> GroundTruth:
        """Read an image's regions; ``mask_path`` is one of its masks, where the data set names it.

        Raises:
            UserError: If there is no mask, or as :func:`read_ground_truth` and :func:`read_defects_config`.
        """
        files, config = self._files_and_config(image_path, mask_path)
        return read_ground_truth(image_path, files, config)

    def check(self, image_path: Path, mask_path: Path | None) -> None:
        """Raise what :meth:`read` would, without making out the regions, which takes most of its time."""
        files, config = self._files_and_config(image_path, mask_path)
        mask_shape(files)
        for file in files:
            _saturation_of(file, read_mask(file), config)

    def _files_and_config(
        self, image_path: Path, mask_path: Path | None
    ) -> tuple[list[Path], Mapping[int, Saturation] | None]:
        files = mask_files(image_path, mask_path)
        if not files:
            msg = f"{image_path} has no mask."
            raise UserError(msg)
        category = image_path.parents[min(2, len(image_path.parents) - 1)]
        if category not in self._configs:
            self._configs[category] = read_defects_config(category)
        return files, self._configs[category]


def check_mask_sizes(image_path: Path, files: Sequence[Path]) -> None:
    """Raise a :class:`UserError` unless the masks ``files`` are of the size of their image, as their headers say."""
    shape = image_shape(image_path)
    for file in files:
        if (found := image_shape(file)) != shape:
            msg = f"{file} is {size_of(found)}, its image {image_path} is {size_of(shape)}: give it the image's size."
            raise UserError(msg)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Read a mask ``[H, W]`` as Anomalib does: its gray values, of which those above 0 are anomalous.

    Raises:
        UserError: If the file cannot be read.
    """
    with opened(path) as image:
        return np.asarray(image.convert("L"))


def _components(mask: NDArray[np.uint8]) -> list[NDArray[np.intp]]:
    count, labels = cv2.connectedComponents((mask != 0).astype(np.uint8), connectivity=8)
    labels = labels.ravel()
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(1, count + 1))
    return [order[start:end] for start, end in itertools.pairwise(bounds)]


def _saturation_of(file: Path, mask: NDArray[np.uint8], config: Mapping[int, Saturation] | None) -> Saturation:
    # Faster than numpy's unique, which sorts.
    values = np.flatnonzero(cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel()[1:]) + 1
    if not len(values):
        msg = f"{file} marks no pixel: an anomalous image needs at least one anomalous pixel in each of its masks."
        raise UserError(msg)
    if config is None:
        return WHOLE_REGION
    if len(values) > 1 or int(values[0]) not in config:
        msg = (
            f"{file} has the pixel values {values.tolist()}, of which {CONFIG_NAME} must know exactly one: a mask "
            f"marks one kind of defect, and the file knows {sorted(config)}."
        )
        raise UserError(msg)
    return config[int(values[0])]


def size_of(shape: Sequence[int]) -> str:
    """Say height and width ``shape`` in words."""
    return f"{shape[1]}x{shape[0]} pixels"
