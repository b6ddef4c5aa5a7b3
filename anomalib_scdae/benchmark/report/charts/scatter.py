# SPDX-License-Identifier: Apache-2.0
"""Accuracy against latency."""

import math
from dataclasses import dataclass

from anomalib_scdae.benchmark.report.charts.svg import Drawing, decade_ticks, round_ticks, series_style, tick_label
from anomalib_scdae.benchmark.report.cost import FORMATS
from anomalib_scdae.benchmark.report.document import Chart, Charts
from anomalib_scdae.benchmark.report.formatting import figure
from anomalib_scdae.benchmark.report.results import IMAGE_AUROC, Results
from anomalib_scdae.benchmark.report.spread import Spread, middle, reader, row_spread

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400.0, 300.0, 46.0, 16.0, 14.0, 42.0

#: Formats whose accuracy is that of the table; FP16 and INT8 may lose some, which the benchmark does not measure.
EXACT = ("torch_fp32", "openvino_fp32")


@dataclass(frozen=True)
class Point:
    """A method in the chart: its latency in ms with quartiles, and its accuracy."""

    row: str
    index: int
    latency: float
    low: float
    high: float
    accuracy: Spread


def latency_scatter(results: Results) -> Charts | None:
    """Give one drawing per dataset and format of deployment; ``None`` without any figure."""
    charts, shown = [], set()
    for dataset in results.datasets:
        for name in EXACT:
            points = _points(results, dataset, name)
            if len(points) > 1:
                title = f"{dataset}, {FORMATS[name]}"
                charts.append(Chart(title, _draw(title, points)))
                shown |= {(point.row, point.index) for point in points}
    if not charts:
        return None
    caption = (
        "Mean image AUROC against latency at batch size 1, in full precision: up and to the left is better. Horizontal "
        "whiskers are the quartiles of the latency, vertical ones ± the standard deviation over seeds."
    )
    return Charts(caption, charts, sorted(shown, key=lambda item: item[1]))


def _points(results: Results, dataset: str, name: str) -> list[Point]:
    points = []
    for index, row in enumerate(results.rows):
        # A method's latency does not depend on the images, and is often measured on one category only.
        cells = results.of(row)
        latency = middle(cells, "latency", name, "median_ms")
        accuracy = row_spread(results, row, dataset, reader(*IMAGE_AUROC, "mean"))
        if latency and latency > 0 and accuracy is not None:
            low = middle(cells, "latency", name, "q25_ms") or latency
            high = middle(cells, "latency", name, "q75_ms") or latency
            points.append(Point(row, index, latency, low, high, accuracy))
    return points


def _draw(title: str, points: list[Point]) -> str:
    drawing = Drawing(WIDTH, HEIGHT, f"Scatter chart, mean image AUROC against latency, {title}")
    spreads = [(100 * p.accuracy.mean, 100 * (p.accuracy.deviation or 0.0)) for p in points]
    rows = round_ticks(min(mean - sd for mean, sd in spreads), min(100.0, max(mean + sd for mean, sd in spreads)))
    wide = max(p.high for p in points) > 8 * min(p.low for p in points)
    ends = min(p.low for p in points), max(p.high for p in points)
    columns = decade_ticks(*ends) if wide else round_ticks(0.0, ends[1])

    def x(value: float) -> float:
        low, high = columns[0], columns[-1]
        share = _log_share(value, low, high) if wide else (value - low) / (high - low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - rows[0]) / (rows[-1] - rows[0]) * (HEIGHT - TOP - BOTTOM)

    for tick in rows:
        drawing.line(LEFT, y(tick), WIDTH - RIGHT, y(tick), "grid")
        drawing.text(LEFT - 7, y(tick) + 4, tick_label(tick), "tick", "end")
    for tick in columns:
        drawing.line(x(tick), TOP, x(tick), HEIGHT - BOTTOM, "grid")
        drawing.text(x(tick), HEIGHT - BOTTOM + 16, tick_label(tick), "tick", "middle")
    drawing.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, f"latency, ms{' (logarithmic)' * wide}", "title", "middle")
    middle_of_axis = (TOP + HEIGHT - BOTTOM) / 2
    title_of_axis = drawing.add("text", "title", x=12, y=middle_of_axis, text_anchor="middle")
    title_of_axis.set("transform", f"rotate(-90 12 {middle_of_axis:.1f})")
    title_of_axis.text = "mean image AUROC, %"
    for point, (mean, deviation) in zip(points, spreads, strict=True):
        style = series_style(point.index)
        tooltip = f"{point.row}: {mean:.1f} %, {figure(point.latency)} ms"
        drawing.line(x(point.low), y(mean), x(point.high), y(mean), f"spread {style}", tooltip)
        if deviation:
            drawing.line(
                x(point.latency), y(mean - deviation), x(point.latency), y(mean + deviation), f"spread {style}"
            )
        drawing.add("circle", f"point {style}", tooltip, cx=x(point.latency), cy=y(mean), r=6)
    return drawing.finish()


def _log_share(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low)
