# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from anomalib.data import ImageBatch
from hypothesis import given
from hypothesis import strategies as st

from anomalib_scdae.model.distances import Distances
from anomalib_scdae.model.training.calibration import ValidationRecord
from anomalib_scdae.model.training.teacher_statistics import channel_mean_std


@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.floats(-1000, 1000), st.integers(0, 2**31))
def test_equal_those_of_the_whole_set(batches: list[int], offset: float, seed: int) -> None:
    features = torch.randn(sum(batches), 4, 3, 5, generator=torch.Generator().manual_seed(seed)) + offset
    mean, std = channel_mean_std(features.split(batches))
    torch.testing.assert_close(mean[0, :, 0, 0], features.double().mean(dim=(0, 2, 3)).float())
    torch.testing.assert_close(
        std[0, :, 0, 0], features.double().std(dim=(0, 2, 3), correction=0).float(), rtol=1e-4, atol=1e-5
    )


@given(st.floats(-1e4, 1e4, width=32))
def test_a_channel_without_variance_divides_safely(value: float) -> None:
    features = torch.full((7, 2, 11, 3), value)
    mean, std = channel_mean_std(features.split(2))
    assert (std == 1).all()
    assert torch.isfinite((features - mean) / std).all()


def test_no_features() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        channel_mean_std([])


def test_only_normal_images_calibrate() -> None:
    batch = ImageBatch(image=torch.zeros(3, 3, 8, 8), gt_label=torch.tensor([0, 1, 0]))
    record = ValidationRecord.of(batch, Distances(torch.arange(3.0).view(3, 1, 1, 1), torch.arange(3.0)))
    normal, size = record.normal()
    assert normal.maps.flatten().tolist() == normal.context.tolist() == [0, 2]
    assert size == (8, 8)
