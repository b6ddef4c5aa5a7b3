# SPDX-License-Identifier: Apache-2.0
"""Tables of cost: training, memory, size and latency, with ratios to the baseline."""

from collections.abc import Callable
from dataclasses import dataclass

from anomalib_scdae.benchmark.report.accuracy import row_name
from anomalib_scdae.benchmark.report.document import DASH, NOTHING, Body, Column, Entry, Table
from anomalib_scdae.benchmark.report.formatting import duration, figure, number_entry, scaled, times
from anomalib_scdae.benchmark.report.results import Cell, Results, finite
from anomalib_scdae.benchmark.report.spread import middle, paired, ratio, reader

#: Key in ``results.json`` to the heading.
FORMATS = {
    "torch_fp32": "PyTorch FP32",
    "openvino_fp32": "OpenVINO FP32",
    "openvino_fp16": "OpenVINO FP16",
    "openvino_int8": "OpenVINO INT8",
}


def _mebibytes(value: float) -> str:
    return figure(value / 2**20)


@dataclass(frozen=True)
class Cost:
    """A column of the table of costs.

    Args:
        label: Heading with the unit.
        group: Heading above it.
        path: Where a cell has the number.
        show: Makes text of it.
        compared: Whether its ratio to the baseline is of interest.
    """

    label: str
    group: str
    path: tuple[str, ...]
    show: Callable[[float], str] = figure
    compared: bool = True


TRAINING = (
    Cost("steps", "training", ("training", "steps"), lambda value: f"{value:,.0f}", compared=False),
    Cost("time", "training", ("training", "seconds"), duration),
    Cost("steps/s", "training", ("training", "steps_per_second")),
    Cost("peak memory, MiB", "training", ("training", "peak_memory_mib")),
)

SIZE = (
    Cost("parameters", "network", ("size", "parameters"), scaled),
    Cost("trainable", "network", ("size", "trainable_parameters"), scaled),
    Cost("MACs", "network", ("size", "macs"), scaled),
    Cost("checkpoint", "on disk, MiB", ("size", "checkpoint_bytes"), _mebibytes),
    Cost("OpenVINO FP32", "on disk, MiB", ("size", "openvino_fp32_bytes"), _mebibytes),
    Cost("OpenVINO FP16", "on disk, MiB", ("size", "openvino_fp16_bytes"), _mebibytes),
    Cost("OpenVINO INT8", "on disk, MiB", ("size", "openvino_int8_bytes"), _mebibytes),
)


def cost_tables(results: Results) -> list[Table]:
    """Give the tables of training and of size; a table without any figure is left out."""
    medians = "Medians over the finished cells of each row"
    training = _cost_table(results, TRAINING, f"Training: {medians.lower()}.")
    size = _cost_table(results, SIZE, f"Size: {medians.lower()}.")
    return [table for table in (training, size) if table is not None]


def _cost_table(results: Results, costs: tuple[Cost, ...], caption: str) -> Table | None:
    rows = []
    for row in results.rows:
        pairs = paired(results, row, results.baseline) if row != results.baseline else []
        entries = []
        for cost in costs:
            value = middle(results.of(row), *cost.path)
            relative = ratio(pairs, reader(*cost.path)) if cost.compared else None
            entries.append(_cost_entry(cost, value, relative))
        if any(entry is not NOTHING for entry in entries):
            rows.append([row_name(results, row), *entries])
    if not rows:
        return None
    columns = [Column("Method", numeric=False), *(Column(cost.label, cost.group) for cost in costs)]
    note = f"In brackets: the median ratio to {results.baseline} over the cells (category and seed) that both have."
    return Table(caption, columns, [Body(rows)], [note] if results.baseline in results.rows else [])


def _cost_entry(cost: Cost, value: float | None, relative: float | None) -> Entry:
    if value is None:
        return NOTHING
    return number_entry(value, cost.show(value) + ("" if relative is None else f" ({times(relative)})"))


def latency_table(results: Results) -> Table | None:
    """Give latency and throughput of every format, or ``None`` if no cell has any."""
    formats = [name for name in FORMATS if any(_latency(cell, name) for cell in results.cells if cell.finished)]
    rows, notes = [], []
    for row in results.rows:
        cells = [cell for cell in results.of(row) if cell.mapping("latency")]
        if not cells:
            continue
        entries = []
        for name in formats:
            failures = [str(_latency(cell, name)["error"]) for cell in cells if "error" in _latency(cell, name)]
            notes += [f"{row}, {FORMATS[name]}: {failure}" for failure in dict.fromkeys(failures)]
            entries += _format_entries(cells, name, bool(failures))
        rows.append([row_name(results, row), *entries])
    if not rows or not formats:
        return None
    columns = [Column("Method", numeric=False)]
    for name in formats:
        columns += [Column(label, FORMATS[name]) for label in ("ms", "images/s", "ratio")]
    about = (
        f"Milliseconds: median (quartiles). Ratio: latency divided by that of {results.baseline or 'the baseline'}, "
        "timed in turn with it, so that a machine's drift hits both; compare by it rather than by milliseconds."
    )
    caption = "Latency and throughput at batch size 1: medians over the cells that were timed."
    return Table(caption, columns, [Body(rows)], [about, *notes])


def _latency(cell: Cell, name: str) -> dict:
    return cell.mapping("latency", name)


def _format_entries(cells: list[Cell], name: str, failed: bool) -> list[Entry]:
    median = middle(cells, "latency", name, "median_ms")
    if median is None:
        return [Entry("failed", title="see below", tone="failed") if failed else NOTHING, NOTHING, NOTHING]
    ratios = [middle(cells, "latency", name, "ratio", part) for part in ("median", "q25", "q75")]
    quartiles = [middle(cells, "latency", name, part) for part in ("q25_ms", "q75_ms")]
    speed = middle(cells, "latency", name, "images_per_second")
    return [
        number_entry(median, figure(median) + _range(quartiles)),
        number_entry(speed),
        NOTHING if ratios[0] is None else number_entry(ratios[0], times(ratios[0]) + _range(ratios[1:])),
    ]


def _range(quartiles: list[float | None]) -> str:
    low, high = map(finite, quartiles)
    return "" if low is None or high is None else f" ({figure(low)}{DASH}{figure(high)})"
