# SPDX-License-Identifier: Apache-2.0
"""An evaluator that sees raw scores, for any Anomalib model."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any, cast

import torch
from anomalib.data import Batch
from anomalib.metrics import AUPRO, AUROC, PRO, AnomalibMetric, Evaluator, F1Max, F1Score
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import BinaryF1Score, BinaryPrecisionRecallCurve, BinarySpecificity

from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics.au_spro import AUsPRO
from anomalib_scdae.metrics.cropping import crops
from anomalib_scdae.metrics.data_sets import masks_of_test
from anomalib_scdae.metrics.fpr import FPR
from anomalib_scdae.metrics.per_type import AUROCPerType, PerTypeMetric
from anomalib_scdae.metrics.ranking import to_unit_interval
from anomalib_scdae.metrics.raw_outputs import RawOutputs

#: The classes (0: normal, 1: anomalous) that a metric's targets must have; without them torchmetrics gives 0.
NEEDED_CLASSES: dict[type, set[int]] = {
    BinaryPrecisionRecallCurve: {0, 1},
    AUPRO: {0, 1},
    BinaryF1Score: {1},
    F1Max: {1},
    PRO: {1},
    BinarySpecificity: {0},
}


class RawScoreEvaluator(Evaluator):
    """Gives metrics the model's raw scores and maps, where Anomalib's evaluator gives them clamped ones.

    Anomalib's post-processor maps scores and maps to [0, 1] and clamps them before the evaluator runs. Where
    validation holds only normal images most images then share one value, and AUROC is wrong. Here a metric finds
    raw values in the batch's ``pred_score`` and ``anomaly_map``, and the post-processor's decisions in
    ``pred_label`` and ``pred_mask``: any of Anomalib's metrics can be used, for any model. Those that cut at 0.5
    (``F1Score``, ``PRO``) have to be given decisions.

    Metrics that torchmetrics builds on the precision-recall curve (AUROC, AUPR) only rank scores, but would put them
    through a sigmoid first; they get an image of the raw values in [0, 1] with the same order.

    A :class:`~anomalib_scdae.metrics.per_type.PerTypeMetric` is logged as one entry per figure. A figure that needs
    anomalous images, or normal ones, is left out where there are none.

    Args:
        val_metrics: Metrics computed during validation.
        test_metrics: Metrics computed during the test.
        compute_on_cpu: Keep the metrics' states on the CPU, where there is a single device.

    Raises:
        UserError: If a metric that cuts at 0.5 is given raw scores.
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
        for metric in (*self.val_metrics, *self.test_metrics):
            _check_cut(metric)
        self._raw, self._is_cropped = RawOutputs(), False
        targets = {name for metric in (*self.val_metrics, *self.test_metrics) for name in metric.fields}
        self._seen: Any = nn.ModuleDict({name: _ClassesSeen() for name in sorted(targets & {"gt_label", "gt_mask"})})

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Come to see outputs before the post-processor does."""
        super().setup(trainer, pl_module, stage)
        self._is_cropped = crops(pl_module)
        self._raw.attach(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the trainer as it was."""
        del pl_module, stage
        self._raw.detach(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell AU-sPRO which masks the data set names; leave it out for a model that sees a part of each image."""
        del pl_module
        if self._is_cropped and any(isinstance(metric, AUsPRO) for metric in self.test_metrics):
            rank_zero_warn(
                "AU-sPRO is left out, since the model's pre-processor crops images: its maps are of parts of them."
            )
        masks = masks_of_test(trainer)
        for metric in self.test_metrics:
            if isinstance(metric, AUsPRO):
                metric.named_masks = masks

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Update the validation metrics; the post-processor leaves validation batches raw."""
        del trainer, pl_module, outputs, args, kwargs
        self._update(self.val_metrics, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Update the test metrics with raw scores and maps."""
        del trainer, pl_module, args, kwargs
        self._update(self.test_metrics, self._raw.restore(batch if outputs is None else outputs))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the validation metrics."""
        del pl_module
        self._log(trainer, self.val_metrics)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the test metrics."""
        del pl_module
        self._log(trainer, self.test_metrics)

    def _update(self, metrics: Iterable[Any], batch: Batch) -> None:
        ranked = _ranked(batch) if any(_only_ranks(metric) for metric in metrics) else batch
        for metric in metrics:
            if not (self._is_cropped and isinstance(metric, AUsPRO)):
                metric.update(ranked if _only_ranks(metric) else batch)
        for field, seen in self._seen.items():
            if getattr(batch, field, None) is not None:
                seen.update(getattr(batch, field))

    def _log(self, trainer: Trainer, metrics: Iterable[Any]) -> None:
        classes = {field: seen.compute() for field, seen in self._seen.items() if seen.update_called}
        figures: dict[str, Any] = {}
        for metric in metrics:
            if metric.update_called and _needed(metric) <= classes.get(metric.fields[-1], {0, 1}):
                figures |= metric.compute() if isinstance(metric, PerTypeMetric) else {metric.name: metric.compute()}
            metric.reset()
        for seen in self._seen.values():
            seen.reset()
        if trainer.barebones:  # logging is off; Anomalib wants the figures all the same
            trainer.callback_metrics.update(figures)
            trainer.logged_metrics.update(figures)
        else:
            # Every process has the same figures; Lightning warns without sync_dist.
            self.log_dict(figures, sync_dist=trainer.world_size > 1)


class _ClassesSeen(Metric):
    """Which of the classes 0 and 1 the targets of all processes have."""

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(2, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, targets: Tensor) -> None:
        anomalous = targets.bool()
        self.counts += torch.stack([(~anomalous).sum(), anomalous.sum()]).to(self.counts.device)

    def compute(self) -> set[int]:
        return {label for label, count in enumerate(self.counts.tolist()) if count}


def loco_evaluator() -> RawScoreEvaluator:
    """Return the evaluation of the paper and of the benchmark's authors, from raw scores.

    Image AUROC and F1, pixel AUROC and F1 as Anomalib's default evaluator; besides image AUROC and AU-sPRO for
    each anomaly type that the test set's folders name, and the share of good images that are refused. What a batch
    has nothing for, such as images without paths or a model without post-processor, is left out.
    """
    return RawScoreEvaluator(
        test_metrics=[
            AUROC(fields=["pred_score", "gt_label"], prefix="image_"),
            F1Score(fields=["pred_label", "gt_label"], prefix="image_", strict=False),
            FPR(fields=["pred_label", "gt_label"], prefix="image_", strict=False),
            AUROC(fields=["anomaly_map", "gt_mask"], prefix="pixel_", strict=False),
            F1Score(fields=["pred_mask", "gt_mask"], prefix="pixel_", strict=False),
            AUROCPerType(strict=False),
            AUsPRO(),
        ]
    )


def _check_cut(metric: Any) -> None:
    field, decided = metric.fields[0], {"pred_score": "pred_label", "anomaly_map": "pred_mask"}
    if field in decided and isinstance(metric, (BinaryF1Score, PRO)):
        kind = type(metric).__name__
        msg = f"{kind} cuts at 0.5, and {field} is raw in RawScoreEvaluator: give it {decided[field]} (fields) instead."
        raise UserError(msg)


def _needed(metric: Metric) -> set[int]:
    return next((classes for kind, classes in NEEDED_CLASSES.items() if isinstance(metric, kind)), set())


def _only_ranks(metric: Metric) -> bool:
    return isinstance(metric, BinaryPrecisionRecallCurve)


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
