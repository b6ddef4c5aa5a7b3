# SPDX-License-Identifier: Apache-2.0
"""Writes the report's two files."""

from pathlib import Path

from anomalib_scdae.benchmark.report.assemble import assemble
from anomalib_scdae.benchmark.report.html import to_html
from anomalib_scdae.benchmark.report.markdown import to_markdown
from anomalib_scdae.benchmark.report.results import read_results
from anomalib_scdae.files import replacing


def write_report(output_folder: Path) -> None:
    """Write ``report.md`` and ``report.html`` from the benchmark's results.

    Works at any moment of a benchmark: without any cell, with unfinished or failed ones, with any subset of the
    figures. Each file is replaced as a whole, so that a reader never sees half of one.

    Args:
        output_folder: The benchmark's output folder, with ``results.json`` and the cells' folders.

    Raises:
        UserError: If there is no ``results.json`` that could be read.
    """
    folder = Path(output_folder)
    report = assemble(read_results(folder))
    for name, text in (("report.md", to_markdown(report)), ("report.html", to_html(report))):
        with replacing(folder / name) as path:
            path.write_text(text, encoding="utf-8")
