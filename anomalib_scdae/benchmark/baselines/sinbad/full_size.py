# SPDX-License-Identifier: Apache-2.0
"""Images in their own size, with masks in the size of the maps."""

from collections.abc import Sequence
from typing import Any

from anomalib.data import Batch
from anomalib.pre_processing import PreProcessor
from lightning import LightningModule, Trainer
from torchvision.transforms.v2 import Transform
from torchvision.transforms.v2.functional import InterpolationMode, resize


class FullSizePreProcessor(PreProcessor):
    """Leaves images as large as they are, and brings their masks to the size of the maps.

    Maps as large as photographs would take gigabytes in the pixels' figures.

    Args:
        transform: What is done to the images, and leaves their size.
        map_size: Height and width of the maps.
    """

    def __init__(self, transform: Transform | None, map_size: Sequence[int]) -> None:
        super().__init__(transform)
        self.map_size: tuple[int, int] | None = (int(map_size[0]), int(map_size[1]))

    def checkpoint_config(self) -> dict[str, Any]:
        """Keep the maps' size in checkpoints too."""
        return {**super().checkpoint_config(), "map_size": self.map_size and list(self.map_size)}

    def load_checkpoint_config(self, config: dict[str, Any]) -> None:
        """Restore both; a checkpoint of another pre-processor has no size, and masks stay as its transform says."""
        super().load_checkpoint_config(config)
        size = config.get("map_size")
        self.map_size = (size[0], size[1]) if size else None

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, *args: Any, **kwargs: Any
    ) -> None:
        """Prepare a batch of validation."""
        super().on_validation_batch_start(trainer, pl_module, batch, *args, **kwargs)
        self._resize_masks(batch)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, *args: Any, **kwargs: Any
    ) -> None:
        """Prepare a batch of the test."""
        super().on_test_batch_start(trainer, pl_module, batch, *args, **kwargs)
        self._resize_masks(batch)

    def _resize_masks(self, batch: Any) -> None:
        if batch.gt_mask is not None and self.map_size is not None:
            masks = batch.gt_mask.reshape(-1, 1, *batch.gt_mask.shape[-2:])
            small = resize(masks, list(self.map_size), InterpolationMode.NEAREST)
            batch.gt_mask = small.reshape(*batch.gt_mask.shape[:-2], *self.map_size)
