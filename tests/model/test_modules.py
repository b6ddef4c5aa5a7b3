# SPDX-License-Identifier: Apache-2.0
"""SRM, CRM and SFM against the paper's equations, written out."""

import pytest
import torch
from torch.nn import functional as F

from anomalib_scdae.model.aggregation import aggregate
from anomalib_scdae.model.crm import ChannelReunionModule
from anomalib_scdae.model.networks import Student
from anomalib_scdae.model.sfm import SelectiveFusionModule
from anomalib_scdae.model.srm import SpatialReunionModule

B, C, H, W = 2, 8, 13, 9


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(B, C, H, W, generator=torch.Generator().manual_seed(0))


def test_aggregation_is_the_matrix_product(features: torch.Tensor) -> None:
    weights = torch.randn(B, 1, H, W)
    product = torch.einsum("bihw,bchw->bc", weights, features)[..., None, None]
    torch.testing.assert_close(aggregate(weights, features, "sum"), product)
    torch.testing.assert_close(aggregate(weights, features, "mean"), product / (H * W))
    attention = weights.flatten(2).softmax(-1).unflatten(2, (H, W))
    torch.testing.assert_close(aggregate(attention, features, "sum"), aggregate(weights, features, "softmax"))


def test_srm_follows_equations_1_to_7(features: torch.Tensor) -> None:
    srm = SpatialReunionModule(C, pool_size=4, aggregation="sum", identity_init=False)
    pooled = F.avg_pool2d(features, 4)
    upsampled = F.interpolate(srm.pooled_conv(pooled), size=(H, W), mode="bilinear")
    f1 = srm.weight_conv(srm.conv(features) * torch.sigmoid(upsampled + features))
    x1 = f1.reshape(B, 1, 1, H * W) @ features.reshape(B, C, H * W, 1)
    torch.testing.assert_close(srm(features), features + x1)

    scaled = SpatialReunionModule(C, pool_size=4, aggregation="mean", identity_init=False)
    scaled.load_state_dict(srm.state_dict())
    torch.testing.assert_close(scaled(features), features + x1 / (H * W) / (9 * C) ** 0.5)


@pytest.mark.parametrize(
    ("gate", "factor"), [("plain", lambda x: x), ("residual", lambda x: 1 + x), ("rescaled", lambda x: 2 * x)]
)
def test_crm_follows_equations_8_to_10(features: torch.Tensor, gate: str, factor: callable) -> None:
    crm = ChannelReunionModule(C, reduction=2, aggregation="sum", gate=gate, identity_init=False)
    a2 = crm.weight_convs(features)
    e2 = (a2 * features).sum(dim=(-2, -1))
    x2 = torch.sigmoid(crm.fc2(crm.fc1(e2)))[..., None, None]
    torch.testing.assert_close(crm(features), factor(x2) * features)


@pytest.mark.parametrize("gate", ["plain", "rescaled"])
def test_sfm_weighs_the_branches_per_channel(features: torch.Tensor, gate: str) -> None:
    sfm = SelectiveFusionModule(C, 2, reduction=2, gate=gate, identity_init=False)
    other = torch.randn_like(features)
    y1, y2 = sfm([features, other])
    n1, n2 = y1 / features, y2 / other
    torch.testing.assert_close(n1, n1[..., :1, :1].expand_as(n1), rtol=1e-4, atol=1e-4)  # one weight per channel
    torch.testing.assert_close(n1 + n2, torch.full_like(n1, 2.0 if gate == "rescaled" else 1.0), rtol=1e-4, atol=1e-4)


def test_half_heads_equal_the_halves_of_the_whole_student() -> None:
    for size in ("small", "medium"):
        student = Student(size, channels=6)
        images = torch.rand(1, 3, 64, 80)
        first, second = student(images)
        for half, expected in zip(student.halves(), (first, second), strict=True):
            torch.testing.assert_close(half(student.trunk(images)), expected)


def test_sfm_follows_its_equations() -> None:
    torch.manual_seed(0)
    sfm, outputs = SelectiveFusionModule(8, 2, reduction=2, identity_init=False), torch.randn(2, 2, 8, 5, 4)
    mixed = sfm.fc(outputs.sum(0).mean((-2, -1)))
    weights = 2 * torch.stack([selector(mixed) for selector in sfm.selectors]).softmax(0)[..., None, None]
    torch.testing.assert_close(torch.stack(sfm(list(outputs))), weights * outputs)
