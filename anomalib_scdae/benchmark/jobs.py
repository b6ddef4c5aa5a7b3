# SPDX-License-Identifier: Apache-2.0
"""A comparison as a pipeline of Anomalib's: one job for each cell, on a runner that is a matter of choice."""

import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anomalib.pipelines.components.base import Job, JobGenerator, Pipeline, Runner

from anomalib_scdae.benchmark import steps
from anomalib_scdae.benchmark.cells import FINISHED, Cell, CellFolder
from anomalib_scdae.benchmark.process import ChildError, ChildProcess
from anomalib_scdae.benchmark.store import Store

logger = logging.getLogger(__name__)


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
        """Write results and report anew; a report that cannot be written must not end the runs that it reports on.

        Raises:
            UserError: If cells that belong side by side have seen different images.
        """
        self.store.write_results(self.header, self.cells)
        try:
            from anomalib_scdae.benchmark import report

            report.write_report(self.folder)
        except Exception:
            logger.exception("The report in %s could not be written; results.json and results.csv are.", self.folder)


class CellJob(Job):
    """Runs one cell in processes of its own and records how they ended. Never raises for a cell that fails.

    One process trains and tests, and a second one measures latency where that is asked for; what the first one has
    found is safe by then. Any runner may run the job, in any process that sees the benchmark's folder.

    Args:
        cell: What to run.
        comparison: What it belongs to.
    """

    name = "cells"

    def __init__(self, cell: Cell, comparison: Comparison) -> None:
        self.cell = cell
        self.comparison = comparison
        self.run_step = steps.run_step
        self.working_folder = Path.cwd()
        self._child: ChildProcess | None = None
        self._stopped = False

    @property
    def folder(self) -> CellFolder:
        """The cell's folder."""
        return self.comparison.store.of(self.cell)

    def run(self, task_id: int | None = None) -> dict[str, Any]:
        """Run the cell and return its entry of ``results.json``."""
        del task_id
        self.work()
        self.comparison.refresh()
        return self.comparison.store.result(self.cell)

    def work(self) -> None:
        """Do what is left of the cell, without telling the tables."""
        store = self.comparison.store
        if store.status(self.cell) != FINISHED:
            self.folder.begin()
            error = self._run("train")
            if store.status(self.cell) != FINISHED and not self._stopped:
                store.fail(self.cell, error)
        if store.latency_is_due(self.cell) and not self._stopped:
            store.begin_latency(self.cell)
            error = self._run("deploy")
            if store.lacks_latency(self.cell) and not self._stopped:
                store.add(self.cell, latency={"error": error})
        if store.status(self.cell) == FINISHED and not self.comparison.keep_weights and not self._stopped:
            self.folder.weights.unlink(missing_ok=True)

    def stop(self) -> None:
        """End the cell's process; the cell stays pending."""
        self._stopped = True
        if self._child is not None:
            self._child.kill()

    @staticmethod
    def collect(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Gather the results."""
        return results

    @staticmethod
    def save(results: list[dict[str, Any]]) -> None:
        """Save nothing more: every job has written its result when it ended."""

    def __getstate__(self) -> dict[str, Any]:
        """Travel without the process."""
        return {**self.__dict__, "_child": None}

    def _run(self, step: str) -> str:
        """Run a step in a process of its own, and return why it has left no result."""
        self.folder.tell("starting")
        with ChildProcess(
            self.run_step, self.folder, step, log=self.folder.log, folder=self.working_folder
        ) as self._child:
            try:
                if self._stopped:
                    self._child.kill()
                self._child.receive()
            except ChildError as error:
                return str(error)
        return f"The process ended without a result; see {self.folder.log.name}."


class CellJobGenerator(JobGenerator):
    """Generates the jobs of the cells that are not finished.

    Args:
        comparison: The comparison.
        chosen: Tells which cells are to run.
    """

    def __init__(self, comparison: Comparison, chosen: Callable[[Cell], bool] = lambda cell: True) -> None:  # noqa: ARG005
        self.comparison = comparison
        self.chosen = chosen

    @property
    def job_class(self) -> type[Job]:
        """The class of the jobs."""
        return CellJob

    def generate_jobs(self, args: dict | None = None, prev_stage_result: Any = None) -> Generator[Job, None, None]:
        """Yield a job for each cell that was chosen and is pending, has failed or lacks its latency."""
        del args, prev_stage_result
        for cell in self.comparison.cells:
            store = self.comparison.store
            if self.chosen(cell) and (store.status(cell) != FINISHED or store.latency_is_due(cell)):
                yield CellJob(cell, self.comparison)


class ComparisonPipeline(Pipeline):
    """Runs what is left of a comparison.

    Anomalib's pipeline reads a file, redirects all logs and swallows errors; here the grid is checked already, each
    cell has a log of its own, and errors reach the caller.

    Args:
        generator: Generates the jobs.
        make_runner: Makes the runner for them.
    """

    def __init__(self, generator: CellJobGenerator, make_runner: Callable[[JobGenerator], Runner]) -> None:
        self.generator = generator
        self.make_runner = make_runner

    def _setup_runners(self, args: dict) -> list[Runner]:
        del args
        return [self.make_runner(self.generator)]

    def run(self, args: Any = None) -> None:
        """Run the jobs, with the folder locked against other benchmarks."""
        del args
        comparison = self.generator.comparison
        with comparison.store.locked():
            comparison.refresh()
            for runner in self._setup_runners({}):
                runner.run({})
            comparison.refresh()
