# SPDX-License-Identifier: Apache-2.0
"""Penalty images from a folder, prepared as EfficientAD prepares ImageNet."""

import logging
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from anomalib_scdae.errors import UserError
from anomalib_scdae.image_files import IMAGE_SUFFIXES, iterate_images, opened
from anomalib_scdae.inputs.penalty.base import PenaltyImages, is_grayscale, random_generator

logger = logging.getLogger(__name__)

_ORDER, _IMAGE = 0, 1  # two independent streams of random numbers
_MAX_UNREADABLE_IN_A_ROW = 100


class FolderImages(PenaltyImages):
    """Images of a folder, flat or nested, in an order that is shuffled anew for every pass over them.

    As in Anomalib's EfficientAd, an image is resized to twice the image size, turned gray with probability 0.3 and cut
    to its centre. A file that cannot be read is replaced by the next one of the pass, with a warning that names it: a
    training of hours is worth more than one picture.

    Args:
        folder: Top of the tree; ``.jpg``, ``.png`` and so on, in either case; hidden files and folders are left out.
        image_size: Height and width of the images, in pixels.
        seed: Any integer >= 0.

    Raises:
        UserError: If the folder is missing or holds no image that can be read.
    """

    def __init__(
        self,
        folder: str | Path,
        image_size: tuple[int, int] = (256, 256),
        seed: int = 0,
    ) -> None:
        folder = Path(folder).expanduser()
        if not folder.is_dir():
            msg = f"penalty image folder {folder} does not exist: pass 'auto', 'bundled', 'imagenette' or a folder"
            raise UserError(msg)
        self.folder = folder
        self.files = sorted(iterate_images(folder))
        if not self.files:
            msg = (
                f"penalty image folder {folder} holds no images ({', '.join(IMAGE_SUFFIXES)}): name a folder of "
                "natural images, or 'bundled'"
            )
            raise UserError(msg)
        super().__init__(f"{folder} ({len(self.files)} images)", image_size, seed)
        self._unreadable: set[str] = set()
        self[0]  # a folder of unreadable files is found now, not after the first minutes of training

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return image ``index`` (any integer >= 0) as ``(3, H, W)`` ``float32`` in [0, 1].

        Raises:
            UserError: If the file and the ones that stand in for it cannot be read.
        """
        if index < 0:
            msg = f"index {index} is negative"
            raise IndexError(msg)
        epoch, position = divmod(index, len(self.files))
        order = _permutation(len(self.files), self.seed, epoch)
        attempts = min(len(self.files), _MAX_UNREADABLE_IN_A_ROW)
        for attempt in range(attempts):
            file = self.files[order[(position + attempt) % len(order)]]
            try:
                return self._load(file, index)
            except UserError as error:
                self._report(file, error)
        msg = (
            f"none of {attempts} files in a row in penalty image folder {self.folder} can be read, the last: {file}; "
            "replace or remove them"
        )
        raise UserError(msg)

    def _load(self, file: str, index: int) -> torch.Tensor:
        """Read one file and transform it like EfficientAd's ``Resize``, ``RandomGrayscale``, ``CenterCrop``."""
        height, width = self.image_size
        with opened(self.folder / file) as picture:
            picture.draft("RGB", (2 * width, 2 * height))  # a JPEG far larger than that is decoded at a fraction
            image = picture.convert("RGB")
        image = F.center_crop(F.resize(image, [2 * height, 2 * width]), [height, width])
        if is_grayscale(random_generator(self.seed, _IMAGE, index)):
            image = F.rgb_to_grayscale(image, num_output_channels=3)
        # As torchvision's `ToTensor`, which would start PyTorch's threads in every thread.
        pixels = np.asarray(image, np.float32) / 255
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))

    def _report(self, file: str, error: Exception) -> None:
        """Warn about an unreadable file, once."""
        if file not in self._unreadable:
            self._unreadable.add(file)
            logger.warning("A penalty image is skipped: %s", error)


@lru_cache(maxsize=4)  # a batch may reach over the end of a pass
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of the files in pass ``epoch``."""
    return random_generator(seed, _ORDER, epoch).permutation(count)
