# SPDX-License-Identifier: Apache-2.0
"""SPADE as Anomalib sees it."""

from collections.abc import Sequence
from typing import Any

from anomalib.models import AnomalibModule
from anomalib.models.components import MemoryBankMixin
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import CenterCrop, Compose, Normalize, Resize

from anomalib_scdae.benchmark.baselines.frozen_backbone import IMAGENET_MEAN, IMAGENET_STD
from anomalib_scdae.benchmark.baselines.memory_bank import GalleryMixin
from anomalib_scdae.benchmark.baselines.spade.torch_model import SpadeModel
from anomalib_scdae.benchmark.baselines.table1_system import Table1Mixin

#: The paper's pre-processing.
SHORTER_SIDE, CROP = 256, 224


class Spade(GalleryMixin, MemoryBankMixin, Table1Mixin, AnomalibModule):
    """SPADE (Cohen and Hoshen, "Sub-image anomaly detection with deep pyramid correspondences", 2020).

    An image's score is the mean squared distance of its pooled features to those of its ``K`` nearest training images;
    its map says at each position how far the nearest feature of these images is. Nothing is learnt: training reads
    every image once.

    Args:
        backbone: timm's name of the backbone.
        pre_trained: Whether the backbone has its weights.
        neighbours: Training images ``K`` that an image is compared with.
        pixel_neighbours: Features ``kappa`` of these that a position is compared with.
        sigma: Standard deviation of the map's smoothing, in pixels.
        **components: Pre-processor, post-processor, evaluator and visualizer, as Anomalib's models take them. The
            default pre-processor is the paper's, which sees the middle of the image only.
    """

    method = "SPADE"
    model: SpadeModel

    def __init__(
        self,
        backbone: str = "wide_resnet50_2.tv_in1k",
        pre_trained: bool = True,
        neighbours: int = 50,
        pixel_neighbours: int = 1,
        sigma: float = 4.0,
        **components: Any,
    ) -> None:
        super().__init__(**components)
        self.model = SpadeModel(backbone, pre_trained, neighbours, pixel_neighbours, sigma)

    @staticmethod
    def configure_pre_processor(image_size: Sequence[int] | None = None) -> PreProcessor:
        """Return the paper's pre-processor; with an ``image_size``, one that shows the whole image in that size."""
        sides = [Resize(SHORTER_SIDE, antialias=True), CenterCrop(CROP)]
        if image_size is not None:
            sides = [Resize(tuple(image_size), antialias=True)]
        return PreProcessor(Compose([*sides, Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD)]))

    def fit(self) -> None:
        """Close the gallery."""
        self.model.close()
