# SPDX-License-Identifier: Apache-2.0
"""A model's scores and maps as they were before Anomalib's post-processor changed them."""

from typing import Any, TypeVar

from anomalib.data import Batch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

BatchT = TypeVar("BatchT", bound=Batch)


class RawOutputs(Callback):
    """Keeps the raw score and map of the test batch at hand, whatever the model.

    Anomalib's post-processor replaces them in the batch, normalised and clamped to [0, 1], before any callback of
    the model runs. It binds new tensors and does not write into the old ones, so that it is enough to hold on to
    the old ones: as the first of the trainer's callbacks, see :meth:`attach`.
    """

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._fields: dict[str, Tensor] = {}

    def attach(self, trainer: Trainer) -> None:
        """Make this the first callback of ``trainer``; call it in a callback's ``setup``, any number of times."""
        self.detach(trainer)
        trainer.callbacks = [self, *trainer.callbacks]  # type: ignore[attr-defined]

    def attach_for(self, reader: Callback, trainer: Trainer) -> None:
        """Become the first callback of ``trainer``, and make ``reader`` the last, which then finds decisions made."""
        trainer.callbacks = [*(c for c in trainer.callbacks if c is not reader), reader]  # type: ignore[attr-defined]
        self.attach(trainer)

    def detach(self, trainer: Trainer) -> None:
        """Take this out of the callbacks of ``trainer``, and forget the batch."""
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        trainer.callbacks = [other for other in callbacks if other is not self]  # type: ignore[attr-defined]
        self._batch, self._fields = None, {}

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Hold on to the tensors of ``outputs``, the batch with the model's predictions."""
        del trainer, pl_module, args, kwargs
        score, anomaly_map = getattr(outputs, "pred_score", None), getattr(outputs, "anomaly_map", None)
        if score is None and anomaly_map is not None:
            score = anomaly_map.flatten(1).amax(1)  # as the post-processor does in an exported model
        raw = {"pred_score": score, "anomaly_map": anomaly_map}
        self._batch = outputs
        self._fields = {name: value for name, value in raw.items() if value is not None}

    def restore(self, batch: BatchT) -> BatchT:
        """Return a copy of ``batch`` with raw ``pred_score`` and ``anomaly_map``.

        Labels and masks that the post-processor decided stay. A batch that did not pass through a trainer to
        which this is attached is returned as it is.
        """
        return batch.update(in_place=False, **self._fields) if batch is self._batch else batch
