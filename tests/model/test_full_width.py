# SPDX-License-Identifier: Apache-2.0
"""The oracle at the paper's widths; the other tests of the model have narrower networks."""

from tests.model.efficient_ad_pair import (
    assert_same_losses_and_gradients,
    assert_same_maps_and_scores,
    efficient_ad_pair,
)

CHANNELS, SIZE = 384, (256, 256)


def test_losses_and_gradients_equal_efficient_ad() -> None:
    ours, theirs = efficient_ad_pair(channels=CHANNELS)
    assert ours.student.network.conv2.weight.shape == (256, 128, 4, 4)
    assert_same_losses_and_gradients(ours, theirs, SIZE)


def test_maps_and_scores_equal_efficient_ad() -> None:
    assert_same_maps_and_scores(*efficient_ad_pair(channels=CHANNELS), SIZE)
