# SPDX-License-Identifier: Apache-2.0
"""Shows how far a comparison is: bars on a terminal, lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from anomalib_scdae.benchmark.estimate import Estimator
from anomalib_scdae.benchmark.grid import Cell
from anomalib_scdae.benchmark.store import FINISHED, Store, read_json


class Display(Protocol):
    """What a runner tells."""

    def started(self, cell: Cell, folder: Path) -> None:
        """A cell has started."""

    def poll(self) -> None:
        """Time has passed."""

    def ended(self, cell: Cell, result: dict[str, Any]) -> None:
        """A cell has ended."""


@contextmanager
def display(cells: int) -> Iterator[Display]:
    """Give the display that suits the standard output, for a number of cells to run."""
    console = Console()
    if not console.is_terminal:
        yield _Lines(cells, console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[phase]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        yield _Bars(cells, console, progress)


class _Lines:
    def __init__(self, cells: int, console: Console) -> None:
        self.cells, self.done, self.console = cells, 0, console

    def started(self, cell: Cell, folder: Path) -> None:
        del folder
        self.console.print(f"started: {cell.label}", markup=False, soft_wrap=True)

    def poll(self) -> None:
        pass

    def ended(self, cell: Cell, result: dict[str, Any]) -> None:
        self.done += 1
        line = f"[{self.done}/{self.cells}] {cell.label}: {_outcome(result)}"
        self.console.print(line, markup=False, soft_wrap=True)


class _Bars(_Lines):
    def __init__(self, cells: int, console: Console, progress: Progress) -> None:
        super().__init__(cells, console)
        self.progress = progress
        self.all = progress.add_task("cells", total=cells, phase=f"0/{cells}")
        self.running: dict[str, tuple[Any, Path]] = {}

    def started(self, cell: Cell, folder: Path) -> None:
        self.running[cell.id] = self.progress.add_task(cell.label, total=None, phase="starting"), folder

    def poll(self) -> None:
        for task, folder in self.running.values():
            told = read_json(folder / "progress.json") or {}
            if told:
                step, total = told.get("step"), told.get("total")
                phase = told["phase"] + (f" {step}/{total or '?'}" if step else "")
                self.progress.update(task, completed=step or 0, total=total, phase=phase)

    def ended(self, cell: Cell, result: dict[str, Any]) -> None:
        super().ended(cell, result)
        self.progress.remove_task(self.running.pop(cell.id)[0])
        self.progress.update(self.all, completed=self.done, phase=f"{self.done}/{self.cells}")


def _outcome(result: dict[str, Any]) -> str:
    if result["status"] != FINISHED:
        return f"{result['status']}: {result.get('error') or 'interrupted'}"
    aurocs = result["accuracy"]["image_auroc"]
    figures = ", ".join(f"{name.removesuffix('_anomalies')} {100 * value:.1f}" for name, value in aurocs.items())
    return f"finished in {_time(result.get('duration_seconds'))}, image AUROC {figures or 'none'}"


def print_cells(cells: list[Cell], store: Store, chosen: set[str]) -> None:
    """Print all cells with their status and an estimate of the time that is left, for ``--dry_run``."""
    estimator = Estimator(cells, store)
    table = Table("cell", "status", "estimated time")
    left = 0.0
    for cell in cells:
        status = store.status(cell)
        estimate = "" if status == FINISHED else "not chosen"
        if status != FINISHED and cell.id in chosen:
            seconds = estimator.seconds(cell)
            left += seconds
            estimate = _time(seconds)
        elif cell.id in chosen and store.latency_is_due(cell):
            left += estimator.deployment_seconds
            status, estimate = f"{status}, latency is due", _time(estimator.deployment_seconds)
        table.add_row(cell.id, status, estimate)
    console = Console() if Console().is_terminal else Console(width=160)
    console.print(table)
    console.print(f"Time left, one cell after the other: about {_time(left)} ({estimator.basis}).")


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else str(timedelta(seconds=round(seconds)))
