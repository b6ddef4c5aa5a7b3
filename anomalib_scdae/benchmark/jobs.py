# SPDX-License-Identifier: Apache-2.0
"""What is done for a cell, in which processes, and what is recorded of their ends."""

from pathlib import Path
from typing import Any

from anomalib_scdae.benchmark.cells import FINISHED, CellFolder
from anomalib_scdae.benchmark.process import ChildError, ChildProcess


class CellJob:
    """Runs one cell in processes of its own and records how they ended. Never raises for a cell that fails.

    One process trains and tests, and a second one measures latency where that is asked for; what the first one has
    found is safe by then. The job may run in any process that sees the benchmark's folder.

    Args:
        folder: The cell's folder.
        keep_weights: Whether the final weights stay when nothing is left to be measured.
    """

    def __init__(self, folder: CellFolder, keep_weights: bool = True) -> None:
        self.folder, self.keep_weights = folder, keep_weights
        self.run_step = run_step
        self.working_folder = Path.cwd()
        self._child: ChildProcess | None = None
        self._stopped = False

    def work(self) -> None:
        """Do what is left of the cell."""
        folder = self.folder
        if folder.status != FINISHED:
            folder.begin()
            error = self._run("train")
            if folder.status != FINISHED and not self._stopped:
                folder.fail(error)
        if folder.latency_is_due and not self._stopped:
            folder.begin_latency()
            error = self._run("deploy")
            if folder.lacks_latency and not self._stopped:
                folder.write_result({**folder.result(), "latency": {"error": error}})
        if folder.status == FINISHED and not folder.lacks_latency and not self.keep_weights and not self._stopped:
            folder.weights.unlink(missing_ok=True)

    def stop(self) -> None:
        """End the cell's process; the cell stays pending."""
        self._stopped = True
        if self._child is not None:
            self._child.kill()

    def __getstate__(self) -> dict[str, Any]:
        """Travel without the process."""
        return {**self.__dict__, "_child": None}

    def _run(self, step: str) -> str:
        """Run a step in a process of its own, and return why it has left no result."""
        folder = self.folder
        folder.tell("starting")
        with ChildProcess(self.run_step, folder, step, log=folder.log, folder=self.working_folder) as self._child:
            try:
                if self._stopped:
                    self._child.kill()
                self._child.receive()
            except ChildError as error:
                return str(error)
        return f"The process ended without a result; see {folder.log.name}."


def run_step(folder: CellFolder, step: str) -> None:
    """Run a step of a cell in this process.

    Args:
        folder: The cell's folder.
        step: ``train`` to train and test it, ``deploy`` to measure the deployed model of a cell that is finished.
    """
    from anomalib_scdae.benchmark.cell import run  # heavy, and needed in the cell's own process only

    {"train": run.train_and_test, "deploy": run.measure_deployed}[step](folder)
