# SPDX-License-Identifier: Apache-2.0
"""Reverse distillation with other backbones is Anomalib's with its own."""

from pathlib import Path

import torch
from anomalib.models import ReverseDistillation
from anomalib.pre_processing import PreProcessor
from torchvision.transforms.v2 import Resize

from anomalib_scdae.benchmark.baselines import ReverseDistillationAdapted
from tests.benchmark.baselines.systems import SIDE, engine, loco

IMAGES = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def small() -> PreProcessor:
    return PreProcessor(Resize((SIDE, SIDE), antialias=True))


def test_with_a_resnet_it_is_anomalibs() -> None:
    ours = ReverseDistillationAdapted("resnet18", pre_trained=False, pre_processor=small()).eval()
    theirs = ReverseDistillation("resnet18", pre_trained=False, pre_processor=small()).eval()
    encoder = ours.model.encoder.network.state_dict()
    theirs.model.encoder.feature_extractor.load_state_dict(encoder, strict=False)  # theirs has one more stage
    theirs.model.bottleneck.load_state_dict(ours.model.student.bottleneck.state_dict())
    theirs.model.decoder.load_state_dict(ours.model.student.decoder.state_dict())
    with torch.no_grad():
        first, second = ours.model(IMAGES), theirs.model(IMAGES)
    torch.testing.assert_close(first.anomaly_map, second.anomaly_map)
    torch.testing.assert_close(first.pred_score, second.pred_score)


def test_with_another_backbone_it_learns(loco_root: Path, tmp_path: Path) -> None:
    model = ReverseDistillationAdapted("efficientnet_lite0", pre_trained=False, pre_processor=small(), visualizer=False)
    before = [value.detach().clone() for value in model.model.student.behind.parameters()]
    engine(tmp_path).fit(model, datamodule=loco(loco_root))
    assert any(not torch.equal(*pair) for pair in zip(before, model.model.student.behind.parameters(), strict=True))
    assert model.model.eval()(IMAGES).anomaly_map.shape == (2, 1, SIDE, SIDE)
