# SPDX-License-Identifier: Apache-2.0
"""Shows how far a comparison is: bars on a terminal, lines elsewhere; and the list of cells with their times."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from anomalib_scdae.benchmark.cells import FINISHED, Cell, CellFolder
from anomalib_scdae.benchmark.estimate import Estimator


class Display(Progress):
    """What a comparison tells on the standard output while it is open.

    Args:
        cells: Number of cells to run.
    """

    def __init__(self, cells: int) -> None:
        console = Console()
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[phase]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.cells, self.done = cells, 0
        self.all = self.add_task("cells", total=cells, phase=f"0/{cells}")
        self.bars: dict[str, TaskID] = {}

    def poll(self, folders: Sequence[CellFolder]) -> None:
        """Time has passed: look at how far the cells that have not ended are."""
        for folder in folders:
            if told := folder.progress():
                step, total = told.get("step"), told.get("total")
                phase = told["phase"] + (f" {step}/{total or '?'}" if step else "")
                self.update(self._bar_of(folder.cell), completed=step or 0, total=total, phase=phase)

    def ended(self, folder: CellFolder) -> None:
        """A cell has ended."""
        bar = self._bar_of(folder.cell)
        self.done += 1
        self._tell(f"[{self.done}/{self.cells}] {folder.cell.label}: {_outcome(folder.entry())}")
        self.remove_task(bar)
        self.update(self.all, completed=self.done, phase=f"{self.done}/{self.cells}")

    def _bar_of(self, cell: Cell) -> TaskID:
        if cell.id not in self.bars:
            self.bars[cell.id] = self.add_task(cell.label, total=None, phase="starting")
            if not self.console.is_terminal:
                self._tell(f"started: {cell.label}")
        return self.bars[cell.id]

    def _tell(self, line: str) -> None:
        self.console.print(line, markup=False, soft_wrap=True)


def print_cells(folders: Sequence[CellFolder], chosen: Collection[str]) -> None:
    """Print all cells with their status and an estimate of the time that is left, for ``--dry_run``."""
    estimator = Estimator(folders)
    table = Table("cell", "status", "estimated time")
    left, unknown = 0.0, 0
    for folder in folders:
        status, estimate = folder.status, ""
        if folder.cell.id not in chosen:
            estimate = "" if status == FINISHED else "not chosen"
        elif folder.is_due:
            seconds = estimator.deployment_seconds if status == FINISHED else estimator.seconds(folder.cell)
            status += ", latency is due" if status == FINISHED else ""
            left += seconds or 0.0
            unknown += seconds is None
            estimate = _time(seconds)
        table.add_row(folder.cell.id, status, estimate)
    console = Console() if Console().is_terminal else Console(width=160)
    console.print(table)
    more = f", and {unknown} cells of which it cannot be told" if unknown else ""
    console.print(f"Time left, one cell after the other: about {_time(left)} ({estimator.basis}){more}.")


def _outcome(result: dict[str, Any]) -> str:
    if result["status"] != FINISHED:
        return f"{result['status']}: {result.get('error') or 'interrupted'}"
    aurocs = result["accuracy"]["image_auroc"]
    figures = ", ".join(f"{name.removesuffix('_anomalies')} {100 * value:.1f}" for name, value in aurocs.items())
    return f"finished in {_time(result.get('duration_seconds'))}, image AUROC {figures or 'none'}"


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else str(timedelta(seconds=round(seconds)))
