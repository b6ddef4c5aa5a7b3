# SPDX-License-Identifier: Apache-2.0
"""Puts the report together from what the results have."""

from collections.abc import Iterable
from typing import TypeVar

from anomalib_scdae.benchmark.report.ablation import ablation_tables
from anomalib_scdae.benchmark.report.accuracy import map_tables, method_tables, other_metrics_tables, spro_tables
from anomalib_scdae.benchmark.report.charts.bars import accuracy_bars
from anomalib_scdae.benchmark.report.charts.curves import loss_curves, term_curves
from anomalib_scdae.benchmark.report.charts.scatter import latency_scatter
from anomalib_scdae.benchmark.report.cost import cost_tables, latency_table
from anomalib_scdae.benchmark.report.document import Charts, Gallery, Report, Section, Table
from anomalib_scdae.benchmark.report.headline import key_figures, summarise
from anomalib_scdae.benchmark.report.pictures import miss_gallery, sample_gallery
from anomalib_scdae.benchmark.report.progress import cell_table, progress_sentence, unfinished_table
from anomalib_scdae.benchmark.report.results import Results

Item = TypeVar("Item")

#: Entries of the environment with names that do not explain themselves.
FACTS = {
    "anomalib_scdae": "anomalib-scdae",
    "openvino": "OpenVINO",
    "nncf": "NNCF",
    "python": "Python",
    "torch": "PyTorch",
}


def assemble(results: Results) -> Report:
    """Give the whole report; chapters without content are left out."""
    chapters = [
        Section("accuracy", "Accuracy", items=_accuracy(results)),
        Section("maps", "Each map alone", items=map_tables(results)),
        Section("spro", "AU-sPRO", items=spro_tables(results)),
        Section("metrics", "Other metrics", items=other_metrics_tables(results)),
        Section("cost", "Training and size", items=cost_tables(results)),
        Section("latency", "Latency", items=_present([latency_table(results), latency_scatter(results)])),
        Section("curves", "Learning curves", items=_present([loss_curves(results), term_curves(results)])),
        Section("gallery", "Heatmaps", items=_present([sample_gallery(results)])),
        Section("misses", "Worst misses", items=_present([miss_gallery(results)])),
        Section("unfinished", "Unfinished cells", items=_present([unfinished_table(results)])),
        Section("cells", "All cells", items=_present([cell_table(results)])),
    ]
    return Report(
        results.name,
        summarise(results),
        key_figures(results),
        _facts(results),
        results.text("command"),
        [chapter for chapter in chapters if chapter.items],
    )


def _present(items: Iterable[Item | None]) -> list[Item]:
    return [item for item in items if item is not None]


def _accuracy(results: Results) -> list[Table | Charts | Gallery]:
    if not any(cell.finished for cell in results.cells):
        return []
    ablation = results.layout == "ablation"
    tables = [*(ablation_tables(results) if ablation else []), *method_tables(results, results.layout == "methods")]
    return _present([*tables, accuracy_bars(results)])


def _facts(results: Results) -> list[tuple[str, str]]:
    environment = results.record.get("environment")
    pairs = environment.items() if isinstance(environment, dict) else ()
    facts = [("created", results.text("created")), ("progress", progress_sentence(results))]
    facts += [(FACTS.get(name, name.replace("_", " ")), _value(value)) for name, value in pairs]
    return [(name, value) for name, value in facts if value]


def _value(value: object) -> str:
    if value is None or value == "":
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
