# SPDX-License-Identifier: Apache-2.0
"""Quantiles, score range and thresholds, all from one pass over the validation images.

Anomalib's post-processor sees a validation batch before the maps' quantiles of the new weights are known, and
EfficientAd needs a second pass to have them. Here the maps are kept as they are before they are enlarged (a few
kilobytes an image) until the pass is over; the quantiles follow from them, and then the final maps that everything else
needs.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import torch
from anomalib.data import AnomalibDataModule, Batch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader, rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torchmetrics import Metric

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.distances import Distances
from anomalib_scdae.model.training.training_set import has_training_set, images_of, spread_over_training

#: How many normal training images stand in where there is no normal validation image.
MAX_STAND_INS = 100
#: How many normal training images a compact model is fitted to; each has thousands of positions.
COMPACTION_IMAGES = 16

#: An SCDAE; its type stands above this module.
SCDAEModule = Any


#: The exact sum of each parameter's bits, which is the same on every device.
Fingerprint = tuple[int, ...]


def fingerprint(state: Mapping[str, torch.Tensor], pl_module: LightningModule) -> Fingerprint:
    """Return what tells the weights in ``state``, a state dict of ``pl_module``, from those after another step."""
    return _sums_of_bits(state[name] for name, _ in pl_module.named_parameters() if name in state)


def _sums_of_bits(values: Iterable[torch.Tensor]) -> Fingerprint:
    bits = [value.detach().float().contiguous().view(torch.int32) for value in values]
    return tuple(torch.stack([value.sum(dtype=torch.int64) for value in bits]).tolist())


def _ready_to_predict(pl_module: SCDAEModule) -> Fingerprint:
    """Return the fingerprint of the present weights, and forget what was made for prediction from others.

    A callback that swaps weights writes to their ``data``, which the networks cannot see.
    """
    pl_module.model.forget_folded()
    return fingerprint(pl_module.state_dict(), pl_module)


@contextmanager
def _weights_of(pl_module: LightningModule, state: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Give ``pl_module`` the weights in ``state`` for a while, unless it has them."""
    if fingerprint(state, pl_module) == fingerprint(pl_module.state_dict(), pl_module):
        yield
        return
    parameters = {name: value for name, value in pl_module.named_parameters() if name in state}
    kept = {name: value.detach().clone() for name, value in parameters.items()}
    try:
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(state[name])
        yield
    finally:
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(kept[name])


class ValidationRecord(NamedTuple):
    """What a validation batch leaves behind: its distances on the CPU, and the batch without its images."""

    distances: Distances
    batch: Batch

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = images_of(self.batch).shape[-2:]
        return height, width

    def normal(self) -> tuple[Distances, tuple[int, int]]:
        """Return the distances of the normal images, and the image size."""
        labels = self.batch.gt_label
        chosen = slice(None) if labels is None else labels.flatten() == 0
        return self.distances.of_images(chosen), self.image_size

    @classmethod
    def of(cls, batch: Batch, distances: Distances) -> "ValidationRecord":
        """Keep what is needed of ``batch``; its images are replaced by zeros that take no memory."""
        light = copy.copy(batch)
        light.image = torch.zeros(1).expand(images_of(batch).shape)
        for field in ("gt_label", "gt_mask", "pred_score", "anomaly_map", "pred_label", "pred_mask"):
            value = getattr(light, field, None)
            if value is not None:
                setattr(light, field, value.cpu() if field.startswith("gt") else None)
        return cls(distances.detached("cpu"), light)


class Calibration(Callback):
    """Derives the model's and the post-processor's statistics at the end of every validation.

    It must stand before the post-processor and the evaluator among the callbacks, so that both end the validation with
    what it feeds them. Statistics always belong to the weights that are saved, also where those are an average that
    a callback keeps: where a checkpoint is written, or training ends, with others than were validated last, one more
    pass is made.

    Attributes:
        weights: The :func:`fingerprint` of the weights that the statistics belong to, if any.
        without_validation: Whether training images stand in for those of validation, as these cannot be read.
        left_out: Whether checkpoints are completed without a pass, as no image at all can be read.
    """

    def __init__(self) -> None:
        self._records: list[ValidationRecord] = []
        self._validated: Fingerprint | None = None
        self.weights: Fingerprint | None = None
        self._statistics: Fingerprint | None = None
        self.without_validation = False
        self.left_out = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Trust no statistics of an earlier run, which may have had other validation images."""
        del trainer, pl_module
        self.weights, self.without_validation = None, False

    def add(self, batch: Batch, distances: Distances) -> Any:
        """Keep a validation batch's distances until the pass is over.

        Returns:
            The batch with zeros for score and map. Anomalib's callbacks see it before the quantiles of these weights
            are known; they are fed anew when the pass is over: the one place where that order is worked around.
        """
        self._records.append(ValidationRecord.of(batch, distances))
        count, _, *size = images_of(batch).shape
        zero = torch.zeros((), device=distances.maps.device)
        return batch.update(pred_score=zero.expand(count), anomaly_map=zero.expand(count, 1, *size))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier pass."""
        del trainer, pl_module
        self._records = []

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: SCDAEModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note which weights are validated: those of training may be others before and after the pass."""
        del batch
        if batch_idx == dataloader_idx == 0:
            self._validated = _ready_to_predict(pl_module)
            _fit_compaction(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calibrate with the maps of the pass that ends."""
        if trainer.sanity_checking:
            return
        if trainer.world_size == 1:
            records, weights = self._records, self._validated
        else:  # each has seen a part only; every one of them then reads the whole set by itself
            weights = _ready_to_predict(pl_module)
            records = self._validation_records(trainer, pl_module)
        self._calibrate(trainer, pl_module, records, weights)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Calibrate the final weights, if no validation and no checkpoint has done so."""
        self.ensure(trainer, pl_module)

    def ensure(self, trainer: Trainer, pl_module: SCDAEModule) -> None:
        """Calibrate by a pass of our own, unless the statistics belong to the present weights already."""
        weights = _ready_to_predict(pl_module)
        # A callback that brings other weights may bring old statistics along.
        if self.weights == weights and self._statistics == _sums_of_bits(pl_module.model.buffers()):
            return
        rank_zero_info(f"Calibrating maps and thresholds for the weights of step {trainer.global_step}.")
        _fit_compaction(trainer, pl_module)
        self._calibrate(trainer, pl_module, self._validation_records(trainer, pl_module), weights)
        if pl_module.post_processor is not None:
            pl_module.post_processor.on_validation_epoch_end(trainer, pl_module)

    def warn_if_outdated(self, pl_module: SCDAEModule) -> None:
        """Warn where a training that was interrupted has left the statistics of an earlier step."""
        statistics_are_ours = self._statistics == _sums_of_bits(pl_module.model.buffers())
        if self.weights is not None and statistics_are_ours and self.weights != _ready_to_predict(pl_module):
            rank_zero_warn(
                "Maps and thresholds are calibrated for the weights of an earlier step, as the training was "
                "interrupted: validate the model first (engine.validate), or load a checkpoint."
            )

    def ensure_compact(self, trainer: Trainer, pl_module: SCDAEModule) -> None:
        """Fit a compact model whose checkpoint is of one that was not, and calibrate it.

        Raises:
            UserError: If there is no training image to fit it to.
        """
        compaction = pl_module.model.compaction
        if compaction is not None and not compaction.is_fitted:
            self.ensure(trainer, pl_module)

    def complete(self, trainer: Trainer, pl_module: SCDAEModule, state: dict[str, Any]) -> None:
        """Put the statistics of its weights into ``state``, a state dict of ``pl_module`` that is about to be saved.

        Its weights may be an average of those of ``pl_module``, which has them back when this returns. Averages have
        been tried in one process only: of several, each would have to take part in the pass that calibrates them.
        """
        if self.left_out:
            # What a compact model has learnt is of other weights, with which it would be wrong without a word.
            fitted = {name: value for name, value in state.items() if name.endswith("compaction.is_fitted")}
            state.update({name: torch.zeros_like(value) for name, value in fitted.items()})
            return
        with _weights_of(pl_module, state):
            self.ensure(trainer, pl_module)
        parameters = {name for name, _ in pl_module.named_parameters()}
        present = pl_module.state_dict()
        state.update({name: present[name] for name in state if name in present and name not in parameters})

    def _calibrate(
        self, trainer: Trainer, pl_module: SCDAEModule, records: list[ValidationRecord], weights: Fingerprint | None
    ) -> None:
        seen = not any(len(record.normal()[0].maps) for record in records)
        if seen:
            records = [*records, *self._stand_ins(trainer, pl_module)]
        pl_module.model.calibrate([record.normal() for record in records], seen)
        self._feed(trainer, pl_module, records)
        self._records = []
        self.weights, self._statistics = weights, _sums_of_bits(pl_module.model.buffers())

    @staticmethod
    def _feed(trainer: Trainer, pl_module: SCDAEModule, records: list[ValidationRecord]) -> None:
        """Show the final maps to the post-processor, and to validation metrics in place of the provisional ones."""
        post_processor, evaluator = pl_module.post_processor, pl_module.evaluator
        consumers = [consumer for consumer in (post_processor, evaluator) if consumer is not None]
        fed = [*(post_processor.modules() if post_processor else []), *(evaluator.val_metrics if evaluator else [])]
        for metric in fed:
            if isinstance(metric, Metric):
                metric.reset()
        for index, record in enumerate(records):
            prediction = pl_module.model.prediction(record.distances.detached(pl_module.device), record.image_size)
            batch = trainer.strategy.batch_to_device(copy.copy(record.batch))
            batch.update(pred_score=prediction.pred_score, anomaly_map=prediction.anomaly_map)
            for consumer in consumers:
                consumer.on_validation_batch_end(trainer, pl_module, batch, batch, index)

    def _validation_records(self, trainer: Trainer, pl_module: SCDAEModule) -> list[ValidationRecord]:
        """Run the model over the whole validation set, in this process."""
        datamodule = getattr(trainer, "datamodule", None)
        if self.without_validation:
            loaders = None
        elif isinstance(datamodule, AnomalibDataModule):
            loaders = datamodule.val_dataloader() if len(getattr(datamodule, "val_data", ())) else None
        else:
            loaders = trainer.val_dataloaders if datamodule is None else _val_loaders(datamodule)
        if loaders is None:
            return []
        return list(_read(trainer, pl_module, chain.from_iterable(CombinedLoader(loaders).flattened)))

    @staticmethod
    def _stand_ins(trainer: Trainer, pl_module: SCDAEModule) -> list[ValidationRecord]:
        """Read normal training images, evenly spread over the training set."""
        loader = spread_over_training(trainer, MAX_STAND_INS)
        where, remedy = "", "add normal images to the validation split"
        if trainer.limit_val_batches != 1.0:
            where = f" among the batches that limit_val_batches={trainer.limit_val_batches} leaves"
            remedy = "raise that limit"
        rank_zero_warn(
            f"No normal validation image{where}: {len(loader)} normal training images stand in for them, on which the "
            f"model does better than on new ones; for reliable thresholds, {remedy}."
        )
        score = pl_module.model.context_score
        records = list(_read(trainer, pl_module, loader))
        if score is None:
            return records
        # Thresholds must fit images that the covariance has not seen.
        seen = [record.distances.context for record in records if record.distances.context is not None]
        context = score.as_if_unseen(torch.cat(seen)).split([len(value) for value in seen])
        unseen = [record.distances._replace(context=value) for record, value in zip(records, context, strict=True)]
        return [record._replace(distances=distances) for record, distances in zip(records, unseen, strict=True)]


def _val_loaders(datamodule: LightningDataModule) -> Any:
    """Return the validation loaders of a datamodule; None of one that has no such method of its own."""
    return datamodule.val_dataloader() if is_overridden("val_dataloader", datamodule) else None


def _fit_compaction(trainer: Trainer, pl_module: SCDAEModule) -> None:
    """Fit a compact model to the present weights, before anything is calibrated with it; any other stays as it is.

    So does one whose checkpoint was fitted where there is no training set, as in a validation with loaders.

    Raises:
        UserError: If there is no training image to fit it to, and it has never been fitted.
    """
    compaction = pl_module.model.compaction
    if compaction is None:
        return
    if not has_training_set(trainer):
        if compaction.is_fitted:
            return
        msg = (
            "compact: true needs normal images for a checkpoint that was trained without it, and this command has "
            "none: run `anomalib-scdae compact` with the checkpoint and the training data, and use what it writes."
        )
        raise UserError(msg)
    batches = _prepared(trainer, pl_module, spread_over_training(trainer, COMPACTION_IMAGES))
    with evaluating(pl_module):
        pl_module.model.fit_compaction(images_of(batch) for batch in batches)


@torch.no_grad()
def _read(trainer: Trainer, pl_module: SCDAEModule, loader: Iterable[Batch]) -> Iterator[ValidationRecord]:
    """Run the model over ``loader`` as a validation loop would, without touching modes or random numbers."""
    with evaluating(pl_module):
        for batch in _prepared(trainer, pl_module, loader):
            with trainer.precision_plugin.val_step_context():
                distances = pl_module.model.distances(images_of(batch))
            yield ValidationRecord.of(batch, distances)


def _prepared(trainer: Trainer, pl_module: SCDAEModule, loader: Iterable[Batch]) -> Iterator[Batch]:
    """Return the batches on the model's device, resized as in a validation."""
    for batch in loader:
        moved = trainer.strategy.batch_to_device(batch)
        if pl_module.pre_processor is not None:
            pl_module.pre_processor.on_validation_batch_start(trainer, pl_module, moved, 0)
        yield moved


@contextmanager
def evaluating(pl_module: LightningModule) -> Iterator[None]:
    """Put the model into evaluation mode for a while, without touching anybody's random numbers."""
    was_training = pl_module.training
    pl_module.eval()
    try:
        with isolate_rng():
            yield
    finally:
        pl_module.train(was_training)
