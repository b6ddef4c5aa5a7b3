# SPDX-License-Identifier: Apache-2.0
"""Whether a device trains faster in bf16: measured, since the instructions that a processor has do not tell."""

from contextlib import suppress
from statistics import median
from time import perf_counter
from typing import Any

import torch
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from torch.nn.utils import skip_init

#: A layer like those in which a training spends its time: channels, kernel size, side of its input.
CHANNELS, KERNEL, SIDE = 128, 3, 32
#: Pairs of measurements; no more are begun after so many seconds, for bf16 can take a hundred times as long.
ROUNDS, SECONDS = 7, 1.0


def bf16_is_faster(device: torch.device) -> bool:
    """Tell whether to train in bf16 autocast: by measuring a processor, by what is known of a GPU.

    One layer is too little for a GPU's clock: what would be measured is how long it takes to ask for the work.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bf16_speed(device) > 1


def bf16_speed(device: torch.device) -> float:
    """Measure how fast a convolution is learnt from in bf16 autocast.

    Args:
        device: Where.

    Returns:
        Time in float32 divided by time in bf16, forward and backward, median of pairs in turn: above 1 where bf16 is
        the faster one, 0 where the device cannot do it. It takes a fraction of a second and draws no random numbers.
    """
    layer = skip_init(nn.Conv2d, CHANNELS, CHANNELS, KERNEL, device=device).to(memory_format=torch.channels_last)
    for parameter in layer.parameters():
        nn.init.ones_(parameter)
    images = torch.ones(1, CHANNELS, SIDE, SIDE, device=device).to(memory_format=torch.channels_last)
    ratios = list[float]()
    with suppress(RuntimeError), torch.enable_grad():
        for bf16 in (False, True):
            _seconds(layer, images, bf16=bf16)  # warms up
        start = perf_counter()
        while len(ratios) < ROUNDS and (not ratios or perf_counter() - start < SECONDS):
            ratios.append(_seconds(layer, images, bf16=False) / _seconds(layer, images, bf16=True))
    return median(ratios or [0.0])


def _seconds(layer: nn.Module, images: torch.Tensor, *, bf16: bool) -> float:
    start = perf_counter()
    with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
        output = layer(images)
    output.float().mean().backward()
    next(layer.parameters()).grad.flatten()[0].item()  # type: ignore[union-attr]  # waits for the device
    return perf_counter() - start


class FasterPrecision(MixedPrecision):
    """bf16 autocast on a device that is faster in it, float32 on any other: a plugin of Lightning's trainer.

    A processor is measured (:func:`bf16_speed`) when a training, a test or a prediction starts. Where both are about as
    fast, two runs, or two processes of one, may choose otherwise: name a ``precision`` instead where figures must be
    the same each time.

    Example:
        .. code-block:: yaml

            trainer:
              plugins:
                - class_path: anomalib_scdae.FasterPrecision
    """

    def __init__(self) -> None:
        super().__init__("bf16-mixed", "cpu")
        self.precision = "32-true"  # until the device is known

    def connect(self, model: nn.Module, optimizers: list[Any], lr_schedulers: list[Any]) -> tuple[Any, Any, Any]:
        """Choose, now that ``model`` is on its device."""
        device = next(model.parameters()).device
        self.device = device.type
        self.precision = "bf16-mixed" if bf16_is_faster(device) else "32-true"
        rank_zero_info(f"SCDAE: precision {self.precision}, the faster one here.")
        return super().connect(model, optimizers, lr_schedulers)

    def autocast_context_manager(self) -> torch.autocast:
        """Autocast to bf16, or nothing."""
        return torch.autocast(
            self.device, torch.bfloat16, enabled=str(self.precision) == "bf16-mixed", cache_enabled=False
        )
