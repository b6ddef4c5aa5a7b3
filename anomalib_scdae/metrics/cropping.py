# SPDX-License-Identifier: Apache-2.0
"""Whether a model sees whole images: the maps of parts have no place in the ground truth."""

from typing import Any

from anomalib.data.transforms.utils import extract_transforms_by_type
from torchvision.transforms.v2 import CenterCrop


def crops(model: Any) -> bool:
    """Return whether the pre-processor of an Anomalib model cuts away a part of each image."""
    transform = getattr(getattr(model, "pre_processor", None), "transform", None)
    return transform is not None and bool(extract_transforms_by_type(transform, CenterCrop))
