# SPDX-License-Identifier: Apache-2.0
"""A benchmark's folder: what is known of all its cells, in one place."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout

from anomalib_scdae.benchmark.cells import FINISHED, Cell, CellFolder, read_json, write_json
from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing

#: What does not fit into a table's cell.
NOT_IN_CSV = ("curve", "gallery", "notes", "environment", "deployment_environment", "files")


def read_header(folder: Path) -> dict[str, Any]:
    """Read what ``results.json`` says besides the cells; empty without the file."""
    return {key: value for key, value in (read_json(folder / "results.json") or {}).items() if key != "cells"}


def write_results(folder: Path, header: Mapping[str, Any], cells: Sequence[Cell]) -> None:
    """Write ``results.json`` and ``results.csv``.

    Raises:
        UserError: If cells that belong side by side have seen different images.
    """
    entries = [CellFolder(folder, cell).entry() for cell in cells]
    check_same_files(entries)
    write_json(folder / "results.json", {**header, "cells": entries})
    flat = [{key: value for key, value in entry.items() if key not in NOT_IN_CSV} for entry in entries]
    with replacing(folder / "results.csv") as file:
        pd.json_normalize(flat).to_csv(file, index=False)


def check_same_files(entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to compare finished cells of one dataset, category and seed that have seen different images.

    Args:
        entries: Cells as in ``results.json``; those without hashes of their files are let through.

    Raises:
        UserError: If the hashes of two differ.
    """
    first: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for entry in entries:
        if entry.get("status") != FINISHED:
            continue
        place = tuple(entry.get(name) for name in ("dataset", "category", "seed"))
        hashes = entry.get("files") or {}
        for part in (part for part, value in hashes.items() if value):
            other = first.setdefault((*place, part), entry)
            if other["files"][part] != hashes[part]:
                msg = (
                    f"The cells {other.get('id')} and {entry.get('id')} have other images for {part} and do not belong "
                    "into one table: give their rows the same data and the dataset a split that depends on the seed "
                    "alone, or delete the older cell's folder."
                )
                raise UserError(msg)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other benchmarks out of the folder.

    Raises:
        UserError: If one is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        msg = f"Another benchmark is at work in {folder}: wait for its end, or choose another --output."
        raise UserError(msg) from error
