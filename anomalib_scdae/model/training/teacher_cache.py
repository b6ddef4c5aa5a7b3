# SPDX-License-Identifier: Apache-2.0
"""Keeps what the teacher, which never changes, says about images that training sees again and again."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from anomalib.data import Batch
from anomalib.pre_processing import PreProcessor

from anomalib_scdae.model.torch_model import SCDAEModel
from anomalib_scdae.model.training.image_cache import always_gives_the_same_images, is_repeatable
from anomalib_scdae.model.training.training_set import images_of, paths_of

#: Means and deviations of the teacher's channels for which float16 rounds a normalised feature by a hundredth at most.
FARTHEST_MEAN, SMALLEST_STD, LARGEST_STD = 16.0, 2.0**-12, 2.0**8

Features = Callable[[torch.Tensor], torch.Tensor]


class TeacherCache:
    """The teacher's features of clean training images, in float16 on the CPU.

    An image's features are computed when it is first seen: in the pass that computes their statistics, or after a
    training was resumed, in its first epoch. So they are kept before they are normalised. Rounding changes each by
    one part in 2000 at most, an eighth of what bf16 does to features that are computed anew; what is returned is
    rounded from the first time on, so that it does not matter when a training was resumed.

    Args:
        describe: Maps images ``(B, 3, H, W)`` to the teacher's features ``(B, C, h, w)`` in float32.
        normalise: Maps such features to normalised ones.
        count: Images that there are.
    """

    def __init__(self, describe: Features, normalise: Features, count: int) -> None:
        self._describe, self._normalise, self._count = describe, normalise, count
        self._places: dict[str, int] = {}
        self._features = torch.empty(0)

    @classmethod
    def fitting(
        cls,
        model: SCDAEModel,
        image_size: tuple[int, int],
        dataset: Any,
        pre_processor: PreProcessor | None,
        room: float,
    ) -> "TeacherCache | None":
        """Return a cache for the images of ``dataset``, or None where it would not fit or not always be right.

        Args:
            model: Its teacher describes the images.
            image_size: Height and width of the images.
            dataset: What training reads.
            pre_processor: What is done to its images.
            room: Bytes that the features may take.
        """
        transform = pre_processor.transform if pre_processor is not None else None
        if not (always_gives_the_same_images(dataset) and is_repeatable(transform)):
            return None
        height, width = model.feature_size(image_size)
        fits = model.channels * height * width * torch.float16.itemsize * len(dataset) <= room
        return cls(model.teacher, model.normalised, len(dataset)) if fits else None

    @staticmethod
    def is_precise(mean: torch.Tensor, std: torch.Tensor) -> bool:
        """Return whether float16 is good enough for features whose channels have these means and deviations."""
        in_range = (std >= SMALLEST_STD) & (std <= LARGEST_STD) & (mean.abs() <= FARTHEST_MEAN * std)
        return bool(in_range.all())

    def of(self, batch: Batch) -> torch.Tensor | None:
        """Return the features of a batch's clean images, or None where it does not say which images these are."""
        paths = paths_of(batch)
        return None if paths is None else self(paths, images_of(batch))

    def __len__(self) -> int:
        return len(self._places)

    @torch.no_grad()
    def described(self, batch: Batch, images: torch.Tensor) -> torch.Tensor:
        """Return the teacher's features of a batch's ``images``, neither normalised nor rounded, and keep them."""
        # One by one, so that a batch's composition leaves no trace in the digits.
        features = [self._described(images[index : index + 1]) for index in range(len(images))]
        paths = paths_of(batch)
        if paths is not None:
            for path, each in zip(paths, features, strict=True):
                self._keep(path, each)
        # Not a copy of a single one: so many of them scatter free memory.
        return torch.cat(features) if len(features) > 1 else features[0]

    @torch.no_grad()
    def __call__(self, paths: Sequence[str], images: torch.Tensor) -> torch.Tensor:
        """Return the normalised features ``(B, C, h, w)`` of ``images`` in float32; each image is known by its path."""
        for index, path in enumerate(paths):
            if path not in self._places:
                self._keep(path, self._described(images[index : index + 1]))
        # Joined in float32: bf16 autocast on a CPU knows no float16.
        known = [self._features[self._places[path]].to(images.device, non_blocking=True).float() for path in paths]
        return self._normalise(torch.stack(known))

    def _described(self, image: torch.Tensor) -> torch.Tensor:
        with torch.autocast(image.device.type, enabled=False):
            return self._describe(image.float())

    def _keep(self, path: str, features: torch.Tensor) -> None:
        if not self._places:
            # As one piece, whose pages are taken when they are written to: many, between what the networks take and
            # give back, would keep free memory from being used again.
            shape = (self._count, *features.shape[1:])
            self._features = torch.empty(shape, dtype=torch.float16, pin_memory=features.is_cuda)
        self._features[self._places.setdefault(path, len(self._places))] = features[0]
