# SPDX-License-Identifier: Apache-2.0
"""The page's charts: bars of accuracy, accuracy against latency, and learning curves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from anomalib_scdae.benchmark.report.cost import FORMATS
from anomalib_scdae.benchmark.report.results import IMAGE_AUROC, KINDS, PLACE, Average, Results, finite
from anomalib_scdae.benchmark.report.svg import CARD, INK, QUIET, RULE, SERIES, add_tooltip, new_axes, to_svg
from anomalib_scdae.benchmark.report.tables import PARTIAL, figure

#: AUROC of a score that knows nothing, in percent; bars start there, since their length is then what was learnt.
CHANCE = 50.0

#: Formats whose accuracy is that of the table; FP16 and INT8 may lose some, which the benchmark does not measure.
EXACT = ("torch_fp32", "openvino_fp32")

#: A curve is averaged down to at most this many points; more cannot be seen, and the page would grow with the steps.
POINTS = 120

BARS_CAPTION = (
    "Image AUROC in %. Bars start at 50 %, where a score tells nothing. The dots are the seeds, the whisker is ± "
    f"their standard deviation. {PARTIAL} Average over fewer categories: others are not finished."
)
SCATTER_CAPTION = (
    "Mean image AUROC against latency at batch size 1, in full precision: up and to the left is better. Horizontal "
    "whiskers are the quartiles of the latency, vertical ones ± the standard deviation over seeds. From the ninth row "
    "on points are square."
)
CURVES_CAPTION = (
    "Training loss, one line per seed. Losses of different methods have different terms, so compare the course of "
    "the lines and not their height."
)


@dataclass(frozen=True)
class Charts:
    """Drawings that share a legend.

    Args:
        caption: How to read them.
        drawings: Title to ``svg`` element.
        legend: Label to number of the colour.
    """

    caption: str
    drawings: dict[str, str]
    legend: dict[str, int]


def accuracy_bars(results: Results) -> list[Charts]:
    """Give bars of image AUROC for every category and for each average; nothing without any figure."""
    drawings = {}
    for dataset in results.datasets:
        categories = results.categories(dataset)
        for category in [*([None] if len(categories) > 1 else []), *categories]:
            bars = {
                (row, label): found
                for row in results.rows
                for kind, label in KINDS.items()
                if (found := results.average(row, f"{IMAGE_AUROC}.{kind}", dataset, category))
            }
            if bars:
                title = f"{dataset}: {category or f'average of {len(categories)} categories'}"
                drawings[title] = _draw_bars(title, bars)
    legend = {label: number for number, label in enumerate(KINDS.values())}
    return [Charts(BARS_CAPTION, drawings, legend)] if drawings else []


def _draw_bars(title: str, bars: Mapping[tuple[str, str], Average]) -> str:
    """Draw a block for each row: its name, a bar for each type of anomaly, and a gap."""
    rows = list(dict.fromkeys(row for row, _ in bars))
    kinds = [label for label in KINDS.values() if any(kind == label for _, kind in bars)]
    block = len(kinds) + 2
    axes = new_axes(340, 12.5 * block * len(rows) + 24, margins=(6, 44, 4, 20))
    for number, row in enumerate(rows):
        axes.text(0.01, block * number + 0.3, row, fontsize=12, color=INK, transform=axes.get_yaxis_transform())
    colours = dict(zip(KINDS.values(), SERIES, strict=False))
    for (row, kind), bar in bars.items():
        line = block * rows.index(row) + 1 + kinds.index(kind)
        _draw_bar(axes, line, bar, colours[kind], f"{row}, {kind}")
    lowest = min(CHANCE, *(100 * value for bar in bars.values() for value in (bar.mean, *bar.by_seed)))
    axes.set(xlim=(10 * math.floor(lowest / 10), 100), ylim=(block * len(rows) - 0.5, -0.5), yticks=[])
    axes.grid(axis="x", color=RULE)
    axes.axvline(CHANCE, color=QUIET, linewidth=1)
    return to_svg(axes, f"Bar chart, image AUROC, {title}")


def _draw_bar(axes: Axes, line: int, bar: Average, colour: str, label: str) -> None:
    mean, seeds = 100 * bar.mean, 100 * bar.by_seed
    (drawn,) = axes.barh(line, mean - CHANCE, left=CHANCE, color=colour)
    add_tooltip(drawn, f"{label}: {mean:.1f} % ({bar.scope})")
    if bar.deviation is not None:
        axes.errorbar(mean, line, xerr=100 * bar.deviation, fmt="none", ecolor=INK, elinewidth=1.5)
        (dots,) = axes.plot(
            seeds, [line] * len(seeds), "o", markersize=4, color=CARD, markeredgecolor=INK, clip_on=False
        )
        listed = ", ".join(f"{value:.1f} % (seed {seed})" for seed, value in seeds.items())
        add_tooltip(dots, f"{label}: {listed}")
    value = f"{mean:.1f}{PARTIAL if bar.covered < bar.expected else ''}"
    axes.text(1.03, line, value, fontsize=11, color=INK, va="center", transform=axes.get_yaxis_transform())


def latency_scatter(results: Results) -> list[Charts]:
    """Give accuracy against latency for every dataset and format of deployment; nothing without any figure."""
    drawings: dict[str, str] = {}
    legend: dict[str, int] = {}
    for dataset in results.datasets:
        for name in EXACT:
            points = {}
            for number, row in enumerate(results.rows):
                # A method's latency does not depend on the images, and is often measured on one category only.
                latency = [results.median(row, f"latency.{name}.{key}") for key in ("median_ms", "q25_ms", "q75_ms")]
                # A data set with one of MVTec LOCO AD's types alone has no mean.
                figures = (results.average(row, f"{IMAGE_AUROC}.{kind}", dataset) for kind in reversed(KINDS))
                accuracy = next(filter(None, figures), None)
                if accuracy is not None and latency[0]:
                    points[row, number] = [value or latency[0] for value in latency], accuracy
            if len(points) > 1:
                title = f"{dataset}, {FORMATS[name]}"
                drawings[title] = _draw_scatter(title, points)
                legend |= dict(points.keys())
    return [Charts(SCATTER_CAPTION, drawings, legend)] if drawings else []


def _draw_scatter(title: str, points: Mapping[tuple[str, int], tuple[list[float], Average]]) -> str:
    axes = new_axes(400, 300, margins=(46, 16, 14, 42))
    for (row, number), ((latency, low, high), accuracy) in points.items():
        mean, quartiles = 100 * accuracy.mean, [[latency - low], [high - latency]]
        style: dict[str, Any] = {
            "color": colour_of(number),
            "markersize": 12,
            "markeredgecolor": CARD,
            "clip_on": False,
            "marker": "o" if number < len(SERIES) else "s",
        }
        point, *_ = axes.errorbar(latency, mean, 100 * (accuracy.deviation or 0), quartiles, linestyle="", **style)
        add_tooltip(point, f"{row}: {mean:.1f} % ({accuracy.scope}), {figure(latency)} ms")
    lowest, highest = min(low for (_, low, _), _ in points.values()), max(high for (_, _, high), _ in points.values())
    wide = highest > 8 * lowest
    if wide:
        make_logarithmic(axes, "x", lowest, highest)
    else:
        axes.set_xlim(0, 1.1 * highest)
    axes.grid(color=RULE)
    axes.set_xlabel(f"latency, ms{' (logarithmic)' * wide}", color=QUIET, fontsize=11)
    axes.set_ylabel("mean image AUROC, %", color=QUIET, fontsize=11)
    return to_svg(axes, f"Scatter chart, mean image AUROC against latency, {title}")


def loss_curves(results: Results) -> list[Charts]:
    """Give the training loss over the steps for every category; nothing without any curve."""
    colours = {row: number for number, row in enumerate(results.rows)}
    drawings: dict[str, str] = {}
    drawn = set()
    for (dataset, category), cells in results.finished().groupby(["dataset", "category"], sort=False):
        curves = {
            (f"{row}, seed {seed}", colours[row]): thinned_curve(points, "loss")
            for row, seed, points in zip(cells["row"], cells["seed"], cells["curve"], strict=True)
        }
        title = f"{dataset}: {category}"
        drawings |= _draw_curves(title, f"Training loss, {title}", curves)
        drawn |= {number for (_, number), curve in curves.items() if len(curve)}
    legend = {row: number for row, number in colours.items() if number in drawn}
    return [Charts(CURVES_CAPTION, drawings, legend)] if drawings else []


def term_curves(results: Results) -> list[Charts]:
    """Give the terms of the headline's loss, for its first seed of every category; nothing if it has none."""
    headline = results.text("headline")
    cells = results.finished(headline)
    cells = cells[cells["curve"].map(len) > 0].drop_duplicates(["dataset", "category"])
    names = dict.fromkeys(name for curve in cells["curve"] for name in _points(curve))
    terms = [name for name in names if name not in {"step", "loss", "epoch"}]
    drawings: dict[str, str] = {}
    for dataset, category, seed, points in cells[[*PLACE, "curve"]].itertuples(index=False):
        title = f"{dataset}: {category}, seed {seed}"
        curves = {(term, number): thinned_curve(points, term) for number, term in enumerate(terms)}
        drawings |= _draw_curves(title, f"Terms of the loss of {headline}, {title}", curves)
    legend = {term: number for number, term in enumerate(terms)}
    return [Charts(f"Terms of the training loss of {headline}.", drawings, legend)] if drawings else []


def _points(curve: Sequence[Any]) -> pd.DataFrame:
    return pd.DataFrame([point for point in curve if isinstance(point, dict)])


def thinned_curve(curve: Sequence[Any], name: str) -> pd.Series:
    """Give values by step, averaged down to :data:`POINTS`; only positive values, as the axis is logarithmic."""
    points = _points(curve).reindex(columns=["step", name]).apply(lambda column: column.map(finite)).dropna()
    points = points[points[name] > 0]
    size = math.ceil(len(points) / POINTS) or 1
    return points.groupby(np.arange(len(points)) // size).mean().set_index("step")[name]


def _draw_curves(title: str, description: str, curves: Mapping[tuple[str, int], pd.Series]) -> dict[str, str]:
    """Draw curves that have a name and a colour, and return the drawing by its title; none without a point."""
    drawn = {key: curve for key, curve in curves.items() if len(curve)}
    if not drawn:
        return {}
    axes = new_axes(400, 250, margins=(46, 12, 12, 38))
    for (label, number), curve in drawn.items():
        style = "o" if len(curve) == 1 else line_style(number)
        (line,) = axes.plot(curve.index, curve, style, color=colour_of(number), linewidth=1.7, clip_on=False)
        add_tooltip(line, f"{label}: {curve.iloc[-1]:.3g} at step {curve.index[-1]:,.0f}")
    values = pd.concat(list(drawn.values()))
    make_logarithmic(axes, "y", values.min(), values.max())
    axes.set_xlim(0, max(values.index.max(), 1))
    axes.grid(axis="y", color=RULE)
    axes.spines["bottom"].set(visible=True, color=QUIET)
    axes.set_xlabel("step", color=QUIET, fontsize=11)
    return {title: to_svg(axes, description)}


def colour_of(number: int) -> str:
    """Return a row's colour."""
    return SERIES[number % len(SERIES)]


def line_style(number: int) -> str:
    """Return how a row's lines are drawn, as the legend has them: where colours come again, dashed."""
    return "-" if number < len(SERIES) else "--"


def make_logarithmic(axes: Axes, name: str, low: float, high: float) -> None:
    """Make an axis logarithmic, with plain numbers: 1, 2, 5 of each decade, or 1 alone where there are many."""
    powers = 10.0 ** np.arange(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks = np.outer(powers, [1, 2, 5] if high <= 100 * low else [1]).ravel()
    # The axis ends at ticks, so that it always has two.
    first = ticks[ticks <= low].max()
    last = ticks[(ticks >= high) & (ticks > first)].min()
    axes.set(**{f"{name}scale": "log", f"{name}lim": (first, last)})
    axis = getattr(axes, f"{name}axis")
    axis.set_ticks(ticks[(ticks >= first) & (ticks <= last)], minor=False)
    axis.set_ticks([], minor=True)
    axis.set_major_formatter("{x:g}")
