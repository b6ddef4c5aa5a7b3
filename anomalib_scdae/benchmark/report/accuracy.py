# SPDX-License-Identifier: Apache-2.0
"""Tables of accuracy: Table 1's layout, each map's own AUROC, AU-sPRO and the other metrics."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from anomalib_scdae.benchmark import published
from anomalib_scdae.benchmark.report.document import DAGGER, Body, Column, Entry, Table
from anomalib_scdae.benchmark.report.formatting import PARTIAL, percent_entry, published_entry
from anomalib_scdae.benchmark.report.results import IMAGE_AUROC, KINDS, Results, unique
from anomalib_scdae.benchmark.report.spread import Reader, reader, row_spread

#: False-positive rates up to which the sPRO curve is integrated.
LIMITS = ("0.01", "0.05", "0.1", "0.3", "1.0")

PAPER_NOTE = (
    f"{DAGGER} Published figures ({published.PAPER}): measured by its authors on {published.DATASET}, with their own "
    "training. They are NOT measured on the data of this report and are printed for orientation only; averages as "
    "printed, also where they are not the mean of the printed classes."
)

PARTIAL_NOTE = f"{PARTIAL} Average over those categories only that are finished so far."


def method_tables(results: Results, beside_paper: bool) -> list[Table]:
    """Give Table 1's layout for every dataset: rows of methods, per category and on average.

    Args:
        results: The benchmark.
        beside_paper: Whether to print the paper's figures beside, where the dataset has categories of the paper.
    """
    return [_method_table(results, dataset, beside_paper) for dataset in results.datasets]


def _method_table(results: Results, dataset: str, beside_paper: bool) -> Table:
    categories = results.categories(dataset)
    several = len(categories) > 1
    beside_paper = beside_paper and any(category in published.CATEGORIES for category in categories)
    columns = [Column("Method", numeric=False)]
    # The averages come first: in the paper's order a narrow screen would show them last.
    columns += [Column(kind, "average") for kind in KINDS.values() if several]
    columns += [Column(kind, f"paper's average{DAGGER}", published=True) for kind in KINDS.values() if beside_paper]
    columns += [Column(kind, category) for category in categories for kind in KINDS.values()]
    rows = []
    for row in results.rows:
        entries = [row_name(results, row)]
        entries += _measured(results, row, dataset, None) if several else []
        entries += _paper_average(results, row) if beside_paper else []
        for category in categories:
            entries += _measured(results, row, dataset, category)
        rows.append(entries)
    bodies = [Body(mark_best(rows, columns), "Measured here" if beside_paper else "")]
    if beside_paper:
        bodies.append(_published_methods(categories, several))
    notes = spread_notes(results, rows) + ([PAPER_NOTE] if beside_paper else [])
    caption = f"Image AUROC in % on {dataset}, from raw scores: logical / structural anomalies and their mean."
    return Table(caption, columns, bodies, notes)


def _measured(results: Results, row: str, dataset: str, category: str | None) -> list[Entry]:
    return [percent_entry(row_spread(results, row, dataset, read, category)) for read in auroc_readers()]


def _paper_average(results: Results, row: str) -> list[Entry]:
    method = published.published_method(results.model_of(row))
    return _published(method.average) if method else [published_entry(None)] * 3


def row_name(results: Results, row: str) -> Entry:
    """Give the first entry of a row's line in any table."""
    role = {results.headline: "compared here", results.baseline: "baseline of the headline"}.get(row, "")
    return Entry(row, row.lower(), role, "headline" if row == results.headline else "")


def _published(figures: published.PublishedFigures) -> list[Entry]:
    return [published_entry(value) for value in (figures.logical, figures.structural, figures.mean)]


def _published_methods(categories: Sequence[str], several: bool) -> Body:
    rows = []
    for method in published.TABLE_1:
        only = "" if method.model else " (published only)"
        row = [Entry(f"{method.name}{DAGGER}{only}", method.name.lower(), method.reference, "published")]
        # Below the averages measured here, which may be over other categories, the paper's do not belong.
        row += [published_entry(None)] * 3 if several else []
        row += _published(method.average)
        for category in categories:
            figures = method.categories.get(category)
            row += _published(figures) if figures else [published_entry(None)] * 3
        rows.append(row)
    title = f"{DAGGER} Published figures on {published.DATASET}, not measured here"
    return Body(rows, title, published=True)


def auroc_readers() -> list[Reader]:
    """Give the readers of image AUROC for both anomaly types and their mean."""
    return [reader(*IMAGE_AUROC, kind) for kind in KINDS]


def mark_best(rows: Iterable[list[Entry]], columns: Sequence[Column], group: str | None = None) -> list[list[Entry]]:
    """Mark the highest value of each measured column of numbers, where at least two rows have one.

    Args:
        rows: The rows.
        columns: Their columns.
        group: Mark only columns below this heading; all by default.

    Returns:
        The rows with the marks; an average with missing categories is never marked.
    """
    marked = [list(row) for row in rows]
    for index, column in enumerate(columns):
        if not column.numeric or column.published or group not in (None, column.group):
            continue
        values = [value for row in marked if isinstance(value := row[index].sort, float)]
        for row in marked if len(values) > 1 else []:
            entry = row[index]
            if entry.sort == max(values) and not entry.text.endswith(PARTIAL):
                row[index] = replace(entry, tone="best")
    return marked


def spread_notes(results: Results, rows: Iterable[Sequence[Entry]]) -> list[str]:
    """Say what ``±`` and ``*`` mean, if the rows have any."""
    texts = [entry.text for row in rows for entry in row[1:]]
    notes = []
    if any("±" in text for text in texts):
        notes.append(f"± is the standard deviation over the seeds, for two or more (here {seed_count(results)}).")
    if any(text.endswith(PARTIAL) for text in texts):
        notes.append(PARTIAL_NOTE)
    return notes


def seed_count(results: Results) -> str:
    """Say how many seeds the finished cells of a row and category have, e.g. ``2 seeds`` or ``1 to 3 seeds``."""
    keys = {(cell.row, cell.place) for cell in results.cells if cell.finished}
    counts = {
        len({cell.seed for cell in results.cells if cell.finished and (cell.row, cell.place) == key}) for key in keys
    }
    if not counts:
        return "no seed finished"
    low, high = min(counts), max(counts)
    return f"{low} seed{'' if low == 1 else 's'}" if low == high else f"{low} to {high} seeds"


def map_tables(results: Results) -> list[Table]:
    """Give image AUROC of each anomaly map alone, one table for every dataset that has them."""
    found = unique(name for cell in results.cells if cell.finished for name in cell.mapping("maps"))
    order = ["local", "srm", "crm"]
    names = [n for n in order if n in found] + [n for n in found if n not in {*order, "combined"}]
    names += ["combined"] if "combined" in found else []
    columns = [Column("Method", numeric=False)]
    columns += [Column(kind, name) for name in names for kind in KINDS.values()]
    tables = []
    for dataset in results.datasets:
        rows = []
        for row in results.rows:
            spreads = [
                row_spread(results, row, dataset, reader("maps", name, kind)) for name in names for kind in KINDS
            ]
            if any(spreads):
                rows.append([row_name(results, row), *map(percent_entry, spreads)])
        if rows:
            caption = f"Image AUROC in % of each anomaly map alone on {dataset}, average over categories."
            notes = ["The score is the map's maximum, as for the combined map.", *spread_notes(results, rows)]
            tables.append(Table(caption, columns, [Body(rows)], notes))
    return tables


def spro_tables(results: Results) -> list[Table]:
    """Give AU-sPRO at every limit of the false-positive rate, one table for every dataset that has it."""
    columns = [Column("Method", numeric=False)]
    columns += [Column(kind, f"FPR ≤ {limit}") for limit in LIMITS for kind in KINDS.values()]
    tables = []
    for dataset in results.datasets:
        rows = []
        for row in results.rows:
            readers = [reader("accuracy", "au_spro", kind, limit) for limit in LIMITS for kind in KINDS]
            spreads = [row_spread(results, row, dataset, read) for read in readers]
            if any(spreads):
                rows.append([row_name(results, row), *map(percent_entry, spreads)])
        if rows:
            caption = (
                f"AU-sPRO in % on {dataset}, up to each limit of the false-positive rate; average over categories."
            )
            tables.append(Table(caption, columns, [Body(mark_best(rows, columns))], spread_notes(results, rows)))
    return tables


def other_metrics_tables(results: Results) -> list[Table]:
    """Give image AUROC over all anomalies, image F1 and pixel AUROC."""
    metrics = {
        "image AUROC, all anomalies": "image_auroc_all",
        "image F1": "image_f1",
        "pixel AUROC": "pixel_auroc",
    }
    columns = [Column("Method", numeric=False), *map(Column, metrics)]
    tables = []
    for dataset in results.datasets:
        rows = []
        for row in results.rows:
            spreads = [row_spread(results, row, dataset, reader("accuracy", name)) for name in metrics.values()]
            if any(spreads):
                rows.append([row_name(results, row), *map(percent_entry, spreads)])
        if rows:
            caption = f"Other metrics in % on {dataset}, average over categories."
            tables.append(Table(caption, columns, [Body(mark_best(rows, columns))], spread_notes(results, rows)))
    return tables
