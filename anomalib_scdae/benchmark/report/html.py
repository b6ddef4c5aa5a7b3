# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML page that carries its style, script, drawings and pictures itself."""

from importlib.resources import files
from itertools import groupby
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader

from anomalib_scdae.benchmark.report.pictures import FIELDS, Gallery, embed
from anomalib_scdae.benchmark.report.tables import DAGGER, Table


def to_html(report: dict[str, Any]) -> str:
    """Write the report as a self-contained page; everything that comes from the results is escaped."""
    environment = Environment(
        loader=PackageLoader("anomalib_scdae.benchmark.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["columns"] = table_columns
    items = [item for section in report["sections"] for item in section["items"]]
    pictures = pd.concat(
        [item.pictures for item in items if isinstance(item, Gallery)] or [pd.DataFrame(columns=FIELDS)]
    )
    templates = files(__package__) / "templates"
    return environment.get_template("report.html.jinja").render(
        report,
        dagger=DAGGER,
        images=embed(zip(pictures["file"], pictures["path"], strict=True)),
        style=(templates / "report.css").read_text(encoding="utf-8"),
        script=(templates / "report.js").read_text(encoding="utf-8"),
    )


def table_columns(table: Table) -> list[dict[str, Any]]:
    """Give each column's ``label``, the ``group`` heading above it and the number of columns that this ``spans``.

    The first column of a group has the whole span and the others 0; ``classes`` are those of CSS.
    """
    first, *others = table.frame.columns
    # The first column names the lines and never shares a heading with its neighbours.
    groups = [[first], *(list(headings) for _, headings in groupby(others, key=lambda heading: heading[0]))]
    columns = []
    for headings in groups:
        for index, heading in enumerate(headings):
            group, label = heading
            classes = "number" if table.is_numeric(heading) else "words"
            classes += " start" if group and index == 0 else ""
            classes += " published" if DAGGER in group else ""
            spans = 0 if index else len(headings)
            columns.append({"label": label, "group": group, "spans": spans, "classes": classes})
    return columns
