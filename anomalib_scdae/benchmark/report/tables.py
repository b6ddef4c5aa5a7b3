# SPDX-License-Identifier: Apache-2.0
"""Tables of the report, before they become Markdown or HTML, and numbers as people read them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from anomalib_scdae.benchmark.report.averages import Average

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


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        caption: One sentence that says what it shows.
        frame: As :func:`table_frame` makes it; the first column names the lines.
        notes: Remarks below it.
        folded: Whether the page shows it folded up at first.
    """

    caption: str
    frame: pd.DataFrame
    notes: Sequence[str] = ()
    folded: bool = False

    def is_numeric(self, column: Heading) -> bool:
        """Tell whether a column holds numbers, or nothing; the first one names the lines."""
        return column != self.frame.columns[0] and not any(isinstance(value.sort, str) for value in self.frame[column])


def table_frame(lines: Iterable[Mapping[Heading, Value]], title: str = "") -> pd.DataFrame:
    """Make the DataFrame of a table.

    Args:
        lines: Its lines; where one lacks a column of another, :data:`MISSING` stands.
        title: Heading above the lines, which are sorted among themselves.

    Returns:
        :class:`Value` objects, with ``title`` as everyone's index.
    """
    frame = pd.DataFrame(list(lines))
    frame.columns = pd.MultiIndex.from_tuples(frame.columns)
    frame.index = pd.Index([title] * len(frame))
    return frame.map(lambda value: value if isinstance(value, Value) else MISSING)


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
