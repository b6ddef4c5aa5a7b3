# SPDX-License-Identifier: Apache-2.0
"""Reads ``results.json``, of which any part may still be missing, into one DataFrame of cells, and averages it."""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anomalib_scdae.benchmark.cells import FINISHED, PENDING
from anomalib_scdae.benchmark.store import check_same_files
from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics.anomaly_types import MEAN

#: Anomaly types and their mean: key in ``results.json`` to the heading in tables.
KINDS = {"logical_anomalies": "logical", "structural_anomalies": "structural", MEAN: "mean"}
#: Those of one type of anomaly each.
DRAWN = {kind: label for kind, label in KINDS.items() if kind != MEAN}
#: Label of an anomaly type to the words for it in a sentence.
WORDS = {"logical": "logical anomalies", "structural": "structural anomalies", "mean": "their mean"}

IMAGE_AUROC = "accuracy.image_auroc"

#: What two cells must share to be compared.
PLACE = ["dataset", "category", "seed"]

TEXTS = ["id", "row", "model", "experiment", *PLACE, "status", "error", "finished_at"]
LISTS = ["notes", "curve", "gallery"]


@dataclass(frozen=True)
class Average:
    """The mean of a figure over categories, then over seeds.

    Args:
        mean: The mean.
        by_seed: Each seed's average over the categories; empty if no seed has all of them.
        count: Number of cells that the mean rests on.
        standard_error: Standard error of the mean over these cells; ``None`` for a single one.
        covered: Number of categories averaged over.
        expected: Number of categories that the benchmark has there.
    """

    mean: float
    by_seed: pd.Series
    count: int
    standard_error: float | None
    covered: int
    expected: int

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation over the seeds; ``None`` with fewer than two."""
        return float(self.by_seed.std()) if len(self.by_seed) > 1 else None

    @property
    def scope(self) -> str:
        """What the mean rests on, e.g. ``2 seeds, 4 of 5 categories``."""
        seeds = len(self.by_seed)
        said = f"{seeds} seed{'' if seeds == 1 else 's'}" if seeds else "no seed has all categories"
        return said if self.expected == 1 else f"{said}, {self.covered} of {self.expected} categories"


def comparable(figures: pd.Series) -> pd.DataFrame:
    """Arrange figures by dataset, category and seed as seeds beside each other, a line for each category.

    Only seeds that have every category which any seed has are kept, so that a seed's value is always an average over
    the same categories; if no seed has them all, all are kept.
    """
    values = figures.unstack("seed")
    complete = values.loc[:, values.notna().all()]
    return values if complete.empty else complete


def average(figures: pd.Series, expected: int = 1) -> Average | None:
    """Average figures by dataset, category and seed, as far as they are comparable; ``None`` if there are none.

    If no seed has all categories, the categories' own means are averaged, without a deviation.

    Args:
        figures: The figures.
        expected: Number of categories that the benchmark has there.
    """
    if figures.empty:
        return None
    used = comparable(figures)
    complete = used.loc[:, used.notna().all()]
    count = int(used.count().sum())
    error = float(np.nanstd(used, ddof=1)) / math.sqrt(count) if count > 1 else None
    return Average(float(used.mean(axis=1).mean()), complete.mean(), count, error, len(used), expected)


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that ``results.json`` says.

    Args:
        folder: The output folder, which the gallery's paths are relative to.
        header: The file's content but for the cells.
        cells: A line for each cell in the file's order. ``TEXTS`` are strings and ``LISTS`` lists, empty where the
            cell has none; ``environment`` is a dictionary, and ``recorded`` tells whether it is the cell's own. All
            else that the cells hold is in columns named by dotted paths, e.g. ``training.seconds``.
    """

    folder: Path
    header: dict[str, Any]
    cells: pd.DataFrame

    def text(self, name: str) -> str:
        """Give a field of the header as text; empty where absent."""
        return _text(self.header.get(name))

    @property
    def rows(self) -> list[str]:
        """Names of the rows, as they first occur."""
        return list(self.cells["row"].unique())

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets, as they first occur."""
        return list(self.cells["dataset"].unique())

    def categories(self, dataset: str) -> list[str]:
        """Categories of a dataset, as they first occur."""
        return list(self.cells["category"][self.cells["dataset"] == dataset].unique())

    def finished(self, row: str | None = None, dataset: str | None = None) -> pd.DataFrame:
        """Give the finished cells, only those of a row and dataset where these are named."""
        chosen = self.cells[self.cells["status"] == FINISHED]
        for name, value in (("row", row), ("dataset", dataset)):
            if value is not None:
                chosen = chosen[chosen[name] == value]
        return chosen

    def figures(self, row: str, path: str, dataset: str | None = None, category: str | None = None) -> pd.Series:
        """Give the finite numbers at ``path`` of a row's finished cells, by :data:`PLACE`."""
        numbers = self._finished.get(path, pd.Series(dtype=float, index=self._finished.index[:0]))
        for level, value in (("row", row), ("dataset", dataset), ("category", category)):
            if value is not None:
                numbers = numbers[numbers.index.get_level_values(level) == value]
        return numbers.map(finite).dropna().droplevel("row")

    def shared_figures(
        self, row: str, other: str, path: str, dataset: str | None = None, category: str | None = None
    ) -> pd.Series:
        """Give :meth:`figures` of a row at those places where another row has one too."""
        figures, others = (self.figures(name, path, dataset, category) for name in (row, other))
        return figures[figures.index.isin(others.index)]

    @cached_property
    def _finished(self) -> pd.DataFrame:
        return self.finished().set_index(["row", *PLACE])

    def cell_id(self, row: str, place: tuple[str, str, str]) -> str:
        """Give the id of a row's finished cell at a place, see :data:`PLACE`."""
        return str(self._finished.at[(row, *place), "id"])

    def average(
        self, row: str, path: str, dataset: str, category: str | None = None, minus: str | None = None
    ) -> Average | None:
        """Average a row's figure at ``path`` over a category, or over the dataset's categories.

        Args:
            row: The row.
            path: The figure.
            dataset: The dataset.
            category: The category; all by default.
            minus: Another row: take the difference to it, over the cells that both rows have.
        """
        figures = self.figures(row, path, dataset, category)
        if minus is not None:
            figures = (figures - self.figures(minus, path, dataset, category)).dropna()
        return average(figures, len(self.categories(dataset)) if category is None else 1)

    def median(self, row: str, path: str, over: str | None = None) -> float | None:
        """Give the median of a row's figures at ``path``, or of their ratios to those of the row ``over``."""
        figures = self.figures(row, path)
        if over is not None:
            figures = (figures / self.figures(over, path)).map(finite).dropna()
        return None if figures.empty else float(figures.median())

    def of_row(self, row: str, name: str) -> str:
        """Give what a row's cells have in common, its ``model`` or ``experiment``; empty if there is no such row."""
        return next(iter(self.cells[name][self.cells["row"] == row]), "")

    def remarks(self, row: str) -> list[str]:
        """Give the notes that all cells of a row carry: what the configuration remarks on it."""
        notes = list(self.cells["notes"][self.cells["row"] == row])
        return [note for note in next(iter(notes), []) if all(note in others for others in notes)]


def has_mean(types: Collection[str]) -> bool:
    """Tell whether the mean over these types of anomaly has a place in the tables.

    Of several it has. A single type's mean is that type, and stands there only if nothing else says it: a folder of
    one's own, or another dataset, has types that have no column.
    """
    return len(types) > 1 or not set(types) <= DRAWN.keys()


def shown_types(labels: Collection[str]) -> list[str]:
    """Choose what to draw of the types that there are figures of: each by itself, or the mean where none has a name."""
    return [label for label in DRAWN.values() if label in labels] or [KINDS[MEAN]] * (KINDS[MEAN] in labels)


def in_words(labels: Collection[str]) -> dict[str, str]:
    """Give the words for anomaly types, by label, as they stand in one sentence."""
    return {label: WORDS[label] if len(labels) > 1 or label != KINDS[MEAN] else "all anomalies" for label in labels}


def finite(value: Any) -> float:
    """Give ``value`` as float if it is a finite number, else NaN."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else math.nan


def read_results(folder: Path) -> Results:
    """Read ``folder/results.json``; fields may be missing.

    Raises:
        UserError: If the file is not there or not what the benchmark writes, or if cells that would stand in one table
            were given different images.
    """
    path = folder / "results.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"Cannot read {path} ({error.strerror}): name a folder that `anomalib-scdae benchmark` has written to."
        raise UserError(msg) from error
    except ValueError as error:
        msg = f"{path} is not valid JSON ({error}): run the benchmark again, which rebuilds it from the finished cells."
        raise UserError(msg) from error
    if not isinstance(content, dict) or not isinstance(content.get("cells", []), list):
        msg = f"{path} is not a benchmark's result: it needs a list of cells; run the benchmark again."
        raise UserError(msg)
    return parse_results(folder, content)


def parse_results(folder: Path, content: dict[str, Any]) -> Results:
    """Make :class:`Results` of the content of ``results.json``; see :func:`read_results`."""
    environment = content.get("environment")
    header = {**content, "environment": environment if isinstance(environment, dict) else {}}
    records = [cell for cell in header.pop("cells", []) if isinstance(cell, dict)]
    for record in records:
        _add_means(record)
    columns = [*TEXTS, *LISTS, "environment", "recorded"]
    cells = pd.DataFrame([_common_columns(record, header["environment"]) for record in records], columns=columns)
    cells = cells.join(pd.json_normalize(records).drop(columns=columns, errors="ignore"))
    # A row's cells differ in dataset, category and seed; should a file say otherwise, the last one counts.
    cells = cells.drop_duplicates(["row", *PLACE], keep="last")
    check_same_files([records[index] for index in cells.index])
    return Results(folder, header, cells.reset_index(drop=True))


def _add_means(record: dict[str, Any]) -> None:
    """Let the only type of anomalies, where it has no column of its own, stand in that of the mean."""
    over_time = record.get("over_time")
    groups = [record.get("accuracy"), record.get("maps"), *(over_time.values() if isinstance(over_time, dict) else ())]
    for group in groups:
        for name, values in group.items() if isinstance(group, dict) else ():
            if name != "maps" and isinstance(values, dict) and len(values) == 1 and has_mean(values):
                values[MEAN] = next(iter(values.values()))


def _common_columns(record: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    texts = {name: _text(record.get(name)) for name in TEXTS}
    texts["row"] = texts["row"] or texts["model"] or texts["id"]
    texts["status"] = texts["status"] or PENDING
    lists = {name: value if isinstance(value := record.get(name), list) else [] for name in LISTS}
    own = record.get("environment")
    if isinstance(own, dict) and own:
        return {**texts, **lists, "environment": own, "recorded": True}
    # Older cells have nothing of their environment but the commit.
    commit = {name: record[name] for name in ("git_commit", "git_dirty") if record.get(name) is not None}
    return {**texts, **lists, "environment": {**environment, **commit}, "recorded": False}


def _text(value: Any) -> str:
    return "" if value is None else str(value)
