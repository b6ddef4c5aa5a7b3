# SPDX-License-Identifier: Apache-2.0
"""The shortcuts of the backward pass against autograd's own way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from anomalib_scdae.model.fast.hard_distances import largest_distances
from anomalib_scdae.model.fast.relu_pool import relu_pool
from anomalib_scdae.model.loss import hard_count
from anomalib_scdae.model.networks import pdn_convolutions, pdn_trunk


@settings(max_examples=20)
@given(
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    size=st.sampled_from([2, 3]),
    channels_last=st.booleans(),
    padding=st.integers(0, 1),
    seed=st.integers(0, 2**31),
)
def test_relu_pool_is_relu_and_pooling(
    height: int, width: int, size: int, channels_last: bool, padding: int, seed: int
) -> None:
    torch.manual_seed(seed)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    pool = nn.AvgPool2d(size, size, padding=padding)
    values = torch.randn(2, 5, height, width).contiguous(memory_format=layout).requires_grad_()
    plain = pool(F.relu(values * 2))
    fast = relu_pool(values * 2, pool)
    torch.testing.assert_close(fast, plain, rtol=0, atol=0)
    weights = torch.randn_like(plain)
    expected, found = (torch.autograd.grad((result * weights).sum(), values)[0] for result in (plain, fast))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("quantile", [0.0, 0.9, 0.99, 0.999])
def test_largest_distances_have_the_gradients_of_the_plain_hard_loss(
    layout: torch.memory_format, size: int, quantile: float
) -> None:
    torch.manual_seed(0)
    # 60 x 50 outputs of 12 channels; with the last quantile 36 of them count for each image.
    features = torch.randn(2, 6, 59 + size, 49 + size).contiguous(memory_format=layout).requires_grad_()
    weight = torch.randn(12, 6, size, size).contiguous(memory_format=layout).requires_grad_()
    bias = torch.randn(12, requires_grad=True)
    target = torch.randn(2, 12, 60, 50)
    count = hard_count(target[0].numel(), quantile)
    plain = (target - F.conv2d(features, weight, bias)).square().flatten(1).topk(count).values.mean()
    fast = largest_distances(features, weight, bias, target, count).mean()
    torch.testing.assert_close(fast, plain)
    inputs = (features, weight, bias)
    for found, expected in zip(torch.autograd.grad(fast, inputs), torch.autograd.grad(plain, inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", ["small", "medium"])
@pytest.mark.parametrize("padding", [False, True])
def test_trunk_and_last_convolution_are_the_network(size: str, padding: bool) -> None:
    from anomalib_scdae.model.networks import patch_description_network

    network = patch_description_network(size, 6, padding)
    images = torch.rand(1, 3, 64, 72)
    with torch.no_grad():
        *_, last = pdn_convolutions(network).values()
        torch.testing.assert_close(last(pdn_trunk(network, images)), network(images))
