# SPDX-License-Identifier: Apache-2.0
"""Files to train on: made-up pictures with as much detail as photographs, so that decoding takes as long."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from anomalib_scdae.inputs.penalty.natural_textures import MAX_LEAVES, dead_leaves

CATEGORY = "part"
#: Different pictures; the others are links to them, which a training reads as it reads any file.
DISTINCT = 6
#: Height and width of Imagenette's images: short side 375 for most.
PENALTY_SIZE = (375, 500)


def write_dataset(root: Path, size: tuple[int, int], train: int, validation: int) -> Path:
    """Write a category of PNG files in the layout of MVTec LOCO.

    Args:
        root: Gets the category's folder.
        size: Height and width of the images.
        train: Number of training images.
        validation: Number of normal validation images.

    Returns:
        ``root``.
    """
    folder = root / CATEGORY
    pictures = [folder / "train/good" / f"{index:03}.png" for index in range(min(DISTINCT, train))]
    for index, path in enumerate(pictures):
        _save(path, picture(index, size))
    links = [folder / "train/good" / f"{index:03}.png" for index in range(len(pictures), train)]
    links += [folder / "validation/good" / f"{index:03}.png" for index in range(validation)]
    links += [folder / "test" / kind / "000.png" for kind in ("good", "logical_anomalies")]
    for index, path in enumerate(links):
        _link(path, pictures[index % len(pictures)])
    mask = np.zeros(size, dtype=np.uint8)
    mask[: size[0] // 4, : size[1] // 4] = 255
    _save(folder / "ground_truth/logical_anomalies/000/000.png", mask)
    return root


def write_penalty_images(folder: Path, count: int = 48) -> Path:
    """Write JPEG files in the layout of Imagenette, one folder for each class, and return ``folder``."""
    for index in range(count):
        _save(folder / "train" / f"class_{index % 10}" / f"{index:03}.jpg", picture(1000 + index, PENALTY_SIZE))
    return folder


def picture(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Draw leaves in random colours, with the noise of a camera: ``(H, W, 3)`` ``uint8``."""
    generator = np.random.default_rng(seed)
    palette = generator.integers(20, 235, (MAX_LEAVES + 1, 3), dtype=np.int16)
    colours = palette[dead_leaves(generator, size, MAX_LEAVES)]
    noise = generator.normal(0, 3, (*size, 3)).astype(np.int16)
    return (colours + noise).clip(0, 255).astype(np.uint8)


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=92)


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(target, path)
    except OSError:  # a file system without hard links
        path.write_bytes(target.read_bytes())
