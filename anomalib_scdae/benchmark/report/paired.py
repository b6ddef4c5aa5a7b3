# SPDX-License-Identifier: Apache-2.0
"""Each row's differences to the baseline with 95 % intervals: a table, a sentence for each row, and bars."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from anomalib_scdae.benchmark.cells import scores_file
from anomalib_scdae.benchmark.report import tables
from anomalib_scdae.benchmark.report.bootstrap import RESAMPLES, interval, resampled_auroc, resampled_images
from anomalib_scdae.benchmark.report.charts import Charts
from anomalib_scdae.benchmark.report.results import (
    IMAGE_AUROC,
    KINDS,
    Results,
    comparable,
    has_mean,
    in_words,
    shown_types,
)
from anomalib_scdae.benchmark.report.svg import INK, QUIET, RULE, SERIES, add_tooltip, new_axes, to_svg
from anomalib_scdae.benchmark.report.tables import MISSING, Table, Value, make_frame, signed
from anomalib_scdae.metrics.anomaly_types import GOOD, MEAN, told_apart

#: AU-sPRO up to this false-positive rate stands beside image AUROC; it is the one that is published most.
SPRO_LIMIT = "0.05"
SPRO = "accuracy.au_spro"
#: A figure without a value per image has an interval over cells, if there are as many as this.
CELLS = 3

NOTE = (
    f"Differences are in percentage points, over the cells (category and seed) that both rows have; in brackets 95 % "
    f"intervals, by {RESAMPLES:,} draws of the test images within each anomaly type, the same ones for both models and "
    "for all seeds, and of the seeds{}. AU-sPRO has no score for each image: its interval is over cells, from three on."
)
CATEGORIES_TOO = "; in the average also of the categories"
ONE_SEED = "Intervals that rest on one seed do not tell what another training would give."
#: Below this number of images of a type, draws of them say little of others.
FEW = 10
FEW_IMAGES = (
    f"Some intervals rest on fewer than {FEW} images of a type or of good ones: they are too narrow to rely on."
)
CAPTION = (
    "Difference of image AUROC to {}, in percentage points, with 95 % intervals over images, seeds and categories. An "
    "interval that holds 0 shows no difference."
)


#: Dataset, category and seed.
Place = tuple[str, str, str]


class Difference(NamedTuple):
    """A row's mean difference to the baseline, as a fraction, and the interval that holds it, where one can be had.

    ``pairs`` is the number of cells that both have, ``seeds`` that of each category, the least of them.
    """

    mean: float
    low: float | None
    high: float | None
    pairs: int
    seeds: int

    @property
    def verdict(self) -> str:
        """What it says, in words; empty without an interval."""
        if self.low is None or self.high is None:
            return ""
        points = [abs(100 * value) for value in (self.mean, self.low, self.high)]
        if self.low <= 0 <= self.high:
            return f"no difference within {max(points):.1f} points"
        word = "ahead" if self.low > 0 else "behind"
        near, far = sorted(points[1:])
        return f"{word} by {points[0]:.1f} points ({near:.1f} to {far:.1f})"


@dataclass(frozen=True)
class _Resampled:
    """A cell's image AUROC in every draw of its images."""

    names: tuple[str, ...]
    auroc: Mapping[str, NDArray[np.float64]]


class Pairs:
    """The differences of all rows to the baseline.

    Args:
        results: The benchmark; its folder has the cells' scores.

    Attributes:
        baseline: Name of the baseline.
        rows: Names of the other rows.
        few_images: Datasets of which some cell was tested on fewer than :data:`FEW` images of a type.
    """

    def __init__(self, results: Results) -> None:
        self.results, self.baseline = results, results.text("baseline")
        self.rows = [row for row in results.rows if row != self.baseline]
        self.few_images: set[str] = set()
        self._cells: dict[str, _Resampled | None] = {}
        self.auroc = cache(self.auroc)  # type: ignore[method-assign]  # table, sentence, bars and picture ask alike
        self._draws: dict[tuple[str, str, tuple[str, ...]], NDArray[np.int64]] = {}

    def auroc(self, row: str, kind: str, dataset: str, category: str | None = None) -> Difference | None:
        """Return the difference of image AUROC; ``None`` without cells of both rows that have the same images' scores.

        Args:
            row: The row.
            kind: Anomaly type, or their mean.
            dataset: The dataset.
            category: The category; the average over all by default.
        """
        points = self._points(row, f"{IMAGE_AUROC}.{kind}", dataset, category)
        drawn = {place: values for place in points.index if (values := self._difference(row, kind, place)) is not None}
        return _difference(points[points.index.isin(drawn)], drawn)

    def spro(self, row: str, kind: str, dataset: str, category: str | None = None) -> Difference | None:
        """Return the difference of AU-sPRO up to :data:`SPRO_LIMIT`; see :meth:`auroc`."""
        points = self._points(row, f"{SPRO}.{kind}.{SPRO_LIMIT}", dataset, category)
        points = comparable(points).stack() if len(points) else points
        if 0 < len(points) < CELLS:
            return Difference(float(comparable(points).mean(axis=1).mean()), None, None, len(points), _seeds(points))
        return _difference(points, {place: np.full(RESAMPLES, point) for place, point in points.items()})

    def _points(self, row: str, path: str, dataset: str, category: str | None) -> pd.Series:
        own, other = (self.results.figures(name, path, dataset, category) for name in (row, self.baseline))
        return (own - other).dropna()

    def _difference(self, row: str, kind: str, place: Place) -> NDArray[np.float64] | None:
        own, other = (self._cell(name, place) for name in (row, self.baseline))
        if own is None or other is None or own.names != other.names:
            return None
        return own.auroc[kind] - other.auroc[kind] if kind in own.auroc and kind in other.auroc else None

    def _cell(self, row: str, place: Place) -> _Resampled | None:
        name = self.results.cell_id(row, place)
        if name not in self._cells:
            self._cells[name] = self._resample(scores_file(self.results.folder, name), place)
        return self._cells[name]

    def _resample(self, file: Path, place: Place) -> _Resampled | None:
        scores = read_scores(file)
        if scores is None:
            return None
        names, types = tuple(scores.index), scores["type"].to_numpy(dtype=str)
        dataset, category, _ = place
        if min(Counter(types).values()) < FEW:
            self.few_images.add(dataset)
        # Categories may have the same names of files, and are other images.
        test = dataset, category, names
        if test not in self._draws:
            self._draws[test] = resampled_images([dataset, category, *names], types)
        auroc = resampled_auroc(scores["score"].to_numpy(), types, self._draws[test])
        if has_mean(auroc):
            auroc[MEAN] = np.mean(list(auroc.values()), axis=0)
        return _Resampled(names, auroc)


@lru_cache(maxsize=1)
def pairs_of(results: Results) -> Pairs:
    """Return the pairs of a benchmark; headline, table and bars of a page ask for the same ones."""
    return Pairs(results)


def read_scores(file: Path) -> pd.DataFrame | None:
    """Read a cell's scores: ``type`` and ``score`` by the image's name, in order of the names.

    An image's name is what its path has beyond the folder that all are in, so that cells of several machines go
    together.

    Returns:
        ``None`` if the file is not there, not what a cell writes, or has scores that are no numbers.
    """
    try:
        scores = pd.read_csv(file, usecols=["path", "type", "score", "label"], dtype={"path": str, "type": str})
        root = os.path.commonpath(list(scores["path"]))
        names = [Path(os.path.relpath(path, root)).as_posix() for path in scores["path"]]
    except (OSError, ValueError, TypeError):
        return None
    numbers = pd.to_numeric(scores["score"], errors="coerce")
    # A normal image is good whatever its folder is called.
    types = told_apart(scores["type"].where(scores["label"] != 0, GOOD).to_numpy(dtype=str))
    if not np.isfinite(numbers).all():
        return None
    return pd.DataFrame({"type": types, "score": numbers.to_numpy(float)}, index=names).sort_index()


def _difference(points: pd.Series, drawn: Mapping[Place, NDArray[np.float64]]) -> Difference | None:
    """Average differences by dataset, category and seed, with the interval of their mean."""
    if points.empty:
        return None
    used = comparable(points)
    categories = [
        np.stack([drawn[dataset, category, seed] for seed, point in line.items() if pd.notna(point)])
        for (dataset, category), line in used.iterrows()
    ]
    return Difference(float(used.mean(axis=1).mean()), *interval(categories), int(used.count().sum()), _seeds(points))


def _seeds(points: pd.Series) -> int:
    """Return of how many seeds a category has points, of the category with the fewest."""
    return int(comparable(points).count(axis=1).min())


def paired_differences(results: Results) -> list[Table | Charts]:
    """Give a table for each dataset, differences on average and by category, and bars; nothing without scores."""
    if not results.text("baseline"):
        return []
    pairs = pairs_of(results)
    return [*_tables(pairs), *_charts(pairs)]


def _tables(pairs: Pairs) -> list[Table]:
    found = []
    for dataset in pairs.results.datasets:
        categories = pairs.results.categories(dataset)
        average = [("Average over the categories", None)] if len(categories) > 1 else []
        blocks = [_frame(pairs, title, dataset, name) for title, name in [*average, *((c, c) for c in categories)]]
        if any(len(block) for block in blocks):
            caption = f"Differences to {pairs.baseline} on {dataset}, in percentage points, with 95 % intervals."
            found.append(Table(caption, tables.without_gaps(pd.concat(blocks)), _notes(pairs, dataset)))
    return found


def _frame(pairs: Pairs, title: str, dataset: str, category: str | None) -> pd.DataFrame:
    """Give the lines of one block: the rows that have a difference with an interval there."""
    rows = [row for row in pairs.rows if any(pairs.auroc(row, kind, dataset, category) for kind in KINDS)]
    columns = {**tables.row_names(pairs.results)}
    for group, difference in (("image AUROC", pairs.auroc), (f"AU-sPRO, FPR ≤ {SPRO_LIMIT}", pairs.spro)):
        for kind, label in KINDS.items():
            columns[group, label] = partial(_value_of, difference, kind, dataset, category)
    return make_frame(rows, columns, title)


def _value_of(difference: Any, kind: str, dataset: str, category: str | None, row: str) -> Value:
    return _value(difference(row, kind, dataset, category))


def _value(difference: Difference | None) -> Value:
    if difference is None:
        return MISSING
    mean, low, high, count, _ = difference
    limits = "" if low is None or high is None else f" ({signed(100 * low)} to {signed(100 * high)})"
    hint = "one pair of cells" if count == 1 else f"{count} pairs of cells"
    return Value(f"{signed(100 * mean)}{limits}", 100 * mean, hint)


def _notes(pairs: Pairs, dataset: str) -> list[str]:
    categories = pairs.results.categories(dataset)
    several = len(categories) > 1
    sentences = [_sentence(pairs, row, dataset) for row in pairs.rows]
    shown = [pairs.auroc(*of, dataset, where) for of in product(pairs.rows, KINDS) for where in (None, *categories)]
    one_seed = any(difference.seeds == 1 for difference in shown if difference is not None)
    cautions = {ONE_SEED: one_seed, FEW_IMAGES: dataset in pairs.few_images}
    applying = [caution for caution, applies in cautions.items() if applies]
    return [*filter(None, sentences), NOTE.format(CATEGORIES_TOO * several), *applying]


def _sentence(pairs: Pairs, row: str, dataset: str) -> str:
    """Say in words where a row stands against the baseline; empty where nothing is known."""
    found = {label: pairs.auroc(row, kind, dataset) for kind, label in KINDS.items()}
    words = in_words([label for label, each in found.items() if each])
    parts = [f"{each.verdict} on {words[label]}" for label, each in found.items() if each]
    return f"{row} against {pairs.baseline}: {'; '.join(parts)} (image AUROC)." if parts else ""


def _charts(pairs: Pairs) -> list[Charts]:
    """Give bars of the average differences, logical and structural."""
    drawings = {}
    for dataset in pairs.results.datasets:
        found = {
            label: {row: each for row in pairs.rows if (each := pairs.auroc(row, kind, dataset))}
            for kind, label in KINDS.items()
        }
        for label in shown_types([label for label, bars in found.items() if bars]):
            title = f"{dataset}: {in_words([label])[label]}"
            drawings[title] = _draw(f"Bar chart, difference to {pairs.baseline}, {title}", found[label], label)
    return [Charts(CAPTION.format(pairs.baseline), drawings, {})] if drawings else []


def _draw(description: str, bars: Mapping[str, Difference], label: str) -> str:
    """Draw the name and below it the bar of each row."""
    axes = new_axes(340, 40 * len(bars) + 24, margins=(6, 44, 4, 20))
    colour = SERIES[list(KINDS.values()).index(label)]
    for number, (row, (mean, low, high, *_)) in enumerate(bars.items()):
        line = 2 * number
        axes.text(0.01, line + 0.2, row, fontsize=12, color=INK, transform=axes.get_yaxis_transform())
        (drawn,) = axes.barh(line + 1, 100 * mean, color=colour)
        if low is not None and high is not None:
            error = 100 * np.array([[mean - low], [high - mean]]).clip(0)
            axes.errorbar(100 * mean, line + 1, xerr=error, fmt="none", ecolor=INK, elinewidth=1.5, capsize=3)
        add_tooltip(drawn, f"{row}, {label}: {_value(bars[row]).text} points")
        value = signed(100 * mean)
        axes.text(1.03, line + 1, value, fontsize=11, color=INK, va="center", transform=axes.get_yaxis_transform())
    limit = 1.05 * max(1.0, *(100 * abs(value) for bar in bars.values() for value in bar[:3] if value is not None))
    axes.set(xlim=(-limit, limit), ylim=(2 * len(bars) - 0.3, -0.7), yticks=[])
    axes.grid(axis="x", color=RULE)
    axes.axvline(0, color=QUIET, linewidth=1)
    return to_svg(axes, description)
