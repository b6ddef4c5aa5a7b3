# SPDX-License-Identifier: Apache-2.0
"""How long cells will take, from those that are finished."""

from collections.abc import Sequence
from statistics import mean, median

from anomalib_scdae.benchmark.cells import FINISHED, Cell
from anomalib_scdae.benchmark.store import Store

#: Where nothing is finished yet: a step of EfficientAD's networks at 256 x 256, a test set of 300 images with set-up,
#: and a model that trains in one pass; measured on two CPU cores, where a GPU takes a thirtieth of it.
STEP_SECONDS, OTHER_SECONDS, ONE_PASS_SECONDS = 1.0, 240.0, 900.0
#: Exports and timing, of the model and of the baseline.
DEPLOYMENT_SECONDS = 300.0


class Estimator:
    """Estimates from the same row's finished cells, else from other rows' seconds a step, else from constants.

    Args:
        cells: All cells.
        store: Where their results are.
    """

    def __init__(self, cells: Sequence[Cell], store: Store) -> None:
        self._of_row: dict[str, list[float]] = {}
        step_seconds, other_seconds, deployment_seconds = [], [], []
        for cell in cells:
            result = store.result(cell)
            duration = result.get("duration_seconds")
            if result["status"] != FINISHED or duration is None:
                continue
            self._of_row.setdefault(cell.row, []).append(duration)
            if "deployment_seconds" in result:
                deployment_seconds.append(result["deployment_seconds"])
            training = result["training"]
            if training["steps"] and cell.steps:
                step_seconds.append(training["seconds"] / training["steps"])
                other_seconds.append(duration - training["seconds"])
        self.step_seconds = median(step_seconds) if step_seconds else STEP_SECONDS
        self.other_seconds = median(other_seconds) if other_seconds else OTHER_SECONDS
        self.deployment_seconds = median(deployment_seconds) if deployment_seconds else DEPLOYMENT_SECONDS
        self.basis = (
            f"from {sum(map(len, self._of_row.values()))} finished cells"
            if self._of_row
            else f"a rough guess: {STEP_SECONDS:g} s a step, as on two CPU cores"
        )

    def seconds(self, cell: Cell) -> float:
        """Return the estimate for one cell."""
        return self._training_seconds(cell) + (self.deployment_seconds if cell.latency else 0.0)

    def _training_seconds(self, cell: Cell) -> float:
        if cell.row in self._of_row:
            return mean(self._of_row[cell.row])
        if cell.steps is None:
            return ONE_PASS_SECONDS
        return cell.steps * self.step_seconds + self.other_seconds
