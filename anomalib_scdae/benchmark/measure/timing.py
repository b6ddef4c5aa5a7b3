# SPDX-License-Identifier: Apache-2.0
"""Timing several things in turn, so that a machine that slows down or speeds up does so for all of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice

import numpy as np
import torch


@dataclass(frozen=True)
class Spread:
    """Median and quartiles of repeated measurements."""

    median: float
    q25: float
    q75: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise ``values``, at least one."""
        q25, median, q75 = np.quantile(values, [0.25, 0.5, 0.75])
        return cls(float(median), float(q25), float(q75))

    def as_dict(self) -> dict[str, float]:
        """Return the three figures by name."""
        return asdict(self)


@dataclass(frozen=True)
class Timings:
    """What :func:`interleave` measured.

    Attributes:
        seconds: For each name, one measurement a round; those at the same position belong to the same round.
    """

    seconds: dict[str, list[float]]

    def spread(self, name: str) -> Spread:
        """Return median and quartiles of the seconds of ``name``."""
        return Spread.of(self.seconds[name])

    def ratio(self, name: str, to: str) -> Spread:
        """Return median and quartiles of the ratio of ``name`` to ``to``, taken round by round."""
        return Spread.of([a / b for a, b in zip(self.seconds[name], self.seconds[to], strict=True)])


def interleave(measurements: Mapping[str, Callable[[], float]], repeats: int, warm_up: int = 1) -> Timings:
    """Take each of several measurements once a round.

    Every other round runs backwards, so that none always follows the same other one.

    Args:
        measurements: Callables that do something and return the seconds it took; see :func:`stopwatch`.
        repeats: Number of rounds that count, at least 1.
        warm_up: Number of rounds before them that do not.
    """
    seconds: dict[str, list[float]] = {name: [] for name in measurements}
    names = list(measurements)
    for index, order in enumerate(islice(cycle((names, names[::-1])), warm_up + repeats)):
        for name in order:
            elapsed = measurements[name]()
            if index >= warm_up:
                seconds[name].append(elapsed)
    return Timings(seconds)


def stopwatch(
    function: Callable[[], object],
    synchronise: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[], float]:
    """Return a callable that calls ``function`` and returns the seconds it took.

    Args:
        function: What is timed.
        synchronise: Waits for the accelerator, before the start and before the end; see :func:`synchroniser`.
        clock: Tells the time, in seconds.
    """
    wait = synchronise or (lambda: None)

    def measure() -> float:
        wait()
        start = clock()
        function()
        wait()
        return clock() - start

    return measure


def synchroniser(device: torch.device | str) -> Callable[[], object]:
    """Return what waits for ``device`` to finish its work; nothing need be waited for on a CPU."""
    device = torch.device(device)
    if device.type == "cpu":
        return lambda: None
    return lambda: torch.accelerator.synchronize(device)
