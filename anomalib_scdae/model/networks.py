# SPDX-License-Identifier: Apache-2.0
"""EfficientAD's networks, imported from Anomalib, and what SCDAE does with them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from anomalib.models.image.efficient_ad.torch_model import AutoEncoder, imagenet_norm_batch
from torch import nn
from torch.nn import functional as F

from anomalib_scdae.inputs.pdn import ModelSize, PatchDescriptionNetwork, patch_description_network
from anomalib_scdae.model.fast.relu_pool import relu_pool


class Filters(NamedTuple):
    """Some filters of a PDN's last convolution, which has neither padding nor stride."""

    weight: torch.Tensor
    bias: torch.Tensor

    def __call__(self, trunk: torch.Tensor) -> torch.Tensor:
        """Finish what :func:`pdn_trunk` has begun."""
        return F.conv2d(trunk, self.weight, self.bias)


def pdn_convolutions(network: PatchDescriptionNetwork) -> dict[str, nn.Conv2d]:
    """Return a PDN's convolutions by name, in order: conv1 to conv4 in the small one, to conv6 in the medium one."""
    return {name: module for name, module in sorted(network.named_children()) if isinstance(module, nn.Conv2d)}


def pdn_trunk(network: PatchDescriptionNetwork, images: torch.Tensor) -> torch.Tensor:
    """Run a PDN up to its last convolution, ``(B, D, h, w)``; with it, the result is ``network(images)``."""
    features = imagenet_norm_batch(images)
    pools = (network.avgpool1, network.avgpool2)
    for index, convolution in enumerate(list(pdn_convolutions(network).values())[:-1]):
        features = convolution(features)
        features = relu_pool(features, pools[index]) if index < len(pools) else F.relu(features, inplace=True)
    return features


class Student(nn.Module):
    """A PDN with ``2 C`` output channels: ``S'`` imitates the teacher, ``S''`` the autoencoders.

    Each loss reads one half of the channels; so the network can be run up to its last convolution for all images at
    once, and that convolution with only the filters that an image needs.

    Args:
        size: Size of the PDN.
        channels: Channels ``C`` of one half.
        padding: Whether the PDN pads its convolutions.
    """

    def __init__(self, size: ModelSize, channels: int, padding: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.network = patch_description_network(size, 2 * channels, padding)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Describe images ``(B, 3, H, W)`` by ``S'`` and ``S''``, each ``(B, C, H', W')``."""
        first, second = self.network(images).chunk(2, dim=1)
        return first, second

    def trunk(self, images: torch.Tensor) -> torch.Tensor:
        """Run the PDN up to its last convolution, ``(B, D, h, w)``."""
        return pdn_trunk(self.network, images)

    def halves(self) -> tuple[Filters, Filters]:
        """Return the last convolution's filters, apart for ``S'`` and ``S''``."""
        *_, last = pdn_convolutions(self.network).values()
        assert last.bias is not None  # noqa: S101 - for the type checker
        weights, biases = last.weight.split(self.channels), last.bias.split(self.channels)
        return Filters(weights[0], biases[0]), Filters(weights[1], biases[1])


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
