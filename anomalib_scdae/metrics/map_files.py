# SPDX-License-Identifier: Apache-2.0
"""Where the anomaly map of a test image lies: the layout of the MVTec LOCO AD authors' evaluation."""

from collections import Counter
from functools import lru_cache
from pathlib import Path

from anomalib_scdae.image_files import is_image

MAP_SUFFIXES = (".tiff", ".tif", ".TIFF", ".TIF")


def map_file(folder: Path, image: Path) -> Path:
    """Return where the map of ``image`` belongs, ``<folder>/test/<type>/<image>.tiff``.

    The image's suffix is left out, as in the benchmark, unless another image of its folder has the same name but for
    the suffix: ``000.png`` and ``000.jpg`` have the maps ``000.png.tiff`` and ``000.jpg.tiff``.

    Args:
        folder: Folder of the category's maps.
        image: The test image, ``.../<type>/<image>.png``.
    """
    return folder / "test" / image.parent.name / f"{_unique_stem(image)}.tiff"


def find_map(folder: Path, image: Path) -> Path | None:
    """Return the map of ``image`` that is there, under any of the suffixes of TIFF files."""
    stem = map_file(folder, image).with_suffix("")
    return next((path for suffix in MAP_SUFFIXES if (path := Path(f"{stem}{suffix}")).is_file()), None)


def _unique_stem(image: Path) -> str:
    try:
        names, stems = _images(image.parent, image.parent.stat().st_mtime_ns)
    except OSError:  # an image that is not on this disk
        return image.stem
    return image.stem if stems[image.stem] <= 1 and image.stem not in names else image.name


@lru_cache(maxsize=8)
def _images(folder: Path, changed: int) -> tuple[frozenset[str], Counter[str]]:
    """Return the names of the images in a folder, as it was at the time ``changed``, and how often each stem occurs."""
    del changed
    images = [path for path in folder.iterdir() if is_image(path)]
    return frozenset(path.name for path in images), Counter(path.stem for path in images)
