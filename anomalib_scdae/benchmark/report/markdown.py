# SPDX-License-Identifier: Apache-2.0
"""The report as Markdown for a repository: tables and links to pictures, no HTML."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from anomalib_scdae.benchmark.report.pictures import Gallery
from anomalib_scdae.benchmark.report.tables import DASH, Heading, Table, Value

#: What Markdown (GitHub's) would take as markup anywhere in a line.
MARKUP = re.compile(r"([\\`*_\[\]<>|#~$&])")


def to_markdown(report: dict[str, Any]) -> str:
    """Write the report as Markdown; the charts are in the HTML page only."""
    return "\n\n".join(_blocks(report)) + "\n"


def _blocks(report: dict[str, Any]) -> Iterator[str]:
    yield f"# {escape(report['title'])}"
    yield from map(escape, report["summary"])
    yield from (
        [f"![Accuracy of the two, and their differences]({picture})"] if (picture := report.get("picture")) else []
    )
    yield "The charts and all pictures are in [report.html](report.html), one file that needs no network."
    yield "## How it was made"
    yield from [f"    {' '.join(report['command'].split())}"] if report["command"] else []
    yield "\n".join(f"- {escape(name)}: {escape(value)}" for name, value in report["facts"].items())
    for section in report["sections"]:
        items = [item for item in section["items"] if isinstance(item, Table | Gallery)]
        yield from [f"## {escape(section['title'])}"] if items else []
        for item in items:
            yield from _table(item) if isinstance(item, Table) else _gallery(item)
            yield from ["\n".join(f"- {escape(note)}" for note in item.notes)] if item.notes else []


def _table(table: Table) -> Iterator[str]:
    """Give a table whose groups of columns are one column each, ``a / b / c``, as in the paper."""
    yield f"**{escape(table.caption)}**"
    rules = ["---:" if all(table.is_numeric[column] for column in group) else "---" for group in table.groups]
    lines = [_row(map(_heading, table.groups)), _row(rules)]
    for title, rows in table.blocks():
        lines += [_row([f"*{escape(title)}*", *[""] * (len(rules) - 1)])] if title else []
        lines += [_row(_merged([line[column] for column in group]) for group in table.groups) for line in rows]
    yield "\n".join(lines)


def _heading(columns: Sequence[Heading]) -> str:
    group, labels = columns[0][0], " / ".join(label for _, label in columns)
    return escape(f"{group}: {labels}" if group else labels)


def _merged(values: Sequence[Value]) -> str:
    """Join the values of a group; if none is there, one dash says so."""
    if all(value.text == DASH for value in values):
        return DASH
    bold = {"best", "headline"}
    texts = [f"**{escape(value.text)}**" if value.style in bold else escape(value.text) for value in values]
    return " / ".join(texts)


def _gallery(gallery: Gallery) -> Iterator[str]:
    yield escape(gallery.caption) + " One picture each; the HTML page has more."
    for group, pictures in gallery.pictures.groupby("group", sort=False):
        yield f"### {escape(group)}"
        for row, caption, file in pictures.drop_duplicates("row")[["row", "caption", "file"]].itertuples(index=False):
            text = escape(f"{row}: {caption}")
            yield f"{text}\n\n![{text}]({quote(file)})"


def _row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def escape(text: str) -> str:
    """Make plain text of one line of Markdown: no markup, no HTML, no end of a table's cell."""
    return MARKUP.sub(r"\\\1", " ".join(str(text).split()))
