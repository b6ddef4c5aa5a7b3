# SPDX-License-Identifier: Apache-2.0
"""The sub-command ``anomalib-scdae synthesize``."""

from pathlib import Path

from anomalib_scdae.data.synthetic import CATEGORIES
from anomalib_scdae.data.synthetic.contact_sheet import write_contact_sheet
from anomalib_scdae.data.synthetic.recipe import Recipe
from anomalib_scdae.data.synthetic.writer import prepare


def synthesize(
    root: Path = Path("./datasets/SyntheticLOCO"),
    categories: list[str] | None = None,
    preset: str = "full",
    train_images: int | None = None,
    validation_images: int | None = None,
    good_images: int | None = None,
    logical_images: int | None = None,
    structural_images: int | None = None,
    long_side: int = 512,
    seed: int = 0,
    difficulty: float = 1.0,
    processes: int | None = None,
    contact_sheets: bool = False,
) -> None:
    """Render SyntheticLOCO: five products with logical and structural anomalies, in the layout of MVTec LOCO.

    Args:
        root: Folder of the dataset; each category gets a folder in it.
        categories: Which of breakfast_box, juice_bottle, pushpins, screw_bag and splicing_connectors; all if left out.
        preset: Numbers of images: "full" as in MVTec LOCO, or "small" for a first look.
        train_images: Number of normal training images, instead of the preset's.
        validation_images: Number of normal validation images, instead of the preset's.
        good_images: Number of normal test images, instead of the preset's.
        logical_images: Number of test images with a logical anomaly, instead of the preset's.
        structural_images: Number of test images with a structural anomaly, instead of the preset's.
        long_side: Longer side of the images in pixels.
        seed: Another seed gives other images of the same kind.
        difficulty: From 0 (poses, parts and light never vary) to 1 (they vary as far as the rules allow).
        processes: How many processes to use; as many as there are cores if left out.
        contact_sheets: Whether to put a picture of each category's images and ground truth beside its folder.

    Raises:
        UserError: If a value makes no sense, or a category's folder holds something else.
    """
    recipes = [
        Recipe.from_preset(
            category,
            preset,
            train=train_images,
            validation=validation_images,
            good=good_images,
            logical=logical_images,
            structural=structural_images,
            long_side=long_side,
            seed=seed,
            difficulty=difficulty,
        )
        for category in categories or CATEGORIES
    ]
    for recipe in recipes:
        folder = prepare(recipe, root, processes)
        print(f"{recipe.category}: {folder}")
        if contact_sheets:
            print(f"{recipe.category}: {write_contact_sheet(folder, root / f'{recipe.category}.webp')}")
