# SPDX-License-Identifier: Apache-2.0
"""A benchmark's folder: the state of each cell, and the tables made of all of them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from anomalib_scdae.benchmark.cells import FAILED, FINISHED, PENDING, Cell, CellFolder, as_json, read_json, write_json
from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing

#: What does not fit into a table's cell.
NOT_IN_CSV = ("curve", "gallery", "notes", "environment", "deployment_environment", "files")


class Store:
    """Reads and writes a benchmark's folder.

    Args:
        folder: The benchmark's ``--output``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def of(self, cell: Cell) -> CellFolder:
        """Return a cell's folder."""
        return CellFolder(self.folder, cell)

    def header(self) -> dict[str, Any]:
        """Read what ``results.json`` says besides the cells; empty without the file."""
        return {key: value for key, value in (read_json(self.folder / "results.json") or {}).items() if key != "cells"}

    def status(self, cell: Cell) -> str:
        """Return ``finished``, ``failed`` or ``pending``."""
        return (self.of(cell).result() or {}).get("status", PENDING)

    def result(self, cell: Cell) -> dict[str, Any]:
        """Return what is known of a cell: its result, its failure, or that it is pending."""
        known = self.of(cell).result() or {}
        description = {
            "id": cell.id,
            "row": cell.row,
            "model": cell.model["class_path"].rpartition(".")[2],
            "experiment": cell.experiment,
            "dataset": cell.dataset,
            "category": cell.category,
            "seed": cell.seed,
        }
        notes = [*cell.notes, *known.get("notes", [])]
        if error := (known.get("latency") or {}).get("error"):
            notes.append(f"Latency could not be measured: {error}")
        status = {"status": PENDING, "error": None}
        return {**description, **status, **known, **description, "notes": list(dict.fromkeys(notes))}

    def add(self, cell: Cell, **more: Any) -> None:
        """Add to a cell's result; ``None`` takes away."""
        result = {**(self.of(cell).result() or {}), **more}
        self.of(cell).write_result(
            {key: value for key, value in result.items() if value is not None or key not in more}
        )

    def fail(self, cell: Cell, error: str) -> None:
        """Record that a cell has failed, with one sentence that says why."""
        self.of(cell).write_result({"status": FAILED, "error": error})

    def lacks_latency(self, cell: Cell) -> bool:
        """Tell whether a finished cell lacks the latency that the grid asks for.

        Latency against another baseline, or an attempt that has failed as a whole, is as good as none.
        """
        known = self.of(cell).result() or {}
        if cell.latency is None or known.get("status") != FINISHED:
            return False
        latency = known.get("latency")
        return not latency or "error" in latency or self.of(cell).config().get("latency") != as_json(cell.latency)

    def latency_is_due(self, cell: Cell) -> bool:
        """Tell whether a finished cell lacks its latency and has the weights to measure it."""
        return self.lacks_latency(cell) and self.of(cell).weights.exists()

    def begin_latency(self, cell: Cell) -> None:
        """Make a finished cell's folder ready for the measurement of its latency."""
        self.add(cell, latency=None)
        self.of(cell).write_config()

    def write_results(self, header: Mapping[str, Any], cells: Sequence[Cell]) -> None:
        """Write ``results.json`` and ``results.csv``.

        Raises:
            UserError: If cells that belong side by side have seen different images.
        """
        results = [self.result(cell) for cell in cells]
        check_same_files(results)
        write_json(self.folder / "results.json", {**header, "cells": results})
        flat = [{key: value for key, value in result.items() if key not in NOT_IN_CSV} for result in results]
        with replacing(self.folder / "results.csv") as file:
            pd.json_normalize(flat).to_csv(file, index=False)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other benchmarks out of the folder.

        Raises:
            UserError: If one is at work in it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / ".lock", timeout=0):
                yield
        except Timeout as error:
            msg = f"Another benchmark is at work in {self.folder}: wait for its end, or choose another --output."
            raise UserError(msg) from error


def check_same_files(results: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to compare finished cells of one dataset, category and seed that have seen different images.

    Args:
        results: Cells as in ``results.json``; those without hashes of their files are let through.

    Raises:
        UserError: If the hashes of two differ.
    """
    first: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for result in results:
        files = result.get("files")
        if result["status"] != FINISHED or not files:
            continue
        other = first.setdefault((result["dataset"], result["category"], result["seed"]), result)
        different = [name for name, value in files.items() if value != other["files"].get(name)]
        if different:
            msg = (
                f"The cells {other['id']} and {result['id']} have other images for {', '.join(different)} and do not "
                "belong into one table: give their rows the same data, or delete the older cell's folder."
            )
            raise UserError(msg)
