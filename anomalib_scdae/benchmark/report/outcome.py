# SPDX-License-Identifier: Apache-2.0
"""One picture of the outcome, for a slide or a README: the headline's row beside the baseline, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from anomalib_scdae.benchmark.report.charts import CHANCE, make_logarithmic
from anomalib_scdae.benchmark.report.over_time import DRAWN, minutes_curve
from anomalib_scdae.benchmark.report.paired import Difference, pairs_of
from anomalib_scdae.benchmark.report.results import IMAGE_AUROC, Average, Results
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
}
#: The types of anomalies, and the line on which each stands.
LINES = {label: number for number, label in enumerate(DRAWN.values())}


class Column(NamedTuple):
    """A dataset and one of its categories; without one, the average over them."""

    dataset: str
    category: str | None

    @property
    def title(self) -> str:
        """What stands above the column."""
        return (self.category or self.dataset).replace("_", " ")


#: What is drawn in one place: an average, a difference or a curve by the name of a row and the type of anomaly.
Averages = Mapping[tuple[str, str], Average]
Differences = Mapping[str, Difference]
Curves = Mapping[tuple[str, str], pd.Series]


def draw_outcome(results: Results) -> Figure | None:
    """Draw image AUROC, differences with 95 % intervals and, where it was measured, accuracy over the time of training.

    Returns:
        A figure with a column for each category; ``None`` while no category has a finished cell of both rows.
    """
    columns = _columns(results)
    if not columns:
        return None
    rows = {results.text("headline"): HEADLINE, results.text("baseline"): BASELINE}
    bars = [_averages(results, list(rows), column) for column in columns]
    differences = [_differences(results, column) for column in columns]
    curves = [_curves(results, list(rows), column) for column in columns]
    heights = [1.5, *[1.1] * any(differences), *[2.2] * any(curves)]
    figure = Figure(figsize=(max(6.5, 3.1 * len(columns) + 0.7), sum(heights) + 1.3), dpi=150, layout="constrained")
    shared: dict[str, Any] = {"sharex": "row", "sharey": "row"}
    lines = iter(figure.subplots(len(heights), len(columns), squeeze=False, height_ratios=heights, **shared))
    for axes in figure.axes:
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=9, labelcolor=INK)
        axes.set_axisbelow(True)
    _draw_bars(next(lines), bars, rows)
    if any(differences):
        _draw_differences(next(lines), differences)
    if any(curves):
        _draw_curves(next(lines), curves, rows)
    for axes, column in zip(figure.axes, columns, strict=False):  # of the uppermost line
        axes.set_title(column.title, fontsize=11, color=INK, weight="bold")
    figure.legend(handles=_legend(rows, any(curves)), loc="outside upper center", ncols=4, frameon=False)
    return figure


def _columns(results: Results) -> list[Column]:
    headline, baseline = (
        set(results.finished(results.text(name))[["dataset", "category"]].itertuples(index=False, name=None))
        for name in ("headline", "baseline")
    )
    places = [
        Column(dataset, category)
        for dataset in results.datasets
        for category in results.categories(dataset)
        if (dataset, category) in headline & baseline
    ]
    return (
        places if len(places) <= COLUMNS else [Column(name, None) for name in dict.fromkeys(c.dataset for c in places)]
    )


def _averages(results: Results, rows: Sequence[str], column: Column) -> Averages:
    found = {
        (row, label): results.average(row, f"{IMAGE_AUROC}.{kind}", *column)
        for row in rows
        for kind, label in DRAWN.items()
    }
    return {key: average for key, average in found.items() if average is not None}


def _differences(results: Results, column: Column) -> Differences:
    pairs = pairs_of(results)
    found = {label: pairs.auroc(results.text("headline"), kind, *column) for kind, label in DRAWN.items()}
    return {label: each for label, each in found.items() if each is not None}


def _curves(results: Results, rows: Sequence[str], column: Column) -> Curves:
    """Return image AUROC in % by minutes of training, averaged over seeds and categories."""
    found = {}
    for row in rows:
        cells = results.finished(row, column.dataset)
        cells = cells if column.category is None else cells[cells["category"] == column.category]
        for kind, label in DRAWN.items():
            curves = [minutes_curve(results, cell, kind) for _, cell in cells.iterrows()]
            if curves := [curve for curve in curves if len(curve)]:
                found[row, label] = _mean_curve(curves)
    return found


def _mean_curve(curves: Sequence[pd.Series]) -> pd.Series:
    """Average the points that all have before their end, and the ends: their minutes are nearly the same."""
    before = min(map(len, curves)) - 1
    points = [np.column_stack([curve.index, curve])[[*range(before), -1]] for curve in curves]
    minutes, values = np.mean(points, axis=0).T
    return pd.Series(values, index=minutes)


def _draw_bars(line: Sequence[Axes], bars: Sequence[Averages], rows: Mapping[str, str]) -> None:
    """Draw a bar for each type of anomaly and row, its seeds as dots."""
    for axes, averages in zip(line, bars, strict=True):
        for (row, label), average in averages.items():
            place, mean = 3 * LINES[label] + list(rows).index(row), 100 * average.mean
            axes.barh(place, mean - CHANCE, left=CHANCE, height=0.85, color=rows[row])
            axes.text(101, place, f"{mean:.1f}", fontsize=9, color=INK, va="center")
            if len(seeds := 100 * average.by_seed) > 1:
                axes.plot(seeds, [place] * len(seeds), "o", markersize=3.5, color="white", markeredgecolor=INK)
        axes.set(xlim=(CHANCE, 108), ylim=(3 * len(LINES) - 1.4, -0.6))
        axes.set_yticks([3 * place + 0.5 for place in LINES.values()], list(LINES))
        axes.grid(axis="x", color=RULE)
        axes.set_xlabel("image AUROC, %", fontsize=9, color=INK)


def _draw_differences(line: Sequence[Axes], found: Sequence[Differences]) -> None:
    """Draw the headline's difference to the baseline, which is the line at 0, with its interval."""
    for axes, differences in zip(line, found, strict=True):
        for label, (mean, low, high, _) in differences.items():
            ends = None if low is None or high is None else 100 * np.array([[mean - low], [high - mean]]).clip(0)
            axes.errorbar(100 * mean, LINES[label], xerr=ends, fmt="D", color=HEADLINE, markersize=5, capsize=3)
            # Not across the line at 0.
            place, end = ("right", -4) if mean < 0 else ("left", 4)
            point, above = (100 * mean, LINES[label]), (end, 5)
            axes.annotate(signed(100 * mean), point, above, textcoords="offset points", ha=place, fontsize=9, color=INK)
        axes.axvline(0, color=BASELINE, linewidth=1.5)
        axes.set(ylim=(len(LINES) - 0.5, -0.7))
        axes.set_yticks(list(LINES.values()), list(LINES))
        axes.grid(axis="x", color=RULE)
        axes.set_xlabel("difference in points, 95 % interval", fontsize=9, color=INK)


def _draw_curves(line: Sequence[Axes], found: Sequence[Curves], rows: Mapping[str, str]) -> None:
    """Draw how accuracy rises with the time of training."""
    for axes, curves in zip(line, found, strict=True):
        for (row, label), curve in curves.items():
            axes.plot(curve.index, curve, color=rows[row], markersize=4, linewidth=1.6, **STYLES[label])
        axes.grid(axis="y", color=RULE)
        axes.set_xlabel("image AUROC, % by minutes of training", fontsize=9, color=INK)
    minutes = [minute for curves in found for curve in curves.values() for minute in curve.index]
    make_logarithmic(line[0], "x", min(minutes), max(minutes))


def _legend(rows: Mapping[str, str], with_curves: bool) -> list[Line2D]:
    bars = [Line2D([], [], color=colour, linewidth=6, label=row) for row, colour in rows.items()]
    return bars + [Line2D([], [], color=INK, label=label, **style) for label, style in STYLES.items()] * with_curves
