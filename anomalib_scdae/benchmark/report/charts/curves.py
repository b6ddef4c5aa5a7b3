# SPDX-License-Identifier: Apache-2.0
"""Learning curves: the training loss of every row, and the terms of the headline's loss."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from anomalib_scdae.benchmark.report.charts.svg import Drawing, decade_ticks, round_ticks, series_style, tick_label
from anomalib_scdae.benchmark.report.document import Chart, Charts
from anomalib_scdae.benchmark.report.results import Cell, Results, finite, unique

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400.0, 250.0, 46.0, 12.0, 12.0, 38.0

#: A curve is averaged down to at most this many points; more cannot be seen, and the page would grow with the steps.
POINTS = 120

Curve = list[tuple[float, float]]


def loss_curves(results: Results) -> Charts | None:
    """Give the training loss over the steps, one drawing per category; ``None`` without any curve."""
    charts = []
    for dataset in results.datasets:
        for category in results.categories(dataset):
            lines = [
                (f"{row}, seed {cell.seed}", index, curve)
                for index, row in enumerate(results.rows)
                for cell in results.of(row, dataset, category)
                if (curve := _curve(cell, "loss"))
            ]
            if lines:
                title = f"{dataset}: {category}"
                charts.append(Chart(title, _draw(f"Training loss, {title}", lines)))
    if not charts:
        return None
    caption = (
        "Training loss, one line per seed. Losses of different methods have different terms, so compare the course of "
        "the lines and not their height."
    )
    legend = [(row, i) for i, row in enumerate(results.rows) if any(_curve(cell, "loss") for cell in results.of(row))]
    return Charts(caption, charts, legend)


def term_curves(results: Results) -> Charts | None:
    """Give the terms of the headline's loss, for its first seed of every category; ``None`` if it has none."""
    cells = {cell.place: cell for cell in reversed(results.of(results.headline)) if cell.sequence("curve")}
    terms = unique(name for cell in cells.values() for name in _terms(cell))
    charts = []
    for place in sorted(cells, key=list(dict.fromkeys(cell.place for cell in results.cells)).index):
        cell = cells[place]
        lines = [(term, terms.index(term), curve) for term in _terms(cell) if (curve := _curve(cell, term))]
        if lines:
            title = f"{place[0]}: {place[1]}, seed {cell.seed}"
            charts.append(Chart(title, _draw(f"Terms of the loss of {results.headline}, {title}", lines)))
    if not charts:
        return None
    legend = [(term, index) for index, term in enumerate(terms)]
    return Charts(f"Terms of the training loss of {results.headline}.", charts, legend)


def _terms(cell: Cell) -> list[str]:
    names = unique(name for point in cell.sequence("curve") if isinstance(point, Mapping) for name in point)
    return [name for name in names if name not in {"step", "loss", "epoch"}]


def _curve(cell: Cell, name: str) -> Curve:
    """Give step and value, averaged down to :data:`POINTS`; only positive values, as the axis is logarithmic."""
    points = [(finite(p.get("step")), finite(p.get(name))) for p in cell.sequence("curve") if isinstance(p, Mapping)]
    curve = [(step, value) for step, value in points if step is not None and value is not None and value > 0]
    size = math.ceil(len(curve) / POINTS) or 1
    parts = [curve[start : start + size] for start in range(0, len(curve), size)]
    return [(fmean(step for step, _ in part), fmean(value for _, value in part)) for part in parts]


def _draw(title: str, lines: Sequence[tuple[str, int, Curve]]) -> str:
    drawing = Drawing(WIDTH, HEIGHT, title)
    values = [value for _, _, curve in lines for _, value in curve]
    rows = decade_ticks(min(values), max(values))
    columns = round_ticks(0.0, max(step for _, _, curve in lines for step, _ in curve))

    def x(step: float) -> float:
        return LEFT + step / columns[-1] * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        share = math.log(value / rows[0]) / math.log(rows[-1] / rows[0])
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    for tick in rows:
        drawing.line(LEFT, y(tick), WIDTH - RIGHT, y(tick), "grid")
        drawing.text(LEFT - 7, y(tick) + 4, tick_label(tick), "tick", "end")
    for tick in columns:
        drawing.text(x(tick), HEIGHT - BOTTOM + 16, tick_label(tick), "tick", "middle")
    drawing.line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis")
    drawing.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, "step", "title", "middle")
    for label, index, curve in lines:
        tooltip = f"{label}: {curve[-1][1]:.3g} at step {curve[-1][0]:,.0f}"
        if len(curve) == 1:
            drawing.add("circle", f"point {series_style(index)}", tooltip, cx=x(curve[0][0]), cy=y(curve[0][1]), r=3)
        else:
            drawing.path([(x(step), y(value)) for step, value in curve], f"line {series_style(index)}", tooltip)
    return drawing.finish()
