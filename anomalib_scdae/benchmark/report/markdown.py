# SPDX-License-Identifier: Apache-2.0
"""The report as Markdown for a repository: tables and links to pictures, no HTML."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from urllib.parse import quote

from anomalib_scdae.benchmark.report.document import MISSING, Body, Charts, Column, Entry, Gallery, Report, Table
from anomalib_scdae.benchmark.report.pictures import compact

#: What Markdown (GitHub's) would take as markup anywhere in a line.
MARKUP = re.compile(r"([\\`*_\[\]<>|#~$&])")


def to_markdown(report: Report) -> str:
    """Write the report as Markdown; the charts are in the HTML page only."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {escape(report.title)}"
    for sentence in report.summary:
        yield from ("", escape(sentence))
    yield from ("", "The charts and all pictures are in [report.html](report.html), one file that needs no network.")
    yield from ("", "## How it was made", "")
    if report.command:
        yield from (*_code(report.command), "")
    yield from (f"- {escape(name)}: {escape(value)}" for name, value in report.facts)
    for section in report.sections:
        blocks = [block for item in section.items for block in _blocks(item)]
        if blocks:
            yield from ("", f"## {escape(section.title)}")
            for block in blocks:
                yield from ("", *block)


def _blocks(item: Table | Charts | Gallery) -> list[list[str]]:
    if isinstance(item, Table):
        notes = [f"- {escape(note)}" for note in item.notes]
        return [block for block in ([f"**{escape(item.caption)}**"], _table(item), notes) if block]
    if isinstance(item, Gallery):
        return _gallery(item)
    return []


def _table(table: Table) -> list[str]:
    """Give a table whose groups of columns are one column each, ``a / b / c``, as in the paper."""
    groups = [list(group) for _, group in groupby(range(len(table.columns)), lambda i: table.columns[i].group or i)]
    head = [_heading([table.columns[index] for index in group]) for group in groups]
    rule = ["---" if not table.columns[group[0]].numeric else "---:" for group in groups]
    lines = [_row(head), _row(rule)]
    for body in table.bodies:
        lines += _body(body, groups)
    return lines


def _body(body: Body, groups: list[list[int]]) -> Iterator[str]:
    if body.title:
        yield _row([f"*{escape(body.title)}*", *[""] * (len(groups) - 1)])
    for row in body.rows:
        yield _row(_merged([row[index] for index in group]) for group in groups)


def _heading(columns: Sequence[Column]) -> str:
    labels = " / ".join(column.label for column in columns)
    group = columns[0].group
    return escape(f"{group}: {labels}" if group else labels)


def _merged(entries: Sequence[Entry]) -> str:
    texts = [_styled(entry) for entry in entries]
    return texts[0] if len(set(texts)) == 1 and texts[0] == MISSING else " / ".join(texts)


def _styled(entry: Entry) -> str:
    text = escape(entry.text)
    return f"**{text}**" if entry.tone in {"best", "headline"} and text else text


def _gallery(gallery: Gallery) -> list[list[str]]:
    blocks = [[escape(gallery.caption) + " One picture each; the HTML page has more."]]
    pictures = compact(gallery)
    for group in dict.fromkeys(picture.group for picture in pictures):
        blocks.append([f"### {escape(group)}"])
        for picture in (picture for picture in pictures if picture.group == group):
            text = escape(f"{picture.row}: {picture.caption}")
            blocks.append([text, "", f"![{text}]({quote(picture.relative)})"])
    return blocks + [[f"- {escape(note)}"] for note in gallery.notes]


def _row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def _code(text: str) -> list[str]:
    """Give a code block whose fence is longer than any in the text."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall(r"`+", text)), 3)
    return [f"{fence}bash", *text.splitlines(), fence]


def escape(text: str) -> str:
    """Make plain text of one line of Markdown: no markup, no HTML, no end of a table's cell."""
    return MARKUP.sub(r"\\\1", " ".join(str(text).split()))
