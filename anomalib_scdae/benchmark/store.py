# SPDX-License-Identifier: Apache-2.0
"""A benchmark's folder: a folder to each cell, and the tables made of all of them.

Whatever is in the folder is whole: files replace their predecessors in one step. A cell is finished once its
``result.json`` is there and its ``config.yaml`` says what the grid says; everything else is run (again). Latency comes
after that: it is added to the result of a finished cell, from the weights in the cell's folder.
"""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from filelock import FileLock, Timeout

from anomalib_scdae.benchmark.grid import DECISIVE, Cell
from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing

FINISHED, FAILED, PENDING = "finished", "failed", "pending"
#: A finished cell's final weights, in its folder.
WEIGHTS = "weights.safetensors"
#: What does not fit into a table's cell.
NOT_IN_CSV = ("curve", "gallery", "notes")


class Store:
    """Reads and writes a benchmark's folder.

    Args:
        folder: The benchmark's ``--output``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def cell_folder(self, cell: Cell) -> Path:
        """Return where the cell's files are."""
        return self.folder / "cells" / cell.id

    def result(self, cell: Cell) -> dict[str, Any]:
        """Return what is known of a cell: its result, its failure, or that it is pending."""
        known = self._read(cell)
        description = {
            "id": cell.id,
            "row": cell.row,
            "model": cell.model["class_path"].rpartition(".")[2],
            "experiment": cell.experiment,
            "dataset": cell.dataset,
            "category": cell.category,
            "seed": cell.seed,
        }
        status = {"status": PENDING, "error": None}
        notes = [*cell.notes, *(known or {}).get("notes", []), *_latency_failure(known)]
        return {**description, **status, **(known or {}), **description, "notes": list(dict.fromkeys(notes))}

    def status(self, cell: Cell) -> str:
        """Return ``finished``, ``failed`` or ``pending``."""
        return (self._read(cell) or {}).get("status", PENDING)

    def begin(self, cell: Cell) -> Path:
        """Make the cell's folder ready for a run and return it; what another configuration left is put aside."""
        folder = self.cell_folder(cell)
        if folder.exists() and not self._is_of(cell):
            aside = self.folder / "replaced" / f"{cell.id}--{time.strftime('%Y%m%d-%H%M%S')}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(folder, aside)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("result.json", "failure.json", WEIGHTS):
            (folder / name).unlink(missing_ok=True)
        self._write_config(cell)
        return folder

    def latency_is_due(self, cell: Cell) -> bool:
        """Tell whether a finished cell lacks the latency that the grid asks for, and has the weights to measure it.

        Latency against another baseline, or an attempt that has failed as a whole, is as good as none.
        """
        return self.lacks_latency(cell) and (self.cell_folder(cell) / WEIGHTS).exists()

    def lacks_latency(self, cell: Cell) -> bool:
        """Tell whether a finished cell lacks the latency that the grid asks for."""
        known = self._read(cell)
        if cell.latency is None or known is None or known.get("status") != FINISHED:
            return False
        latency = known.get("latency")
        return not latency or "error" in latency or (self._config(cell) or {}).get("latency") != _as_json(cell.latency)

    def begin_latency(self, cell: Cell) -> Path:
        """Make a finished cell's folder ready for the measurement of its latency, and return it."""
        self.add(cell, latency=None)
        (self.cell_folder(cell) / "failure.json").unlink(missing_ok=True)
        self._write_config(cell)
        return self.cell_folder(cell)

    def add(self, cell: Cell, **more: Any) -> None:
        """Add to a cell's result; ``None`` takes away."""
        result = {**(self._read(cell) or {}), **more}
        write_json(
            self.cell_folder(cell) / "result.json",
            {key: value for key, value in result.items() if key not in more or value is not None},
        )

    def drop_weights(self, cell: Cell) -> None:
        """Delete the weights of a cell."""
        (self.cell_folder(cell) / WEIGHTS).unlink(missing_ok=True)

    def fail(self, cell: Cell, error: str, **more: Any) -> None:
        """Record that a cell has failed, with one sentence that says why."""
        write_json(self.cell_folder(cell) / "result.json", {"status": FAILED, "error": error, **more})

    def write_results(self, header: Mapping[str, Any], cells: Sequence[Cell]) -> None:
        """Write ``results.json`` and ``results.csv``."""
        results = [self.result(cell) for cell in cells]
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
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            msg = f"Another benchmark is at work in {self.folder}: wait for its end, or choose another --output."
            raise UserError(msg) from error
        try:
            yield
        finally:
            lock.release()

    def _read(self, cell: Cell) -> dict[str, Any] | None:
        return read_json(self.cell_folder(cell) / "result.json") if self._is_of(cell) else None

    def _is_of(self, cell: Cell) -> bool:
        """Tell whether what is in the cell's folder was made with the same settings."""
        saved, config = self._config(cell), _as_json(cell.config())
        return saved is not None and all(saved.get(key) == config[key] for key in DECISIVE)

    def _config(self, cell: Cell) -> dict[str, Any] | None:
        """Read the configuration of what is in the cell's folder."""
        try:
            saved = yaml.safe_load((self.cell_folder(cell) / "config.yaml").read_text("utf-8"))
        except (OSError, yaml.YAMLError):
            return None
        return saved if isinstance(saved, dict) else None

    def _write_config(self, cell: Cell) -> None:
        with replacing(self.cell_folder(cell) / "config.yaml") as file:
            file.write_text(yaml.safe_dump(cell.config(), sort_keys=False), "utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file in one step; numbers that are not finite become null."""
    with replacing(path) as file:
        file.write_text(json.dumps(_plain(content), indent=1) + "\n", "utf-8")


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a JSON file; ``None`` if it is not there or not whole."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _latency_failure(result: Mapping[str, Any] | None) -> list[str]:
    error = ((result or {}).get("latency") or {}).get("error")
    return [f"Latency could not be measured: {error}"] if error else []


def _as_json(value: Any) -> Any:
    """Return what comes back when a value is written and read: tuples become lists, keys become strings."""
    return json.loads(json.dumps(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
