# SPDX-License-Identifier: Apache-2.0
"""From the value of ``penalty_images`` to the images."""

import logging
from pathlib import Path

from anomalib.models.image.efficient_ad.lightning_model import IMAGENETTE_DOWNLOAD_INFO
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from anomalib_scdae.errors import UserError
from anomalib_scdae.image_files import iterate_images
from anomalib_scdae.inputs.download import Archive, DownloadError, fetch
from anomalib_scdae.inputs.penalty.base import PenaltyImages
from anomalib_scdae.inputs.penalty.bundled import BundledImages
from anomalib_scdae.inputs.penalty.folder import FolderImages

logger = logging.getLogger(__name__)

IMAGENETTE_FOLDER = Path("datasets/imagenette")  # the default of EfficientAd's `imagenet_dir`


def load_penalty_images(
    penalty_images: str = "auto",
    image_size: tuple[int, int] = (256, 256),
    seed: int = 0,
) -> PenaltyImages:
    """Find the images that ``penalty_images`` names.

    Args:
        penalty_images: ``"imagenette"`` for the images of Anomalib's EfficientAd, which are downloaded (1.5 GB) to
            where EfficientAd keeps them if they are not there yet; ``"bundled"`` for ones that need no files; a folder
            of images; or ``"auto"`` for Imagenette where it is present, else the bundled ones. ``"auto"`` downloads
            nothing.
        image_size: Height and width of the images, in pixels.
        seed: Any integer >= 0.

    Returns:
        The images.

    Raises:
        UserError: If they are missing.
    """
    if penalty_images == "bundled":
        return BundledImages(image_size, seed)
    if penalty_images == "imagenette":
        return _load_imagenette(image_size, seed)
    if penalty_images == "auto":
        if imagenette().is_present():
            return _load_imagenette(image_size, seed)
        _tell_bundled()
        return BundledImages(image_size, seed)
    return FolderImages(penalty_images, image_size, seed)


def imagenette() -> Archive:
    """Return Imagenette and the place where Anomalib's EfficientAd keeps it by default."""
    return Archive(
        info=IMAGENETTE_DOWNLOAD_INFO,
        root=IMAGENETTE_FOLDER,
        folder=IMAGENETTE_FOLDER,
        is_complete=lambda folder: any(True for _ in iterate_images(folder)),
    )


def _load_imagenette(image_size: tuple[int, int], seed: int) -> PenaltyImages:
    try:
        folder = fetch(imagenette())
    except DownloadError as error:
        msg = f"penalty images 'imagenette' are not available: {error}; use 'bundled' or a folder of images instead"
        raise UserError(msg) from error
    images = FolderImages(folder, image_size, seed)
    images.source = f"imagenette ({folder.resolve()}, {len(images.files)} images)"
    return images


@rank_zero_only
def _tell_bundled() -> None:
    logger.info(
        "Penalty images: bundled, since there is no Imagenette in %s. --model.penalty_images imagenette downloads it "
        "(1.5 GB); the name of a folder of photographs uses these.",
        IMAGENETTE_FOLDER.resolve(),
    )
