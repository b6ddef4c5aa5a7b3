# SPDX-License-Identifier: Apache-2.0
"""Tables of the cells: all of them, and those that failed or are still to do."""

from collections import Counter

from anomalib_scdae.benchmark.report.document import NOTHING, Body, Column, Entry, Table
from anomalib_scdae.benchmark.report.formatting import duration, number_entry
from anomalib_scdae.benchmark.report.results import FINISHED, IMAGE_AUROC, KINDS, Cell, Results, finite

STATUSES = (FINISHED, "failed", "pending")

WHERE = [Column("Method", numeric=False), Column("Dataset", numeric=False), Column("Category", numeric=False)]


def progress_sentence(results: Results) -> str:
    """Say how many cells are finished, failed and pending."""
    if not results.cells:
        return "no cells yet"
    counts = Counter(cell.status for cell in results.cells)
    parts = [f"{counts[status]} {status}" for status in [*STATUSES, *(set(counts) - {*STATUSES})] if counts[status]]
    total = len(results.cells)
    return f"{', '.join(parts)} of {total} cell{'' if total == 1 else 's'}"


def unfinished_table(results: Results) -> Table | None:
    """List the failed and pending cells with their errors; ``None`` if there are none."""
    cells = sorted((cell for cell in results.cells if not cell.finished), key=lambda cell: cell.status)
    rows = [
        [
            *_place(cell),
            Entry(cell.status, cell.status, tone=cell.status),
            Entry(cell.text("error"), cell.text("error")),
        ]
        for cell in cells
    ]
    if not rows:
        return None
    columns = [*WHERE, Column("Seed"), Column("Status", numeric=False), Column("Error", numeric=False)]
    note = (
        "A pending cell has not run yet; running the same command again goes on with these and leaves finished cells."
    )
    return Table("Failed and pending cells.", columns, [Body(rows)], [note])


def cell_table(results: Results) -> Table | None:
    """List every cell with its own figures; ``None`` if there are none."""
    if not results.cells:
        return None
    columns = [*WHERE, Column("Seed"), Column("Status", numeric=False)]
    columns += [Column(kind, "image AUROC, %") for kind in KINDS.values()]
    columns += [Column("image F1, %"), Column("pixel AUROC, %"), Column("steps"), Column("time")]
    columns += [Column("peak memory, MiB"), Column("precision", numeric=False), Column("Notes", numeric=False)]
    rows = [_line(cell) for cell in results.cells]
    return Table("Every cell of the benchmark.", columns, [Body(rows)], fold=len(rows) > 60)


def _line(cell: Cell) -> list[Entry]:
    training = [cell.number("training", name) for name in ("steps", "seconds", "peak_memory_mib")]
    accuracy = [cell.number(*IMAGE_AUROC, kind) for kind in KINDS]
    accuracy += [cell.number("accuracy", name) for name in ("image_f1", "pixel_auroc")]
    notes = "; ".join(map(str, [*cell.sequence("notes"), *([cell.text("error")] if cell.text("error") else [])]))
    precision = str(cell.get("training", "precision") or "")
    return [
        *_place(cell),
        Entry(cell.status, cell.status, _when(cell), cell.status),
        *(NOTHING if value is None else number_entry(100 * value, f"{100 * value:.1f}") for value in accuracy),
        number_entry(training[0], None if training[0] is None else f"{training[0]:,.0f}"),
        number_entry(training[1], None if training[1] is None else duration(training[1])),
        number_entry(training[2]),
        Entry(precision, precision) if precision else NOTHING,
        Entry(notes, notes),
    ]


def _place(cell: Cell) -> list[Entry]:
    names = [cell.row, *cell.place]
    seed = finite(cell.get("seed"))
    return [*(Entry(name, name.lower(), cell.id) for name in names), Entry(cell.seed, seed)]


def _when(cell: Cell) -> str:
    commit = cell.text("git_commit")
    parts = [cell.text("finished_at"), f"commit {commit[:12]}" if commit else ""]
    return ", ".join(part for part in parts if part)
