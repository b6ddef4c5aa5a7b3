# SPDX-License-Identifier: Apache-2.0
"""The photographs that scikit-image installs with itself, and random views of them."""

import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

# File and how often it is chosen. These are in the wheels of scikit-image 0.19 to 0.26; what `skimage.data` would
# have to download is not listed, nor are drawings, masks and the second picture of the stereo pair.
PHOTOGRAPHS = {
    "astronaut.png": 4,
    "chelsea.png": 4,
    "coffee.png": 4,
    "motorcycle_left.png": 4,
    "rocket.jpg": 3,
    "camera.png": 2,
    "brick.png": 2,
    "grass.png": 2,
    "gravel.png": 2,
    "coins.png": 2,
    "clock_motion.png": 1,
    "hubble_deep_field.jpg": 1,
    "ihc.png": 1,
    "cell.png": 1,
    "moon.png": 1,
    "page.png": 1,
    "retina.jpg": 1,
}
_LONGEST_SIDE = 800


@dataclass(frozen=True)
class ImagePyramid:
    """A picture at its own resolution and at halves of it, so that reduced views do not alias.

    Attributes:
        levels: RGB pictures, each half as large as the one before.
        is_gray: Whether it has no colour.
    """

    levels: tuple[Image.Image, ...]
    is_gray: bool

    @classmethod
    def from_image(cls, image: Image.Image, is_gray: bool) -> "ImagePyramid":
        """Build the reduced levels, down to 64 pixels."""
        levels = [image.convert("RGB")]
        while min(levels[-1].size) >= 128:
            levels.append(levels[-1].reduce(2))
        return cls(tuple(levels), is_gray)

    def view(self, size: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
        """Return a random view: position, zoom, aspect ratio, mirror image and rotation differ.

        Args:
            size: Height and width of the view, in pixels.
            generator: Source of the random numbers.

        Returns:
            ``(H, W, 3)`` ``uint8``.
        """
        height, width = size
        angle = generator.normal(0, 0.1) if generator.random() < 0.6 else generator.uniform(0, 2 * math.pi)
        cos, sin = math.cos(angle), math.sin(angle)
        stretch = math.exp(generator.uniform(-0.2, 0.2))
        # Width and height, in pixels of the view, of the upright box around the rotated view
        box = (
            abs(cos) * width * stretch + abs(sin) * height / stretch,
            abs(sin) * width * stretch + abs(cos) * height / stretch,
        )
        full = self.levels[0].size
        zoom = min(full[0] / box[0], full[1] / box[1]) * math.exp(generator.uniform(math.log(0.35), 0))
        level = min(max(round(math.log2(max(zoom, 1e-6))), 0), len(self.levels) - 1)
        source = self.levels[level]
        zoom *= min(source.size[0] / full[0], source.size[1] / full[1])  # they differ where a side was odd
        mirror = -1 if generator.random() < 0.5 else 1
        a, b = zoom * stretch * cos * mirror, -zoom / stretch * sin
        d, e = zoom * stretch * sin * mirror, zoom / stretch * cos
        room = [max(source.size[i] - zoom * box[i], 0) for i in (0, 1)]
        centre = [zoom * box[i] / 2 + generator.uniform(0, 1) * room[i] for i in (0, 1)]
        offset = (centre[0] - (a * width + b * height) / 2, centre[1] - (d * width + e * height) / 2)
        view = source.transform(
            (width, height),
            Image.Transform.AFFINE,
            (a, b, offset[0], d, e, offset[1]),
            Image.Resampling.BILINEAR,
        )
        return np.asarray(view)


def installed_photographs() -> dict[str, ImagePyramid]:
    """Read the photographs of ``PHOTOGRAPHS`` that are installed; nothing is ever downloaded."""
    package = find_spec("skimage")  # found, not imported
    if package is None or package.origin is None:
        return {}
    folder = Path(package.origin).parent / "data"
    return {name: _read(folder / name) for name in PHOTOGRAPHS if (folder / name).is_file()}


def _read(path: Path) -> ImagePyramid:
    with Image.open(path) as image:
        is_gray = image.mode == "L"
        picture = image.convert("RGB")
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.BILINEAR)
    return ImagePyramid.from_image(picture, is_gray)
