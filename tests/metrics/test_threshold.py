# SPDX-License-Identifier: Apache-2.0
"""Thresholds from a target false-positive rate."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anomalib_scdae.metrics import threshold_for_fpr

SCORES = st.lists(st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float), min_size=1, max_size=60)


@given(SCORES, st.floats(0, 0.99))
def test_the_rate_is_kept_and_no_lower_threshold_keeps_it(scores, target):
    scores = np.array(scores)
    threshold = threshold_for_fpr(scores, target)
    assert (scores > threshold).mean() <= target + 1e-9
    lower = scores[scores < threshold]
    if lower.size:
        assert (scores > lower.max()).mean() > target


def test_known_quantiles():
    scores = np.random.default_rng(0).permutation(np.arange(100.0))
    assert [threshold_for_fpr(scores, fpr) for fpr in (0, 0.01, 0.07, 0.5)] == [99, 98, 92, 49]


def test_too_few_scores_are_named(caplog):
    assert threshold_for_fpr([1.0, 3.0, 2.0], 0.01) == 3
    assert "100" in caplog.text


@pytest.mark.parametrize(("scores", "target"), [([], 0.1), ([float("nan")], 0.1), ([1.0], 1.0), ([1.0], -0.1)])
def test_bad_input_is_refused(scores, target):
    with pytest.raises(ValueError, match=r"must be in|needs at least"):
        threshold_for_fpr(scores, target)
