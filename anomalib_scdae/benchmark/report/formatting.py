# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them."""

from anomalib_scdae.benchmark.report.document import DAGGER, MISSING, NOTHING, Entry
from anomalib_scdae.benchmark.report.spread import Spread

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"

#: Marks an average in which categories are missing.
PARTIAL = "*"


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
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def times(value: float) -> str:
    """Give a ratio, with a multiplication sign before it."""
    return f"{TIMES}{figure(value)}"


def explain(spread: Spread) -> str:
    """Say what a mean rests on."""
    seeds = f"{spread.seeds} seed{'' if spread.seeds == 1 else 's'}" if spread.seeds else "no seed has all categories"
    return seeds if spread.expected == 1 else f"{seeds}, {spread.covered} of {spread.expected} categories"


def percent_entry(spread: Spread | None) -> Entry:
    """Give a fraction as percent, with ± the standard deviation over seeds where there are two or more."""
    if spread is None:
        return NOTHING
    deviation = "" if spread.deviation is None else f" ± {100 * spread.deviation:.1f}"
    star = PARTIAL if spread.partial else ""
    return Entry(f"{100 * spread.mean:.1f}{deviation}{star}", 100 * spread.mean, explain(spread))


def points_entry(spread: Spread | None) -> Entry:
    """Give a difference of fractions as percentage points, with ± as in :func:`percent_entry`."""
    if spread is None:
        return NOTHING
    deviation = "" if spread.deviation is None else f" ± {100 * spread.deviation:.1f}"
    star = PARTIAL if spread.partial else ""
    return Entry(f"{signed(100 * spread.mean)}{deviation}{star}", 100 * spread.mean, explain(spread))


def published_entry(value: float | None, difference: bool = False) -> Entry:
    """Give a figure of the paper, in percent as printed, marked as such."""
    if value is None:
        return Entry(MISSING, title="not in the paper", tone="published")
    text = signed(value) if difference else f"{value:.1f}"
    return Entry(f"{text}{DAGGER}", value, "figure of the paper, not measured here", "published")


def number_entry(value: float | None, text: str | None = None, title: str = "") -> Entry:
    """Give a number, shown as ``text`` or with three digits."""
    return NOTHING if value is None else Entry(figure(value) if text is None else text, value, title)
