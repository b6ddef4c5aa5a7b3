# SPDX-License-Identifier: Apache-2.0
"""Renders the images of a category and their ground truth, one at a time.

Each image has a random generator of its own, seeded by the recipe's seed, the category, the split and the image's
number: the bytes do not depend on how the work is divided.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from anomalib_scdae.data.synthetic import CATEGORIES, load_category
from anomalib_scdae.data.synthetic.category import Category
from anomalib_scdae.data.synthetic.recipe import Recipe
from anomalib_scdae.data.synthetic.render import Canvas, photograph
from anomalib_scdae.data.synthetic.scene import Fault, Rng, Scene, draw_seed

#: Folders of the images; a folder's place here is part of its images' seeds.
FOLDERS = (
    "train/good",
    "validation/good",
    "test/good",
    "test/logical_anomalies",
    "test/structural_anomalies",
)
_LOGICAL, _STRUCTURAL = FOLDERS[3:]
#: Damage that changes less than this (squared scene units) cannot be seen and is drawn again.
_LEAST_DAMAGE = 250.0
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Job:
    """One image to render: its folder and its number there."""

    folder: str
    index: int


@dataclass(frozen=True)
class Sample:
    """A rendered image.

    Attributes:
        scene: What it shows.
        image: RGB, 8 bits, ``(H, W, 3)``.
        masks: For each defect its name and where it is, ``(H, W)``; none for a normal image.
    """

    scene: Scene
    image: npt.NDArray[np.uint8]
    masks: tuple[tuple[str, Mask], ...] = ()


def jobs(recipe: Recipe) -> list[Job]:
    """All images of a recipe."""
    counts = (recipe.train, recipe.validation, recipe.good, recipe.logical, recipe.structural)
    return [Job(folder, index) for folder, count in zip(FOLDERS, counts, strict=True) for index in range(count)]


def image_size(category: Category, long_side: int) -> tuple[int, int]:
    """Width and height in pixels of a category's images."""
    scale = long_side / max(category.size)
    return round(category.size[0] * scale), round(category.size[1] * scale)


def describe(recipe: Recipe, job: Job) -> tuple[Scene, tuple[Fault, ...], Rng]:
    """Draw the scene of one image, without a pixel.

    Returns:
        The scene, its logical faults, and the generator for everything that comes after.
    """
    category = load_category(recipe.category)
    key = (CATEGORIES.index(recipe.category), FOLDERS.index(job.folder), job.index)
    rng = np.random.default_rng(np.random.SeedSequence(recipe.seed, spawn_key=key))
    scene = category.sample(rng, recipe.difficulty)
    if job.folder == _LOGICAL:
        defect = category.logical[job.index % len(category.logical)]
        scene, faults = defect.apply(scene, rng)
        return scene, faults, rng
    if job.folder == _STRUCTURAL:
        scene = category.damaged(scene, category.structural[job.index % len(category.structural)], rng)
    return scene, (), rng


def render(recipe: Recipe, job: Job) -> Sample:
    """Render one image with its ground truth."""
    category = load_category(recipe.category)
    size = image_size(category, recipe.long_side)
    scene, faults, rng = describe(recipe, job)
    if scene.damage is not None:
        return _render_damaged(category, size, scene, rng)
    canvas = category.render(scene, size)
    masks = tuple((fault.defect, canvas.mask(fault.regions)) for fault in faults)
    return Sample(scene, photograph(canvas, rng), masks)


def _render_damaged(category: Category, size: tuple[int, int], scene: Scene, rng: Rng) -> Sample:
    """Render a damaged scene; the mask is where its surface differs from the undamaged one's."""
    whole = category.render(replace(scene, damage=None), size)
    for _ in range(20):
        damage = scene.damage
        assert damage is not None  # noqa: S101 - only called with one
        defect = category.defect_of(damage)
        if defect.blemish is None:
            canvas = category.render(scene, size)
        else:
            canvas = deepcopy(whole)
            category.mar(scene, canvas)
        mask = _difference(canvas, whole)
        if defect.solid:
            mask = _filled(mask)
        if mask.sum() * canvas.unit**2 >= _LEAST_DAMAGE:
            return Sample(scene, photograph(canvas, rng), ((damage.name, mask),))
        # Hidden by another part, or at the edge of what can be seen: the same fate at another place.
        scene = replace(scene, damage=replace(damage, seed=draw_seed(rng)))
    msg = f"{category.name}: {scene.damage} changes nothing that can be seen"
    raise RuntimeError(msg)


def _difference(one: Canvas, other: Canvas) -> Mask:
    """Where two canvases show different surfaces, with small gaps closed and a margin of one pixel."""
    limits = np.array([0.02] * 3 + [0.15] * 2 + [0.1, np.inf, 0.2], np.float32)[:, None, None]
    differs = (np.abs(one.surface[:8] - other.surface[:8]) > limits).any(axis=0)
    differs |= (np.abs(one.glow - other.glow) > 0.03).any(axis=0)
    radius = max(1, round(max(one.shape) / 256))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    closed = cv2.morphologyEx(np.pad(differs.astype(np.uint8), radius), cv2.MORPH_CLOSE, disk)
    return cv2.dilate(closed, disk)[radius:-radius, radius:-radius].astype(bool)


def _filled(mask: Mask) -> Mask:
    """Close the holes of a mask."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED).astype(bool)


def defects_config(category: Category, long_side: int) -> list[dict[str, Any]]:
    """Describe the category's defects the way MVTec LOCO's ``defects_config.json`` does.

    Args:
        category: The category.
        long_side: Longer side of the images in pixels.

    Returns:
        For each defect its name, its pixel value in the ground truth, and its saturation threshold: pixels, or a share
        of the annotated region if ``relative_saturation``.
    """
    scale = (long_side / max(category.size)) ** 2
    saturations = {defect.name: defect.saturation for defect in category.logical}
    names = [*saturations, *(defect.name for defect in category.structural)]
    return [
        {
            "defect_name": name,
            "pixel_value": 255 - number,
            "saturation_threshold": 1.0 if saturations.get(name) is None else round((saturations[name] or 0) * scale),
            "relative_saturation": saturations.get(name) is None,
        }
        for number, name in enumerate(names)
    ]


def write(recipe: Recipe, job: Job, folder: Path) -> None:
    """Render one image and write it, and its ground truth, below ``folder``."""
    sample = render(recipe, job)
    # Width for the largest number keeps the files in order: MVTecLOCO pairs images and masks by sorted names.
    name = f"{job.index:03d}" if len(jobs(recipe)) <= 1000 else f"{job.index:06d}"
    _write_png(folder / job.folder / f"{name}.png", cv2.cvtColor(sample.image, cv2.COLOR_RGB2BGR))
    values = {
        d["defect_name"]: d["pixel_value"] for d in defects_config(load_category(recipe.category), recipe.long_side)
    }
    kind = job.folder.split("/")[1]
    for channel, (defect, mask) in enumerate(sample.masks):
        path = folder / "ground_truth" / kind / name / f"{channel:03d}.png"
        _write_png(path, mask * np.uint8(values[defect]))


def _write_png(path: Path, pixels: npt.NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", pixels, _PNG)
    path.write_bytes(data.tobytes())
