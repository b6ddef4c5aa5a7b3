# SPDX-License-Identifier: Apache-2.0
"""Runs cells on this machine, one or a few at a time."""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from anomalib.pipelines.components.base import JobGenerator

from anomalib_scdae.benchmark.jobs import CellJob
from anomalib_scdae.benchmark.runners.polling import POLL_SECONDS, PollingRunner


class LocalRunner(PollingRunner):
    """Starts each job's process from a thread of its own.

    Args:
        generator: Generates the jobs.
        workers: Jobs that run at the same time. More than one makes times and latencies depend on each other.
    """

    def __init__(self, generator: JobGenerator, workers: int = 1) -> None:
        super().__init__(generator)
        self.workers = workers

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Have threads at hand."""
        with ThreadPoolExecutor(self.workers) as self._pool:
            yield

    def submit(self, job: CellJob) -> Future[None]:
        """Let a thread do the job."""
        return self._pool.submit(job.work)

    def wait(self, handles: Sequence[Future[None]]) -> Sequence[Future[None]]:
        """Return the jobs that have ended."""
        return list(wait(handles, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED).done)

    def failure(self, handle: Future[None]) -> str | None:
        """Raise what a job should never raise."""
        return handle.result()

    def cancel(self, handles: dict[Future[None], CellJob]) -> None:
        """End the processes of jobs that are running, and let no other start."""
        for handle, job in handles.items():
            if not handle.cancel():
                job.stop()
