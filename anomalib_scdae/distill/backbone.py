# SPDX-License-Identifier: Apache-2.0
"""The features that a teacher learns to predict: those of a pretrained timm backbone.

They are the patch features of PatchCore as the appendix of the EfficientAD paper (Batzner, Heckler, Koenig; WACV 2024)
takes them up for the distillation of its PDN.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.feature_extraction import create_feature_extractor

from anomalib_scdae.errors import UserError

#: Layers that serve better than the ends of stages: MobileNet-like blocks are narrow at their ends, so the features
#: are taken where they are wide, after the expanding convolution.
EXPANDED_LAYERS = ("blocks.2.1.bn1.act", "blocks.3.2.bn1.act", "blocks.4.2.bn1.act")
DEFAULT_LAYERS: dict[str, tuple[str, ...]] = {
    "efficientnet_lite0": EXPANDED_LAYERS,
    "tf_efficientnet_lite0": EXPANDED_LAYERS,
}
#: Strides of the two middle stages, layer2 and layer3 of a ResNet.
MIDDLE_STRIDES = (8, 16)
#: Side of the backbone's input, in pixels.
INPUT_SIZE = 512
#: Stride of the targets in pixels of the backbone's input: layer2's, and twice a PDN's, which sees half of the size.
TARGET_STRIDE = 8


class FeatureTargets(nn.Module):
    """Patch features of a frozen backbone: two or more stages, smoothed, aligned and reduced to ``out_channels``.

    Args:
        backbone: Name of a timm model, such as ``wide_resnet101_2``.
        weights: Local file with its weights; without one, timm downloads its own.
        layers: Modules whose outputs are taken, as ``torchvision``'s feature extraction names them. By default the
            stages of stride 8 and 16, which are ``layer2`` and ``layer3`` of the paper's WideResNet-101.
        mean: Per-channel mean of the images that the weights expect; by default what timm notes for the backbone.
        std: Likewise the standard deviation.
        out_channels: Channels of the target.

    Raises:
        UserError: If the backbone, a layer or the weights file are not what they should be.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        weights: Path | None = None,
        *,
        layers: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        out_channels: int = 384,
    ) -> None:
        super().__init__()
        model = _create(backbone, download=weights is None)
        if weights is not None:
            load_weights(model, weights)
        self.out_channels = out_channels
        config = model.pretrained_cfg
        self.source = weights.name if weights else f"timm's {backbone}, {config.get('tag') or 'untagged'}"
        self.register_buffer("mean", torch.tensor(mean or config["mean"]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std or config["std"]).view(1, 3, 1, 1))
        self.layers = list(layers or DEFAULT_LAYERS.get(backbone, ()))
        self.model: Any = _extractor(model, backbone, self.layers) if self.layers else model
        self.stages = [] if self.layers else _middle_stages(model, backbone)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)
        self._probe(backbone)

    def _probe(self, backbone: str) -> None:
        """Find out before any long work whether the layers give maps for an input of the size that will come."""
        try:
            stages = self._stages(torch.zeros(1, 3, INPUT_SIZE, INPUT_SIZE))
        except (RuntimeError, AssertionError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            msg = f"{backbone} does not take images of {INPUT_SIZE} px ({reason}): choose another --backbone."
            raise UserError(msg) from error
        if any(stage.ndim != 4 for stage in stages):
            msg = f"The layers {', '.join(self.layers)} of {backbone} give no feature maps: name others with --layers."
            raise UserError(msg)

    @property
    def description(self) -> str:
        """The layers, as the card names them."""
        return ", ".join(self.layers or [f"stage {index}" for index in self.stages])

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Compute the targets.

        Args:
            images: ``[B, 3, H, W]`` in [0, 1], on any device.

        Returns:
            Features ``[B, out_channels, H / 8, W / 8]``, not normalised.
        """
        images = (images.to(self.mean.device) - self.mean) / self.std
        images = images.contiguous(memory_format=torch.channels_last)
        size = (images.shape[-2] // TARGET_STRIDE, images.shape[-1] // TARGET_STRIDE)
        stages = [F.avg_pool2d(stage, 3, stride=1, padding=1) for stage in self._stages(images)]
        features = torch.cat([_resize(stage, size) for stage in stages], dim=1)
        # As in PatchCore, neighbouring channels are averaged; nothing is learnt. The pooling is over the last axis.
        cells = F.adaptive_avg_pool1d(features.permute(0, 2, 3, 1).flatten(1, 2), self.out_channels)
        return cells.transpose(1, 2).unflatten(2, size)

    def _stages(self, images: Tensor) -> list[Tensor]:
        if self.layers:
            return list(self.model(images).values())
        return self.model.forward_intermediates(
            images, indices=self.stages, output_fmt="NCHW", intermediates_only=True, stop_early=True
        )


def _resize(stage: Tensor, size: tuple[int, int]) -> Tensor:
    if stage.shape[-2:] == size:
        return stage
    return F.interpolate(stage, size, mode="bilinear", align_corners=False, antialias=stage.shape[-1] > size[-1])


def _extractor(model: nn.Module, backbone: str, layers: list[str]) -> nn.Module:
    try:
        return create_feature_extractor(model, layers)
    except Exception as error:
        reason = str(error).splitlines()[0]
        msg = f"The layers {', '.join(layers)} cannot be had from {backbone}: check --layers ({reason})."
        raise UserError(msg) from error


def _create(backbone: str, download: bool) -> Any:
    """Create timm's model ``backbone``, with downloaded weights if asked for."""
    if not timm.is_model(backbone):
        near = ", ".join(get_close_matches(backbone, timm.list_models(), n=3))
        hint = f", such as {near}" if near else ""
        msg = f"timm has no model '{backbone}': choose one of timm.list_models(){hint}."
        raise UserError(msg)
    try:
        return timm.create_model(backbone, pretrained=download)
    except Exception as error:
        if not download:
            raise
        msg = f"The weights of {backbone} could not be downloaded; give a local file with --backbone_weights ({error})."
        raise UserError(msg.replace("\n", " ")) from error


def _middle_stages(model: Any, backbone: str) -> list[int]:
    """Find the stages of stride 8 and 16, or the two in the middle where every stage has the same stride."""
    if not hasattr(model, "forward_intermediates") or not getattr(model, "feature_info", None):
        msg = f"timm knows no stages of {backbone}: name the layers to learn from with --layers."
        raise UserError(msg)
    strides = [stage["reduction"] for stage in model.feature_info]
    chosen = [index for index, stride in enumerate(strides) if stride in MIDDLE_STRIDES]
    middle = (len(strides) - 1) // 2
    return chosen if len(chosen) == len(MIDDLE_STRIDES) else [middle, middle + 1]


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a local weights file into ``model``, by name or, where the names differ, by order and shape.

    Args:
        model: The network; changed in place.
        path: A ``.safetensors`` file, or a PyTorch file that holds tensors only.

    Raises:
        UserError: If the file is missing, unreadable, or belongs to another network.
    """
    found = _read_tensors(path)
    wanted = model.state_dict()
    if all(name in found and found[name].shape == tensor.shape for name, tensor in wanted.items()):
        model.load_state_dict({name: found[name] for name in wanted})
        return
    # Counters of batches are absent from files of other frameworks and do not change what a frozen network computes.
    names = [name for name in wanted if not name.endswith("num_batches_tracked")]
    tensors = [tensor for name, tensor in found.items() if not name.endswith("num_batches_tracked")]
    if [wanted[name].shape for name in names] != [tensor.shape for tensor in tensors]:
        msg = (
            f"{path} holds the weights of another network: neither names nor shapes of its tensors match the backbone."
        )
        raise UserError(msg)
    model.load_state_dict(dict(zip(names, tensors, strict=True)), strict=False)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        msg = f"There is no weights file {path}: check --backbone_weights."
        raise UserError(msg)
    try:
        content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # a damaged or hostile file provokes many kinds
        raise UserError(_unreadable(path)) from error
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(tensor, Tensor) for tensor in content.values()):
        raise UserError(_unreadable(path))
    return content


def _unreadable(path: Path) -> str:
    return f"{path} is no weights file: expected .safetensors, or a PyTorch file that holds a state dict and no code."
