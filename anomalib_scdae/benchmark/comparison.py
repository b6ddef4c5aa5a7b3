# SPDX-License-Identifier: Apache-2.0
"""A comparison as a whole: its cells, its folder, and what is written there whenever a cell ends."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from anomalib_scdae.benchmark.grid import Cell
from anomalib_scdae.benchmark.store import Store

logger = logging.getLogger(__name__)
SCHEMA = 1


@dataclass(frozen=True)
class Comparison:
    """What every job of a comparison knows; made of plain values, so that it travels to other processes.

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

    @property
    def store(self) -> Store:
        """The folder's reader and writer."""
        return Store(self.folder)

    def refresh(self) -> None:
        """Write results and report anew; processes and threads take turns."""
        with FileLock(self.folder / ".results.lock"):
            self.store.write_results(self.header, self.cells)
            write_report(self.folder)


def write_report(folder: Path) -> None:
    """Write the report; one that cannot be written must not end the runs that it reports on."""
    try:
        from anomalib_scdae.benchmark import report

        report.write_report(folder)
    except Exception:
        logger.exception("The report in %s could not be written; results.json and results.csv are.", folder)
