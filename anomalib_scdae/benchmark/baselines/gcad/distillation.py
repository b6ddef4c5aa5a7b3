# SPDX-License-Identifier: Apache-2.0
"""How the local descriptors are made, before GCAD's training: from a pretrained backbone, on patches of photographs."""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional as F

from anomalib_scdae.benchmark.baselines.frozen_backbone import FrozenBackbone
from anomalib_scdae.benchmark.baselines.gcad.networks import DESCRIPTOR, Descriptor
from anomalib_scdae.inputs.penalty.base import PenaltyImages
from anomalib_scdae.inputs.penalty.reader import PenaltyReader

#: Photographs of a step, and patches that are cut out of each.
PHOTOGRAPHS, PATCHES = 8, 8
#: Side that patches are enlarged to for the backbone, in pixels.
BACKBONE_SIDE = 64
#: Adam's settings in "Uninformed students" (Bergmann et al., CVPR 2020), where these descriptors come from.
LEARNING_RATE, WEIGHT_DECAY = 2e-4, 1e-5


def distil(
    descriptors: Sequence[Descriptor],
    backbone: FrozenBackbone,
    photographs: PenaltyImages,
    normalise: Callable[[Tensor], Tensor],
    steps: int,
    device: torch.device,
) -> None:
    """Train descriptors to hold what the backbone says of a patch: a linear decoder must find it in them.

    Args:
        descriptors: Changed in place; each sees patches of its own size.
        backbone: With one stage, of which the average over the patch is taken.
        photographs: Natural images, a different one for every index.
        normalise: What makes images in [0, 1] what the networks see.
        steps: Optimizer steps.
        device: Where it is done.
    """
    decoders = nn.ModuleList(nn.Linear(DESCRIPTOR, backbone.channels[-1]) for _ in descriptors).to(device)
    parameters = [*decoders.parameters(), *(value for each in descriptors for value in each.parameters())]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    reader, generator = PenaltyReader(photographs), torch.Generator().manual_seed(0)
    total = 0.0
    try:
        for step in range(steps):
            images = normalise(reader.read(PHOTOGRAPHS * step, PHOTOGRAPHS).to(device))
            loss = images.new_zeros(())
            for descriptor, decoder in zip(descriptors, decoders, strict=True):
                patches = _patches(images, descriptor.receptive_field, generator)
                enlarged = F.interpolate(patches, size=(BACKBONE_SIDE,) * 2, mode="bilinear", align_corners=False)
                wanted = backbone(enlarged)[-1].mean(dim=(2, 3))
                loss = loss + F.mse_loss(decoder(descriptor.of_patches(patches).flatten(1)), wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach())
            if (step + 1) % max(1, steps // 10) == 0:
                rank_zero_info(f"GCAD's descriptors: step {step + 1} of {steps}, mean loss {total / (step + 1):.4f}.")
    finally:
        reader.close()


def _patches(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Cut :data:`PATCHES` patches out of each of the images ``(B, 3, H, W)``, at random places."""
    height, width = images.shape[-2:]
    found = []
    for image in images:
        tops = torch.randint(height - side + 1, (PATCHES,), generator=generator).tolist()
        lefts = torch.randint(width - side + 1, (PATCHES,), generator=generator).tolist()
        found += [image[:, top : top + side, left : left + side] for top, left in zip(tops, lefts, strict=True)]
    return torch.stack(found)
