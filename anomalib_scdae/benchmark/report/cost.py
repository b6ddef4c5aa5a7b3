# SPDX-License-Identifier: Apache-2.0
"""Tables of cost: training, memory, size and latency, with ratios to the baseline."""

from collections.abc import Callable

from anomalib_scdae.benchmark.report import tables
from anomalib_scdae.benchmark.report.accuracy import METHOD, row_name
from anomalib_scdae.benchmark.report.averages import median
from anomalib_scdae.benchmark.report.results import Results
from anomalib_scdae.benchmark.report.tables import MISSING, Heading, Table, Value

#: Key in ``results.json`` to the heading.
FORMATS = {
    "torch_fp32": "PyTorch FP32",
    "openvino_fp32": "OpenVINO FP32",
    "openvino_fp16": "OpenVINO FP16",
    "openvino_int8": "OpenVINO INT8",
}

STEPS: Heading = ("training", "steps")


def _mebibytes(value: float) -> str:
    return tables.figure(value / 2**20)


#: Table to its columns: where a cell has the number, and what makes text of it.
COSTS: dict[str, dict[Heading, tuple[str, Callable[[float], str]]]] = {
    "Training": {
        STEPS: ("training.steps", "{:,.0f}".format),
        ("training", "time"): ("training.seconds", tables.duration),
        ("training", "steps/s"): ("training.steps_per_second", tables.figure),
        ("training", "peak memory, MiB"): ("training.peak_memory_mib", tables.figure),
    },
    "Size": {
        ("network", "parameters"): ("size.parameters", tables.scaled),
        ("network", "trainable"): ("size.trainable_parameters", tables.scaled),
        ("network", "MACs"): ("size.macs", tables.scaled),
        ("on disk, MiB", "checkpoint"): ("size.checkpoint_bytes", _mebibytes),
        ("on disk, MiB", "OpenVINO FP32"): ("size.openvino_fp32_bytes", _mebibytes),
        ("on disk, MiB", "OpenVINO FP16"): ("size.openvino_fp16_bytes", _mebibytes),
        ("on disk, MiB", "OpenVINO INT8"): ("size.openvino_int8_bytes", _mebibytes),
    },
}


def cost_tables(results: Results) -> list[Table]:
    """Give the tables of training and of size; a table without any tables.figure is left out."""
    baseline = results.text("baseline")
    note = f"In brackets: the median ratio to {baseline} over the cells (category and seed) that both have."
    found = []
    for subject, columns in COSTS.items():
        lines = []
        for row in results.rows:
            line = {METHOD: row_name(results, row)}
            for heading, (path, show) in columns.items():
                value = median(results, row, path)
                ratio = None if row == baseline or heading == STEPS else median(results, row, path, over=baseline)
                bracket = "" if ratio is None else f" ({tables.times(ratio)})"
                line[heading] = MISSING if value is None else Value(show(value) + bracket, value)
            lines.append(line)
        frame = tables.without_gaps(tables.table_frame(lines))
        if len(frame):
            caption = f"{subject}: medians over the finished cells of each row."
            found.append(Table(caption, frame, [note] if baseline in results.rows else []))
    return found


def latency_tables(results: Results) -> list[Table]:
    """Give latency and throughput of every format; nothing if no cell has any."""
    lines, failures = [], []
    for row in results.rows:
        line, cells = {METHOD: row_name(results, row)}, results.finished(row)
        for name, label in FORMATS.items():
            path = f"latency.{name}"
            line[label, "ms"] = _with_quartiles(results, row, path, ("median_ms", "q25_ms", "q75_ms"), tables.figure)
            speed = median(results, row, f"{path}.images_per_second")
            line[label, "images/s"] = MISSING if speed is None else Value(tables.figure(speed), speed)
            line[label, "ratio"] = _with_quartiles(
                results, row, f"{path}.ratio", ("median", "q25", "q75"), tables.times
            )
            errors = cells[f"{path}.error"].dropna().unique() if f"{path}.error" in cells else []
            if len(errors) and line[label, "ms"] == MISSING:
                line[label, "ms"] = Value("failed", hint="see below", style="failed")
            failures += [f"{row}, {label}: {error}" for error in errors]
        lines.append(line)
    frame = tables.without_gaps(tables.table_frame(lines))
    baseline = results.text("baseline") or "the baseline"
    about = (
        f"Milliseconds: median (quartiles). Ratio: latency divided by that of {baseline}, timed in turn with it, so "
        "that a machine's drift hits both; compare by it rather than by milliseconds."
    )
    caption = "Latency and throughput at batch size 1: medians over the cells that were timed."
    return [Table(caption, frame, [about, *failures])] if len(frame) else []


def _with_quartiles(
    results: Results, row: str, path: str, keys: tuple[str, str, str], show: Callable[[float], str]
) -> Value:
    middle, low, high = (median(results, row, f"{path}.{key}") for key in keys)
    if middle is None:
        return MISSING
    quartiles = "" if low is None or high is None else f" ({tables.figure(low)}{tables.DASH}{tables.figure(high)})"
    return Value(show(middle) + quartiles, middle)
