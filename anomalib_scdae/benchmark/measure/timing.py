# SPDX-License-Identifier: Apache-2.0
"""Timing several things in turn, so that a machine that slows down or speeds up does so for all of them."""

from collections.abc import Callable, Mapping
from itertools import cycle, islice

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from torch.utils.benchmark.utils.timer import timer


def interleave(measurements: Mapping[str, Callable[[], float]], repeats: int, warm_up: int = 1) -> pd.DataFrame:
    """Take each of several measurements once a round.

    Every other round runs backwards, so that none always follows the same other one.

    Args:
        measurements: Callables that do something and return the seconds it took; see :func:`stopwatch`.
        repeats: Number of rounds that count, at least 1.
        warm_up: Number of rounds before them that do not.

    Returns:
        Seconds: a column for each measurement, a row for each round that counts.
    """
    names = list(measurements)
    orders = islice(cycle((names, names[::-1])), warm_up + repeats)
    rounds = [{name: measurements[name]() for name in order} for order in orders]
    return pd.DataFrame(rounds[warm_up:], columns=names)


def stopwatch(function: Callable[[], object], clock: Callable[[], float] = timer) -> Callable[[], float]:
    """Return a callable that calls ``function`` and returns the seconds it took.

    Args:
        function: What is timed.
        clock: Tells the time in seconds, once the accelerator has done its work.
    """

    def measure() -> float:
        start = clock()
        function()
        return clock() - start

    return measure


def quartiles(values: ArrayLike) -> dict[str, float]:
    """Summarise repeated measurements: ``median``, ``q25`` and ``q75``."""
    q25, median, q75 = np.quantile(np.asarray(values), [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "q25": q25, "q75": q75}


def ratio(seconds: pd.DataFrame, name: str, to: str) -> dict[str, float]:
    """Return the quartiles of the ratio of two columns, taken round by round."""
    return quartiles(seconds[name] / seconds[to])
