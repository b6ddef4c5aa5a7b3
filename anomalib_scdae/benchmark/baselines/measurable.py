# SPDX-License-Identifier: Apache-2.0
"""An untrained model to take the time of: its weights do not matter, but its statistics must be numbers."""

import math
from typing import Any

import torch
from anomalib.models import AnomalibModule, EfficientAd

#: Statistics of a post-processor that has seen no validation, by the ends of their names.
STATISTICS = {"min": 0.0, "max": 1.0, "threshold": 0.5}


def make_measurable(model: AnomalibModule) -> None:
    """Replace statistics that only training would give, so that an untrained model does a trained one's work.

    OpenVINO refuses thresholds that are NaN. The numbers are no 0 and 1 where that would let a compiler leave out
    an operation that a trained model needs.

    Args:
        model: Changed in place.
    """
    for name, buffer in getattr(model.post_processor, "named_buffers", dict)():
        value = next((value for end, value in STATISTICS.items() if name.endswith(end)), None)
        if value is not None and buffer.numel() == 1 and math.isnan(buffer.item()):
            buffer.fill_(value)
    if isinstance(model, EfficientAd):
        networks: Any = model.model
        with torch.no_grad():
            networks.mean_std["mean"].fill_(0.1)
            networks.mean_std["std"].fill_(0.5)
            for name, value in networks.quantiles.items():
                value.fill_(0.1 if name.startswith("qa") else 0.7)
