# SPDX-License-Identifier: Apache-2.0
"""Small data sets in the benchmarks' layouts, written to disk for a test."""

import json

import numpy as np
from PIL import Image

CONFIG = [
    {"defect_name": "missing", "pixel_value": 200, "saturation_threshold": 30, "relative_saturation": False},
    {"defect_name": "scratch", "pixel_value": 255, "saturation_threshold": 0.5, "relative_saturation": True},
]
TYPES = ("logical_anomalies", "structural_anomalies")


def write_image(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def rectangle(random, shape):
    """A mask of one rectangle."""
    height, width = (int(random.integers(side // 8, side // 2)) for side in shape)
    top, left = int(random.integers(0, shape[0] - height)), int(random.integers(0, shape[1] - width))
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + height, left : left + width] = True
    return mask


def make_category(root, *, types=TYPES, images=4, shape=(48, 64), channels=3, seed=0):
    """Write ``root`` in the layout of MVTec LOCO AD, with several overlapping channels to an image."""
    random = np.random.default_rng(seed)

    def picture(marks=()):
        array = random.integers(90, 110, (*shape, 3), dtype=np.uint8)
        for mask in marks:
            array[mask] = 255 - array[mask] // 2
        return array

    for split in ("train", "validation", "test"):
        for index in range(images):
            write_image(root / split / "good" / f"{index:03}.png", picture())
    for kind in types:
        value = 200 if kind.startswith("logical") else 255
        for index in range(images):
            masks = [rectangle(random, shape) for _ in range(channels)]
            write_image(root / "test" / kind / f"{index:03}.png", picture(masks[:1]))
            for channel, mask in enumerate(masks):
                file = root / "ground_truth" / kind / f"{index:03}" / f"{channel:03}.png"
                write_image(file, (mask * value).astype(np.uint8))
    (root / "defects_config.json").write_text(json.dumps(CONFIG))
    return root
