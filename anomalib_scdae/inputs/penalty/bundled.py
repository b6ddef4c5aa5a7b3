# SPDX-License-Identifier: Apache-2.0
"""Penalty images that need no files: views of scikit-image's photographs among procedural textures."""

import math
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import torch
from PIL import Image

from anomalib_scdae.inputs.penalty.base import PenaltyImages, is_grayscale, random_generator
from anomalib_scdae.inputs.penalty.natural_textures import MAX_LEAVES, dead_leaves, spectral_noise
from anomalib_scdae.inputs.penalty.photographs import PHOTOGRAPHS, ImagePyramid, installed_photographs

_SETUP, _IMAGE = 0, 1  # two independent streams of random numbers
_LUMINANCE = np.array([0.2989, 0.587, 0.114], dtype=np.float32)  # as torchvision's RandomGrayscale
_NOISE_TILES = 8
_NOISE_SIDE = 512
_PALETTES = 64
_NOISE_SCALE = 40.0  # of the 8-bit noise tiles: grey levels a standard deviation


class BundledImages(PenaltyImages):
    """An unending sequence of pictures composed of random views of photographs, dead leaves and 1/f noise.

    Half of the pictures are a view of one photograph; the others are leaves cut from several views and noises, or two
    views that give way to each other along a noise. Colours are varied, and taken from the photographs where a picture
    has none. Without scikit-image's photographs the textures stand alone.

    Args:
        image_size: Height and width of the images, in pixels.
        seed: Any integer >= 0.
    """

    def __init__(self, image_size: tuple[int, int] = (256, 256), seed: int = 0) -> None:
        photographs = installed_photographs()
        super().__init__(_describe(len(photographs)), image_size, seed)
        generator = random_generator(seed, _SETUP)
        self._photographs = list(photographs.values())
        weights = np.array([PHOTOGRAPHS[name] for name in photographs], dtype=float)
        self._cumulative = np.cumsum(weights / weights.sum()) if photographs else weights
        self._noises = [_noise_tile(generator) for _ in range(_NOISE_TILES)]
        self._palettes = [self._palette(generator) for _ in range(_PALETTES)]

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return image ``index`` (any integer >= 0) as ``(3, H, W)`` ``float32`` in [0, 1]."""
        if index < 0:
            msg = f"index {index} is negative"
            raise IndexError(msg)
        generator = random_generator(self.seed, _IMAGE, index)
        kind = generator.random()
        if kind < 0.5:
            image = self._view(generator)
        elif kind < 0.8:
            image = self._collage(generator)
        else:
            image = self._blend(generator)
        if is_grayscale(generator):
            image = np.repeat((image @ _LUMINANCE)[..., None], 3, axis=-1)
        np.clip(image, 0, 1, out=image)
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))

    def _view(self, generator: np.random.Generator) -> np.ndarray:
        """Return a view of a photograph, or of a texture where there are none: ``(H, W, 3)``, about [0, 1]."""
        if not self._photographs:
            return self._texture(generator)
        picture = self._photographs[int(np.searchsorted(self._cumulative, generator.random()))]
        view = picture.view(self.image_size, generator).astype(np.float32) / 255
        if picture.is_gray and generator.random() < 0.7:
            view = self._tint(view, generator)
        return _vary(view, generator)

    def _texture(self, generator: np.random.Generator) -> np.ndarray:
        """Return coloured noise: clouds, veins, bands or patches of two colours."""
        noise = self._noise(generator)
        kind = generator.integers(4)
        if kind == 1:
            noise = 2 * np.abs(noise) - 1.5
        elif kind == 2:
            noise = 1.4 * np.sin(noise * generator.uniform(2, 8))
        elif kind == 3:
            noise = 1.5 * np.tanh((noise - generator.normal(0, 0.5)) * generator.uniform(2, 12))
        mean, root = self._palettes[generator.integers(_PALETTES)]
        return noise @ root + mean

    def _collage(self, generator: np.random.Generator) -> np.ndarray:
        """Return dead leaves, each a piece of a view or a texture with a brightness and a hue of its own."""
        height = self.image_size[0]
        count = int(math.exp(generator.uniform(math.log(4), math.log(MAX_LEAVES))))
        leaf = dead_leaves(generator, self.image_size, count)
        layers = np.concatenate([self._view(generator), self._texture(generator), self._view(generator)])
        place = _places(generator, leaf, count, len(layers) // height)
        image = np.take(layers.reshape(-1, 3), place, axis=0)
        gain = generator.uniform(0.5, 1.3, (count + 1, 1)) * generator.uniform(0.85, 1.15, (count + 1, 3))
        image *= np.take(gain.astype(np.float32), leaf, axis=0)
        image += np.take(generator.normal(0, 0.08, (count + 1, 3)).astype(np.float32), leaf, axis=0)
        return _smooth(image)

    def _blend(self, generator: np.random.Generator) -> np.ndarray:
        """Return two views, or a view and a texture, that give way to each other along a noise."""
        first = self._view(generator)
        second = self._view(generator) if generator.random() < 0.5 else self._texture(generator)
        noise = self._noise(generator)[..., :1]
        weight = 0.5 + 0.5 * np.tanh((noise - generator.normal(0, 0.4)) * generator.uniform(0.5, 6))
        return first + weight * (second - first)

    def _noise(self, generator: np.random.Generator) -> np.ndarray:
        tile = self._noises[generator.integers(_NOISE_TILES)]
        return (tile.view(self.image_size, generator).astype(np.float32) - 127.5) / _NOISE_SCALE

    def _tint(self, view: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Colour a gray view along the main colour axis of a palette."""
        mean, root = self._palettes[generator.integers(_PALETTES)]
        gray = view[..., :1]
        return (gray - gray.mean()) / max(float(gray.std()), 0.05) * root[0] + mean

    def _palette(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return mean colour and colour axes (rows, largest first) of a view of a photograph in colour."""
        coloured = [picture for picture in self._photographs if not picture.is_gray]
        if not coloured:
            mean = generator.uniform(0.3, 0.6) + generator.normal(0, 0.1, 3)
            root = np.diag([0.2, 0.06, 0.03]) @ _COLOUR_AXES
            return mean.astype(np.float32), root.astype(np.float32)
        view = coloured[generator.integers(len(coloured))].view((32, 32), generator).reshape(-1, 3) / 255
        values, axes = np.linalg.eigh(np.cov(view.T))
        root = np.sqrt(np.maximum(values, 1e-4))[::-1, None] * axes.T[::-1]
        root[0] *= np.sign(root[0].sum()) or 1
        return view.mean(axis=0).astype(np.float32), root.astype(np.float32)


# Light and dark, blue and yellow, red and green: the principal axes of natural colours (Ruderman et al., 1998)
_COLOUR_AXES = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])


def _describe(photographs: int) -> str:
    try:
        release = version("scikit-image")
    except PackageNotFoundError:
        release = "?"
    return f"bundled ({photographs} photographs of scikit-image {release} and procedural textures)"


def _noise_tile(generator: np.random.Generator) -> ImagePyramid:
    noise = spectral_noise(generator, _NOISE_SIDE, generator.uniform(0.8, 1.8), math.exp(generator.uniform(-0.7, 0.7)))
    levels = np.clip(noise * _NOISE_SCALE + 127.5, 0, 255).astype(np.uint8)
    return ImagePyramid.from_image(Image.fromarray(levels), is_gray=False)


def _vary(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Vary saturation, hue, white balance, contrast and brightness of an ``(H, W, 3)`` image by one linear map."""
    saturation, hue = generator.uniform(0.3, 1.5), generator.normal(0, 0.35)
    cos, sin = saturation * math.cos(hue), saturation * math.sin(hue)
    turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    gain = generator.uniform(0.7, 1.25) * generator.uniform(0.9, 1.1, 3)
    matrix = (_COLOUR_AXES.T @ turn @ _COLOUR_AXES * gain).astype(np.float32)
    return image @ matrix + np.float32(generator.normal(0, 0.05))


def _places(generator: np.random.Generator, leaf: np.ndarray, count: int, layers: int) -> np.ndarray:
    """Return, for each pixel, which pixel of the stacked layers it shows.

    A leaf shows one layer, shifted by a random distance of its own; where no leaf is, the first layer shows unshifted.
    """
    height, width = leaf.shape
    down, right, layer = generator.integers([[height], [width], [layers]], size=(3, count + 1), dtype=np.int32)
    down[0] = right[0] = layer[0] = 0
    rows = (np.arange(height, dtype=np.int32)[:, None] + down[leaf]) % height
    columns = (np.arange(width, dtype=np.int32) + right[leaf]) % width
    return (layer[leaf] * height + rows) * width + columns


def _smooth(image: np.ndarray) -> np.ndarray:
    """Soften an ``(H, W, 3)`` image with the binomial filter [1, 2, 1] / 4: drawn edges are sharper than a lens."""
    rows = image[:-1] + image[1:]
    rows = rows[:-1] + rows[1:]
    columns = rows[:, :-1] + rows[:, 1:]
    image[1:-1, 1:-1] = (columns[:, :-1] + columns[:, 1:]) / 16
    return image
