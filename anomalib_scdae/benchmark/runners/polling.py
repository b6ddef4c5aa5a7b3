# SPDX-License-Identifier: Apache-2.0
"""What all runners of cells do alike: hand out the jobs, and tell tables and display as they start and end."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from anomalib.pipelines.components.base import Runner

from anomalib_scdae.benchmark.cells import FINISHED
from anomalib_scdae.benchmark.display import Display
from anomalib_scdae.benchmark.jobs import CellJob

POLL_SECONDS = 0.5


class PollingRunner(Runner):
    """Runs jobs wherever :meth:`submit` brings them."""

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Have what runs the jobs at hand."""
        yield

    @abstractmethod
    def submit(self, job: CellJob) -> Any:
        """Let a job be done when there is room for it, and return a handle."""

    @abstractmethod
    def wait(self, handles: Sequence[Any]) -> Sequence[Any]:
        """Return the handles of jobs that have ended, after :data:`POLL_SECONDS` at the latest."""

    @abstractmethod
    def failure(self, handle: Any) -> str | None:
        """Say why a job that has ended could not be done; ``None`` if it was, whatever has become of its cell."""

    @abstractmethod
    def cancel(self, handles: dict[Any, CellJob]) -> None:
        """End jobs that are running or waiting."""

    def run(self, args: dict, prev_stage_results: Any = None) -> Any:
        """Run all jobs and return their results."""
        jobs: list[CellJob] = list(self.generator(args, prev_stage_results))  # type: ignore[arg-type]
        for job in jobs:
            job.folder.clear_progress()
        results: list[Any] = []
        with self.connected(), Display(len(jobs)) as display:
            handles = {self.submit(job): job for job in jobs}
            try:
                while handles:
                    done = self.wait(list(handles))
                    display.poll([job.folder for job in handles.values()])
                    for handle in done:
                        job = handles.pop(handle)
                        results.append(self._end(job, self.failure(handle)))
                        display.ended(job.folder, results[-1])
            except BaseException:
                self.cancel(handles)
                raise
        return results

    @staticmethod
    def _end(job: CellJob, failure: str | None) -> dict[str, Any]:
        store = job.comparison.store
        if failure is not None and store.status(job.cell) != FINISHED:
            job.folder.begin()
            store.fail(job.cell, failure)
        job.comparison.refresh()
        return store.result(job.cell)
