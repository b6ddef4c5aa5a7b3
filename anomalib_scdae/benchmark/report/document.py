# SPDX-License-Identifier: Apache-2.0
"""What a report consists of, before it becomes Markdown or HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

DASH = "\N{EN DASH}"

MISSING = DASH

#: Marks every figure that comes from the paper.
DAGGER = "†"


@dataclass(frozen=True)
class Entry:
    """An entry of a table.

    Args:
        text: What is shown.
        sort: What it sorts by; ``None`` sorts last in either direction.
        title: Explanation, shown as a tooltip.
        tone: ``published`` for the paper's figures, ``best``, or a cell's status.
    """

    text: str
    sort: float | str | None = None
    title: str = ""
    tone: str = ""


#: An entry without a value.
NOTHING = Entry(MISSING, title="no value")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        label: Its heading.
        group: Heading above it, shared with its neighbours of the same group.
        numeric: Whether it holds numbers.
        published: Whether it holds the paper's figures.
    """

    label: str
    group: str = ""
    numeric: bool = True
    published: bool = False


@dataclass(frozen=True)
class Body:
    """Rows that are sorted among themselves.

    Args:
        rows: The rows; the first entry of each names it.
        title: Heading above the rows; empty for none.
        published: Whether the rows are the paper's figures.
    """

    rows: Sequence[Sequence[Entry]]
    title: str = ""
    published: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        caption: One sentence that says what it shows.
        columns: The columns; the first names the rows.
        bodies: Its rows.
        notes: Remarks below it.
        fold: Whether the page shows it folded up at first.
    """

    caption: str
    columns: Sequence[Column]
    bodies: Sequence[Body]
    notes: Sequence[str] = ()
    fold: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing for the page.

    Args:
        title: What it shows.
        svg: The drawing: an ``svg`` element.
        wide: Whether it needs the page's whole width.
    """

    title: str
    svg: str
    wide: bool = False


@dataclass(frozen=True)
class Charts:
    """Drawings that share a legend.

    Args:
        caption: One sentence that says how to read them.
        charts: The drawings.
        legend: Label and index of the colour.
    """

    caption: str
    charts: Sequence[Chart]
    legend: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Picture:
    """A picture of the gallery.

    Args:
        path: The file.
        relative: Its path relative to the output folder, with forward slashes.
        caption: What it shows.
        group: Dataset and category.
        row: Name of the table row, and the seed.
    """

    path: Path
    relative: str
    caption: str
    group: str
    row: str


@dataclass(frozen=True)
class Gallery:
    """Pictures, by group.

    Args:
        caption: One sentence that says what is shown.
        pictures: The pictures.
        notes: Remarks below it.
    """

    caption: str
    pictures: Sequence[Picture]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """A chapter of the report.

    Args:
        key: Its anchor.
        title: Its heading.
        paragraphs: What it says.
        items: What it shows.
    """

    key: str
    title: str
    paragraphs: Sequence[str] = ()
    items: Sequence[Table | Charts | Gallery] = ()


@dataclass(frozen=True)
class KeyFigure:
    """A figure for the top of the page.

    Args:
        label: What it is.
        value: The figure.
        detail: What it rests on.
        tone: ``good``, ``bad`` or empty.
    """

    label: str
    value: str
    detail: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Report:
    """The whole report.

    Args:
        title: The benchmark's name.
        summary: The headline's sentences, the most important first.
        figures: The key figures.
        facts: Name and value: date, progress, environment.
        command: The command that made it.
        sections: The chapters.
    """

    title: str
    summary: Sequence[str]
    figures: Sequence[KeyFigure] = ()
    facts: Sequence[tuple[str, str]] = field(default_factory=list)
    command: str = ""
    sections: Sequence[Section] = ()
