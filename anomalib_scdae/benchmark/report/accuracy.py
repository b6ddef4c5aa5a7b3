# SPDX-License-Identifier: Apache-2.0
"""Tables of accuracy: Table 1's layout, each map's own AUROC, AU-sPRO and the other metrics."""

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from anomalib_scdae.benchmark import published
from anomalib_scdae.benchmark.report import tables
from anomalib_scdae.benchmark.report.averages import row_average
from anomalib_scdae.benchmark.report.results import IMAGE_AUROC, KINDS, Results
from anomalib_scdae.benchmark.report.tables import DAGGER, MISSING, PARTIAL, Heading, Table, Value, table_frame

METHOD: Heading = ("", "Method")

#: Headings of the metrics to where a cell has them; the limits are false-positive rates.
SPRO = {
    (f"FPR ≤ {limit}", label): f"accuracy.au_spro.{kind}.{limit}"
    for limit in ("0.01", "0.05", "0.1", "0.3", "1.0")
    for kind, label in KINDS.items()
}
OTHER_METRICS = {
    ("", "image AUROC, all anomalies"): "accuracy.image_auroc_all",
    ("", "image F1"): "accuracy.image_f1",
    ("", "pixel AUROC"): "accuracy.pixel_auroc",
}

PAPER_NOTE = (
    f"{DAGGER} Published figures ({published.PAPER}): measured by its authors on {published.DATASET}, with their own "
    "training. They are NOT measured on the data of this report and are printed for orientation only; averages as "
    "printed, also where they are not the mean of the printed classes."
)


def method_table(results: Results, dataset: str, beside_paper: bool) -> Table:
    """Give Table 1's layout for a dataset: a line for each method, per category and on average.

    Args:
        results: The benchmark.
        dataset: The dataset.
        beside_paper: Whether to print the paper's figures beside, if the dataset has categories of the paper.
    """
    categories = results.categories(dataset)
    beside_paper = beside_paper and any(category in published.CATEGORIES for category in categories)
    lines = []
    for row in results.rows:
        line = {METHOD: row_name(results, row)}
        # The averages come first: in the paper's order a narrow screen would show them last.
        line |= auroc_columns(results, row, dataset, "average") if len(categories) > 1 else {}
        if beside_paper:
            method = published.published_method(results.of_row(row, "model"))
            line |= paper_columns(method.average if method else None, f"paper's average{DAGGER}")
        for category in categories:
            line |= auroc_columns(results, row, dataset, category, category)
        lines.append(line)
    frame = tables.best_marked(table_frame(lines, "Measured here" if beside_paper else ""))
    notes = [f"{row}: {remark}" for row in results.rows for remark in results.remarks(row)]
    notes += deviation_notes(results, frame)
    if beside_paper:
        frame = pd.concat([frame, _published_methods(categories).reindex(columns=frame.columns, fill_value=MISSING)])
        notes.append(PAPER_NOTE)
    caption = f"Image AUROC in % on {dataset}, from raw scores: logical / structural anomalies and their mean."
    return Table(caption, frame, notes)


def auroc_columns(
    results: Results, row: str, dataset: str, group: str, category: str | None = None, minus: str | None = None
) -> dict[Heading, Value]:
    """Give the columns of image AUROC below the heading ``group``; for the rest see :func:`row_average`."""
    averages = {
        label: row_average(results, row, f"{IMAGE_AUROC}.{kind}", dataset, category, minus)
        for kind, label in KINDS.items()
    }
    return {(group, label): tables.percent(each, minus is not None) for label, each in averages.items()}


def paper_columns(figures: published.PublishedFigures | None, group: str) -> dict[Heading, Value]:
    """Give the columns of the paper's image AUROC below the heading ``group``."""
    return {(group, label): tables.published_percent(getattr(figures, label, None)) for label in KINDS.values()}


def row_name(results: Results, row: str) -> Value:
    """Give the first value of a row's line in any table; its tooltip is what the configuration remarks on the row."""
    roles = {results.text("headline"): "compared here", results.text("baseline"): "baseline of the headline"}
    hint = "; ".join(filter(None, [roles.get(row), *results.remarks(row)]))
    return Value(row, row.lower(), hint, "headline" if row == results.text("headline") else "")


def _published_methods(categories: Sequence[str]) -> pd.DataFrame:
    """Give Table 1. Below an average measured here, which may be over other categories, none of it belongs."""
    lines = []
    for method in published.TABLE_1:
        name = f"{method.name}{DAGGER}{'' if method.model else ' (published only)'}"
        line = {METHOD: Value(name, method.name.lower(), method.reference)}
        line |= paper_columns(method.average, f"paper's average{DAGGER}")
        for category in categories:
            line |= paper_columns(method.categories.get(category), category)
        lines.append(line)
    return table_frame(lines, f"{DAGGER} Published figures on {published.DATASET}, not measured here")


def deviation_notes(results: Results, frame: pd.DataFrame) -> list[str]:
    """Say what ``±`` and ``*`` mean, if the table has any."""
    texts = " ".join(value.text for value in frame.iloc[:, 1:].to_numpy().ravel())
    notes = []
    if "±" in texts:
        seeds = results.finished().groupby(["row", "dataset", "category"])["seed"].nunique()
        count = f"{seeds.min()} to {seeds.max()}" if seeds.min() < seeds.max() else seeds.max()
        notes.append(f"± is the standard deviation over the seeds, for two or more (here {count} seeds).")
    if PARTIAL in texts:
        notes.append(f"{PARTIAL} Average over those categories only that are finished so far.")
    return notes


#: What the parts' scores are.
PARTS_NOTE = (
    "The score is the map's maximum, as for the combined map; that of the context is the distance of the image as a "
    "whole, which the model adds to the combined map's."
)


def map_tables(results: Results) -> list[Table]:
    """Give image AUROC of each anomaly map alone, whatever the models call their maps."""
    names = list(dict.fromkeys(column.split(".")[1] for column in results.cells if column.startswith("maps.")))
    names.sort(key=lambda name: (name == "combined") - (name == "local"))
    paths = {(name, label): f"maps.{name}.{kind}" for name in names for kind, label in KINDS.items()}
    caption = "Image AUROC in % of each part alone on {}, average over categories."
    # No map is best: they are parts of a method, not rivals.
    return _average_tables(results, paths, caption, [PARTS_NOTE], ())


def spro_tables(results: Results) -> list[Table]:
    """Give AU-sPRO at every limit of the false-positive rate."""
    caption = "AU-sPRO in % on {}, up to each limit of the false-positive rate; average over categories."
    return _average_tables(results, SPRO, caption)


def other_metrics_tables(results: Results) -> list[Table]:
    """Give image AUROC over all anomalies, image F1 and pixel AUROC."""
    return _average_tables(results, OTHER_METRICS, "Other metrics in % on {}, average over categories.")


def _average_tables(
    results: Results,
    paths: Mapping[Heading, str],
    caption: str,
    notes: Sequence[str] = (),
    best_of: Collection[str] | None = None,
) -> list[Table]:
    """Give a table of averages for each dataset that has any."""
    found = []
    for dataset in results.datasets:
        lines = [
            {METHOD: row_name(results, row)}
            | {at: tables.percent(row_average(results, row, path, dataset)) for at, path in paths.items()}
            for row in results.rows
        ]
        frame = tables.best_marked(tables.without_gaps(table_frame(lines)), best_of)
        if len(frame):
            found.append(Table(caption.format(dataset), frame, [*notes, *deviation_notes(results, frame)]))
    return found
