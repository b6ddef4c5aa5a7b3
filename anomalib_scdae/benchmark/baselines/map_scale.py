# SPDX-License-Identifier: Apache-2.0
"""Several maps of a model on one scale: that of their values on normal images."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from anomalib_scdae.benchmark.baselines.normal_images import has_normal_validation_images, normal_validation_images
from anomalib_scdae.model.deploy.pre_processing import transformed
from anomalib_scdae.model.training.teacher_statistics import channel_mean_std
from anomalib_scdae.model.training.training_set import images_of, training_batches


class MapScale(nn.Module):
    """Mean and standard deviation of each of ``M`` maps, over all positions of normal images.

    Args:
        maps: Number of maps ``M``.

    Attributes:
        mean, std: ``(M,)``; 0 and 1 until they are fitted.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(maps))
        self.register_buffer("std", torch.ones(maps))

    def forward(self, maps: Tensor) -> Tensor:
        """Standardise maps ``(B, M, h, w)``."""
        return (maps - self.mean[:, None, None]) / self.std[:, None, None]

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Learn from batches of maps ``(B, M, h, w)`` of normal images; where there are none, stay as it is."""
        known = iter(batches)
        first = next(known, None)
        if first is not None:
            mean, std = channel_mean_std(chain([first], known))
            self.mean.copy_(mean.flatten())
            self.std.copy_(std.flatten())


class MapScaleMixin:
    """Fits the scale of a model's maps at each validation and at the end of a training, to the weights as they are.

    The networks in ``model`` have a ``scale`` (:class:`MapScale`) and ``separate_maps``, from images to the maps that
    it standardises. It comes before ``AnomalibModule`` in the order of bases.
    """

    model: Any
    trainer: Any
    device: torch.device
    pre_processor: Any

    def on_validation_start(self) -> None:
        """Learn how large the maps of normal images of validation are, before their first batch is looked at."""
        self.model.scale.fit(map(self.model.separate_maps, normal_validation_images(self)))

    def on_train_end(self) -> None:
        """Learn it once more: a training may end within an epoch, or never validate.

        Where there is no normal image of validation, from the training images.
        """
        if has_normal_validation_images(self):
            images = normal_validation_images(self)
        else:
            rank_zero_warn("There are no normal images of validation: the maps' scale is that of the training images.")
            images = self._training_images()
        self.model.eval()
        self.model.scale.fit(map(self.model.separate_maps, images))
        self.model.train()

    def _training_images(self) -> Iterator[Tensor]:
        for batch in training_batches(self.trainer):
            yield transformed(self.pre_processor, images_of(batch).to(self.device))
