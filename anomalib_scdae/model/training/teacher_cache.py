# SPDX-License-Identifier: Apache-2.0
"""Keeps what the teacher, which never changes, says about images that training sees again and again."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from anomalib.data import Batch
from anomalib.pre_processing import PreProcessor

from anomalib_scdae.model.torch_model import SCDAEModel
from anomalib_scdae.model.training.image_cache import always_gives_the_same_images, is_repeatable
from anomalib_scdae.model.training.training_set import images_of


class TeacherCache:
    """The teacher's normalised features of clean training images, in float16 on the CPU.

    An image's features are computed when it is first seen. Rounding them changes each by one part in 2000 at most,
    a tenth of what bf16 does to features that are computed anew; what is returned is rounded from the first time on, so
    that it does not matter when a training was resumed.

    Args:
        compute: Maps images ``(B, 3, H, W)`` to normalised features ``(B, C, h, w)`` in float32.
    """

    def __init__(self, compute: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._compute = compute
        self._features: dict[str, torch.Tensor] = {}

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
        example = torch.zeros(1, 3, *image_size, device=model.teacher_mean.device)
        fits = model.teacher_features(example).numel() * torch.float16.itemsize * len(dataset) <= room
        return cls(model.teacher_features) if fits else None

    def of(self, batch: Batch) -> torch.Tensor | None:
        """Return the features of a batch's clean images, or None where it does not say which images these are."""
        paths = getattr(batch, "image_path", None)
        return None if paths is None else self([str(path) for path in paths], images_of(batch))

    def __len__(self) -> int:
        return len(self._features)

    @torch.no_grad()
    def __call__(self, paths: Sequence[str], images: torch.Tensor) -> torch.Tensor:
        """Return the features ``(B, C, h, w)`` of ``images`` in float32; each image is known by its path."""
        # One by one, so that a batch's composition leaves no trace in the digits.
        for index, path in enumerate(paths):
            if path in self._features:
                continue
            with torch.autocast(images.device.type, enabled=False):
                features = self._compute(images[index : index + 1].float()).to("cpu", torch.float16)
            self._features[path] = features.pin_memory() if images.is_cuda else features
        # Joined in float32: bf16 autocast on a CPU knows no float16.
        known = [self._features[path].to(images.device, non_blocking=True).float() for path in paths]
        return torch.cat(known)
