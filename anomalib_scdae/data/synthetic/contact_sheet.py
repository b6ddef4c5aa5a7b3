# SPDX-License-Identifier: Apache-2.0
"""A picture of a category at a glance: normal images, anomalies, and their ground truth."""

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from anomalib_scdae.files import replacing

Picture = npt.NDArray[np.uint8]
_GAP, _CAPTION = 6, 18
_EACH = 10
#: How many pixels wide a letter of the caption is at scale 1, about.
_LETTER = 17.0


def write_contact_sheet(folder: Path, path: Path, width: int = 1600, quality: int = 80) -> Path:
    """Put normal images, ten logical and ten structural anomalies on one sheet, as many defects as it holds.

    The ground truth's outline is drawn in magenta; the names of the defects stand below.

    Args:
        folder: A category's folder in the layout of MVTec LOCO.
        path: Where to write the sheet, a WebP file.
        width: Width of the sheet in pixels.
        quality: WebP quality.

    Returns:
        ``path``.
    """
    names = {d["pixel_value"]: d["defect_name"] for d in json.loads((folder / "defects_config.json").read_text())}
    normal = sorted((folder / "train/good").glob("*.png"))
    rows, columns = _read(normal[0]).shape[:2]
    across = 5 if columns >= rows else _EACH
    tile = (width - _GAP) // across - _GAP
    tiles = [_tile(file, [], "good", tile) for file in normal[:across]]
    for kind in ("logical_anomalies", "structural_anomalies"):
        tiles += [_tile(file, masks, name, tile) for file, masks, name in _examples(folder, kind, names)]
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % across)
    grid = [_spaced(tiles[first : first + across], axis=1) for first in range(0, len(tiles), across)]
    # Not `imwrite`, which keeps a full disk to itself.
    _, data = cv2.imencode(".webp", _spaced(grid, axis=0), [cv2.IMWRITE_WEBP_QUALITY, quality])
    with replacing(path) as file:
        file.write_bytes(data.tobytes())
    return path


def _read(file: Path) -> Picture:
    return np.asarray(cv2.imread(str(file), cv2.IMREAD_COLOR), np.uint8)


def _examples(folder: Path, kind: str, names: dict[int, str]) -> list[tuple[Path, list[Path], str]]:
    """Choose images, all of different defects as far as there are enough: the image, its masks, its defects' names."""
    fresh: list[tuple[Path, list[Path], str]] = []
    repeated: list[tuple[Path, list[Path], str]] = []
    seen = set()
    for file in sorted((folder / "test" / kind).glob("*.png")):
        masks = sorted((folder / "ground_truth" / kind / file.stem).glob("*.png"))
        name = ", ".join(names[int(_read(mask).max())] for mask in masks)
        (repeated if name in seen else fresh).append((file, masks, name))
        seen.add(name)
    spread = sorted({round(place) for place in np.linspace(0, len(fresh) - 1, _EACH)}) if fresh else []
    return ([fresh[place] for place in spread] + repeated)[:_EACH]


def _tile(file: Path, masks: list[Path], name: str, width: int) -> Picture:
    """One image with its ground truth's outline and its caption, ``(height, width, 3)``, BGR."""
    image = _read(file)
    scale = width / image.shape[1]
    height = round(image.shape[0] * scale)
    picture = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for path in masks:
        mask = (_read(path)[..., 0] > 0).astype(np.uint8)
        large = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, (255, 0, 255), 1, cv2.LINE_AA)
    caption = np.full((_CAPTION, width, 3), 255, np.uint8)
    size = min(0.42, width / (_LETTER * max(len(name), 1)))
    cv2.putText(caption, name, (2, _CAPTION - 6), cv2.FONT_HERSHEY_SIMPLEX, size, (40, 40, 40), 1, cv2.LINE_AA)
    return np.concatenate([np.asarray(picture, np.uint8), caption])


def _spaced(pictures: list[Picture], axis: int) -> Picture:
    """Join pictures with white gaps between and around them."""
    shape = list(pictures[0].shape)
    shape[axis] = _GAP
    gap = np.full(shape, 255, np.uint8)
    return np.concatenate([gap, *(part for picture in pictures for part in (picture, gap))], axis=axis)
