# SPDX-License-Identifier: Apache-2.0
"""PDNs that take a tenth of the time, since most of a small training's time is theirs."""

from collections.abc import Callable

from anomalib.models.image.efficient_ad.torch_model import MediumPatchDescriptionNetwork, SmallPatchDescriptionNetwork
from torch import nn

#: What the hidden channels are divided by.
NARROWER = 8
#: Each PDN's convolutions, in order, and how many of the last ones have as many channels as are asked for.
CONVOLUTIONS = {SmallPatchDescriptionNetwork: (4, 1), MediumPatchDescriptionNetwork: (6, 2)}


def make_narrow(set_attribute: Callable[[object, str, object], None] = setattr) -> None:
    """Let Anomalib build PDNs with few hidden channels, in this process.

    Args:
        set_attribute: Sets an attribute; pytest's ``setattr`` for one that is undone. A program of its own needs none.
    """
    for network, (count, outputs) in CONVOLUTIONS.items():
        set_attribute(network, "__init__", _narrow_constructor(network, count, outputs))


def _narrow_constructor(network: type[nn.Module], count: int, outputs: int) -> Callable[..., None]:
    build = network.__init__

    def build_narrow(self: nn.Module, out_channels: int, padding: bool = False) -> None:
        build(self, out_channels, padding)
        channels = 3
        for number in range(1, count + 1):
            wide = getattr(self, f"conv{number}")
            width = out_channels if number > count - outputs else wide.out_channels // NARROWER
            setattr(self, f"conv{number}", nn.Conv2d(channels, width, wide.kernel_size, padding=wide.padding))
            channels = width

    return build_narrow
