# SPDX-License-Identifier: Apache-2.0
"""Reads ``results.json``, of which any part may still be missing."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalib_scdae.errors import UserError

#: Anomaly types and their mean: key in ``results.json`` to the heading in tables.
KINDS = {"logical_anomalies": "logical", "structural_anomalies": "structural", "mean": "mean"}

IMAGE_AUROC = ("accuracy", "image_auroc")

FINISHED = "finished"


@dataclass(frozen=True)
class Cell:
    """One training and evaluation: a row's model on one category with one seed.

    Args:
        record: The cell as in ``results.json``.
    """

    record: dict[str, Any]

    def text(self, name: str) -> str:
        """Give a field as text; empty where absent."""
        value = self.record.get(name)
        return "" if value is None else str(value)

    @property
    def id(self) -> str:
        """Name of the cell's folder."""
        return self.text("id")

    @property
    def row(self) -> str:
        """Name of the table row that the cell belongs to."""
        return self.text("row") or self.text("model") or self.id

    @property
    def place(self) -> tuple[str, str]:
        """Dataset and category."""
        return self.text("dataset"), self.text("category")

    @property
    def seed(self) -> str:
        """The seed, as text."""
        return self.text("seed")

    @property
    def status(self) -> str:
        """``finished``, ``failed`` or ``pending``."""
        return self.text("status") or "pending"

    @property
    def finished(self) -> bool:
        """Whether the cell has results."""
        return self.status == FINISHED

    def get(self, *path: str) -> Any:
        """Follow ``path`` into the record; ``None`` where it ends early."""
        value: Any = self.record
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def mapping(self, *path: str) -> dict[str, Any]:
        """Give the dictionary at ``path``; empty where there is none."""
        value = self.get(*path)
        return value if isinstance(value, dict) else {}

    def sequence(self, *path: str) -> list[Any]:
        """Give the list at ``path``; empty where there is none."""
        value = self.get(*path)
        return value if isinstance(value, list) else []

    def number(self, *path: str) -> float | None:
        """Give the finite number at ``path``, or ``None``."""
        return finite(self.get(*path))


def finite(value: Any) -> float | None:
    """Give ``value`` as float if it is a finite number, else ``None``."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


@dataclass(frozen=True)
class Results:
    """Everything that ``results.json`` says.

    Args:
        folder: The output folder, which the gallery's paths are relative to.
        record: The file's content but for the cells.
        cells: The cells in the file's order.
    """

    folder: Path
    record: dict[str, Any] = field(default_factory=dict)
    cells: tuple[Cell, ...] = ()

    def text(self, name: str) -> str:
        """Give a field as text; empty where absent."""
        value = self.record.get(name)
        return "" if value is None else str(value)

    @property
    def name(self) -> str:
        """Title of the benchmark."""
        return self.text("name") or "Benchmark"

    @property
    def headline(self) -> str:
        """Row that the benchmark is about."""
        return self.text("headline")

    @property
    def baseline(self) -> str:
        """Row that it is compared with."""
        return self.text("baseline")

    @property
    def layout(self) -> str:
        """``methods``, ``ablation`` or empty."""
        return self.text("layout")

    @property
    def rows(self) -> list[str]:
        """Names of the rows, as they first occur."""
        return unique(cell.row for cell in self.cells)

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets, as they first occur."""
        return unique(cell.place[0] for cell in self.cells)

    def categories(self, dataset: str) -> list[str]:
        """Categories of a dataset, as they first occur."""
        return unique(cell.place[1] for cell in self.cells if cell.place[0] == dataset)

    def of(self, row: str, dataset: str | None = None, category: str | None = None) -> list[Cell]:
        """Give the finished cells of a row, of one dataset and category if named."""
        return [
            cell
            for cell in self.cells
            if cell.finished
            and cell.row == row
            and dataset in (None, cell.place[0])
            and category in (None, cell.place[1])
        ]

    def model_of(self, row: str) -> str:
        """Name of the row's model class."""
        return next((cell.text("model") for cell in self.cells if cell.row == row), "")

    def experiment_of(self, row: str) -> str:
        """Number of the paper's experiment that the row repeats; empty if none."""
        return next((cell.text("experiment") for cell in self.cells if cell.row == row), "")


def unique(names: Iterable[str]) -> list[str]:
    """Give each name once, in the order of first occurrence."""
    return list(dict.fromkeys(names))


def read_results(folder: Path) -> Results:
    """Read ``folder/results.json``.

    Args:
        folder: The benchmark's output folder.

    Returns:
        The results; fields may be missing.

    Raises:
        UserError: If the file is not there or not what the benchmark writes.
    """
    path = folder / "results.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"Cannot read {path} ({error.strerror}): name a folder that `anomalib-scdae benchmark` has written to."
        raise UserError(msg) from error
    except ValueError as error:
        msg = f"{path} is not valid JSON ({error}): run the benchmark again, which rebuilds it from the finished cells."
        raise UserError(msg) from error
    if not isinstance(record, dict) or not isinstance(record.get("cells", []), list):
        msg = f"{path} is not a benchmark's result: it needs a list of cells; run the benchmark again."
        raise UserError(msg)
    cells = tuple(Cell(cell) for cell in record.pop("cells", []) if isinstance(cell, dict))
    return Results(folder, record, cells)
