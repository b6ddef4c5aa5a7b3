# SPDX-License-Identifier: Apache-2.0
"""A comparison: one job for each cell that is not finished, and tables that are written anew whenever one ends."""

import logging
from collections.abc import Collection, Mapping
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalib_scdae.benchmark.cells import FINISHED, Cell, CellFolder
from anomalib_scdae.benchmark.display import Display
from anomalib_scdae.benchmark.jobs import CellJob
from anomalib_scdae.benchmark.pools import Pool
from anomalib_scdae.benchmark.store import locked, write_results

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Comparison:
    """A benchmark's folder, and what is compared there.

    Attributes:
        folder: The benchmark's folder.
        header: What ``results.json`` says besides the cells.
        cells: All cells of the grid, whether they run now or not.
        keep_weights: Whether cells keep their final weights when nothing is left to be measured.
    """

    folder: Path
    header: Mapping[str, Any]
    cells: list[Cell]
    keep_weights: bool = True

    def refresh(self) -> None:
        """Write results and report anew; a report that cannot be written must not end the runs that it reports on.

        Raises:
            UserError: If cells that belong side by side have seen different images.
        """
        write_results(self.folder, self.header, self.cells)
        try:
            from anomalib_scdae.benchmark import report

            report.write_report(self.folder)
        except Exception:
            logger.exception("The report in %s could not be written; results.json and results.csv are.", self.folder)

    def folders(self, chosen: Collection[str] | None = None) -> list[CellFolder]:
        """Return the folders of the cells with the ``chosen`` ids, of all by default."""
        return [CellFolder(self.folder, cell) for cell in self.cells if chosen is None or cell.id in chosen]

    def run(self, pool: Pool, chosen: Collection[str] | None = None) -> None:
        """Run what is left of the cells with the ``chosen`` ids, with the folder locked against other benchmarks."""
        with locked(self.folder):
            self.refresh()
            jobs = [CellJob(folder, self.keep_weights) for folder in self.folders(chosen) if folder.is_due]
            for job in jobs:
                job.folder.clear_progress()
            with pool, Display(len(jobs)) as display:
                running = {pool.start(job): job for job in jobs}
                try:
                    while running:
                        done, _ = wait(running, POLL_SECONDS, FIRST_COMPLETED)
                        display.poll([job.folder for job in running.values()])
                        for future in done:
                            folder = running.pop(future).folder
                            failure = pool.failure(future)
                            if failure is not None and folder.status != FINISHED:
                                folder.begin()
                                folder.fail(failure)
                            self.refresh()
                            display.ended(folder)
                except BaseException:
                    for future, job in running.items():
                        pool.cancel(future, job)
                    raise
            self.refresh()
