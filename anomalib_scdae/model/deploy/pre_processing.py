# SPDX-License-Identifier: Apache-2.0
"""Resizing that gives the same pixels in training and in an exported model."""

from typing import Any

import PIL.Image
import torch
from anomalib.pre_processing import PreProcessor
from torch import nn
from torchvision.transforms.v2 import Compose, Resize, Transform

from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics.cropping import parts_of


class ExactPreProcessor(PreProcessor):
    """Anomalib's pre-processor, whose exported form resizes as training does, with antialiasing.

    Anomalib switches antialiasing off for export, since ONNX lacks torchvision's operator. On a photograph several
    times larger than the network's input, other pixels remain then, and scores and maps differ from those of `anomalib
    test`. Here the exported graph computes the antialiased resizing from operators that every format has.
    """

    def __init__(self, transform: Transform | None = None) -> None:
        super().__init__(transform)
        self._make_exportable()

    def load_checkpoint_config(self, config: dict[str, Any]) -> None:
        """Restore the transform of a checkpoint."""
        super().load_checkpoint_config(config)
        self._make_exportable()

    def _make_exportable(self) -> None:
        """Replace the resizings in Anomalib's exportable form of the transform."""
        if self.export_transform is not None:
            self.export_transform = _exportable(self.export_transform)


def exact(pre_processor: PreProcessor | bool) -> PreProcessor | bool:
    """Return Anomalib's own pre-processor as an :class:`ExactPreProcessor`; anything else as it is.

    Raises:
        UserError: If its transform resizes to one side, keeping the aspect, which no exported model can do for
            images of every size, or otherwise than bilinearly with antialiasing, as exported models do.
    """
    if not isinstance(pre_processor, PreProcessor) or pre_processor.transform is None:
        return pre_processor
    for resize in (part for part in parts_of(pre_processor.transform) if isinstance(part, Resize)):
        sides = resize.size
        if not isinstance(sides, list | tuple) or len(sides) != 2:
            msg = (
                f"The pre-processor resizes images to {sides} and keeps their aspect, so that an exported model would "
                "see others than training does: give Resize height and width, e.g. Resize((256, 256))."
            )
            raise UserError(msg)
        interpolation = getattr(resize.interpolation, "value", resize.interpolation)  # names and PIL's numbers, too
        if interpolation not in {"bilinear", PIL.Image.Resampling.BILINEAR} or not resize.antialias:
            msg = (
                f"The pre-processor resizes by {interpolation} interpolation with antialias="
                f"{resize.antialias}, and an exported model bilinearly with antialias=True: leave both at that."
            )
            raise UserError(msg)
    return ExactPreProcessor(pre_processor.transform) if type(pre_processor) is PreProcessor else pre_processor


def transformed(pre_processor: nn.Module | None, images: torch.Tensor) -> torch.Tensor:
    """Apply a pre-processor's transform, if there is one."""
    transform: Any = getattr(pre_processor, "transform", None)
    return images if transform is None else transform(images)


class AntialiasedResize(nn.Module):
    """Bilinear resizing with antialiasing, as two matrix products; equals ``Resize(size, antialias=True)``.

    Args:
        size: Height and width of the result.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Resize images ``(..., H, W)``."""
        height, width = images.shape[-2:]
        if _is_known_to_be(height, self.size[0]) and _is_known_to_be(width, self.size[1]):
            return images
        rows = _resampling_matrix(height, self.size[0], images)
        columns = _resampling_matrix(width, self.size[1], images)
        # Without the axis of the channels: where the matrices are constants (a fixed input size), OpenVINO's CPU plugin
        # (2026.4) would join the products with the scaling per channel that follows, as if the columns were the
        # channels, and then fail to load the model.
        resized = rows @ images.flatten(0, -3) @ columns.transpose(0, 1)
        return resized.reshape(*images.shape[:-2], *self.size)


def _is_known_to_be(side: int, new: int) -> bool:
    """Whether a side needs no resizing; one without a value, in a graph for images of any size, may always need it."""
    return type(side) is int and side == new


def _resampling_matrix(old: int, new: int, like: torch.Tensor) -> torch.Tensor:
    """Return ``(new, old)`` weights: a triangle around each new pixel, as wide as the larger of the pixels."""
    positions = torch.arange(old, dtype=like.dtype, device=like.device) + 0.5
    # Counted rather than converted: `float(old)` would bind an exported graph to one size.
    scale = torch.ones_like(positions).sum() / new
    centres = (torch.arange(new, dtype=like.dtype, device=like.device) + 0.5) * scale
    distances = (positions[None, :] - centres[:, None]).abs() / scale.clamp(min=1)
    weights = (1 - distances).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def _exportable(part: Transform) -> nn.Module:
    """Return our resizing in place of torchvision's, if it is one to a fixed height and width, or holds such."""
    if isinstance(part, Compose):
        part.transforms = [_exportable(each) for each in part.transforms]
    if isinstance(part, Resize) and isinstance(part.size, list | tuple) and len(part.size) == 2:
        return AntialiasedResize((part.size[0], part.size[1]))
    return part
