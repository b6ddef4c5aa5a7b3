# SPDX-License-Identifier: Apache-2.0
"""The table of all cells: how far each is, its own figures, and what it was made on and with."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd

from anomalib_scdae.benchmark.cells import FAILED, FINISHED, PENDING
from anomalib_scdae.benchmark.report.results import IMAGE_AUROC, KINDS, Results, finite
from anomalib_scdae.benchmark.report.tables import MISSING, Heading, Table, Value, duration, figure, make_frame

STATUSES = (FINISHED, FAILED, PENDING)

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

NAMES = {"Method": "row", "Dataset": "dataset", "Category": "category"}

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
    columns: dict[Heading, Callable[[dict[str, Any]], Value]] = {
        **{("", label): partial(_name, name) for label, name in NAMES.items()},
        ("", "Seed"): lambda cell: Value(cell["seed"], float(cell["seed"]) if cell["seed"].isdecimal() else None),
        ("", "Status"): lambda cell: Value(cell["status"], cell["status"], cell["finished_at"], cell["status"]),
        **{heading: partial(_number, path, show) for heading, (path, show) in NUMBERS.items()},
        ("training", "precision"): lambda cell: _text(cell.get("training.precision")),
        **{("made with", name): partial(_made_with, name) for name in ENVIRONMENT},
        ("", "Notes"): _notes,
    }
    frame = make_frame(cells.to_dict("records"), columns)
    unfinished = bool((cells["status"] != FINISHED).any())
    notes = {
        NOT_FINISHED: unfinished,
        NOT_RECORDED: not results.finished()["recorded"].all(),
        CHANGED: any(value.text.endswith("+") for value in frame["made with", "commit"]),
    }
    applying = [note for note, applies in notes.items() if applies]
    return [Table("Every cell of the benchmark.", frame, applying, folded=len(cells) > LONG and not unfinished)]


def _name(name: str, cell: dict[str, Any]) -> Value:
    return Value(cell[name], cell[name].lower(), cell["id"])


def _number(path: str, show: Callable[[float], str], cell: dict[str, Any]) -> Value:
    value = finite(cell.get(path))
    return MISSING if math.isnan(value) else Value(show(value).rstrip("%"), value)


def _made_with(name: str, cell: dict[str, Any]) -> Value:
    known = cell["recorded"] or cell["status"] != PENDING
    return _text(environment_columns(cell["environment"])[name] if known else "")


def _notes(cell: dict[str, Any]) -> Value:
    text = "; ".join(filter(None, [*map(str, cell["notes"]), cell["error"]]))
    return Value(text, text)


def _text(text: Any) -> Value:
    return Value(text, text) if text and isinstance(text, str) else MISSING
