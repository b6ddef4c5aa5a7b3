# SPDX-License-Identifier: Apache-2.0
import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from torch import Tensor, nn

from anomalib_scdae.distill.backbone import FeatureTargets
from anomalib_scdae.distill.dataset import split_images
from anomalib_scdae.distill.optimizer import MuonAdam, schedule
from anomalib_scdae.distill.training import Validation, build_network

CPU = torch.device("cpu")


class Scripted(nn.Module):
    """Give prepared outputs, one after the other."""

    def __init__(self, outputs: list[Tensor]) -> None:
        super().__init__()
        self.outputs = iter(outputs)

    def forward(self, images: Tensor) -> Tensor:
        return next(self.outputs)


@pytest.fixture(scope="module")
def validation(photographs: Path, weights: Path) -> Validation:
    _, held_out = split_images(photographs, held_out=3)
    features = FeatureTargets("test_resnet", weights, out_channels=5)
    # Other statistics than the validation images' own: the error must not depend on them.
    return Validation(held_out, features, torch.full((5,), 0.3), torch.full((5,), 2.0), CPU)


def test_error_is_one_minus_r2(validation: Validation) -> None:
    draw = torch.Generator().manual_seed(0)
    outputs = [target.float() + 0.1 * torch.randn(target.shape, generator=draw) for target in validation.targets]
    true, predicted = (
        torch.cat([maps.float().permute(0, 2, 3, 1).flatten(0, 2) for maps in batch])
        for batch in (validation.targets, outputs)
    )
    expected = 1 - r2_score(true.double(), predicted.double(), multioutput="uniform_average")
    assert validation.error(Scripted(outputs)) == pytest.approx(expected, rel=1e-6)


def test_error_of_knowing_all_and_of_knowing_the_mean(validation: Validation) -> None:
    assert validation.error(Scripted([target.float() for target in validation.targets])) == 0
    mean = torch.cat(validation.targets).double().mean((0, 2, 3), keepdim=True)
    assert validation.error(Scripted([mean.expand(1, -1, 56, 56)] * 3)) == pytest.approx(1)


@given(st.floats(0, 1), st.floats(0, 1))
def test_schedule_rises_holds_and_falls(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 0 <= schedule(low) <= 1
    if high <= 0.02:
        assert schedule(low) <= schedule(high)
    if low >= 0.02:
        assert schedule(low) >= schedule(high)
    assert schedule(0.3) == 1
    assert schedule(1) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("size", ["small", "medium"])
def test_start_keeps_the_signals_scale(size: str) -> None:
    """He initialisation: the output varies neither vanishingly nor explosively, unlike PyTorch's default here."""
    torch.manual_seed(0)
    image = torch.rand(2, 3, 64, 64)
    assert 0.1 < build_network(size, 16)(image).std().item() < 10


def test_steps_move_every_parameter_and_resume_exactly() -> None:
    torch.manual_seed(0)
    network = build_network("small", 8)
    optimizer = MuonAdam(network, rate=1e-3, weight_decay=0.0, steps=4)
    image = torch.rand(1, 3, 40, 40)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    _descend(network, optimizer, image, 0)
    assert all(not torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())

    copied = build_network("small", 8)
    copied.load_state_dict(network.state_dict())
    resumed = MuonAdam(copied, rate=1e-3, weight_decay=0.0, steps=4)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    _descend(network, optimizer, image, 1)
    _descend(copied, resumed, image, 1)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, copied.state_dict()[name])


def _descend(network: nn.Module, optimizer: MuonAdam, image: Tensor, index: int) -> None:
    (network(image) - 1).square().mean().backward()
    optimizer.step(index)
