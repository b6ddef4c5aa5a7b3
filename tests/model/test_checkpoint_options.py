# SPDX-License-Identifier: Apache-2.0
"""A checkpoint brings along every option that decides what its weights mean."""

import inspect
from typing import Any

import torch

from anomalib_scdae import SCDAE
from anomalib_scdae.model.lightning_model import ARCHITECTURE
from anomalib_scdae.model.torch_model import SCDAEModel


def test_every_option_of_the_networks_travels_with_a_checkpoint() -> None:
    options = set(inspect.signature(SCDAEModel).parameters) - {"channels"}
    assert set(ARCHITECTURE) - {"teacher_out_channels"} == options


def test_a_checkpoint_brings_its_options_along() -> None:
    checkpoint: dict[str, Any] = {}
    saved = SCDAE(teacher_out_channels=8, local_weight=1 / 3)
    saved.on_save_checkpoint(checkpoint)
    loaded = SCDAE()
    loaded.on_load_checkpoint({**checkpoint, "hyper_parameters": dict(saved.hparams)})
    torch.testing.assert_close(loaded.model.anomaly_map.weights, torch.full((3,), 1 / 3))
    assert loaded.model.channels == 8
