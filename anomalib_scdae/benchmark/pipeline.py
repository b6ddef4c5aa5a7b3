# SPDX-License-Identifier: Apache-2.0
"""The comparison as a pipeline of Anomalib's: a generator of jobs, and a runner that is a matter of choice."""

import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib.pipelines.components.base import Job, JobGenerator, Pipeline, Runner

from anomalib_scdae.benchmark.comparison import Comparison
from anomalib_scdae.benchmark.grid import Cell
from anomalib_scdae.benchmark.store import FINISHED, Store, read_json, write_json
from anomalib_scdae.errors import UserError

if TYPE_CHECKING:
    from anomalib_scdae.benchmark.runners.ray_cluster import RayOptions

CELL_MODULE = "anomalib_scdae.benchmark.cell"
LOG, PROGRESS = "log.txt", "progress.json"


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
        self.module = CELL_MODULE
        self.working_folder = Path.cwd()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

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
            self._train(store)
        if store.latency_is_due(self.cell) and not self._stopped:
            self._deploy(store)
        if store.status(self.cell) == FINISHED and not self.comparison.keep_weights and not self._stopped:
            store.drop_weights(self.cell)

    def stop(self) -> None:
        """End the cell's process; the cell stays pending."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    @staticmethod
    def collect(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Gather the results."""
        return results

    @staticmethod
    def save(results: list[dict[str, Any]]) -> None:
        """Save nothing more: every job has written its result when it ended."""

    def __getstate__(self) -> dict[str, Any]:
        """Travel without the process."""
        return {**self.__dict__, "_process": None}

    def _train(self, store: Store) -> None:
        folder = store.begin(self.cell)
        code = self._run_process(folder, "train")
        if store.status(self.cell) != FINISHED and not self._stopped:
            store.fail(self.cell, _why(folder, code))

    def _deploy(self, store: Store) -> None:
        folder = store.begin_latency(self.cell)
        code = self._run_process(folder, "deploy")
        if store.lacks_latency(self.cell) and not self._stopped:
            store.add(self.cell, latency={"error": _why(folder, code)})

    def _run_process(self, folder: Path, step: str) -> int:
        write_json(folder / PROGRESS, {"phase": "starting", "step": None, "total": None})
        command = [sys.executable, "-m", self.module, str(folder.absolute() / "config.yaml"), step]
        with (folder / LOG).open("ab") as log:
            # The child ends when its standard input does, so also when this process is killed.
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, cwd=self.working_folder
            )
            try:
                if self._stopped:
                    self._process.kill()
                return self._process.wait()
            finally:
                self._process.kill()


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
        with Store(self.generator.comparison.folder).locked():
            self.generator.comparison.refresh()
            for runner in self._setup_runners({}):
                runner.run({})
            self.generator.comparison.refresh()


def _why(folder: Path, code: int) -> str:
    """Say in one sentence why a cell's process ended without a result."""
    told = read_json(folder / "failure.json")
    if told is not None:
        return str(told["error"])
    if code == -signal.SIGKILL:
        return f"The process was killed (SIGKILL), as the system does when memory runs out; see {LOG}."
    if code < 0:
        return f"The process was ended by {signal.Signals(-code).name}; see {LOG}."
    return f"The process ended with status {code} and without a result; see {LOG}."


def make_runner_of(kind: str, workers: int, ray: "RayOptions | None" = None) -> Callable[[JobGenerator], Runner]:
    """Return what makes the runner called ``kind``.

    Args:
        kind: ``process`` or ``ray``.
        workers: Cells at the same time, of ``process``.
        ray: Cluster and resources, of ``ray``.

    Raises:
        UserError: If there is no such runner, or it cannot run.
    """
    if kind == "ray":
        from anomalib_scdae.benchmark.runners.ray_cluster import RayOptions, RayRunner, check_options

        options = ray or RayOptions()
        check_options(options)
        return lambda generator: RayRunner(generator, options)
    if kind == "process":
        from anomalib_scdae.benchmark.runners.process import ProcessRunner

        return lambda generator: ProcessRunner(generator, workers)
    msg = f"There is no runner '{kind}': choose process or ray."
    raise UserError(msg)
