# SPDX-License-Identifier: Apache-2.0
"""A few of many, evenly spread, the same ones every time."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_Item = TypeVar("_Item")


def evenly_chosen(items: Sequence[_Item], count: int) -> list[_Item]:
    """Return at most ``count`` of ``items``, in order, from the first one to the last."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]
