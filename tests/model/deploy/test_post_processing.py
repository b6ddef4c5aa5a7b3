# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
import torch
from anomalib.data import ImageBatch
from hypothesis import given
from hypothesis import strategies as st

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.deploy.post_processing import MonotonePostProcessor

normalise = MonotonePostProcessor._normalize
FLOATS = st.floats(-100, 100, width=32)


@given(st.lists(FLOATS, min_size=2, max_size=50), FLOATS, st.floats(0.125, 50, width=32), st.floats(0, 1, width=32))
def test_strictly_monotone_between_zero_and_one_with_the_threshold_at_a_half(
    values: list[float], low: float, extent: float, position: float
) -> None:
    low_, high_ = torch.tensor(low), torch.tensor(low + extent)
    threshold = low_ + position * (high_ - low_)
    # Values that float32 can still tell apart after subtracting the threshold.
    x = torch.tensor(sorted({round(v, 2) for v in values}))
    y = normalise(x, low_, high_, threshold)
    assert (y[1:] > y[:-1]).all()
    assert ((y > 0) & (y < 1)).all()
    assert normalise(threshold, low_, high_, threshold) == 0.5
    apart = (x - threshold).abs() > 1e-5  # nearer ones are rounded to 0.5
    assert ((y > 0.5) == (x > threshold))[apart].all()


@given(st.lists(st.integers(-500, 500), min_size=1, max_size=60), st.floats(0, 0.99))
def test_thresholds_keep_the_false_positive_rate(normal: list[int], target_fpr: float) -> None:
    post_processor = MonotonePostProcessor(target_fpr=target_fpr)
    scores = torch.tensor([*normal, 1000, 2000]) / 10
    labels = torch.tensor([0] * len(normal) + [1, 1])
    batch = SimpleNamespace(pred_score=scores, gt_label=labels, gt_mask=None, anomaly_map=scores[:, None, None])
    post_processor.on_validation_batch_end(None, None, batch)
    post_processor.on_validation_epoch_end(None, None)
    flagged = scores[labels == 0] > post_processor.image_threshold
    assert flagged.sum() <= target_fpr * len(normal) + 1e-6
    # No lower threshold would do: the next score below is one that the rate does not allow.
    assert (scores[labels == 0] >= post_processor.image_threshold).sum() > target_fpr * len(normal) - 1e-6


@pytest.mark.parametrize("labels", [[0, 0, 0, 1, 1], [0, 0, 0, 0, 0]], ids=["both", "normal only"])
@pytest.mark.parametrize("target_fpr", [None, 0.34])
def test_without_masks_the_threshold_of_pixels_is_in_the_units_of_the_map(
    labels: list[int], target_fpr: float | None
) -> None:
    """Where the score is the map's maximum it is Anomalib's, which is the images'; otherwise it stays where it is."""
    maps = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + torch.tensor(labels).reshape(5, 1, 1, 1)
    maxima = maps.flatten(1).amax(dim=1)
    post_processors = []
    for added in (torch.zeros(5), torch.tensor([7.0, -3.0, 0.0, 2.0, 5.0])):
        post_processor = MonotonePostProcessor(target_fpr=target_fpr)
        batch = ImageBatch(
            image=torch.zeros(5, 3, 8, 8), anomaly_map=maps, pred_score=maxima + added, gt_label=torch.tensor(labels)
        )
        post_processor.on_validation_batch_end(None, None, batch)
        post_processor.on_validation_epoch_end(None, None)
        post_processors.append(post_processor)
    plain, joined = post_processors
    assert plain.pixel_threshold == plain.image_threshold != joined.image_threshold
    assert joined.pixel_threshold == plain.pixel_threshold


def test_the_rate_survives_a_checkpoint() -> None:
    restored = MonotonePostProcessor()
    restored.load_checkpoint_config(MonotonePostProcessor(target_fpr=0.25).checkpoint_config())
    assert restored.target_fpr == 0.25


def test_an_impossible_rate_is_told_in_one_sentence() -> None:
    with pytest.raises(UserError, match="target_fpr must be"):
        MonotonePostProcessor(target_fpr=1.5)


def test_without_a_validation_scores_stay_as_they_are() -> None:
    nan = torch.tensor(float("nan"))
    x = torch.randn(5)
    torch.testing.assert_close(normalise(x, nan, nan, nan), x)
    assert normalise(None, nan, nan, nan) is None


def test_a_range_of_zero_gives_no_nan() -> None:
    one = torch.tensor(1.0)
    y = normalise(torch.tensor([0.0, 1.0, 2.0]), one, one, one)
    assert y[0] < y[1] == 0.5 < y[2]


def test_the_rate_holds_for_pixels_too() -> None:
    post_processor, maps = MonotonePostProcessor(target_fpr=0.25), torch.arange(16.0).view(1, 4, 4)
    batch = ImageBatch(
        image=torch.zeros(1, 3, 4, 4), anomaly_map=maps, gt_mask=torch.zeros(1, 4, 4, dtype=torch.bool),
        pred_score=maps.amax((1, 2)), gt_label=torch.tensor([0]),
    )  # fmt: skip
    post_processor.on_validation_batch_end(None, None, batch)
    post_processor.on_validation_epoch_end(None, None)
    assert post_processor.pixel_threshold == 11
