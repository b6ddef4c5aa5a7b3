# SPDX-License-Identifier: Apache-2.0
"""SINBAD's levels put together: two stages of a backbone and the raw pixels, over crops of four sizes."""

from collections.abc import Iterable, Iterator
from typing import cast

import torch
from anomalib.data import InferenceBatch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_scdae.benchmark.baselines.frozen_backbone import FrozenBackbone
from anomalib_scdae.benchmark.baselines.sinbad.crops import Crops, cut, fitted, padded, unpadded
from anomalib_scdae.benchmark.baselines.sinbad.set_gallery import SetGallery
from anomalib_scdae.errors import UserError, check_at_least_one, check_not_negative

#: With a coarsest stage of stride 32, less is no image.
SMALLEST_SIDE = 32
#: Training images whose crops go through the backbone at a time.
BATCH = 16


class SinbadModel(nn.Module):
    """Set features for fine-grained anomaly detection.

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
        map_size: Height and width of the maps; by default the images'.

    Attributes:
        normal: Mean score of normal images, for each level and size of crop; ``(levels, sizes)``.
    """

    normal: Tensor

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
        map_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        for name, value in (
            ("projections", projections),
            ("thresholds", thresholds),
            ("pixel_projections", pixel_projections),
            ("pixel_repetitions", pixel_repetitions),
        ):
            check_at_least_one(name, value)
        check_not_negative("pixel_weight", pixel_weight)
        if not 0 < shrinkage <= 1:
            msg = f"shrinkage must be above 0 and at most 1; it is {shrinkage}."
            raise UserError(msg)
        for name, side in (("larger_side", larger_side), ("crop_side", crop_side)):
            if side < SMALLEST_SIDE:
                msg = f"{name} must be {SMALLEST_SIDE} or more; it is {side}."
                raise UserError(msg)
        self.larger_side, self.crop_side = larger_side, crop_side
        self.pixel_weight, self.map_size = pixel_weight, map_size
        self.feature_extractor = FrozenBackbone(backbone, (16, 32), pre_trained)
        self.crops = Crops(larger_side)
        count = len(self.crops.boxes)
        self.levels = nn.ModuleList(
            SetGallery(channels, count, projections, thresholds, shrinkage)
            for channels in self.feature_extractor.channels
        )
        if pixel_weight:
            self.levels.append(SetGallery(3, count, pixel_projections, thresholds, 1.0, pixel_repetitions))
        self.register_buffer("normal", torch.ones(len(self.levels), len(self.crops.sizes)))
        self._images: list[Tensor] = []

    @property
    def galleries(self) -> list[SetGallery]:
        """The levels, from fine to coarse, the raw pixels last."""
        return [cast("SetGallery", level) for level in self.levels]

    def bytes_of(self, count: int, images: Tensor) -> int:
        """Return the bytes that ``count`` training images such as ``images`` ``(B, 3, H, W)`` will take.

        These are the galleries and, during the fit, the images themselves and the sets of one crop.
        """
        height, width = fitted((images.shape[-2], images.shape[-1]), self.larger_side)
        sets = sum(elements.numel() for elements in self._sets(images.new_zeros(1, 3, self.crop_side, self.crop_side)))
        return count * (2 * 3 * height * width + 4 * sets) + sum(level.bytes_of(count) for level in self.galleries)

    def reserve(self, count: int, images: Tensor) -> None:
        """Forget an earlier training's images."""
        del count, images
        self._images = []

    def add(self, images: Tensor) -> None:
        """Keep training images ``(B, 3, H, W)`` until :meth:`fit`."""
        self._images += list(self._resized(images).cpu())

    def fit(self) -> None:
        """Learn what is normal from the training images that were added, one crop after the other.

        Raises:
            UserError: If there are fewer than two.
        """
        count = len(self._images)
        if count < 2:
            msg = f"SINBAD compares with training images and needs two or more; there are {count}."
            raise UserError(msg)
        for level in self.galleries:
            level.reserve(count)
        for number, crop in enumerate(self.crops.boxes):
            rank_zero_info(f"SINBAD learns crop {number + 1} of {len(self.crops.boxes)}.")
            parts = [self._sets(cut(images, crop, self.crop_side)) for images in self._padded_images()]
            for level, sets in zip(self.galleries, zip(*parts, strict=True), strict=True):
                level.fit(number, torch.cat(sets))
        self._images = []
        self.normal.fill_(1)

    def standardise(self, normal_images: Iterable[Tensor]) -> None:
        """Learn the mean scores of normal images, which every level and size is divided by.

        Args:
            normal_images: Batches of images of validation; where there are none, every training image's distance from
                the others stands in, with a warning.
        """
        scores = [self.crop_scores(self._resized(images)) for images in normal_images]
        if not scores:
            rank_zero_warn("SINBAD: there are no normal images of validation; training images stand in for them.")
            scores = [torch.stack([level.among_themselves().T for level in self.galleries])]
        # The maps of all images would take gigabytes, and the mean map is the map of the mean scores.
        means = self.crops.maps(torch.cat(scores, dim=1).mean(dim=1)).mean(dim=(2, 3))
        self.normal.copy_(torch.where(means > 0, means, 1.0))

    def forward(self, images: Tensor) -> InferenceBatch:
        """Return scores ``(B,)`` and maps ``(B, 1, h, w)`` of images ``(B, 3, H, W)``."""
        resized = self._resized(images)
        maps = self.crops.maps(self.crop_scores(resized)) / self.normal[:, None, :, None, None]
        features, pixels = maps.mean(dim=2).split([2, len(self.levels) - 2])
        combined = features.mean(dim=0) + self.pixel_weight * pixels.sum(dim=0)
        own = unpadded(combined, (resized.shape[-2], resized.shape[-1]))[:, None]
        anomaly_map = F.interpolate(
            own, size=self.map_size or images.shape[-2:], mode="bilinear", align_corners=False, antialias=True
        )
        return InferenceBatch(pred_score=own.amax(dim=(1, 2, 3)), anomaly_map=anomaly_map)

    def crop_scores(self, resized: Tensor) -> Tensor:
        """Return each level's distance at each crop, ``(levels, B, crops)``, of resized images."""
        whole = padded(resized.float(), self.larger_side)
        found = []
        for number, crop in enumerate(self.crops.boxes):
            sets = self._sets(cut(whole, crop, self.crop_side))
            distances = [level(number, elements) for level, elements in zip(self.galleries, sets, strict=True)]
            found.append(torch.stack(distances))
        return torch.stack(found, dim=2)

    def _resized(self, images: Tensor) -> Tensor:
        """Bring the larger side to its size; in half precision, in which training images are kept."""
        size = fitted((images.shape[-2], images.shape[-1]), self.larger_side)
        return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=True).half()

    def _padded_images(self) -> Iterator[Tensor]:
        """Yield the training images in batches; those of a batch may have had other sizes."""
        for start in range(0, len(self._images), BATCH):
            batch = [
                padded(image.to(self.normal)[None], self.larger_side) for image in self._images[start : start + BATCH]
            ]
            yield torch.cat(batch)

    def _sets(self, crops: Tensor) -> list[Tensor]:
        """Return crops ``(B, 3, crop_side, crop_side)`` as sets of elements ``(B, N, C)``, one for each level."""
        stages = self.feature_extractor(crops)
        if self.pixel_weight:
            stages = [*stages, crops]
        return [stage.flatten(2).transpose(1, 2) for stage in stages]
