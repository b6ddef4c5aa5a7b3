# SPDX-License-Identifier: Apache-2.0
"""How long cells will take, from those that are finished."""

from collections.abc import Sequence
from statistics import mean, median

from anomalib_scdae.benchmark.cells import FINISHED, Cell, CellFolder

#: Where nothing is finished yet: a step of EfficientAD's networks at 256 x 256, a test set of 300 images with set-up,
#: and a model that trains in one pass; measured on two CPU cores, where a GPU takes a thirtieth of it.
STEP_SECONDS, OTHER_SECONDS, ONE_PASS_SECONDS = 1.0, 240.0, 900.0
#: Exports and timing, of the model and of the baseline.
DEPLOYMENT_SECONDS = 300.0


class Estimator:
    """Estimates from the same row's finished cells, else from other rows' seconds a step, else from constants.

    Args:
        folders: The folders of all cells.
    """

    def __init__(self, folders: Sequence[CellFolder]) -> None:
        results = [(folder.cell, folder.result()) for folder in folders if folder.status == FINISHED]
        known = [(cell, result) for cell, result in results if "duration_seconds" in result]
        bounded = [result for cell, result in known if result["training"]["steps"] and cell.steps]
        trainings = [result["training"] for result in bounded]
        steps = [training["seconds"] / training["steps"] for training in trainings]
        others = [result["duration_seconds"] - result["training"]["seconds"] for result in bounded]
        deployments = [result["deployment_seconds"] for _, result in known if "deployment_seconds" in result]
        self.step_seconds = median(steps or [STEP_SECONDS])
        self.other_seconds = median(others or [OTHER_SECONDS])
        self.deployment_seconds = median(deployments or [DEPLOYMENT_SECONDS])
        self.basis = f"from {len(known)} finished cells"
        if not known:
            self.basis = f"a rough guess: {STEP_SECONDS:g} s a step, as on two CPU cores"
        self._known = known

    def seconds(self, cell: Cell) -> float | None:
        """Return the estimate for one cell; ``None`` for epochs, whose steps only its images tell."""
        of_row = [result["duration_seconds"] for other, result in self._known if other.row == cell.row]
        if cell.weights_of is not None:  # whose results have the time of the training that they rest on
            training = self.other_seconds
        elif of_row:
            training = mean(of_row)
        elif cell.steps is None and cell.trainer.get("max_epochs"):
            return None
        elif cell.steps is None:
            training = ONE_PASS_SECONDS
        else:
            training = cell.steps * self.step_seconds + self.other_seconds
        return training + (self.deployment_seconds if cell.is_timed else 0.0)
