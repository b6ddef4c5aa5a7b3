# SPDX-License-Identifier: Apache-2.0
"""The one form that every table of the report has, before it becomes Markdown or HTML, and numbers as people read them.

A table is made of names, which begin its lines, and of columns, each of which is a function from what a line is about
to the value that stands there.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

import pandas as pd

from anomalib_scdae.benchmark.report.results import Average, Results

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"

#: Marks every figure that comes from the paper, and every heading above such figures.
DAGGER = "†"

#: Marks an average in which categories are missing.
PARTIAL = "*"

#: Heading above a column, empty for none, and the column's own.
Heading = tuple[str, str]


@dataclass(frozen=True)
class Value:
    """What stands in a table.

    Args:
        text: What is shown.
        sort: What it sorts by; ``None`` sorts last in either direction.
        hint: Explanation, shown as a tooltip.
        style: ``best``, ``headline``, or a cell's status.
    """

    text: str
    sort: float | str | None = None
    hint: str = ""
    style: str = ""


MISSING = Value(DASH, hint="no value")

#: From what a line is about to what stands in it, by the column's heading.
Columns = Mapping[Heading, Callable[[Any], Value]]


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        caption: One sentence that says what it shows.
        frame: As :func:`make_frame` makes it; the first column names the lines.
        notes: Remarks below it.
        folded: Whether the page shows it folded up at first.
    """

    caption: str
    frame: pd.DataFrame
    notes: Sequence[str] = ()
    folded: bool = False

    @cached_property
    def is_numeric(self) -> dict[Heading, bool]:
        """Whether a column holds numbers, or nothing; the first one names the lines."""
        texts = self.frame.map(lambda value: isinstance(value.sort, str)).any()
        return {column: bool(index and not texts[column]) for index, column in enumerate(self.frame)}

    @property
    def groups(self) -> list[list[Heading]]:
        """Neighbouring columns with one heading above; the first column never shares one."""
        first, *others = self.frame.columns
        return [[first], *(list(headings) for _, headings in groupby(others, key=lambda column: column[0] or column))]

    def blocks(self) -> Iterator[tuple[str, list[dict[Heading, Value]]]]:
        """Yield the lines that belong together, with the heading above them."""
        for title, frame in self.frame.groupby(level=0, sort=False):
            yield str(title), frame.to_dict("records")


def make_frame(lines: Sequence[Any], columns: Columns, title: str = "") -> pd.DataFrame:
    """Make the DataFrame of a table.

    Args:
        lines: What each line is about.
        columns: The columns, the name of the line first.
        title: Heading above the lines, which are sorted among themselves.

    Returns:
        :class:`Value` objects, with ``title`` as everyone's index.
    """
    values = [[make(line) for make in columns.values()] for line in lines]
    return pd.DataFrame(values, [title] * len(lines), pd.MultiIndex.from_tuples(columns), dtype=object)


def row_names(results: Results) -> Columns:
    """Give the first column of a table of rows; its tooltip is what the configuration remarks on the row."""
    headline = results.text("headline")
    roles = {headline: "compared here", results.text("baseline"): "baseline of the headline"}

    def name(row: str) -> Value:
        hint = "; ".join(filter(None, [roles.get(row), *results.remarks(row)]))
        return Value(row, row.lower(), hint, "headline" if row == headline else "")

    return {("", "Method"): name}


def without_gaps(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out the lines and columns that hold nothing."""
    known = frame.iloc[:, 1:] != MISSING
    return frame.loc[known.any(axis=1).to_numpy(), [True, *known.any()]]


def best_marked(frame: pd.DataFrame, groups: Collection[str] | None = None) -> pd.DataFrame:
    """Mark the highest number of each column below ``groups``, or of all, where at least two lines have one.

    An average with missing categories is never marked, and neither is a figure of the paper.
    """

    def mark(column: pd.Series) -> pd.Series:
        numbers = [value.sort for value in column if isinstance(value.sort, float)]
        if len(numbers) < 2 or DAGGER in column.name[0] or (groups is not None and column.name[0] not in groups):
            return column
        best = max(numbers)
        return column.map(lambda v: replace(v, style="best") if v.sort == best and PARTIAL not in v.text else v)

    return frame.apply(mark)


def number(value: float | None, show: Callable[[float], str]) -> Value:
    """Give a number as ``show`` writes it."""
    return MISSING if value is None else Value(show(value), value)


def signed(value: float) -> str:
    """Give percentage points with one decimal and a sign; zero has none."""
    text = f"{value:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", MINUS)


def figure(value: float) -> str:
    """Give a positive number with three significant digits, and thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def scaled(value: float) -> str:
    """Give a count with its SI prefix, e.g. ``8.06 M``."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{figure(value / factor)} {prefix}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Give a time in the units that a reader would choose."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{60 * hours + minutes} min" if hours < 2 else f"{hours} h {minutes:02d} min"


def times(value: float) -> str:
    """Give a ratio, with a multiplication sign before it."""
    return f"{TIMES}{figure(value)}"


def percent(average: Average | None, difference: bool = False) -> Value:
    """Give a fraction as percent, with ± the standard deviation over two or more seeds; a difference has a sign."""
    if average is None:
        return MISSING
    mean = 100 * average.mean
    deviation = "" if average.deviation is None else f" ± {100 * average.deviation:.1f}"
    star = PARTIAL if average.covered < average.expected else ""
    return Value(f"{signed(mean) if difference else f'{mean:.1f}'}{deviation}{star}", mean, average.scope)


def published_percent(value: float | None, difference: bool = False) -> Value:
    """Give a figure of the paper, in percent as printed, marked as such."""
    if value is None:
        return MISSING
    text = signed(value) if difference else f"{value:.1f}"
    return Value(f"{text}{DAGGER}", value, "figure of the paper, not measured here")
