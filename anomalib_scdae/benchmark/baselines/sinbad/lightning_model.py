# SPDX-License-Identifier: Apache-2.0
"""SINBAD as Anomalib sees it."""

from collections.abc import Sequence
from typing import Any

import torch
from anomalib.models import AnomalibModule
from anomalib.models.components import MemoryBankMixin
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import Compose, Normalize

from anomalib_scdae.benchmark.baselines.frozen_backbone import IMAGENET_MEAN, IMAGENET_STD
from anomalib_scdae.benchmark.baselines.memory_bank import GalleryMixin
from anomalib_scdae.benchmark.baselines.normal_images import normal_validation_images
from anomalib_scdae.benchmark.baselines.sinbad.full_size import FullSizePreProcessor
from anomalib_scdae.benchmark.baselines.sinbad.torch_model import SinbadModel
from anomalib_scdae.benchmark.baselines.table1_system import Table1Mixin

MAP_SIZE = (256, 256)


class Sinbad(GalleryMixin, MemoryBankMixin, Table1Mixin, AnomalibModule):
    """SINBAD (Cohen, Tzachor and Hoshen, "Set features for fine-grained anomaly detection", TMLR, 2023).

    Every crop is a set of features, whatever their places; the histograms of their random projections are compared with
    those of the training images' crops at the same place. Nothing is learnt: training reads every image once.

    Images come in their own size, since the model resizes them by their larger side and pads them; images of several
    sizes keep their aspect with a batch size of 1 only, as Anomalib makes the images of a batch alike.

    Args:
        backbone: timm's name of the backbone.
        pre_trained: Whether the backbone has its weights.
        larger_side: Larger side that images are resized to before they are padded to a square, in pixels.
        crop_side: Side that crops are resized to, in pixels.
        projections: Random projections of a stage's features.
        thresholds: Bins of their cumulative histograms.
        shrinkage: Shrinkage of the covariance.
        pixel_weight: Weight of the raw pixels' level; 0 leaves it out.
        pixel_projections: Random projections of the pixels.
        pixel_repetitions: How often these are drawn; the median of the distances counts.
        **components: Pre-processor, post-processor, evaluator and visualizer, as Anomalib's models take them.
    """

    method = "SINBAD"
    model: SinbadModel

    def __init__(
        self,
        backbone: str = "wide_resnet50_2.tv_in1k",
        pre_trained: bool = True,
        larger_side: int = 1024,
        crop_side: int = 224,
        projections: int = 1000,
        thresholds: int = 5,
        shrinkage: float = 0.1,
        pixel_weight: float = 0.1,
        pixel_projections: int = 10,
        pixel_repetitions: int = 100,
        **components: Any,
    ) -> None:
        super().__init__(**components)
        self.model = SinbadModel(
            backbone=backbone,
            pre_trained=pre_trained,
            larger_side=larger_side,
            crop_side=crop_side,
            projections=projections,
            thresholds=thresholds,
            shrinkage=shrinkage,
            pixel_weight=pixel_weight,
            pixel_projections=pixel_projections,
            pixel_repetitions=pixel_repetitions,
            map_size=getattr(self.pre_processor, "map_size", None),
        )

    @staticmethod
    def configure_pre_processor(image_size: Sequence[int] | None = None) -> PreProcessor:
        """Return a pre-processor that leaves images their size; ``image_size`` is that of the maps."""
        normalize = Normalize(mean=IMAGENET_MEAN, std=IMAGENET_STD)
        return FullSizePreProcessor(Compose([normalize]), image_size or MAP_SIZE)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give maps the size that masks have in the checkpoint's pre-processor."""
        super().on_load_checkpoint(checkpoint)
        self.model.map_size = getattr(self.pre_processor, "map_size", None)

    @torch.no_grad()
    def fit(self) -> None:
        """Learn what is normal, crop by crop, and the scale of the scores."""
        self.model.fit()
        self.model.standardise(normal_validation_images(self))
