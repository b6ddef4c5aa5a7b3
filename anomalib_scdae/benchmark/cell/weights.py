# SPDX-License-Identifier: Apache-2.0
"""A cell's final weights and statistics, kept so that the model can be measured after its process has ended."""

from pathlib import Path

import torch
from anomalib.models import AnomalibModule
from safetensors.torch import load_file, save

from anomalib_scdae.files import replacing


def save_weights(model: AnomalibModule, file: Path) -> None:
    """Write all that ``model.state_dict()`` holds, thresholds and memory banks included."""
    state = {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
    with replacing(file) as temporary:
        temporary.write_bytes(save(state))  # save_file would keep other users out


def load_weights(model: AnomalibModule, file: Path) -> None:
    """Give a model that was built with the same arguments the weights of ``file``."""
    with torch.no_grad():
        model.load_state_dict(load_file(file))
