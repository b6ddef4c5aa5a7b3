# SPDX-License-Identifier: Apache-2.0
"""Where cells run: on this machine, or on a Ray cluster, which decides itself where and when."""

import logging
import platform
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from anomalib_scdae.benchmark.jobs import CellJob
from anomalib_scdae.errors import UserError


class LocalPool(ThreadPoolExecutor):
    """Starts each job's process from a thread of its own.

    Args:
        workers: Jobs that run at the same time. More than one makes times and latencies depend on each other.
    """

    def __init__(self, workers: int = 1) -> None:
        super().__init__(workers)

    def start(self, job: CellJob) -> Future[Any]:
        """Let a thread do the job."""
        return self.submit(job.work)

    def failure(self, future: Future[Any]) -> str | None:
        """Raise what a job should never raise."""
        return future.result()

    def cancel(self, future: Future[Any], job: CellJob) -> None:
        """End the job's process, or never start it."""
        if not future.cancel():
            job.stop()


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

    @property
    def words(self) -> str:
        """What a cell gets."""
        return f"{self.cpus_per_cell:g} CPUs and {self.gpus_per_cell:g} GPUs"


class RayPool:
    """Gives each job to Ray as a task; the cell has processes of its own there, as everywhere.

    All machines must see the benchmark's folder, the datasets and the folder that the benchmark was started in under
    the same paths, and have the same packages installed. A cell whose machine is lost has failed, and the same command
    runs it again; Ray does not, so that one that brings machines down does so once.

    Args:
        options: Cluster and resources.

    Raises:
        UserError: If Ray is not installed or an option makes no sense.
    """

    def __init__(self, options: RayOptions) -> None:
        if options.cpus_per_cell <= 0 or options.gpus_per_cell < 0:
            msg = f"A cell cannot have {options.words}: give ray.cpus_per_cell above 0 and ray.gpus_per_cell 0 or more."
            raise UserError(msg)
        try:
            import ray
        except ImportError as error:
            msg = "runner: ray needs Ray, which is not installed: pip install 'anomalib-scdae[ray]'"
            raise UserError(msg) from error
        self.options, self._ray = options, ray
        self._tasks: dict[Future[Any], Any] = {}
        self._own_connection = False

    def __enter__(self) -> "RayPool":
        """Connect to the cluster, or use the connection that there is.

        Raises:
            UserError: If there is no cluster at the address, or no machine of it can hold a cell.
        """
        self._own_connection = not self._ray.is_initialized()
        if self._own_connection:
            try:
                self._ray.init(address=self.options.address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                where = self.options.address or "the address that RAY_ADDRESS gives"
                msg = f"There is no Ray cluster at {where}: {str(error).strip().splitlines()[0]}"
                raise UserError(msg) from error
        try:
            self._check_resources()
        except UserError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        """Leave the cluster."""
        if self._own_connection:
            self._ray.shutdown()

    def start(self, job: CellJob) -> Future[Any]:
        """Let Ray do the job."""
        resources = {"num_cpus": self.options.cpus_per_cell, "num_gpus": self.options.gpus_per_cell}
        # The children that a lost worker leaves end by themselves; repeating is for the next call of the benchmark.
        task = self._ray.remote(work).options(**resources, max_retries=0).remote(job)
        future = task.future()
        self._tasks[future] = task
        return future

    def failure(self, future: Future[Any]) -> str | None:
        """Say why a job could not be begun, or what has become of its machine."""
        try:
            return future.result()
        except self._ray.exceptions.RayError as error:
            # What a task raises ends with the cause, what Ray itself says begins with it.
            lines = str(error).strip().splitlines() or [""]
            why = lines[-1] if isinstance(error, self._ray.exceptions.RayTaskError) else lines[0]
            return f"Ray lost the cell: {type(error).__name__}: {why}"

    def cancel(self, future: Future[Any], job: CellJob) -> None:
        """End the job's process, whose children end with it."""
        del job
        self._ray.cancel(self._tasks[future], force=True)

    def _check_resources(self) -> None:
        options = self.options
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(
            machine.get("CPU", 0) >= options.cpus_per_cell and machine.get("GPU", 0) >= options.gpus_per_cell
            for machine in machines
        ):
            msg = (
                f"No machine of the Ray cluster has {options.words} for a cell: lower ray.cpus_per_cell or "
                "ray.gpus_per_cell, or add machines first."
            )
            raise UserError(msg)


def work(job: CellJob) -> str | None:
    """Do a job's work on a machine of the cluster.

    Returns:
        Why it could not be begun; what happens later is in the cell's folder.
    """
    for folder in (job.folder.benchmark, job.working_folder):
        if not folder.is_dir():
            return f"The machine {platform.node()} does not see {folder}: all machines must share it."
    job.work()
    return None


#: Where jobs run.
Pool = LocalPool | RayPool
