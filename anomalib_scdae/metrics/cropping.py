# SPDX-License-Identifier: Apache-2.0
"""Whether a model sees whole images: the maps of parts have no place in the ground truth."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torchvision.transforms.v2 import CenterCrop, Compose, Resize


def crops(model: Any) -> bool:
    """Return whether the pre-processor of an Anomalib model cuts away a part of each image."""
    size = None
    for part in parts_of(getattr(getattr(model, "pre_processor", None), "transform", None)):
        if isinstance(part, Resize):
            size = part.size
        elif isinstance(part, CenterCrop) and list(part.size) != list(size or ()):
            return True
    return False


def parts_of(transform: Any) -> Iterator[Any]:
    """Yield a transform and all that it consists of, in their order, also within compositions of compositions."""
    for part in transform.modules() if isinstance(transform, nn.Module) else (transform,):
        yield part
        if isinstance(part, Compose):  # whose parts are a plain list
            for each in part.transforms:
                yield from parts_of(each)
