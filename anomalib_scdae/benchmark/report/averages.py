# SPDX-License-Identifier: Apache-2.0
"""Averages over categories and seeds, and how sure they are."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from anomalib_scdae.benchmark.report.results import Results, finite


@dataclass(frozen=True)
class Average:
    """The mean of a figure over categories, then over seeds.

    Args:
        mean: The mean.
        by_seed: Each seed's average over the categories; empty if no seed has all of them.
        count: Number of cells that the mean rests on.
        standard_error: Standard error of the mean over these cells; ``None`` for a single one.
        covered: Number of categories averaged over.
        expected: Number of categories that the benchmark has there.
    """

    mean: float
    by_seed: pd.Series
    count: int
    standard_error: float | None
    covered: int
    expected: int

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the seeds; ``None`` with fewer than two."""
        return float(self.by_seed.std()) if len(self.by_seed) > 1 else None

    @property
    def scope(self) -> str:
        """What the mean rests on, e.g. ``2 seeds, 4 of 5 categories``."""
        seeds = len(self.by_seed)
        said = f"{seeds} seed{'' if seeds == 1 else 's'}" if seeds else "no seed has all categories"
        return said if self.expected == 1 else f"{said}, {self.covered} of {self.expected} categories"


def average(figures: pd.Series, expected: int = 1) -> Average | None:
    """Average figures by dataset, category and seed.

    Only seeds that have every category which any seed has are used, so that a seed's value is always an average over
    the same categories. If no seed has them all, the categories' own means are averaged, without a deviation.

    Args:
        figures: The figures.
        expected: Number of categories that the benchmark has there.

    Returns:
        The average, or ``None`` if there are no figures.
    """
    if figures.empty:
        return None
    values = figures.unstack("seed")
    complete = values.loc[:, values.notna().all()]
    used = values if complete.empty else complete
    count = int(used.count().sum())
    error = float(np.nanstd(used, ddof=1)) / math.sqrt(count) if count > 1 else None
    return Average(float(used.mean(axis=1).mean()), complete.mean(), count, error, len(values), expected)


def row_average(
    results: Results, row: str, path: str, dataset: str, category: str | None = None, minus: str | None = None
) -> Average | None:
    """Average a row's figure at ``path`` over a category, or over the dataset's categories.

    Args:
        results: The benchmark.
        row: The row.
        path: The figure.
        dataset: The dataset.
        category: The category; all by default.
        minus: Another row: take the difference to it, over the cells that both rows have.
    """
    figures = results.figures(row, path, dataset, category)
    if minus is not None:
        figures = (figures - results.figures(minus, path, dataset, category)).dropna()
    return average(figures, len(results.categories(dataset)) if category is None else 1)


def median(results: Results, row: str, path: str, over: str | None = None) -> float | None:
    """Give the median of a row's figures at ``path``, or of their ratios to those of the row ``over``."""
    figures = results.figures(row, path)
    if over is not None:
        figures = (figures / results.figures(over, path)).map(finite).dropna()
    return None if figures.empty else float(figures.median())
