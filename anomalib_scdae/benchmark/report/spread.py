# SPDX-License-Identifier: Apache-2.0
"""Averages over categories, with their spread over seeds."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev

from anomalib_scdae.benchmark.report.results import Cell, Results

#: Reads one figure of a cell; ``None`` where the cell has none.
Reader = Callable[[Cell], float | None]


@dataclass(frozen=True)
class Spread:
    """A mean and what is behind it.

    Args:
        mean: The mean.
        by_seed: Seed to that seed's value, which the mean is taken over.
        covered: Number of categories averaged over.
        expected: Number of categories that the benchmark has there.
    """

    mean: float
    by_seed: dict[str, float]
    covered: int = 1
    expected: int = 1

    @property
    def seeds(self) -> int:
        """Number of seeds."""
        return len(self.by_seed)

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the seeds; ``None`` with fewer than two."""
        return stdev(self.by_seed.values()) if self.seeds > 1 else None

    @property
    def partial(self) -> bool:
        """Whether categories are missing."""
        return self.covered < self.expected


def reader(*path: str) -> Reader:
    """Give a function that reads the number at ``path`` of a cell."""
    return lambda cell: cell.number(*path)


def spread_over_seeds(cells: Iterable[Cell], read: Reader, expected: int = 1) -> Spread | None:
    """Average over categories within each seed, then over seeds.

    Only seeds that have every category which any seed has are used, so that a seed's value is always an average
    over the same categories. If no seed has them all, the categories' own means are averaged, without a spread.

    Args:
        cells: Finished cells of one row.
        read: Gives the cell's figure.
        expected: Number of categories that the benchmark has.

    Returns:
        The spread, or ``None`` if no cell has the figure.
    """
    by_seed: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for cell in cells:
        value = read(cell)
        if value is not None:
            by_seed[cell.seed][cell.place] = value
    places = {place for values in by_seed.values() for place in values}
    if not places:
        return None
    whole = {seed: fmean(values.values()) for seed, values in by_seed.items() if set(values) == places}
    if whole:
        return Spread(fmean(whole.values()), whole, len(places), expected)
    means = [fmean(v[place] for v in by_seed.values() if place in v) for place in places]
    return Spread(fmean(means), {}, len(places), expected)


def row_spread(results: Results, row: str, dataset: str, read: Reader, category: str | None = None) -> Spread | None:
    """Give a row's figure on a category, or its average over the dataset's categories."""
    expected = 1 if category is not None else len(results.categories(dataset))
    return spread_over_seeds(results.of(row, dataset, category), read, expected)


def paired(
    results: Results, row: str, other: str, dataset: str | None = None, category: str | None = None
) -> list[tuple[Cell, Cell]]:
    """Pair the finished cells of two rows that share dataset, category and seed."""
    others = {(cell.place, cell.seed): cell for cell in results.of(other, dataset, category)}
    return [
        (cell, others[cell.place, cell.seed])
        for cell in results.of(row, dataset, category)
        if (cell.place, cell.seed) in others
    ]


def difference(pairs: Sequence[tuple[Cell, Cell]], read: Reader) -> Spread | None:
    """Average ``first - second`` of the pairs over categories, then over seeds."""
    seconds = {(first.place, first.seed): second for first, second in pairs}

    def read_difference(cell: Cell) -> float | None:
        value, reference = read(cell), read(seconds[cell.place, cell.seed])
        return None if value is None or reference is None else value - reference

    places = {first.place for first, _ in pairs}
    return spread_over_seeds((first for first, _ in pairs), read_difference, len(places))


def ratio(pairs: Iterable[tuple[Cell, Cell]], read: Reader) -> float | None:
    """Give the median of ``first / second`` over the pairs that have both, or ``None``."""
    values = [(read(first), read(second)) for first, second in pairs]
    ratios = [value / reference for value, reference in values if value is not None and reference]
    return median(ratios) if ratios else None


def middle(cells: Iterable[Cell], *path: str) -> float | None:
    """Give the median over the cells of the number at ``path``, or ``None``."""
    values = [value for value in (cell.number(*path) for cell in cells) if value is not None]
    return median(values) if values else None
