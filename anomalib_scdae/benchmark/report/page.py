# SPDX-License-Identifier: Apache-2.0
"""Puts the report together from what the results have, and writes it as Markdown and as one HTML page."""

from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib as mpl
from jinja2 import Environment, PackageLoader

from anomalib_scdae.benchmark.report.accuracy import accuracy_tables, other_metrics_tables, part_tables, spro_tables
from anomalib_scdae.benchmark.report.all_cells import PACKAGES, cell_tables, progress_sentence
from anomalib_scdae.benchmark.report.charts import accuracy_bars, latency_scatter, loss_curves, term_curves
from anomalib_scdae.benchmark.report.cost import cost_tables, latency_tables
from anomalib_scdae.benchmark.report.headline import key_figures, summarise
from anomalib_scdae.benchmark.report.markdown import to_markdown
from anomalib_scdae.benchmark.report.outcome import OUTCOME, draw_outcome
from anomalib_scdae.benchmark.report.over_time import over_time_curves, over_time_tables
from anomalib_scdae.benchmark.report.paired import paired_differences
from anomalib_scdae.benchmark.report.pictures import Gallery, embed, gallery
from anomalib_scdae.benchmark.report.results import Results, read_results
from anomalib_scdae.benchmark.report.tables import DAGGER
from anomalib_scdae.files import replacing

#: Key and title of each chapter, and what makes its tables, charts and galleries.
CHAPTERS = (
    ("accuracy", "Accuracy", (accuracy_tables, paired_differences, accuracy_bars)),
    ("maps", "Each map alone", (part_tables,)),
    ("spro", "AU-sPRO", (spro_tables,)),
    ("metrics", "Other metrics", (other_metrics_tables,)),
    ("cost", "Training and size", (cost_tables,)),
    ("latency", "Latency", (latency_tables, latency_scatter)),
    ("over-time", "Accuracy over the time of training", (over_time_tables, over_time_curves)),
    ("curves", "Learning curves", (loss_curves, term_curves)),
    ("gallery", "Heatmaps", (partial(gallery, kind="sample"),)),
    ("misses", "Worst misses", (partial(gallery, kind="miss"),)),
    ("cells", "All cells", (cell_tables,)),
)


def write_report(folder: Path) -> None:
    """Write ``report.md``, ``report.html`` and, once there is one, the picture ``outcome.png`` from the results.

    Works at any moment of a benchmark: without any cell, with unfinished or failed ones, with any subset of the
    figures. Each file is replaced as a whole, so that a reader never sees half of one.

    Args:
        folder: The benchmark's output folder, with ``results.json`` and the cells' folders.

    Raises:
        UserError: If there is no ``results.json`` that could be read, or its cells cannot be compared.
    """
    results = read_results(folder)
    with mpl.rc_context({"text.parse_math": False}):  # a row's name may hold dollars
        report, figure = assemble(results), draw_outcome(results)
    if figure is None:
        (folder / OUTCOME).unlink(missing_ok=True)
    else:
        report["picture"] = OUTCOME
        with replacing(folder / OUTCOME) as path:
            figure.savefig(path, format="png")
    for name, text in (("report.md", to_markdown(report)), ("report.html", to_html(report))):
        with replacing(folder / name) as path:
            path.write_text(text, encoding="utf-8")


def assemble(results: Results) -> dict[str, Any]:
    """Give the whole report.

    Returns:
        ``title``, ``command``, the ``summary``'s sentences, the key ``figures``, ``facts`` by name, and ``sections``
        with a ``key`` for links, a ``title`` and ``items``: tables, charts and galleries. Sections without any are
        left out.
    """
    sections = []
    for key, title, makers in CHAPTERS if len(results.cells) else ():
        items = [item for make in makers for item in make(results)]
        sections += [{"key": key, "title": title, "items": items}] if items else []
    return {
        "title": results.text("name") or "Benchmark",
        "command": results.text("command"),
        "summary": summarise(results),
        "figures": key_figures(results),
        "facts": _facts(results),
        "sections": sections,
    }


def to_html(report: dict[str, Any]) -> str:
    """Write the report as one page that carries its style, script, drawings and pictures itself.

    Everything that comes from the results is escaped.
    """
    environment = Environment(
        loader=PackageLoader("anomalib_scdae.benchmark.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    items = [item for section in report["sections"] for item in section["items"]]
    pictures = [picture for item in items if isinstance(item, Gallery) for picture in item.pictures.to_dict("records")]
    templates = files(__package__) / "templates"
    return environment.get_template("report.html.jinja").render(
        report,
        dagger=DAGGER,
        images=embed((picture["file"], picture["path"]) for picture in pictures),
        style=(templates / "report.css").read_text(encoding="utf-8"),
        script=(templates / "report.js").read_text(encoding="utf-8"),
    )


def _facts(results: Results) -> dict[str, str]:
    facts = {"created": results.text("created"), "progress": progress_sentence(results)}
    for name, value in results.header["environment"].items():
        if value is not None:
            text = ("no", "yes")[value] if isinstance(value, bool) else str(value)
            facts[PACKAGES.get(name, name.replace("_", " "))] = text
    return {name: text for name, text in facts.items() if text}
