# SPDX-License-Identifier: Apache-2.0
"""Runs cells on a Ray cluster: Ray decides where and when, everything else is as on one machine."""

import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from anomalib.pipelines.components.base import JobGenerator, Runner

from anomalib_scdae.benchmark.display import Display, display
from anomalib_scdae.benchmark.pipeline import PROGRESS, CellJob
from anomalib_scdae.benchmark.store import FINISHED
from anomalib_scdae.errors import UserError

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class RayOptions:
    """Where Ray runs cells, and what it reserves for each of them.

    Attributes:
        address: Address of a running cluster (``auto`` for the one this machine belongs to, ``ray://HOST:PORT``);
            without one, ``RAY_ADDRESS`` or a cluster of this machine alone, which ends with the benchmark.
        cpus_per_cell: Processors of a cell; PyTorch gets as many threads.
        gpus_per_cell: GPUs of a cell; with 0, it sees none.
    """

    address: str | None = None
    cpus_per_cell: float = 1
    gpus_per_cell: float = 0


class RayRunner(Runner):
    """Gives each job to Ray as a task; the cell has processes of its own there, as everywhere.

    All machines must see the benchmark's folder, the datasets and the folder that the benchmark was started in under
    the same paths, and have the same packages installed. A cell whose machine is lost has failed, and the same command
    runs it again; Ray does not, so that one that brings machines down does so once.

    Args:
        generator: Generates the jobs.
        options: Cluster and resources.

    Raises:
        UserError: If Ray is not installed or an option makes no sense.
    """

    def __init__(self, generator: JobGenerator, options: RayOptions) -> None:
        super().__init__(generator)
        self.options = options
        check_options(options)

    def run(self, args: dict, prev_stage_results: Any = None) -> Any:
        """Run all jobs and return their results."""
        jobs: list[CellJob] = list(self.generator(args, prev_stage_results))  # type: ignore[arg-type]
        with connected(self.options), display(len(jobs)) as shown:
            results = _Tasks(jobs, self.options, shown).run()
        gathered = self.generator.job_class.collect(results)
        self.generator.job_class.save(gathered)
        return gathered


class _Tasks:
    """The jobs on their way through the cluster."""

    def __init__(self, jobs: list[CellJob], options: RayOptions, shown: Display) -> None:
        import ray

        self.shown = shown
        self.started: set[str] = set()
        resources = {"num_cpus": options.cpus_per_cell, "num_gpus": options.gpus_per_cell}
        # The children that a lost worker leaves end by themselves; repeating is for the next call of the benchmark.
        task = ray.remote(work).options(**resources, max_retries=0)
        for job in jobs:
            _progress_of(job).unlink(missing_ok=True)
        self.jobs = {task.remote(job): job for job in jobs}

    def run(self) -> list[Any]:
        """Wait for all, and tell the tables and the display as they end."""
        import ray

        waiting, results = list(self.jobs), []
        try:
            while waiting:
                done, waiting = ray.wait(waiting, timeout=POLL_SECONDS)
                for reference in waiting:
                    self._look_at(self.jobs[reference])
                self.shown.poll()
                results += [self._end(reference) for reference in done]
        except BaseException:
            for reference in waiting:
                ray.cancel(reference, force=True)
            raise
        return results

    def _look_at(self, job: CellJob) -> None:
        if job.cell.id not in self.started and _progress_of(job).exists():
            self._start(job)

    def _start(self, job: CellJob) -> None:
        self.started.add(job.cell.id)
        self.shown.started(job.cell, _progress_of(job).parent)

    def _end(self, reference: Any) -> dict[str, Any]:
        import ray

        job = self.jobs[reference]
        store = job.comparison.store
        if job.cell.id not in self.started:
            self._start(job)
        try:
            failure = ray.get(reference)
        except ray.exceptions.RayError as error:
            # What a task raises ends with the cause, what Ray itself says begins with it.
            lines = str(error).strip().splitlines() or [""]
            why = lines[-1] if isinstance(error, ray.exceptions.RayTaskError) else lines[0]
            failure = f"Ray lost the cell: {type(error).__name__}: {why}"
        if failure is not None and store.status(job.cell) != FINISHED:
            store.begin(job.cell)
            store.fail(job.cell, failure)
        job.comparison.refresh()
        result = store.result(job.cell)
        self.shown.ended(job.cell, result)
        return result


def work(job: CellJob) -> str | None:
    """Do a job's work on a machine of the cluster.

    Returns:
        Why it could not be begun; what happens later is in the cell's folder.
    """
    for folder in (job.comparison.folder, job.working_folder):
        if not folder.is_dir():
            return f"The machine {platform.node()} does not see {folder}: all machines must share it."
    job.work()
    return None


def check_options(options: RayOptions) -> None:
    """Check what can be checked without a cluster.

    Raises:
        UserError: If Ray is not installed or an option makes no sense.
    """
    if options.cpus_per_cell <= 0 or options.gpus_per_cell < 0:
        msg = (
            f"A cell cannot have {options.cpus_per_cell:g} CPUs and {options.gpus_per_cell:g} GPUs: "
            "give ray.cpus_per_cell above 0, and ray.gpus_per_cell 0 or more."
        )
        raise UserError(msg)
    try:
        import ray  # noqa: F401
    except ImportError as error:
        msg = "runner: ray needs Ray, which is not installed: pip install 'anomalib-scdae[ray]'"
        raise UserError(msg) from error


@contextmanager
def connected(options: RayOptions) -> Iterator[None]:
    """Connect to the cluster, or use the connection that there is.

    Raises:
        UserError: If there is no cluster at the address, or no machine of it can hold a cell.
    """
    import ray

    own = not ray.is_initialized()
    if own:
        try:
            ray.init(address=options.address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = options.address or "the address that RAY_ADDRESS gives"
            msg = f"There is no Ray cluster at {where}: {str(error).strip().splitlines()[0]}"
            raise UserError(msg) from error
    try:
        _check_resources(options)
        yield
    finally:
        if own:
            ray.shutdown()


def _check_resources(options: RayOptions) -> None:
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(
        machine.get("CPU", 0) >= options.cpus_per_cell and machine.get("GPU", 0) >= options.gpus_per_cell
        for machine in machines
    ):
        msg = (
            f"No machine of the Ray cluster has {options.cpus_per_cell:g} CPUs and {options.gpus_per_cell:g} GPUs for "
            "a cell: lower ray.cpus_per_cell or ray.gpus_per_cell, or add machines first."
        )
        raise UserError(msg)


def _progress_of(job: CellJob) -> Any:
    return job.comparison.store.cell_folder(job.cell) / PROGRESS
