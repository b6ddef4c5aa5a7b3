# SPDX-License-Identifier: Apache-2.0
"""An evaluator that sees raw scores, for any Anomalib model."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

from anomalib.data import Batch
from anomalib.metrics import AUROC, AnomalibMetric, Evaluator, F1Score
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torchmetrics.classification import BinaryPrecisionRecallCurve

from anomalib_scdae.metrics.au_spro import AUsPRO
from anomalib_scdae.metrics.per_type import AUROCPerType, PerTypeMetric
from anomalib_scdae.metrics.ranking import to_unit_interval
from anomalib_scdae.metrics.raw_outputs import RawOutputs


class RawScoreEvaluator(Evaluator):
    """Gives metrics the model's raw scores and maps, where Anomalib's evaluator gives them clamped ones.

    Anomalib's post-processor maps scores and maps to [0, 1] and clamps them before the evaluator runs. Where
    validation holds only normal images most images then share one value, and AUROC is wrong. Here a metric finds
    raw values in the batch's ``pred_score`` and ``anomaly_map``, and the post-processor's decisions in
    ``pred_label`` and ``pred_mask``: any of Anomalib's metrics can be used, for any model, and none needs other
    field names.

    Metrics that torchmetrics builds on the precision-recall curve (AUROC, AUPR) only rank scores, but would put them
    through a sigmoid first; they get an image of the raw values in [0, 1] with the same order.

    A :class:`~anomalib_scdae.metrics.per_type.PerTypeMetric` is logged as one entry per figure.

    Args:
        val_metrics: Metrics computed during validation.
        test_metrics: Metrics computed during the test.
        compute_on_cpu: Keep the metrics' states on the CPU, where there is a single device.
    """

    log: Callable[..., None]  # Lightning gives these to a trainer's callbacks
    log_dict: Callable[..., None]

    def __init__(
        self,
        val_metrics: AnomalibMetric | list[AnomalibMetric] | None = None,
        test_metrics: AnomalibMetric | list[AnomalibMetric] | None = None,
        compute_on_cpu: bool = True,
    ) -> None:
        super().__init__(val_metrics=val_metrics, test_metrics=test_metrics, compute_on_cpu=compute_on_cpu)
        self._raw = RawOutputs()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Come to see outputs before the post-processor does."""
        super().setup(trainer, pl_module, stage)
        self._raw.attach(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the trainer as it was."""
        del pl_module, stage
        self._raw.detach(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Update the validation metrics; the post-processor leaves validation batches raw."""
        del trainer, pl_module, outputs, args, kwargs
        _update(self.val_metrics, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Update the test metrics with raw scores and maps."""
        del trainer, pl_module, args, kwargs
        _update(self.test_metrics, self._raw.restore(batch if outputs is None else outputs))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the validation metrics."""
        del pl_module
        self._log(trainer, self.val_metrics)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the test metrics."""
        del pl_module
        self._log(trainer, self.test_metrics)

    def _log(self, trainer: Trainer, metrics: Iterable[Any]) -> None:
        for metric in metrics:
            if not isinstance(metric, PerTypeMetric):
                self.log(metric.name, metric)
                figures = {metric.name: metric.compute()} if trainer.barebones else {}
            else:
                figures = metric.compute() if metric.update_called else {}
                metric.reset()
                # Every process has the same figures; Lightning warns without sync_dist.
                self.log_dict(figures, sync_dist=trainer.world_size > 1)
            if trainer.barebones:  # logging is off; Anomalib wants the figures all the same
                trainer.callback_metrics.update(figures)
                trainer.logged_metrics.update(figures)


def loco_evaluator() -> RawScoreEvaluator:
    """Return the evaluation of the paper and of the benchmark's authors, from raw scores.

    Image AUROC and F1, pixel AUROC and F1 as Anomalib's default evaluator, and besides image AUROC and AU-sPRO for
    each anomaly type that the test set's folders name.
    """
    return RawScoreEvaluator(
        test_metrics=[
            AUROC(fields=["pred_score", "gt_label"], prefix="image_"),
            F1Score(fields=["pred_label", "gt_label"], prefix="image_"),
            AUROC(fields=["anomaly_map", "gt_mask"], prefix="pixel_", strict=False),
            F1Score(fields=["pred_mask", "gt_mask"], prefix="pixel_", strict=False),
            AUROCPerType(),
            AUsPRO(),
        ]
    )


def _update(metrics: Iterable[Any], batch: Batch) -> None:
    by_rank = {id(metric) for metric in metrics if isinstance(metric, BinaryPrecisionRecallCurve)}
    ranked = _ranked(batch) if by_rank else batch
    for metric in metrics:
        metric.update(ranked if id(metric) in by_rank else batch)


def _ranked(batch: Batch) -> Batch:
    """Return a view of ``batch`` with ranked scores and maps; Anomalib's own class would round them to float32."""
    view = {name: _on_usual_device(value) for name, value in vars(batch).items()}
    for name in ("pred_score", "anomaly_map"):
        if view.get(name) is not None:
            view[name] = to_unit_interval(view[name])
    return cast("Batch", SimpleNamespace(**view))


def _on_usual_device(value: Any) -> Any:
    # Apple's GPUs have no double precision.
    return value.cpu() if isinstance(value, Tensor) and value.device.type == "mps" else value
