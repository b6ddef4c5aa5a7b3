# SPDX-License-Identifier: Apache-2.0
"""What every source of penalty images has in common."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch.utils.data import Dataset

GRAYSCALE_PROBABILITY = 0.3  # EfficientAD, Algorithm 1


class PenaltyImages(Dataset[torch.Tensor], ABC):
    """An unending, random-access sequence of natural images.

    Every image is a function of the seed and of its index alone: training that resumes at step ``n`` sees what it would
    have seen without the interruption, whatever was read before, by however many worker processes. No global random
    generator is read or advanced.

    Args:
        source: Where the images come from, for the log and the checkpoint.
        image_size: Height and width of the images, in pixels.
        seed: Any integer >= 0.
    """

    def __init__(self, source: str, image_size: tuple[int, int], seed: int) -> None:
        self.source = source
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.seed = seed

    @abstractmethod
    def __getitem__(self, index: int) -> torch.Tensor:
        """Return image ``index`` (any integer >= 0) as ``(3, H, W)`` ``float32`` in [0, 1]."""


def random_generator(*key: int) -> np.random.Generator:
    """Return a generator whose numbers are a function of ``key`` (integers >= 0) alone."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def is_grayscale(generator: np.random.Generator) -> bool:
    """Toss the coin that turns an image gray, as EfficientAD does."""
    return bool(generator.random() < GRAYSCALE_PROBABILITY)
