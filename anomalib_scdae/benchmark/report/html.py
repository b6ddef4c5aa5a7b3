# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML page that carries its style, script, drawings and pictures itself."""

from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader

from anomalib_scdae.benchmark.report.document import Charts, Column, Gallery, Report, Table
from anomalib_scdae.benchmark.report.pictures import embed

LEFT_OUT = "Pictures that would have made this page too large were left out; they are in the cells' folders."


def to_html(report: Report) -> str:
    """Write the report as a self-contained page; everything that comes from the results is escaped."""
    environment = Environment(
        loader=PackageLoader("anomalib_scdae.benchmark.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.tests |= {kind.__name__.lower(): _is(kind) for kind in (Table, Charts, Gallery)}
    environment.filters["header_groups"] = header_groups
    environment.filters["by_group"] = lambda pictures: _grouped(pictures, "group")
    environment.filters["by_row"] = lambda pictures: _grouped(pictures, "row")
    pictures = [
        p for section in report.sections for item in section.items if isinstance(item, Gallery) for p in item.pictures
    ]
    templates = files(__package__) / "templates"
    return environment.get_template("report.html.jinja").render(
        report=report,
        images=embed(pictures),
        left_out=LEFT_OUT,
        style=(templates / "report.css").read_text(encoding="utf-8"),
        script=(templates / "report.js").read_text(encoding="utf-8"),
    )


def _is(kind: type) -> Any:
    return lambda item: isinstance(item, kind)


def _grouped(pictures: Any, attribute: str) -> list[tuple[str, list[Any]]]:
    groups: dict[str, list[Any]] = {}
    for picture in pictures:
        groups.setdefault(getattr(picture, attribute), []).append(picture)
    return list(groups.items())


def header_groups(columns: list[Column]) -> list[tuple[str, int, bool]]:
    """Give the upper header line: label, number of columns below it, whether they are the paper's figures."""
    groups = [list(group) for _, group in groupby(columns[1:], lambda column: column.group)]
    return [(group[0].group, len(group), group[0].published) for group in groups]
