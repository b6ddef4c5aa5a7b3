# SPDX-License-Identifier: Apache-2.0
"""Bars of image AUROC, with the spread over seeds."""

from collections.abc import Callable, Sequence

from anomalib_scdae.benchmark.report.charts.svg import Drawing, round_ticks, tick_label
from anomalib_scdae.benchmark.report.document import Chart, Charts
from anomalib_scdae.benchmark.report.formatting import explain
from anomalib_scdae.benchmark.report.results import IMAGE_AUROC, KINDS, Results
from anomalib_scdae.benchmark.report.spread import Spread, reader, row_spread

#: AUROC of a score that knows nothing, in percent; bars start there, since their length is then what was learnt.
CHANCE = 50.0

WIDTH, LEFT, RIGHT, TOP, BAR, NAME, GAP = 340.0, 4.0, 44.0, 4.0, 10.0, 17.0, 10.0

Row = tuple[str, Sequence[Spread | None]]


def accuracy_bars(results: Results) -> Charts | None:
    """Give one drawing per category, and one for each average; ``None`` without any figure."""
    charts = []
    for dataset in results.datasets:
        categories = results.categories(dataset)
        for category in [*([None] if len(categories) > 1 else []), *categories]:
            rows = [row for row in _rows(results, dataset, category) if any(row[1])]
            if rows:
                title = f"{dataset}: {category or f'average of {len(categories)} categories'}"
                charts.append(Chart(title, _draw(title, rows)))
    if not charts:
        return None
    caption = (
        "Image AUROC in %. Bars start at 50 %, where a score tells nothing. The dots are the seeds, the whisker is ± "
        "their standard deviation."
    )
    return Charts(caption, charts, [(name, index) for index, name in enumerate(KINDS.values())])


def _rows(results: Results, dataset: str, category: str | None) -> list[Row]:
    return [
        (row, [row_spread(results, row, dataset, reader(*IMAGE_AUROC, kind), category) for kind in KINDS])
        for row in results.rows
    ]


def _draw(title: str, rows: Sequence[Row]) -> str:
    values = [100 * v for _, spreads in rows for s in spreads if s for v in (s.mean, *s.by_seed.values())]
    ticks = round_ticks(min(CHANCE, *values), 100.0, 6)
    bars = sum(sum(spread is not None for spread in spreads) for _, spreads in rows)
    height = TOP + len(rows) * (NAME + GAP) + bars * (BAR + 2.5) + 20
    drawing = Drawing(WIDTH, height, f"Bar chart, image AUROC, {title}")

    def x(value: float) -> float:
        return LEFT + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (WIDTH - LEFT - RIGHT)

    for tick in ticks:
        drawing.line(x(tick), TOP, x(tick), height - 18, "axis" if tick == CHANCE else "grid")
        drawing.text(x(tick), height - 5, tick_label(tick), "tick", "start" if tick == ticks[0] else "middle")
    y = TOP
    for row, spreads in rows:
        drawing.text(LEFT + 3, y + NAME - 4, row)
        y += NAME
        for index, (kind, spread) in enumerate(zip(KINDS.values(), spreads, strict=True)):
            if spread is not None:
                _bar(drawing, x, y, index, spread, f"{row}, {kind}")
                y += BAR + 2.5
        y += GAP
    return drawing.finish()


def _bar(drawing: Drawing, x: Callable[[float], float], y: float, index: int, spread: Spread, label: str) -> None:
    mean, deviation = 100 * spread.mean, 100 * (spread.deviation or 0.0)
    spread_text = f" ± {deviation:.1f}" if spread.deviation is not None else ""
    tooltip = f"{label}: {mean:.1f}{spread_text} % ({explain(spread)})"
    start, end = sorted((x(CHANCE), x(mean)))
    drawing.add("rect", f"bar s{index}", tooltip, x=start, y=y, width=max(end - start, 0.5), height=BAR, rx=1.5)
    middle = y + BAR / 2
    if spread.deviation is not None:
        drawing.line(x(mean - deviation), middle, x(mean + deviation), middle, "whisker", tooltip)
        for seed, value in spread.by_seed.items():
            note = f"{label}, seed {seed}: {100 * value:.1f} %"
            drawing.add("circle", "dot", note, cx=x(100 * value), cy=middle, r=2)
    drawing.text(WIDTH - RIGHT + 8, y + BAR - 1, f"{mean:.1f}", "value")
