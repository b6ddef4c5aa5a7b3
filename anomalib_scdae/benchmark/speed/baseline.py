# SPDX-License-Identifier: Apache-2.0
"""The two models that are timed: Anomalib's EfficientAd exactly as shipped, and SCDAE with its default arguments."""

from pathlib import Path
from typing import Literal

import torch
from anomalib.models import AnomalibModule, EfficientAd

from anomalib_scdae.inputs.teacher import load_teacher
from anomalib_scdae.model.lightning_model import SCDAE

ModelName = Literal["SCDAE", "EfficientAd"]


class OfflineEfficientAd(EfficientAd):
    """Anomalib's EfficientAd, with the bundled teacher in place of the one that it would download.

    Its penalty images are read from ``imagenet_dir``, which must be there already, in the layout of Imagenette.
    """

    def prepare_pretrained_model(self) -> None:
        """Load the bundled teacher."""
        self.model.teacher.load_state_dict(load_teacher("bundled").state_dict)

    def prepare_imagenette_data(self, image_size: tuple[int, int] | torch.Size) -> None:
        """Read the images at hand; without them, EfficientAd would download 1.5 GB."""
        if not self.imagenet_dir.is_dir():
            msg = f"There are no penalty images in {self.imagenet_dir}."
            raise FileNotFoundError(msg)
        super().prepare_imagenette_data(image_size)


def build_model(name: ModelName, penalty_folder: Path) -> AnomalibModule:
    """Build a model that needs no network.

    Args:
        name: Which one. ``EfficientAd`` reads its penalty images from ``penalty_folder``, as it would read Imagenette;
            ``SCDAE`` has the ones that come with the package. Both have the bundled teacher.
        penalty_folder: Images in folders, one for each class.
    """
    if name == "SCDAE":
        return SCDAE(teacher="bundled", penalty_images="bundled")
    return OfflineEfficientAd(imagenet_dir=penalty_folder)
