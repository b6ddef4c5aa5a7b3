# SPDX-License-Identifier: Apache-2.0
"""SyntheticLOCO, a datamodule with logical anomalies that anyone can have in a minute."""

from pathlib import Path

from anomalib.data.datamodules.image.mvtec_loco import MVTecLOCO
from anomalib.data.utils import TestSplitMode, ValSplitMode
from anomalib.utils.path import resolve_dataset_root
from torchvision.transforms.v2 import Transform

from anomalib_scdae.data.synthetic.recipe import Recipe
from anomalib_scdae.data.synthetic.writer import prepare


class SyntheticLOCO(MVTecLOCO):
    """Five rendered products with the essence of MVTec LOCO: each part looks normal while the whole breaks a rule.

    The first use renders the category, in about a minute on two cores, into the layout of MVTec LOCO; later uses
    read it. The same arguments give the same images, byte for byte. Nothing is downloaded.

    Args:
        root: Folder of the dataset; ``None``: Anomalib's datasets folder.
        category: ``"breakfast_box"``, ``"juice_bottle"``, ``"pushpins"``, ``"screw_bag"`` or
            ``"splicing_connectors"``.
        preset: Numbers of images: ``"full"``, close to MVTec LOCO's (350 for training, 60 for validation, 3 x 100 for
            testing), or ``"small"`` for trying things out.
        train_images: Number of normal training images, instead of the preset's.
        validation_images: Number of normal validation images, instead of the preset's.
        good_images: Number of normal test images, instead of the preset's.
        logical_images: Number of test images with a logical anomaly, instead of the preset's.
        structural_images: Number of test images with a structural anomaly, instead of the preset's.
        long_side: Longer side of the images in pixels; the shorter one follows from the category.
        difficulty: From 0 (poses, parts and light never vary) to 1 (they vary as far as the rules allow).
        seed: Another seed gives other images of the same kind. It also seeds random splits, where a split mode asks for
            them.
        train_batch_size: Images in a training batch. Unlike MVTecLOCO's 32, the default is what EfficientAD and the
            paper use.
        eval_batch_size: Images in a validation or test batch.
        num_workers: Processes that load images.
        train_augmentations: Augmentations of training images.
        val_augmentations: Augmentations of validation images.
        test_augmentations: Augmentations of test images.
        augmentations: Augmentations where none is given for the stage.
        test_split_mode: How to make the test set.
        val_split_mode: How to make the validation set.
        test_split_ratio: Share of images for testing, where the split mode draws them.
        val_split_ratio: Share of images for validation, where the split mode draws them.

    Raises:
        UserError: If an argument makes no sense; in ``prepare_data``, if the category's folder holds anything else.

    Example:
        >>> datamodule = SyntheticLOCO(category="pushpins")
        >>> datamodule.prepare_data()  # doctest: +SKIP
        >>> datamodule.setup()  # doctest: +SKIP
    """

    def __init__(
        self,
        root: Path | str | None = "./datasets/SyntheticLOCO",
        category: str = "breakfast_box",
        preset: str = "full",
        train_images: int | None = None,
        validation_images: int | None = None,
        good_images: int | None = None,
        logical_images: int | None = None,
        structural_images: int | None = None,
        long_side: int = 512,
        difficulty: float = 1.0,
        seed: int = 0,
        train_batch_size: int = 1,
        eval_batch_size: int = 8,
        num_workers: int = 2,
        train_augmentations: Transform | None = None,
        val_augmentations: Transform | None = None,
        test_augmentations: Transform | None = None,
        augmentations: Transform | None = None,
        test_split_mode: TestSplitMode | str = TestSplitMode.FROM_DIR,
        val_split_mode: ValSplitMode | str = ValSplitMode.FROM_DIR,
        test_split_ratio: float | None = None,
        val_split_ratio: float | None = None,
    ) -> None:
        super().__init__(
            root=resolve_dataset_root(root, "SyntheticLOCO"),
            category=category,
            train_batch_size=train_batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            train_augmentations=train_augmentations,
            val_augmentations=val_augmentations,
            test_augmentations=test_augmentations,
            augmentations=augmentations,
            test_split_mode=test_split_mode,
            val_split_mode=val_split_mode,
            test_split_ratio=test_split_ratio,
            val_split_ratio=val_split_ratio,
            seed=seed,
        )
        self.recipe = Recipe.from_preset(
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

    @classmethod
    def version_of(cls, category: str) -> int:
        """Return how a category is rendered: the same arguments give the same images while this number stays.

        Raises:
            UserError: If there is no such category.
        """
        return Recipe(category).version

    def prepare_data(self) -> None:
        """Render the category, unless it is there already."""
        prepare(self.recipe, self.root)

    def _setup(self, _stage: str | None = None) -> None:
        """Set up the datasets; a category that nobody has prepared is rendered first."""
        self.prepare_data()
        super()._setup(_stage)
