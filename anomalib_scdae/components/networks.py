# SPDX-License-Identifier: Apache-2.0
"""EfficientAD's networks, imported from Anomalib, and what SCDAE does with them."""

from collections.abc import Sequence
from typing import Literal

import torch
from anomalib.models.image.efficient_ad.torch_model import (
    AutoEncoder,
    MediumPatchDescriptionNetwork,
    SmallPatchDescriptionNetwork,
)
from torch import nn

from anomalib_scdae.errors import check_choice

ModelSize = Literal["small", "medium"]
PatchDescriptionNetwork = SmallPatchDescriptionNetwork | MediumPatchDescriptionNetwork


def patch_description_network(size: ModelSize, out_channels: int, padding: bool = False) -> PatchDescriptionNetwork:
    """Build a patch description network (PDN) of the given size; the paper's 1.1 uses it as teacher and student."""
    check_choice("model_size", size, ModelSize)
    network = SmallPatchDescriptionNetwork if size == "small" else MediumPatchDescriptionNetwork
    return network(out_channels=out_channels, padding=padding)


class Student(nn.Module):
    """A PDN with ``2 C`` output channels: ``S'`` imitates the teacher, ``S''`` the autoencoders.

    Each loss reads one half of the channels, so each half can be computed without the other.

    Args:
        size: Size of the PDN.
        channels: Channels ``C`` of one half.
        padding: Whether the PDN pads its convolutions.
    """

    def __init__(self, size: ModelSize, channels: int, padding: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.network = patch_description_network(size, 2 * channels, padding)
        # The name of the PDN's last convolution: conv4 in the small one, conv6 in the medium one.
        self._last = max(name for name, module in self.network.named_children() if isinstance(module, nn.Conv2d))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Describe images ``(B, 3, H, W)`` by ``S'`` and ``S''``, each ``(B, C, H', W')``."""
        first, second = self.network(images).chunk(2, dim=1)
        return first, second

    def teacher_half(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``S'`` alone."""
        return self._half(images, slice(None, self.channels))

    def autoencoder_half(self, images: torch.Tensor) -> torch.Tensor:
        """Return ``S''`` alone."""
        return self._half(images, slice(self.channels, None))

    def _half(self, images: torch.Tensor, channels: slice) -> torch.Tensor:
        """Run the PDN with only some of the last convolution's filters; gradients reach the whole parameter."""
        convolution = getattr(self.network, self._last)
        filters = {
            f"{self._last}.weight": convolution.weight[channels],
            f"{self._last}.bias": convolution.bias[channels],
        }
        return torch.func.functional_call(self.network, filters, (images,))


class Branch(nn.Module):
    """One autoencoder and the modules that its output passes, in order.

    Args:
        channels: Number of feature channels ``C``.
        modules: SRM and CRM instances; none leaves EfficientAD's plain autoencoder.
        padding: Whether the decoder's output matches a padded PDN.
    """

    def __init__(self, channels: int, modules: Sequence[nn.Module] = (), padding: bool = False) -> None:
        super().__init__()
        self.autoencoder = AutoEncoder(out_channels=channels, padding=padding)
        self.context = nn.Sequential(*modules)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images ``(B, 3, H, W)`` to ``O_k`` of shape ``(B, C, H', W')``."""
        return self.context(self.autoencoder(images, images.shape[-2:]))
