# SPDX-License-Identifier: Apache-2.0
"""One picture of the outcome, for a slide or a README: the headline's row beside the baseline, with intervals."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from anomalib_scdae.benchmark.report.charts import CHANCE, make_logarithmic
from anomalib_scdae.benchmark.report.over_time import points_in_time
from anomalib_scdae.benchmark.report.paired import Difference, pairs_of
from anomalib_scdae.benchmark.report.results import (
    IMAGE_AUROC,
    KINDS,
    PLACE,
    Average,
    Results,
    average,
    shown_types,
)
from anomalib_scdae.benchmark.report.tables import signed

#: Name of the picture's file in the benchmark's folder.
OUTCOME = "outcome.png"
#: More columns than this are too many for a slide: datasets then stand in place of their categories.
COLUMNS = 6
#: Colours of the headline's row and of the baseline, of text and of the grid: a picture cannot take those of a page.
HEADLINE, BASELINE, INK, RULE = "#2b6cb0", "#bf5b17", "#1e252b", "#dcdad3"
#: How the curves of a type of anomaly are drawn.
STYLES: dict[str, dict[str, Any]] = {
    "logical": {"linestyle": "-", "marker": "o"},
    "structural": {"linestyle": "--", "marker": "s"},
    "mean": {"linestyle": "-", "marker": "o"},
}


class Column(NamedTuple):
    """A dataset and one of its categories; without one, the average over them."""

    dataset: str
    category: str | None

    @property
    def title(self) -> str:
        """What stands above the column."""
        return (self.category or self.dataset).replace("_", " ")


#: What is drawn in one place, by the name of a row and the type of anomaly; differences by type alone.
Averages = Mapping[tuple[str, str], Average]
Differences = Mapping[str, Difference]
Curves = Mapping[tuple[str, str], pd.Series]


def draw_outcome(results: Results) -> Figure | None:
    """Draw image AUROC, differences with 95 % intervals and, where it was measured, accuracy over the time of training.

    All figures are those of the cells that both rows have finished.

    Returns:
        A figure with a column for each category; ``None`` while there is no such cell.
    """
    columns = _columns(results)
    bars = [_averages(results, column) for column in columns]
    lines = {label: number for number, label in enumerate(shown_types({label for each in bars for _, label in each}))}
    if not lines:
        return None
    rows = {results.text("headline"): HEADLINE, results.text("baseline"): BASELINE}
    differences = [_differences(results, column, lines) for column in columns]
    curves = [_curves(results, column, lines) for column in columns]
    heights = [0.75 * len(lines), *[0.3 + 0.4 * len(lines)] * any(differences), *[2.2] * any(curves)]
    figure = Figure(figsize=(max(6.5, 3.1 * len(columns) + 0.7), sum(heights) + 1.3), dpi=150, layout="constrained")
    shared: dict[str, Any] = {"sharex": "row", "sharey": "row"}
    panels = iter(figure.subplots(len(heights), len(columns), squeeze=False, height_ratios=heights, **shared))
    for axes in figure.axes:
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=9, labelcolor=INK)
        axes.set_axisbelow(True)
    _draw_bars(next(panels), bars, rows, lines)
    if any(differences):
        _draw_differences(next(panels), differences, lines)
    if any(curves):
        _draw_curves(next(panels), curves, rows)
    for axes, column in zip(figure.axes, columns, strict=False):  # of the uppermost line
        axes.set_title(column.title, fontsize=11, color=INK, weight="bold")
    handles = [Line2D([], [], color=colour, linewidth=6, label=row) for row, colour in rows.items()]
    handles += [Line2D([], [], color=INK, label=label, **STYLES[label]) for label in lines] * any(curves)
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _shared(results: Results, kind: str, column: Column) -> dict[str, pd.Series]:
    """Return the image AUROC of both rows, by place, where both have one."""
    pair = results.text("headline"), results.text("baseline")
    path = f"{IMAGE_AUROC}.{kind}"
    return {row: results.shared_figures(row, other, path, *column) for row, other in (pair, pair[::-1])}


def _columns(results: Results) -> list[Column]:
    places = [Column(dataset, category) for dataset in results.datasets for category in results.categories(dataset)]
    shared = [place for place in places if _averages(results, place)]
    if len(shared) <= COLUMNS:
        return shared
    return [Column(dataset, None) for dataset in dict.fromkeys(place.dataset for place in shared)]


def _averages(results: Results, column: Column) -> Averages:
    found = {
        (row, label): average(figures)
        for kind, label in KINDS.items()
        for row, figures in _shared(results, kind, column).items()
    }
    return {key: each for key, each in found.items() if each is not None}


def _differences(results: Results, column: Column, labels: Collection[str]) -> Differences:
    pairs = pairs_of(results)
    found = {
        label: pairs.auroc(results.text("headline"), kind, *column) for kind, label in KINDS.items() if label in labels
    }
    return {label: each for label, each in found.items() if each is not None}


def _curves(results: Results, column: Column, labels: Collection[str]) -> Curves:
    """Return image AUROC in % by minutes of training, averaged over seeds and categories; nothing of one row alone."""
    found = {}
    for kind, label in KINDS.items():
        for row, figures in _shared(results, kind, column).items() if label in labels else ():
            cells = results.finished(row).set_index(PLACE).loc[list(figures.index)]
            curves = [points_in_time(results, cell, kind) for _, cell in cells.iterrows()]
            if curves := [curve for curve in curves if len(curve)]:
                found[row, label] = _mean_curve(curves)
    return found if len({row for row, _ in found}) == 2 else {}


def _mean_curve(curves: Sequence[pd.DataFrame]) -> pd.Series:
    """Average the points that all curves have, whose minutes are nearly the same, and their ends."""
    shared = curves[0].index[[all(key in curve.index for curve in curves) for key in curves[0].index]]
    points = sum(curve.loc[shared] for curve in curves) / len(curves)
    return pd.Series(points["value"].to_numpy(), index=points["minutes"])


def _draw_bars(
    panels: Sequence[Axes], bars: Sequence[Averages], rows: Mapping[str, str], lines: Mapping[str, int]
) -> None:
    """Draw a bar for each type of anomaly and row, its seeds as dots."""
    lowest = CHANCE
    for axes, averages in zip(panels, bars, strict=True):
        for (row, label), found in averages.items():
            if label not in lines:
                continue
            place, mean = 3 * lines[label] + list(rows).index(row), 100 * found.mean
            axes.barh(place, mean - CHANCE, left=CHANCE, height=0.85, color=rows[row])
            axes.text(101, place, f"{mean:.1f}", fontsize=9, color=INK, va="center")
            seeds = 100 * found.by_seed
            if len(seeds) > 1:
                axes.plot(seeds, [place] * len(seeds), "o", markersize=3.5, color="white", markeredgecolor=INK)
            lowest = min(lowest, mean, *seeds)
        axes.set_yticks([3 * line + 0.5 for line in lines.values()], list(lines))
        axes.grid(axis="x", color=RULE)
        axes.set_xlabel("image AUROC, %", fontsize=9, color=INK)
    panels[0].set(xlim=(10 * math.floor(lowest / 10), 108), ylim=(3 * len(lines) - 1.4, -0.6))


def _draw_differences(panels: Sequence[Axes], found: Sequence[Differences], lines: Mapping[str, int]) -> None:
    """Draw the headline's difference to the baseline, which is the line at 0, with its interval."""
    for axes, differences in zip(panels, found, strict=True):
        for label, (mean, low, high, *_) in differences.items():
            ends = None if low is None or high is None else 100 * np.array([[mean - low], [high - mean]]).clip(0)
            axes.errorbar(100 * mean, lines[label], xerr=ends, fmt="D", color=HEADLINE, markersize=5, capsize=3)
            place, end = ("right", -4) if mean < 0 else ("left", 4)  # not across the line at 0
            axes.annotate(
                signed(100 * mean),
                (100 * mean, lines[label]),
                (end, 5),
                textcoords="offset points",
                ha=place,
                fontsize=9,
                color=INK,
            )
        axes.axvline(0, color=BASELINE, linewidth=1.5)
        axes.set_yticks(list(lines.values()), list(lines))
        axes.grid(axis="x", color=RULE)
        axes.set_xlabel("difference in points, 95 % interval", fontsize=9, color=INK)
    panels[0].set_ylim(len(lines) - 0.5, -0.7)


def _draw_curves(panels: Sequence[Axes], found: Sequence[Curves], rows: Mapping[str, str]) -> None:
    """Draw how accuracy rises with the time of training."""
    for axes, curves in zip(panels, found, strict=True):
        for (row, label), curve in curves.items():
            axes.plot(curve.index, curve, color=rows[row], markersize=4, linewidth=1.6, **STYLES[label])
        axes.grid(axis="y", color=RULE)
        axes.set_xlabel("image AUROC, % by minutes of training", fontsize=9, color=INK)
    minutes = [minute for curves in found for curve in curves.values() for minute in curve.index]
    make_logarithmic(panels[0], "x", min(minutes), max(minutes))
