# SPDX-License-Identifier: Apache-2.0
"""A picture as in the paper's figures 5 to 8: one row per image, one column per map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from anomalib.visualization.image.functional import (
    add_text_to_image,
    create_image_grid,
    visualize_anomaly_map,
    visualize_gt_mask,
    visualize_image,
)
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from anomalib_scdae.errors import UserError

AnyMap = Tensor | NDArray[np.floating]
AnyImage = str | Path | Image.Image | Tensor | NDArray[np.generic]

QUANTILES = (0.005, 0.995)
VERDICTS = {0: "normal", 1: "anomalous"}
INK = (20, 20, 20)


@dataclass(frozen=True)
class GalleryRow:
    """One image of a gallery.

    Args:
        image: The input; a path, a PIL image, or an array (``[3, H, W]`` tensor in [0, 1], ``[H, W, 3]`` uint8).
        maps: Column title to map, shape ``[H, W]`` or ``[1, H, W]``, of any size and range; in the columns' order.
        ground_truth: Mask of all anomalous pixels, shape ``[H, W]``; ``None`` leaves the cell black.
        name: What to call the image.
        score: The image's anomaly score.
        label: 1 if the image is anomalous, 0 if it is good; ``None`` if unknown.
        prediction: 1 if it was called anomalous, 0 if not; ``None`` without a decision.
    """

    image: AnyImage
    maps: Mapping[str, AnyMap] = field(default_factory=dict)
    ground_truth: AnyMap | NDArray[np.bool_] | None = None
    name: str = ""
    score: float | None = None
    label: int | None = None
    prediction: int | None = None

    @property
    def title(self) -> str:
        """Name, score and verdict, e.g. ``good/003   score 0.42   anomalous (wrong)``."""
        parts = [self.name] if self.name else []
        if self.score is not None:
            parts.append(f"score {self.score:.4g}")
        if self.prediction is not None:
            verdict = VERDICTS[int(self.prediction)]
            if self.label is not None:
                verdict += " (right)" if int(self.label) == int(self.prediction) else " (wrong)"
            parts.append(verdict)
        elif self.label is not None:
            parts.append(VERDICTS[int(self.label)])
        return "   ".join(parts)


def compose_gallery(
    rows: Sequence[GalleryRow],
    columns: Sequence[str] | None = None,
    value_range: tuple[float, float] | None = None,
    cell_size: int = 192,
) -> Image.Image:
    """Compose input, ground truth and maps, one row per image, all maps on one colour scale.

    Args:
        rows: Images, top to bottom; at least one.
        columns: Titles of the maps to show, left to right; by default all, as they first occur. A row without one
            of them gets an empty cell.
        value_range: Map values for the two ends of the colour scale; by default the 0.5 % and 99.5 % quantiles of
            all maps shown, so that a single pixel cannot darken the rest.
        cell_size: Width of a cell in pixels, and its height at most; images keep their aspect ratio in it.

    Returns:
        An RGB image with column titles, a title over each row, and the colour scale below.

    Raises:
        UserError: If there is no row.
    """
    if not rows:
        msg = "A gallery needs at least one image: the list of rows is empty."
        raise UserError(msg)
    titles = list(columns) if columns is not None else list(dict.fromkeys(name for row in rows for name in row.maps))
    low, high = value_range or common_range([row.maps[name] for row in rows for name in titles if name in row.maps])
    width = (2 + len(titles)) * cell_size
    strips = [_labels(["input", "ground truth", *titles], cell_size)]
    for row in rows:
        strips.append(_labels([row.title], cell_size, width))
        strips.append(create_image_grid(_cells(row, titles, (low, high), cell_size), nrow=2 + len(titles)))
    if titles:
        strips.append(_colour_scale((low, high), width, cell_size))
    return _stack(strips)


def _cells(row: GalleryRow, titles: Sequence[str], value_range: tuple[float, float], size: int) -> list[Image.Image]:
    image = visualize_image(str(row.image) if isinstance(row.image, Path) else row.image).convert("RGB")
    if row.ground_truth is None:
        mask = Image.new("L", image.size)
    else:
        marked = (_as_array(row.ground_truth) > 0).astype(np.uint8) * 255
        mask = visualize_gt_mask(Image.fromarray(marked)).resize(image.size, Image.Resampling.NEAREST)
    cells = [image, mask.convert("RGB")]
    for name in titles:
        if name in row.maps:
            gray = _to_gray(_as_array(row.maps[name]), value_range, image.size)
            cells.append(visualize_anomaly_map(gray, colormap=True, normalize=False))
        else:
            cells.append(Image.new("RGB", image.size, "white"))
    return [_fit_into_cell(cell, size) for cell in cells]


def _to_gray(anomaly_map: NDArray[np.floating], value_range: tuple[float, float], size: tuple[int, int]) -> Image.Image:
    low, high = value_range
    unit = np.clip((anomaly_map - low) / (high - low), 0, 1) if high > low else np.zeros_like(anomaly_map)
    smooth = Image.fromarray(unit.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
    return Image.fromarray(np.rint(np.asarray(smooth) * 255).astype(np.uint8))


def common_range(maps: Sequence[AnyMap]) -> tuple[float, float]:
    """Return the 0.5 % and 99.5 % quantiles of all values of the maps, or 0 and 1 if there are none."""
    values = np.concatenate([_as_array(anomaly_map).ravel() for anomaly_map in maps] or [np.empty(0)])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    low, high = np.quantile(values, QUANTILES)
    return float(low), float(high)


def _as_array(array: AnyMap | NDArray[np.bool_]) -> NDArray[np.floating]:
    values = array.detach().float().cpu().numpy() if isinstance(array, Tensor) else np.asarray(array)
    return values.reshape(values.shape[-2:]).astype(np.float32)


def _fit_into_cell(image: Image.Image, size: int) -> Image.Image:
    """Fit an image into a cell of the given width and at most that height, within a white frame."""
    margin = max(2, size // 48)
    inner = size - 2 * margin
    height = min(inner, round(inner * image.height / image.width))
    return ImageOps.expand(ImageOps.pad(image, (inner, max(1, height)), color="white"), margin, "white")


def _labels(texts: Sequence[str], cell_size: int, width: int | None = None) -> Image.Image:
    """A strip with a text over each cell, or one text over all."""
    font = max(10, cell_size // 13)
    strip = Image.new("RGB", (width or len(texts) * cell_size, font + 8), "white")
    for index, text in enumerate(texts):
        position = (index * cell_size + cell_size // 24, 2)
        strip = add_text_to_image(strip, text, size=font, color=INK, background=None, position=position)
    return strip


def _colour_scale(value_range: tuple[float, float], width: int, cell_size: int) -> Image.Image:
    height = max(8, cell_size // 16)
    ramp = np.tile(np.linspace(0, 255, width - 2 * cell_size).astype(np.uint8), (height, 1))
    bar = Image.new("RGB", (width, height), "white")
    bar.paste(visualize_anomaly_map(Image.fromarray(ramp), colormap=True, normalize=False), (2 * cell_size, 0))
    low, high = (f"{value:.4g}" for value in value_range)
    return _stack([bar, _labels(["", "", f"{low} (blue) to {high} (red)"], cell_size, width)])


def _stack(strips: Sequence[Image.Image]) -> Image.Image:
    picture = Image.new("RGB", (strips[0].width, sum(strip.height for strip in strips)), "white")
    top = 0
    for strip in strips:
        picture.paste(strip, (0, top))
        top += strip.height
    return picture
