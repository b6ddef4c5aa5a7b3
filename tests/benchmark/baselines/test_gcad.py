# SPDX-License-Identifier: Apache-2.0
"""GCAD's networks, losses and maps against their descriptions."""

import pytest
import torch
from torch.nn import functional as F

from anomalib_scdae.benchmark.baselines.frozen_backbone import FrozenBackbone
from anomalib_scdae.benchmark.baselines.gcad.distillation import distil
from anomalib_scdae.benchmark.baselines.gcad.networks import KERNELS, Descriptor, GlobalEncoder, GlobalRegressor
from anomalib_scdae.inputs.penalty import load_penalty_images
from tests.benchmark.baselines.systems import SIDE, SMALL, make

IMAGES = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("side", KERNELS)
def test_a_descriptor_sees_its_patch_and_no_more(side: int) -> None:
    descriptor = Descriptor(side)
    found = descriptor(IMAGES)
    assert found.shape == (2, 128, SIDE // 4, SIDE // 4)
    half = side // 2
    patch = IMAGES[:, :, 32 - half : 33 + half, 24 - half : 25 + half]
    torch.testing.assert_close(found[:, :, 8, 6], descriptor.of_patches(patch)[:, :, 0, 0], rtol=1e-4, atol=1e-5)
    image = IMAGES[:1].clone().requires_grad_()
    descriptor(image)[0, :, 8, 6].sum().backward()
    rows, columns = image.grad[0].abs().sum(dim=0).nonzero().T
    assert (int(rows.min()), int(rows.max())) == (32 - half, 32 + half)
    assert (int(columns.min()), int(columns.max())) == (24 - half, 24 + half)


@pytest.mark.parametrize("size", [(64, 64), (70, 100), (256, 256)])
def test_the_global_maps_lie_over_the_local_ones(size: tuple[int, int]) -> None:
    images = torch.rand(1, 3, *size)
    expected = Descriptor(33)(images).shape[-2:]
    for network in (GlobalEncoder(), GlobalRegressor()):
        assert network(images).shape == (1, 10, *expected)


def test_the_global_encoder_goes_through_32_numbers() -> None:
    encoder = GlobalEncoder()
    seen = []
    encoder.bottleneck.register_forward_hook(lambda *arguments: seen.append(arguments[2].shape))
    encoder(IMAGES)
    assert seen == [(2, 32, 1, 1)]


def test_the_loss_is_the_papers_sum_of_squared_distances_by_channels() -> None:
    model = make("Gcad").model
    expected = {"distillation": 0.0, "global": 0.0, "local": 0.0}
    for pair in model.pairs:
        local, whole = pair.local_encoder(IMAGES), pair.global_encoder(IMAGES)
        expected["distillation"] += (pair.upsampler(whole) - local).square().sum(dim=1).mean() / 128
        expected["global"] += (pair.global_regressor(IMAGES) - whole).square().sum(dim=1).mean() / 10
        expected["local"] += (pair.local_regressor(IMAGES) - local).square().sum(dim=1).mean() / 128
    losses = model.losses(IMAGES)
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


def test_what_is_regressed_is_no_part_of_the_regressions_gradient() -> None:
    model = make("Gcad").model
    model.losses(IMAGES)["global"].backward()
    for pair in model.pairs:
        assert all(value.grad is None for value in pair.global_encoder.parameters())
        assert all(value.grad is not None for value in pair.global_regressor.parameters())


def test_maps_are_standardised_on_normal_images_summed_and_averaged_over_receptive_fields() -> None:
    model = make("Gcad").model.eval()
    with torch.no_grad():
        maps = model.separate_maps(IMAGES)
        model.scale.fit([maps[:1], maps[1:]])
        mean, std = maps.mean(dim=(0, 2, 3)), maps.transpose(0, 1).flatten(1).std(dim=1, unbiased=False)
        (local_17, global_17, local_33, global_33) = ((maps - mean[:, None, None]) / std[:, None, None]).unbind(dim=1)
        combined = (local_17 + global_17 + local_33 + global_33)[:, None] / 2
        expected = F.interpolate(combined, size=(SIDE, SIDE), mode="bilinear")
        found = model(IMAGES)
    torch.testing.assert_close(found.anomaly_map, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(found.pred_score, expected.amax(dim=(1, 2, 3)), rtol=1e-3, atol=1e-3)


def test_descriptors_learn_what_the_backbone_says(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    descriptors = [Descriptor(17)]
    before = [value.clone() for value in descriptors[0].parameters()]
    backbone = FrozenBackbone("resnet18", (32,), pre_trained=False)
    photographs = load_penalty_images(SMALL["Gcad"]["photographs"], (64, 64))
    with caplog.at_level("INFO"):
        distil(descriptors, backbone, photographs, lambda images: images, 10, torch.device("cpu"))
    losses = [float(record.message.split()[-1][:-1]) for record in caplog.records if "descriptors" in record.message]
    assert len(losses) == 10
    assert losses[-1] < losses[0]
    assert any(not torch.equal(*pair) for pair in zip(before, descriptors[0].parameters(), strict=True))
