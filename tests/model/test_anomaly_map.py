# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from anomalib.models import EfficientAd
from hypothesis import given
from hypothesis import strategies as st

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.anomaly_map import AnomalyMapMerger


def test_quantiles_equal_those_of_efficient_ad() -> None:
    maps = torch.rand(5, 2, 56, 56)
    merger = AnomalyMapMerger(global_maps=1)
    merger.fit([(maps[:3], (256, 256)), (maps[3:], (256, 256))])
    enlarged = merger.enlarge(merger.pad(maps), (256, 256))
    for index in range(2):
        expected = EfficientAd._get_quantiles_of_maps(_Device(), list(enlarged[:, index]))
        torch.testing.assert_close(torch.stack([merger.lower[index], merger.upper[index]]), torch.stack(expected))


class _Device:
    """Stands for the module, of which that method reads nothing but the device."""

    device = "cpu"


def test_quantiles_are_mapped_to_zero_and_a_tenth() -> None:
    merger = AnomalyMapMerger(global_maps=2)
    merger.fit([(torch.rand(4, 3, 56, 56), (256, 256))])
    edges = torch.stack([merger.lower, merger.upper])[:, :, None, None]
    torch.testing.assert_close(merger.normalise(edges)[:, :, 0, 0], torch.tensor([[0.0] * 3, [0.1] * 3]))


def test_before_it_is_fitted_maps_stay_as_they_are() -> None:
    maps = torch.rand(2, 3, 56, 56)
    torch.testing.assert_close(AnomalyMapMerger(global_maps=2).normalise(maps), maps)


def test_a_constant_map_gives_no_nan() -> None:
    merger = AnomalyMapMerger(global_maps=1, pad_maps=False)
    merger.fit([(torch.full((2, 2, 64, 64), 0.7), (256, 256))])
    assert torch.isfinite(merger(torch.rand(1, 2, 64, 64), (256, 256))).all()


@given(local_weight=st.floats(0, 1), global_maps=st.integers(1, 3))
def test_the_local_map_has_its_weight_and_the_global_ones_share_the_rest(local_weight: float, global_maps: int) -> None:
    maps = torch.rand(2, 1 + global_maps, 8, 8)
    merged = AnomalyMapMerger(global_maps, local_weight=local_weight).combine(maps)
    expected = local_weight * maps[:, :1] + (1 - local_weight) * maps[:, 1:].mean(dim=1, keepdim=True)
    torch.testing.assert_close(merged, expected)


def test_by_default_the_local_map_has_half_of_the_weight_as_in_efficient_ad() -> None:
    torch.testing.assert_close(AnomalyMapMerger(global_maps=2).weights, torch.tensor([0.5, 0.25, 0.25]))


@pytest.mark.parametrize("local_weight", [-0.1, 1.5, float("nan")])
def test_a_weight_that_is_none_is_told(local_weight: float) -> None:
    with pytest.raises(UserError, match="from 0 to 1"):
        AnomalyMapMerger(global_maps=2, local_weight=local_weight)
