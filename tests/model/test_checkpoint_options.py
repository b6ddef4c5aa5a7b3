# SPDX-License-Identifier: Apache-2.0
"""A checkpoint brings along every option that decides what its weights mean."""

import inspect
from typing import Any

import pytest
import torch

from anomalib_scdae import SCDAE
from anomalib_scdae.model.torch_model import SCDAEModel


def test_every_option_of_the_networks_travels_with_a_checkpoint() -> None:
    assert set(inspect.signature(SCDAEModel).parameters) <= set(SCDAE().hparams)


def test_a_checkpoint_from_before_the_context_score_has_none() -> None:
    saved = dict(SCDAE().hparams)
    del saved["context_weight"]
    loaded = SCDAE(context_weight=1.0)
    loaded.on_load_checkpoint({"hyper_parameters": saved})
    assert loaded.model.context_score is None


def test_a_checkpoint_of_another_image_size_says_so(caplog: pytest.LogCaptureFixture) -> None:
    loaded = SCDAE(image_size=512)
    with caplog.at_level("INFO"):
        loaded.on_load_checkpoint({"hyper_parameters": dict(SCDAE(image_size=[256, 256]).hparams)})
    assert "From the checkpoint: image_size=[256, 256]." in caplog.text
    assert loaded.hparams["image_size"] == [256, 256]
    caplog.clear()
    with caplog.at_level("INFO"):
        SCDAE().on_load_checkpoint({"hyper_parameters": dict(SCDAE(image_size=[256, 256]).hparams)})
    assert "From the checkpoint" not in caplog.text


def test_a_checkpoint_brings_its_options_along() -> None:
    checkpoint: dict[str, Any] = {}
    saved = SCDAE(teacher_out_channels=8, local_weight=1 / 3)
    saved.on_save_checkpoint(checkpoint)
    loaded = SCDAE()
    loaded.on_load_checkpoint({**checkpoint, "hyper_parameters": dict(saved.hparams)})
    torch.testing.assert_close(loaded.model.anomaly_map.weights, torch.full((3,), 1 / 3))
    assert loaded.model.channels == 8


def test_options_reach_the_modules() -> None:
    model = SCDAEModel(
        teacher_out_channels=4, pool_size=3, aggregation="sum", crm_gate="plain", fusion_gate="plain",
        cosine_weight=0.25, cosine_scale="mean", context_weight=2.0,
    )  # fmt: skip
    (srm,), (crm,) = (branch.context for branch in model.branches)
    assert (srm.pool_size, srm.aggregation, crm.aggregation, crm.gate) == (3, "sum", "sum", "plain")
    assert (model.fusion.scale, model.context_score.weight) == (1, 2)
    assert (model.loss.cosine_weight, model.loss.cosine_scale) == (0.25, "mean")
