# SPDX-License-Identifier: Apache-2.0
"""``anomalib-scdae`` with narrow networks, in this process and in those of a benchmark's cells."""

from anomalib_scdae.benchmark import jobs
from anomalib_scdae.benchmark.cells import CellFolder
from tests.narrow import make_narrow


def run_step(folder: CellFolder, step: str) -> None:
    """Do what a cell's process does, which starts with nothing but this module."""
    make_narrow()
    jobs.run_step(folder, step)


def main() -> int:
    """Run the command with the words of the command line."""
    from anomalib_scdae.cli import main as command

    make_narrow()
    real = jobs.CellJob.__init__

    def narrow(job: jobs.CellJob, *arguments: object, **options: object) -> None:
        real(job, *arguments, **options)
        job.run_step = run_step

    jobs.CellJob.__init__ = narrow
    return command()
