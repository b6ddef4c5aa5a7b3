# SPDX-License-Identifier: Apache-2.0
"""The autoencoders' training augmentation (EfficientAD, section 3.3; SCDAE keeps it)."""

import torch
from torchvision.transforms import functional as TF

_ADJUSTMENTS = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation)


def augment(images: torch.Tensor) -> torch.Tensor:
    """Change the brightness, contrast or saturation of every image of ``(B, 3, H, W)``, each on its own.

    Each image draws its factor from U(0.8, 1.2) and then its adjustment, in the order in which EfficientAd draws them.
    """
    return torch.stack([_augment_one(image) for image in images])


def _augment_one(image: torch.Tensor) -> torch.Tensor:
    factor = torch.empty(1).uniform_(0.8, 1.2).item()
    adjust = _ADJUSTMENTS[int(torch.randint(len(_ADJUSTMENTS), (1,)))]
    return adjust(image, factor)
