# SPDX-License-Identifier: Apache-2.0
"""The ablations in the layout of the paper's Tables 2 and 3."""

from anomalib_scdae.benchmark.published import EXPERIMENTS, SERIES, TABLE_2, TABLE_3, PublishedExperiment
from anomalib_scdae.benchmark.report.accuracy import PAPER_NOTE, auroc_readers, mark_best, spread_notes
from anomalib_scdae.benchmark.report.document import DAGGER, MISSING, NOTHING, Body, Column, Entry, Table
from anomalib_scdae.benchmark.report.formatting import percent_entry, points_entry, published_entry
from anomalib_scdae.benchmark.report.results import KINDS, Results
from anomalib_scdae.benchmark.report.spread import Spread, difference, paired, row_spread

REFERENCE = "1"
MEASURED = "measured here"
YES = Entry("✓", 1.0, "used")
NO = Entry("", 0.0, "not used")

#: Heading to attribute of the paper's experiment.
TABLE_2_PARTS = {"parallel dual AE": "dual_autoencoder", "SRM": "srm", "CRM": "crm"}
TABLE_3_PARTS = {"dual AE + SRM + CRM": "whole_architecture", "SFM": "fusion", "CSF loss": "cosine"}


def ablation_tables(results: Results) -> list[Table]:
    """Give Tables 2 and 3, for every dataset, beside the paper's figures and their differences to experiment 1."""
    tables = []
    for dataset in results.datasets:
        rows = {results.experiment_of(row): row for row in reversed(results.rows) if results.of(row, dataset)}
        subject = "SRM, CRM and parallel autoencoders (layout of the paper's Table 2)"
        tables.append(_table(results, dataset, rows, subject, TABLE_2_PARTS, (*TABLE_2, SERIES)))
        subject = "SFM and CSF loss (layout of the paper's Table 3)"
        tables.append(_table(results, dataset, rows, subject, TABLE_3_PARTS, TABLE_3))
    return tables


def _table(
    results: Results, dataset: str, rows: dict[str, str], subject: str, parts: dict[str, str], numbers: tuple[str, ...]
) -> Table:
    delta = "Δ to exp. 1"
    columns = [Column("Experiment", numeric=False), *(Column(part) for part in parts)]
    columns += [Column(kind, MEASURED) for kind in KINDS.values()]
    columns += [Column(kind, f"paper{DAGGER}", published=True) for kind in KINDS.values()]
    columns += [Column(kind, f"measured {delta}") for kind in KINDS.values()]
    columns += [Column(kind, f"paper{DAGGER} {delta}", published=True) for kind in KINDS.values()]
    lines = [_line(results, dataset, rows, number, parts) for number in numbers if number != SERIES or number in rows]
    notes = [
        "Differences are in percentage points, over the cells (category and seed) that both experiments have.",
        *spread_notes(results, [line[len(parts) :] for line in lines]),
        PAPER_NOTE,
    ]
    categories = results.categories(dataset)
    where = f"{dataset}, {categories[0]}" if len(categories) == 1 else f"{dataset}, {len(categories)} categories"
    caption = f"Ablation of {subject}: image AUROC in % on {where}."
    return Table(caption, columns, [Body(mark_best(lines, columns, MEASURED))], notes)


def _line(results: Results, dataset: str, rows: dict[str, str], number: str, parts: dict[str, str]) -> list[Entry]:
    paper = EXPERIMENTS.get(number)
    row = rows.get(number)
    line = [_label(number, row)]
    line += [(YES if getattr(paper, part) else NO) if paper else _series_part(part) for part in parts.values()]
    reference = rows.get(REFERENCE)
    pairs = paired(results, row, reference, dataset) if row is not None and reference is not None else []
    own = [NOTHING if row is None else percent_entry(row_spread(results, row, dataset, r)) for r in auroc_readers()]
    points = [_points(number, difference(pairs, read)) for read in auroc_readers()]
    return [*line, *own, *_paper(paper), *points, *_paper_points(paper)]


def _points(number: str, spread: Spread | None) -> Entry:
    return Entry(MISSING, title="the reference") if number == REFERENCE else points_entry(spread)


def _label(number: str, row: str | None) -> Entry:
    name = "Fig. 8, series" if number == SERIES else number
    known = {REFERENCE: "1 (baseline)", "11": "11 (SCDAE)"}.get(number, name)
    order = 99.0 if number == SERIES else float(number)
    return Entry(known, order, row or "not among the finished cells", "headline" if number == "11" else "")


def _series_part(part: str) -> Entry:
    return YES if part in {"srm", "crm"} else NO


def _paper(paper: PublishedExperiment | None) -> list[Entry]:
    return [published_entry(getattr(paper.average, kind) if paper else None) for kind in KINDS.values()]


def _paper_points(paper: PublishedExperiment | None) -> list[Entry]:
    if paper is None or paper.experiment == REFERENCE:
        return [published_entry(None)] * len(KINDS)
    start = EXPERIMENTS[REFERENCE].average
    return [
        published_entry(round(getattr(paper.average, kind) - getattr(start, kind), 1), difference=True)
        for kind in KINDS.values()
    ]
