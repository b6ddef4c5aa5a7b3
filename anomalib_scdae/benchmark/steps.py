# SPDX-License-Identifier: Apache-2.0
"""The steps of a cell, by name."""

from anomalib_scdae.benchmark.cells import CellFolder


def run_step(folder: CellFolder, step: str) -> None:
    """Run a step of a cell in this process.

    Args:
        folder: The cell's folder.
        step: ``train`` to train and test it, ``deploy`` to measure the deployed model of a cell that is finished.
    """
    from anomalib_scdae.benchmark.cell import run  # heavy, and needed in the cell's own process only

    {"train": run.train_and_test, "deploy": run.measure_deployed}[step](folder)
