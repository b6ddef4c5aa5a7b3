# SPDX-License-Identifier: Apache-2.0
"""Tables of cost: training, memory, size and latency, with ratios to the baseline."""

from collections.abc import Callable
from functools import partial
from typing import Any

from anomalib_scdae.benchmark.report.results import Results
from anomalib_scdae.benchmark.report.tables import (
    DASH,
    MISSING,
    Heading,
    Table,
    Value,
    duration,
    figure,
    make_frame,
    number,
    row_names,
    scaled,
    times,
    without_gaps,
)

#: Key in ``results.json`` to the heading.
FORMATS = {
    "torch_fp32": "PyTorch FP32",
    "openvino_fp32": "OpenVINO FP32",
    "openvino_fp16": "OpenVINO FP16",
    "openvino_int8": "OpenVINO INT8",
}


def _mebibytes(value: float) -> str:
    return figure(value / 2**20)


#: Table to its columns: where a cell has the number, and what makes text of it.
COSTS: dict[str, dict[Heading, tuple[str, Callable[[float], str]]]] = {
    "Training": {
        ("training", "steps"): ("training.steps", "{:,.0f}".format),
        ("training", "time"): ("training.seconds", duration),
        ("training", "steps/s"): ("training.steps_per_second", figure),
        ("training", "peak memory, MiB"): ("training.peak_memory_mib", figure),
    },
    "Size": {
        ("network", "parameters"): ("size.parameters", scaled),
        ("network", "trainable"): ("size.trainable_parameters", scaled),
        ("network", "MACs"): ("size.macs", scaled),
        ("on disk, MiB", "checkpoint"): ("size.checkpoint_bytes", _mebibytes),
        ("on disk, MiB", "OpenVINO FP32"): ("size.openvino_fp32_bytes", _mebibytes),
        ("on disk, MiB", "OpenVINO FP16"): ("size.openvino_fp16_bytes", _mebibytes),
        ("on disk, MiB", "OpenVINO INT8"): ("size.openvino_int8_bytes", _mebibytes),
    },
}


def cost_tables(results: Results) -> list[Table]:
    """Give the tables of training and of size; a table without any figure is left out."""
    baseline = results.text("baseline")

    def cost(path: str, show: Callable[[float], str], row: str) -> Value:
        ratio = None if row == baseline or path == "training.steps" else results.median(row, path, over=baseline)
        bracket = "" if ratio is None else f" ({times(ratio)})"
        return number(results.median(row, path), lambda value: show(value) + bracket)

    note = f"In brackets: the median ratio to {baseline} over the cells (category and seed) that both have."
    found = []
    for subject, costs in COSTS.items():
        columns = {heading: partial(cost, path, show) for heading, (path, show) in costs.items()}
        frame = without_gaps(make_frame(results.rows, {**row_names(results), **columns}))
        if len(frame):
            caption = f"{subject}: medians over the finished cells of each row."
            found.append(Table(caption, frame, [note] if baseline in results.rows else []))
    return found


def latency_tables(results: Results) -> list[Table]:
    """Give latency and throughput of every format; nothing if no cell has any."""

    def quartiles(path: str, names: tuple[str, str, str], show: Callable[[float], str], row: str) -> Value:
        middle, low, high = (results.median(row, f"{path}.{name}") for name in names)
        bracket = "" if low is None or high is None else f" ({figure(low)}{DASH}{figure(high)})"
        return number(middle, lambda value: show(value) + bracket)

    def milliseconds(path: str, row: str) -> Value:
        found = quartiles(path, ("median_ms", "q25_ms", "q75_ms"), figure, row)
        failed = found == MISSING and len(_errors(results, row, path))
        return Value("failed", hint="see below", style="failed") if failed else found

    def speed(path: str, row: str) -> Value:
        return number(results.median(row, f"{path}.images_per_second"), figure)

    columns: dict[Heading, Any] = {**row_names(results)}
    for name, label in FORMATS.items():
        path = f"latency.{name}"
        columns[label, "ms"] = partial(milliseconds, path)
        columns[label, "images/s"] = partial(speed, path)
        columns[label, "ratio"] = partial(quartiles, f"{path}.ratio", ("median", "q25", "q75"), times)
    frame = without_gaps(make_frame(results.rows, columns))
    about = (
        f"Milliseconds: median (quartiles). Ratio: latency divided by that of "
        f"{results.text('baseline') or 'the baseline'}, timed in turn with it, so that a machine's drift hits both; "
        "compare by it rather than by milliseconds."
    )
    failures = [
        f"{row}, {label}: {error}"
        for row in results.rows
        for name, label in FORMATS.items()
        for kind in ("error", "ratio_error")
        for error in _errors(results, row, f"latency.{name}", kind)
    ]
    caption = "Latency and throughput at batch size 1: medians over the cells that were timed."
    return [Table(caption, frame, [about, *_machines(results), *failures])] if len(frame) else []


def _machines(results: Results) -> list[str]:
    """Say on which machines latencies were timed, where that is known; between several, only ratios compare."""
    timed = results.finished().reindex(
        columns=[f"deployment_environment.{name}" for name in ("processor", "accelerator")]
    )
    machines = sorted({", ".join(row.dropna().astype(str)) for _, row in timed.iterrows()} - {""})
    if not machines:
        return []
    only = "" if len(machines) == 1 else ": of several machines, only ratios can be compared"
    return [f"Timed on {'; '.join(machines)}{only}."]


def _errors(results: Results, row: str, path: str, kind: str = "error") -> list[str]:
    cells = results.finished(row)
    return list(cells[f"{path}.{kind}"].dropna().unique()) if f"{path}.{kind}" in cells else []
