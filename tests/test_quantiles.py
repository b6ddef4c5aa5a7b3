# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anomalib_scdae.quantiles import quantiles

VALUES = arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32))


@given(VALUES, st.lists(st.floats(0, 1), min_size=1, max_size=3), st.integers(1, 5))
def test_equal_numpy(values: np.ndarray, probabilities: list[float], pieces: int) -> None:
    chunks = torch.from_numpy(values).chunk(pieces)
    expected = np.quantile(values.astype(np.float64), probabilities)
    np.testing.assert_allclose(quantiles(lambda: chunks, probabilities), expected, rtol=1e-6, atol=1e-6)


def test_equal_numpy_for_more_values_than_efficient_ad_would_read() -> None:
    values = torch.rand(2**24 + 5, generator=torch.Generator().manual_seed(0))
    expected = np.quantile(values.numpy(), [0.9, 0.995])
    np.testing.assert_allclose(quantiles(lambda: values.chunk(4), (0.9, 0.995)), expected, rtol=1e-6)


def test_no_values() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        quantiles(list, (0.5,))
