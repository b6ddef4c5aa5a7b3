# SPDX-License-Identifier: Apache-2.0
"""PDNs that take a tenth of the time, since most of a small training's time is theirs."""

from collections.abc import Callable

from anomalib.models.image.efficient_ad.torch_model import MediumPatchDescriptionNetwork, SmallPatchDescriptionNetwork
from torch import nn

#: What the hidden channels are divided by.
NARROWER = 8


def make_narrow(set_attribute: Callable[[object, str, object], None] = setattr) -> None:
    """Let Anomalib build PDNs with few hidden channels, in this process.

    Args:
        set_attribute: Sets an attribute; pytest's ``setattr`` for one that is undone. A program of its own needs none.
    """
    for network in (SmallPatchDescriptionNetwork, MediumPatchDescriptionNetwork):
        set_attribute(network, "__init__", _narrowed(network.__init__))


def _narrowed(build: Callable[..., None]) -> Callable[..., None]:
    def build_narrow(self: nn.Module, out_channels: int, padding: bool = False) -> None:
        # Not before the command line is made: what comes first decides how it learns of SCDAE.
        from anomalib_scdae.model.networks import pdn_convolutions

        build(self, out_channels, padding)
        channels = 3
        for name, wide in pdn_convolutions(self).items():
            width = out_channels if wide.out_channels == out_channels else wide.out_channels // NARROWER
            setattr(self, name, nn.Conv2d(channels, width, wide.kernel_size, padding=wide.padding))
            channels = width

    return build_narrow
