# SPDX-License-Identifier: Apache-2.0
"""Image files: which ones are, and one sentence for those that cannot be read."""

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from anomalib_scdae.errors import UserError

#: Suffixes, in either case, of the images that Anomalib reads (torchvision's list).
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

#: What Pillow raises on files that are damaged, cut short, empty, huge or no images at all.
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError)

#: What to do with images of more.
TO_8_BITS = "convert the images to 8 bits a channel, scaled to the range of their values"

_Result = TypeVar("_Result")


def is_image(path: Path) -> bool:
    """Tell by the suffix whether a file is an image; hidden files, such as macOS's ``._photo.jpg``, are not."""
    return has_image_suffix(path) and not path.name.startswith(".")


def has_image_suffix(path: Path) -> bool:
    """Tell by the suffix alone whether a file is an image, hidden or not."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def iterate_images(folder: Path) -> Iterator[str]:
    """Yield the paths of all images below ``folder``, relative to it, in the order of the file system."""
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES):
                yield os.path.relpath(os.path.join(parent, name), folder)  # noqa: PTH118 - a million Path objects


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file; its pixels are read inside the ``with`` block.

    Raises:
        UserError: If the file is missing or cannot be read as an image, also where that is found inside the block.
    """
    try:
        with Image.open(path) as image:
            yield image
    except UserError:
        raise
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        msg = f"{path} cannot be read as an image ({reason}): replace or remove it."
        raise UserError(msg) from error


def image_shape(path: Path) -> tuple[int, int]:
    """Return height and width of an image from its header.

    Raises:
        UserError: As :func:`opened`.
    """
    with opened(path) as image:
        return image.height, image.width


def check_image(path: Path) -> None:
    """Raise a :class:`UserError` unless all of an image file can be read."""
    if not _is_sound_png(path):
        with opened(path) as image:
            image.load()


def check_depth(path: Path) -> None:
    """Raise a :class:`UserError` if an image's values do not fit into the 8 bits that Anomalib's reader has for them.

    It makes 255 of whatever lies above that, and whole numbers of all: of an image of 12 bits the dark parts are left,
    and nothing of one between 0 and 1.
    """
    with opened(path) as image:
        if image.mode != "F" and not image.mode.startswith("I"):
            return
        highest = np.asarray(image).max()  # Pillow's own extrema know fewer modes
        if highest > 255:
            what = "255 of whatever is above"
        elif image.mode == "F" and 0 < highest <= 1:
            what = "whole numbers of them"
        else:
            return
        msg = (
            f"The values of {path} go up to {highest:g} (mode {image.mode} in Pillow's words), and Anomalib's reader "
            f"makes {what}: {TO_8_BITS}."
        )
        raise UserError(msg)


def _is_sound_png(path: Path) -> bool:
    """Tell whether a file is a PNG file whose parts have the right checksums, which takes a tenth of unpacking it."""
    try:
        with Image.open(path) as image:
            if image.format != "PNG":
                return False
            image.verify()
    except UNREADABLE:
        return False
    return True


def in_threads(function: Callable[[Path], _Result], paths: Iterable[Path]) -> list[_Result]:
    """Return what ``function`` returns for each path; the first one's error that fails ends it."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(function, paths))
