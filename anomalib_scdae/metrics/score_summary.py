# SPDX-License-Identifier: Apache-2.0
"""Weighted scores in bounded memory, with a bound on the error: what makes AU-sPRO a streaming metric."""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.floating]
Weights = NDArray[np.float64]

FAN_IN = 8


class Points(NamedTuple):
    """Distinct scores in descending order, shape ``[N]``, and the mass at each, shape ``[N]``."""

    scores: Scores
    weights: Weights

    def mass_from(self, thresholds: Scores) -> Weights:
        """Return the mass at or above each threshold, of the thresholds' shape."""
        cumulative = np.concatenate(([0.0], np.cumsum(self.weights)))
        return cumulative[np.searchsorted(-self.scores, -thresholds, side="right")]


@dataclass
class _Buffer:
    points: Points
    depth: int
    """How often the points in it went through a reduction."""


class ScoreSummary:
    """The distribution of weighted scores, seen from the highest score down.

    What is kept is the mass at or above any score. With ``resolution=None`` it is exact, and memory grows with the
    number of distinct scores. Otherwise scores next to each other are joined, at the score of the middle one, so
    that a reduction moves the cumulative mass ``c`` of ``W`` at any score by at most
    ``max(c, tail * W) / resolution``: a relative error, but for the topmost ``tail`` of the mass, where it is as
    fine as at its end. A score that itself weighs more is never moved, which keeps ties (a constant map) exact.

    Nothing need be known about the range of the scores. Reductions are arranged as a tree: eight summaries
    are joined and reduced to one of the next level (a deterministic variant of the mergeable quantile summaries of
    Manku, Rajagopalan and Lindsay, 1998), so that a score passes through ``1 + log8(images)`` of them at most, and
    memory grows with that logarithm only.

    Args:
        resolution: Number of steps that resolve the topmost ``tail`` of the mass; ``None`` keeps every score.
        tail: Share of the mass, in (0, 1], below which the error is absolute.
    """

    def __init__(self, resolution: int | None = None, tail: float = 1.0) -> None:
        self.resolution = resolution
        self.tail = tail
        self.mass = 0.0
        self._levels: list[list[_Buffer]] = []

    def add(self, scores: Scores, weight: float = 1.0) -> None:
        """Add scores in any order.

        Args:
            scores: Scores, shape ``[N]``, without NaN.
            weight: Mass of each.
        """
        if scores.size == 0:
            return
        points = _distinct(scores, weight)
        self.mass += float(points.weights.sum())
        self._push(self._reduce(_Buffer(points, depth=0)), level=0)

    def merge(self, other: "ScoreSummary") -> None:
        """Add all that ``other``, of the same resolution, has seen; ``other`` must not be used afterwards."""
        self.mass += other.mass
        for level, buffers in enumerate(other._levels):
            for buffer in buffers:
                self._push(buffer, level)

    def points(self) -> Points:
        """Return the distinct scores kept, highest first, with the mass at each."""
        return _join([buffer.points for buffer in self._buffers()])

    @property
    def error(self) -> float:
        """Bound on the error of the cumulative mass ``c``, in units of ``max(c, tail * mass)``; 0 when exact."""
        if self.resolution is None:
            return 0.0
        depth = max((buffer.depth for buffer in self._buffers()), default=0)
        # Buffers of one level hold different mass; their errors add up to (c + tail * mass) / resolution.
        return depth * (1.0 if self.tail == 1.0 else 2.0) / self.resolution

    def _buffers(self) -> list[_Buffer]:
        return [buffer for level in self._levels for buffer in level]

    def _push(self, buffer: _Buffer, level: int) -> None:
        while len(self._levels) <= level:
            self._levels.append([])
        self._levels[level].append(buffer)
        if self.resolution is not None and len(self._levels[level]) == FAN_IN:
            full, self._levels[level] = self._levels[level], []
            joined = _Buffer(_join([b.points for b in full]), max(b.depth for b in full))
            self._push(self._reduce(joined), level + 1)

    def _reduce(self, buffer: _Buffer) -> _Buffer:
        scores, weights = buffer.points
        if self.resolution is None or scores.size <= self.resolution:
            return buffer
        starts = self._group_starts(np.cumsum(weights))
        ends = np.append(starts[1:], scores.size)
        points = Points(scores[(starts + ends) // 2], np.add.reduceat(weights, starts))
        return _Buffer(points, buffer.depth + 1)

    def _group_starts(self, cumulative: Weights) -> NDArray[np.intp]:
        """Return where groups begin: at each point that ends in another step than the one before it, and after it.

        What is joined then lies within one step, and a heavy point stands alone.
        """
        crossing = np.searchsorted(cumulative, self._steps * (self.tail * cumulative[-1]))
        begins = np.zeros(cumulative.size + 2, dtype=bool)  # a mask is much faster than np.unique
        begins[0] = begins[crossing] = begins[crossing + 1] = True
        return np.flatnonzero(begins[: cumulative.size])

    @cached_property
    def _steps(self) -> Weights:
        """Where steps end, in units of the tail's mass: even in the tail, growing with the mass above it."""
        assert self.resolution is not None  # noqa: S101
        count = int(np.ceil(self.resolution * np.log(1 / self.tail)))
        even = np.arange(1, self.resolution + 1) / self.resolution
        return np.concatenate((even, np.exp(np.arange(1, count) / self.resolution)))


def _distinct(scores: Scores, weight: float) -> Points:
    """Sort scores, highest first, and add up the weights of equal ones."""
    descending = np.sort(scores)[::-1]
    starts = first_of_each(descending)
    counts = np.diff(starts, append=descending.size)
    return Points(descending[starts], counts * float(weight))


def _join(parts: list[Points]) -> Points:
    """Merge points that are each sorted."""
    if not parts:
        return Points(np.empty(0, np.float32), np.empty(0))
    if len(parts) == 1:
        return parts[0]
    scores = np.concatenate([part.scores for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    order = np.argsort(-scores, kind="stable")  # stable is a merge sort: linear on runs that are sorted already
    return _add_ties(scores[order], weights[order])


def _add_ties(descending: Scores, weights: Weights) -> Points:
    starts = first_of_each(descending)
    if starts.size == descending.size:
        return Points(descending, weights)
    return Points(descending[starts], np.add.reduceat(weights, starts))


def first_of_each(ordered: Scores) -> NDArray[np.intp]:
    """Return the indices at which a sorted array takes a new value."""
    if ordered.size == 0:
        return np.empty(0, np.intp)
    return np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
