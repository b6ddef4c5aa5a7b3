# SPDX-License-Identifier: Apache-2.0
"""Runs cells on a Ray cluster: Ray decides where and when, everything else is as on one machine."""

import logging
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from anomalib.pipelines.components.base import JobGenerator

from anomalib_scdae.benchmark.jobs import CellJob
from anomalib_scdae.benchmark.runners.polling import POLL_SECONDS, PollingRunner
from anomalib_scdae.errors import UserError


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

    def check(self) -> None:
        """Check what can be checked without a cluster.

        Raises:
            UserError: If Ray is not installed or an option makes no sense.
        """
        if self.cpus_per_cell <= 0 or self.gpus_per_cell < 0:
            msg = f"A cell cannot have {self.words}: give ray.cpus_per_cell above 0, and ray.gpus_per_cell 0 or more."
            raise UserError(msg)
        try:
            import ray  # noqa: F401
        except ImportError as error:
            msg = "runner: ray needs Ray, which is not installed: pip install 'anomalib-scdae[ray]'"
            raise UserError(msg) from error


class RayRunner(PollingRunner):
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
        options.check()

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect to the cluster, or use the connection that there is.

        Raises:
            UserError: If there is no cluster at the address, or no machine of it can hold a cell.
        """
        import ray

        own = not ray.is_initialized()
        if own:
            try:
                ray.init(address=self.options.address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                where = self.options.address or "the address that RAY_ADDRESS gives"
                msg = f"There is no Ray cluster at {where}: {str(error).strip().splitlines()[0]}"
                raise UserError(msg) from error
        try:
            self._check_resources(ray.nodes())
            yield
        finally:
            if own:
                ray.shutdown()

    def submit(self, job: CellJob) -> Any:
        """Let Ray do the job."""
        import ray

        resources = {"num_cpus": self.options.cpus_per_cell, "num_gpus": self.options.gpus_per_cell}
        # The children that a lost worker leaves end by themselves; repeating is for the next call of the benchmark.
        return ray.remote(work).options(**resources, max_retries=0).remote(job)

    def wait(self, handles: Sequence[Any]) -> Sequence[Any]:
        """Return the jobs that have ended."""
        import ray

        return ray.wait(handles, timeout=POLL_SECONDS)[0]

    def failure(self, handle: Any) -> str | None:
        """Say why a job could not be begun, or what has become of its machine."""
        import ray

        try:
            return ray.get(handle)
        except ray.exceptions.RayError as error:
            # What a task raises ends with the cause, what Ray itself says begins with it.
            lines = str(error).strip().splitlines() or [""]
            why = lines[-1] if isinstance(error, ray.exceptions.RayTaskError) else lines[0]
            return f"Ray lost the cell: {type(error).__name__}: {why}"

    def cancel(self, handles: dict[Any, CellJob]) -> None:
        """End the jobs' processes, whose children end with them."""
        import ray

        for handle in handles:
            ray.cancel(handle, force=True)

    def _check_resources(self, nodes: list[dict[str, Any]]) -> None:
        machines = [node["Resources"] for node in nodes if node["Alive"]]
        if not any(
            machine.get("CPU", 0) >= self.options.cpus_per_cell and machine.get("GPU", 0) >= self.options.gpus_per_cell
            for machine in machines
        ):
            msg = (
                f"No machine of the Ray cluster has {self.options.words} for a cell: lower ray.cpus_per_cell or "
                "ray.gpus_per_cell, or add machines first."
            )
            raise UserError(msg)


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
