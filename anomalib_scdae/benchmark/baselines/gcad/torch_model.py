# SPDX-License-Identifier: Apache-2.0
"""GCAD's two branches at each of two receptive fields, their losses and their maps."""

from collections.abc import Iterable
from typing import cast

import torch
from anomalib.data import InferenceBatch
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_scdae.benchmark.baselines.frozen_backbone import FrozenBackbone
from anomalib_scdae.benchmark.baselines.gcad.networks import (
    DESCRIPTOR,
    KERNELS,
    Descriptor,
    GlobalEncoder,
    GlobalRegressor,
    upsampler,
)
from anomalib_scdae.benchmark.baselines.map_scale import MapScale


class BranchPair(nn.Module):
    """The local and the global branch at one receptive field.

    Args:
        receptive_field: That of the local descriptors, in pixels.

    Attributes:
        mean, std: Of the local descriptors over the training images, ``(1, 128, 1, 1)``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, receptive_field: int) -> None:
        super().__init__()
        self.local_encoder = Descriptor(receptive_field).requires_grad_(False)
        self.local_regressor = Descriptor(receptive_field)
        self.global_encoder = GlobalEncoder()
        self.global_regressor = GlobalRegressor()
        self.upsampler = upsampler()
        self.register_buffer("mean", torch.zeros(1, DESCRIPTOR, 1, 1))
        self.register_buffer("std", torch.ones(1, DESCRIPTOR, 1, 1))

    def described(self, images: Tensor) -> Tensor:
        """Return the standardised local descriptors of images ``(B, 3, H, W)``: ``(B, 128, H / 4, W / 4)``."""
        with torch.no_grad():
            return (self.local_encoder(images) - self.mean) / self.std

    def losses(self, images: Tensor) -> dict[str, Tensor]:
        """Return the three terms of the loss, each squared distance divided by its channels."""
        local, whole = self.described(images), self.global_encoder(images)
        return {
            "distillation": F.mse_loss(self.upsampler(whole), local),
            # The encoder is a target here: it must not make itself easy to predict.
            "global": F.mse_loss(self.global_regressor(images), whole.detach()),
            "local": F.mse_loss(self.local_regressor(images), local),
        }

    def maps(self, images: Tensor) -> Tensor:
        """Return the squared distances of both branches, ``(B, 2, H / 4, W / 4)``."""
        local = (self.local_regressor(images) - self.described(images)).square().mean(dim=1)
        whole = (self.global_regressor(images) - self.global_encoder(images)).square().mean(dim=1)
        return torch.stack([local, whole], dim=1)


class GcadModel(nn.Module):
    """Beyond dents and scratches: logical constraints in unsupervised anomaly detection and localization.

    Args:
        backbone: timm's name of the backbone that the local descriptors are distilled from.
        pre_trained: Whether the backbone has its weights.

    Attributes:
        scale: Brings the four maps to one scale.
        is_distilled: Whether the local descriptors have been trained.
    """

    is_distilled: Tensor

    def __init__(self, backbone: str = "resnet18.tv_in1k", pre_trained: bool = True) -> None:
        super().__init__()
        self.backbone = FrozenBackbone(backbone, (32,), pre_trained)
        self.branches = nn.ModuleList(BranchPair(receptive_field) for receptive_field in KERNELS)
        self.scale = MapScale(2 * len(self.branches))
        self.register_buffer("is_distilled", torch.tensor(False))

    @property
    def pairs(self) -> list[BranchPair]:
        """The branches at the smaller and at the larger receptive field."""
        return [cast("BranchPair", pair) for pair in self.branches]

    def learn_statistics(self, batches: Iterable[Tensor]) -> None:
        """Take the local descriptors' mean and deviation on training images, batches of ``(B, 3, H, W)``."""
        count, sums = 0, torch.zeros(len(self.pairs), 2, DESCRIPTOR, dtype=torch.float64)
        with torch.no_grad():
            for images in batches:
                found = [pair.local_encoder(images).double().cpu().transpose(0, 1).flatten(1) for pair in self.pairs]
                sums += torch.stack([torch.stack([each.sum(dim=1), each.square().sum(dim=1)]) for each in found])
                count += found[0].shape[1]
        for pair, (mean, square) in zip(self.pairs, sums / count, strict=True):
            pair.mean.copy_(mean.view_as(pair.mean))
            pair.std.copy_((square - mean.square()).clamp(min=1e-12).sqrt().view_as(pair.std))

    def losses(self, images: Tensor) -> dict[str, Tensor]:
        """Return each term of the loss, summed over the receptive fields."""
        terms = [pair.losses(images) for pair in self.pairs]
        return {name: torch.stack([each[name] for each in terms]).sum() for name in terms[0]}

    def separate_maps(self, images: Tensor) -> Tensor:
        """Return all maps before they are standardised: local and global of each pair, ``(B, 4, H / 4, W / 4)``."""
        return torch.cat([pair.maps(images) for pair in self.pairs], dim=1)

    def forward(self, images: Tensor) -> InferenceBatch:
        """Return scores ``(B,)`` and maps ``(B, 1, H, W)`` of images ``(B, 3, H, W)``."""
        standardised = self.scale(self.separate_maps(images))
        combined = standardised.sum(dim=1, keepdim=True) / len(self.branches)
        anomaly_map = F.interpolate(combined, size=images.shape[-2:], mode="bilinear", align_corners=False)
        return InferenceBatch(pred_score=anomaly_map.amax(dim=(1, 2, 3)), anomaly_map=anomaly_map)
