# SPDX-License-Identifier: Apache-2.0
"""The table of all cells: how far each is, its own figures, and what it was made on and with."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from anomalib_scdae.benchmark.report.results import FINISHED, IMAGE_AUROC, KINDS, Results, finite
from anomalib_scdae.benchmark.report.tables import MISSING, Heading, Table, Value, duration, figure, table_frame

STATUSES = (FINISHED, "failed", "pending")

#: Longer tables are folded up, unless they tell of cells that are not finished.
LONG = 60

#: Key of an environment to the name that readers know.
PACKAGES = {
    "anomalib_scdae": "anomalib-scdae",
    "anomalib": "Anomalib",
    "torch": "PyTorch",
    "lightning": "Lightning",
    "openvino": "OpenVINO",
    "nncf": "NNCF",
    "python": "Python",
}

#: Column of the environment to the words for several of them.
ENVIRONMENT = {"processor": "processors", "versions": "sets of package versions", "commit": "commits"}

NOT_FINISHED = (
    "A pending cell has not run yet; running the same command again goes on with pending and failed cells and leaves "
    "finished ones."
)
NOT_RECORDED = "Cells that have not recorded their own processor and versions show those of the benchmark's last run."
CHANGED = "+ marks a commit with changes that were not committed."

#: Columns of numbers to where a cell has them, and what makes text of them.
NUMBERS: dict[Heading, tuple[str, Callable[[float], str]]] = {
    **{("image AUROC, %", label): (f"{IMAGE_AUROC}.{kind}", "{:.1%}".format) for kind, label in KINDS.items()},
    ("", "image F1, %"): ("accuracy.image_f1", "{:.1%}".format),
    ("", "pixel AUROC, %"): ("accuracy.pixel_auroc", "{:.1%}".format),
    ("training", "steps"): ("training.steps", "{:,.0f}".format),
    ("training", "time"): ("training.seconds", duration),
    ("training", "peak memory, MiB"): ("training.peak_memory_mib", figure),
}


def progress_sentence(results: Results) -> str:
    """Say how many cells are finished, failed and pending."""
    total = len(results.cells)
    counts = results.cells["status"].value_counts()
    statuses = [status for status in dict.fromkeys([*STATUSES, *counts.index]) if status in counts]
    parts = ", ".join(f"{counts[status]} {status}" for status in statuses)
    return f"{parts} of {total} cell{'' if total == 1 else 's'}" if total else "no cells yet"


def environment_columns(environment: dict[str, Any]) -> dict[str, str]:
    """Give a cell's processor, versions and commit as texts; empty where unknown."""
    processor = [environment.get("processor"), environment.get("accelerator")]
    versions = [f"{name} {environment[key]}" for key, name in PACKAGES.items() if environment.get(key)]
    commit = str(environment.get("git_commit") or "")[:12]
    changed = "+" if commit and environment.get("git_dirty") else ""
    texts = (", ".join(str(name) for name in processor if name), ", ".join(versions), commit + changed)
    return dict(zip(ENVIRONMENT, texts, strict=True))


def environment_note(results: Results) -> str:
    """Say in which respect the finished cells, which the tables compare, were made differently; empty if in none."""
    made_with = pd.DataFrame([environment_columns(each) for each in results.finished()["environment"]])
    counts = {name: made_with[name][made_with[name] != ""].nunique() for name in made_with}
    parts = [f"{count} {ENVIRONMENT[name]}" for name, count in counts.items() if count > 1]
    if not parts:
        return ""
    return f"The cells compared here were made with {' and '.join(parts)}; the table of all cells gives each one's."


def cell_tables(results: Results) -> list[Table]:
    """List every cell with its own figures and environment."""
    cells = results.cells
    frame = table_frame([_line(cell) for cell in cells.to_dict("records")])
    unfinished = bool((cells["status"] != FINISHED).any())
    notes = {
        NOT_FINISHED: unfinished,
        NOT_RECORDED: not results.finished()["recorded"].all(),
        CHANGED: any(value.text.endswith("+") for value in frame["made with", "commit"]),
    }
    applying = [note for note, applies in notes.items() if applies]
    return [Table("Every cell of the benchmark.", frame, applying, folded=len(cells) > LONG and not unfinished)]


def _line(cell: dict[str, Any]) -> dict[Heading, Value]:
    line: dict[Heading, Value] = {}
    for label, name in (("Method", "row"), ("Dataset", "dataset"), ("Category", "category")):
        line["", label] = Value(cell[name], cell[name].lower(), cell["id"])
    line["", "Seed"] = Value(cell["seed"], float(cell["seed"]) if cell["seed"].isdecimal() else None)
    line["", "Status"] = Value(cell["status"], cell["status"], cell["finished_at"], cell["status"])
    for heading, (path, show) in NUMBERS.items():
        value = finite(cell.get(path))
        line[heading] = MISSING if math.isnan(value) else Value(show(value).rstrip("%"), value)
    texts = {("training", "precision"): cell.get("training.precision")}
    if cell["recorded"] or cell["status"] != "pending":
        texts |= {("made with", name): text for name, text in environment_columns(cell["environment"]).items()}
    else:
        texts |= {("made with", name): "" for name in ENVIRONMENT}
    line |= {key: Value(text, text) if text and isinstance(text, str) else MISSING for key, text in texts.items()}
    notes = "; ".join(filter(None, [*map(str, cell["notes"]), cell["error"]]))
    return line | {("", "Notes"): Value(notes, notes)}
