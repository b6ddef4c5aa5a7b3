# SPDX-License-Identifier: Apache-2.0
import torch
from hypothesis import given
from hypothesis import strategies as st

from anomalib_scdae.quantiles import float_of_key, ordered_keys

FLOATS = st.floats(width=32, allow_nan=False)


@given(FLOATS, FLOATS)
def test_keys_have_the_order_and_the_ties_of_the_floats(a: float, b: float) -> None:
    keys = ordered_keys(torch.tensor([a, b]))
    assert (keys[0] < keys[1]) == (a < b)
    assert (keys[0] == keys[1]) == (a == b)
    assert ((keys >= 0) & (keys < 2**32)).all()


@given(FLOATS)
def test_a_key_gives_its_float_back(a: float) -> None:
    assert float_of_key(int(ordered_keys(torch.tensor(a)))) == a
