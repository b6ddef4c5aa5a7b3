# SPDX-License-Identifier: Apache-2.0
"""The context score equals scikit-learn's Mahalanobis distance, whatever the order, and 0 changes nothing."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from torch import nn

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.context_score import CELLS, MIN_IMAGES, ContextScore, cell_means, windows
from anomalib_scdae.model.fast.folding import AveragedConvolution
from anomalib_scdae.model.torch_model import SCDAEModel

CHANNELS = 3
AVERAGES = CHANNELS * CELLS**2


def _averages(count: int, seed: int = 0) -> torch.Tensor:
    """Correlated numbers of different scales."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(AVERAGES, AVERAGES, generator=generator) * torch.logspace(-2, 2, AVERAGES)
    return torch.randn(count, AVERAGES, generator=generator) @ mixing + 5


def _fitted(count: int = 40, seed: int = 0, weight: float = 1.0) -> ContextScore:
    score = ContextScore(CHANNELS, weight)
    score.fit(_averages(count, seed))
    return score


@given(st.integers(MIN_IMAGES, 60), st.integers(0, 1000))
@settings(max_examples=25)
def test_distance_is_scikit_learns(count: int, seed: int) -> None:
    values, new = _averages(count, seed).double().numpy(), _averages(7, seed + 1).double().numpy()
    mean, std = values.mean(axis=0), values.std(axis=0)
    expected = np.sqrt(LedoitWolf().fit((values - mean) / std).mahalanobis((new - mean) / std))
    found = _fitted(count, seed)(torch.from_numpy(new).float())
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-3)


@given(st.permutations(range(12)))
@settings(max_examples=15)
def test_the_order_of_the_images_does_not_matter(order: list[int]) -> None:
    values = _averages(12)
    one, other = ContextScore(CHANNELS), ContextScore(CHANNELS)
    one.fit(values)
    other.fit(values[order])
    torch.testing.assert_close(other(_averages(5, 9)), one(_averages(5, 9)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(other.unseen, one.unseen)


@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 100))
@settings(max_examples=25)
def test_contributions_add_up_to_the_squared_distance(height: int, width: int, seed: int) -> None:
    score = _fitted()
    torch.manual_seed(seed)
    features = torch.randn(2, CHANNELS, height, width) + 5
    contributions = score.contributions(features)
    assert contributions.shape == (2, 1, height, width)
    squared = score(cell_means(features)).square()
    torch.testing.assert_close(contributions.mean(dim=(1, 2, 3)), squared, rtol=1e-3, atol=1e-2)


@given(st.integers(5, 12), st.integers(5, 12), st.integers(1, 4), st.integers(0, 100))
@settings(max_examples=25)
def test_averaged_convolution_is_the_average_of_the_convolution(h: int, w: int, kernel: int, seed: int) -> None:
    torch.manual_seed(seed)
    convolution, mean, std = torch.nn.Conv2d(4, CHANNELS, kernel), torch.randn(CHANNELS), torch.rand(CHANNELS) + 0.5
    features = torch.randn(2, 4, h, w)
    with torch.no_grad():
        output = (convolution(features) - mean[:, None, None]) / std[:, None, None]
        found = AveragedConvolution(convolution, mean, std)(features)
    torch.testing.assert_close(found, cell_means(output), rtol=1e-4, atol=1e-5)


@given(st.integers(2, 20), st.integers(1, 3))
def test_every_position_belongs_to_one_cell(size: int, kernel: int) -> None:
    weights = windows(size + kernel - 1, kernel, torch.zeros(()))
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(CELLS * kernel))
    assert ((weights[::kernel] > 0).sum(dim=0)[:size] == 1).all()


def test_without_weight_the_score_is_the_papers_to_the_last_bit() -> None:
    torch.manual_seed(0)
    without, with_it = (SCDAEModel(teacher_out_channels=4, context_weight=weight).eval() for weight in (0.0, 1.0))
    assert without.context_score is None
    missing, unexpected = with_it.load_state_dict(without.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("context_score.") for name in missing)
    images = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        expected = without(images)
        unfitted = with_it(images)  # a score that was never fitted adds nothing either
        with_it.context_score.fit(torch.randn(9, 4 * CELLS**2))
        with_it.context_score.standardise(torch.rand(9), torch.rand(9))
        found = with_it(images)
    assert torch.equal(expected.pred_score, expected.anomaly_map.amax(dim=(-2, -1)))
    assert torch.equal(unfitted.pred_score, expected.pred_score)
    assert torch.equal(found.anomaly_map, expected.anomaly_map)
    assert not torch.isclose(found.pred_score, expected.pred_score).any()


def test_both_parts_weigh_alike_on_normal_images() -> None:
    score, distances, maxima = _fitted(weight=2.0), torch.rand(50) * 9, torch.rand(50)
    score.standardise(maxima, distances)
    added = score.join(maxima, distances) - maxima
    torch.testing.assert_close(added.std(), 2 * maxima.std())
    torch.testing.assert_close(added.mean(), torch.tensor(0.0), rtol=0, atol=1e-5)


def test_images_that_were_fitted_to_are_judged_as_if_they_were_not() -> None:
    values = _averages(30)
    score = _fitted(30)
    seen = score(values)
    assert seen.mean() < score.unseen[0], "the covariance has seen them"
    found = score.as_if_unseen(seen)
    torch.testing.assert_close(torch.stack([found.mean(), found.std(correction=0)]), score.unseen)
    assert torch.equal(found.argsort(), seen.argsort())
    fresh = score(_averages(400)[30:])
    assert abs(fresh.mean() - score.unseen[0]) < abs(fresh.mean() - seen.mean()) / 2


@pytest.mark.parametrize("count", [MIN_IMAGES, 16])
def test_a_change_that_all_images_share_does_not_raise_thresholds(count: int) -> None:
    """As mixed precision makes: images that were fitted to differ from each other by less than that."""
    score, values = _fitted(count), _averages(count)
    assert score.as_if_unseen(1.02 * score(values)).max() < 2 * score.unseen.sum()
    same = score.as_if_unseen(torch.full((3,), 7.0))
    torch.testing.assert_close(same, score.unseen[0].expand(3))


@given(st.integers(MIN_IMAGES, 12), st.integers(2, 4))
@settings(max_examples=15)
def test_copies_of_an_image_are_no_unseen_ones(kinds: int, copies: int) -> None:
    """Of copies that land in two folds, one would be near what the other has shown."""
    alone, repeated = ContextScore(CHANNELS), ContextScore(CHANNELS)
    alone.fit(_averages(kinds))
    nearly = _averages(kinds).repeat(copies, 1)
    repeated.fit(nearly * (1 + 1e-7 * torch.randn(nearly.shape, generator=torch.Generator().manual_seed(0))))
    assert repeated.unseen[0] > 0.5 * alone.unseen[0]
    assert repeated.unseen[1] > 0.1 * alone.unseen[1]


@pytest.mark.parametrize(
    ("maxima", "distances"),
    [
        (torch.tensor([0.3]), torch.tensor([4.0])),
        (torch.tensor([0.3, 0.3]), torch.tensor([4.0, 5.0])),
        (torch.rand(3), torch.rand(3)),
        (torch.rand(9), torch.ones(9)),
    ],
    ids=["one", "equal maxima", "few", "equal distances"],
)
def test_few_or_equal_validation_images_are_judged_by_cross_fitting(
    maxima: torch.Tensor, distances: torch.Tensor
) -> None:
    score = _fitted()
    score.standardise(maxima, distances)
    assert score.centre == score.unseen[0]
    spread = maxima.std() if len(maxima.unique()) > 1 else maxima.mean()
    torch.testing.assert_close(score.scale, spread / score.unseen[1])


def test_a_second_fit_that_learns_nothing_forgets_the_first() -> None:
    score = _fitted()
    score.standardise(torch.rand(9), torch.rand(9))
    with pytest.warns(UserWarning, match="left out"):
        score.fit(_averages(MIN_IMAGES - 1))
    assert not score.is_fitted
    assert torch.equal(score.join(torch.tensor([0.3]), torch.tensor([9.0])), torch.tensor([0.3]))


def test_the_picture_is_zero_for_a_usual_image() -> None:
    score, features = _fitted(), torch.randn(1, CHANNELS, 6, 8) + 5
    distance = score(cell_means(features))[0]
    for share, expected in ((1.0, 0.0), (0.5, 0.03)):
        score.centre.copy_(share * distance)
        torch.testing.assert_close(score.picture(features).mean(), torch.tensor(expected), rtol=1e-3, atol=1e-4)


def test_the_context_map_has_the_images_size_once_fitted() -> None:
    model, images = SCDAEModel(teacher_out_channels=4).eval(), torch.rand(1, 3, 256, 272)
    assert model.context_map(images) is None
    model.context_score.fit(torch.randn(9, 4 * CELLS**2))
    found = model.context_map(images)
    assert found.shape == (1, 1, 256, 272)
    assert found.std() > 0


@pytest.mark.parametrize(
    "values",
    [
        _averages(MIN_IMAGES - 1),
        _averages(1).expand(9, -1),
        torch.cat([_averages(1).expand(MIN_IMAGES - 1, -1), _averages(1, 1)]),
        _averages(MIN_IMAGES - 1).repeat(3, 1),
    ],
    ids=["few", "equal", "all but one equal", "copies of few"],
)
def test_where_nothing_can_be_learnt_it_is_left_out_with_a_word(values: torch.Tensor) -> None:
    score = ContextScore(CHANNELS)
    with pytest.warns(UserWarning, match="context score is left out"):
        score.fit(values)
    score.standardise(torch.rand(4), torch.zeros(4))
    assert torch.equal(score.join(torch.tensor([0.3]), score(_averages(1, 5))), torch.tensor([0.3]))


def test_five_images_and_a_constant_channel_suffice() -> None:
    values = _averages(MIN_IMAGES)
    values[:, 0] = 1
    score = ContextScore(CHANNELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score.fit(values)
    assert torch.isfinite(score(_averages(3, 4))).all()
    assert score.is_fitted


def test_mixed_precision_changes_nothing() -> None:
    torch.manual_seed(0)
    score, features = ContextScore(CHANNELS), torch.randn(2, 8, 20, 24)
    score.fit(_averages(30))
    averaged = AveragedConvolution(nn.Conv2d(8, CHANNELS, 4), torch.rand(CHANNELS), torch.rand(CHANNELS) + 0.5)
    plain = averaged(features)
    with torch.autocast("cpu", torch.bfloat16):
        assert averaged(features).equal(plain)
        mixed = score(plain)
    assert mixed.equal(score(plain))


def test_features_that_are_not_finite_are_refused_in_a_sentence() -> None:
    values = _averages(9)
    values[3, 2] = torch.nan
    with pytest.raises(UserError, match="1 training images are not finite"):
        ContextScore(CHANNELS).fit(values)


def test_a_saved_score_is_restored_whatever_the_number_of_its_directions() -> None:
    fitted, fresh = _fitted(30), _fitted(7)
    fresh.load_state_dict({**fitted.state_dict(), "seen": torch.zeros(2)})  # as an earlier commit has saved it
    assert torch.equal(fresh(_averages(3, 4)), fitted(_averages(3, 4)))
