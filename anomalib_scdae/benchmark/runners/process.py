# SPDX-License-Identifier: Apache-2.0
"""Runs cells on this machine, one or a few at a time."""

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from anomalib.pipelines.components.base import JobGenerator, Runner

from anomalib_scdae.benchmark.display import display
from anomalib_scdae.benchmark.pipeline import CellJob

POLL_SECONDS = 0.5


class ProcessRunner(Runner):
    """Runs each job's process from a thread of its own, with a live display.

    Args:
        generator: Generates the jobs.
        workers: Jobs that run at the same time. More than one makes times and latencies depend on each other.
    """

    def __init__(self, generator: JobGenerator, workers: int = 1) -> None:
        super().__init__(generator)
        self.workers = workers

    def run(self, args: dict, prev_stage_results: Any = None) -> Any:
        """Run all jobs and return their results."""
        jobs: list[CellJob] = list(self.generator(args, prev_stage_results))  # type: ignore[arg-type]
        results: list[Any] = []
        waiting, running = list(jobs), dict[Future[Any], CellJob]()
        with ThreadPoolExecutor(self.workers) as pool, display(len(jobs)) as shown:
            try:
                while waiting or running:
                    while waiting and len(running) < self.workers:
                        job = waiting.pop(0)
                        shown.started(job.cell, job.comparison.store.cell_folder(job.cell))
                        running[pool.submit(job.run)] = job
                    done, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                    shown.poll()
                    for future in done:
                        shown.ended(running.pop(future).cell, future.result())
                        results.append(future.result())
            except BaseException:
                for job in running.values():
                    job.stop()
                raise
        gathered = self.generator.job_class.collect(results)
        self.generator.job_class.save(gathered)
        return gathered
