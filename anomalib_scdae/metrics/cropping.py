# SPDX-License-Identifier: Apache-2.0
"""Whether a model sees whole images: the maps of parts have no place in the ground truth."""

from collections.abc import Iterator
from typing import Any

from torchvision.transforms.v2 import CenterCrop, Compose, Resize


def crops(model: Any) -> bool:
    """Return whether the pre-processor of an Anomalib model cuts away a part of each image."""
    size = None
    for part in _parts(getattr(getattr(model, "pre_processor", None), "transform", None)):
        if isinstance(part, Resize):
            size = part.size
        elif isinstance(part, CenterCrop) and list(part.size) != list(size or ()):
            return True
    return False


def _parts(transform: Any) -> Iterator[Any]:
    """Yield the transforms that a transform consists of, in their order."""
    if isinstance(transform, Compose):
        for part in transform.transforms:
            yield from _parts(part)
    else:
        yield transform
