# SPDX-License-Identifier: Apache-2.0
"""Scores and maps between 0 and 1 in which no two different values become one."""

from types import SimpleNamespace
from typing import Any

import torch
from anomalib.metrics import F1AdaptiveThreshold
from anomalib.post_processing import PostProcessor
from torchmetrics.utilities.data import dim_zero_cat

from anomalib_scdae.errors import UserError
from anomalib_scdae.metrics import threshold_for_fpr


class MonotonePostProcessor(PostProcessor):
    """Anomalib's post-processor with a strictly monotone normalisation: 0.5 at the threshold, nothing clamped.

    Anomalib clamps to [0, 1], with the range and the threshold of the validation images. Where those are all normal, as
    in MVTec LOCO, the threshold is their maximum; then most normal images end at 0, many abnormal ones at 1, and
    every metric, file and exported model sees only that.

    Args:
        target_fpr: Share of normal validation images, and of their pixels, that may be called anomalous; the thresholds
            follow from it. None takes Anomalib's: the best F1 score, or the highest score where all are normal.
        **kwargs: Arguments of Anomalib's post-processor.
    """

    # Modules, whose types a module's attributes would lose otherwise.
    _image_threshold_metric: "_Threshold"
    _pixel_threshold_metric: "_Threshold"

    def __init__(self, target_fpr: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._image_threshold_metric = _Threshold(fields=["pred_score", "gt_label"], strict=False)
        self._pixel_threshold_metric = _Threshold(fields=["anomaly_map", "gt_mask"], strict=False)
        self.target_fpr = target_fpr

    @property
    def target_fpr(self) -> float | None:
        """Share of normal images and pixels that may be called anomalous, if the thresholds follow from it."""
        return self._image_threshold_metric.target_fpr

    @target_fpr.setter
    def target_fpr(self, target_fpr: float | None) -> None:
        if target_fpr is not None and not 0 <= target_fpr < 1:
            msg = f"target_fpr must be at least 0 and below 1, a share of the normal images; it is {target_fpr}."
            raise UserError(msg)
        self._image_threshold_metric.target_fpr = self._pixel_threshold_metric.target_fpr = target_fpr

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *args: Any, **kwargs: Any) -> None:
        """Take in a validation batch; without masks, the threshold of pixels is that of the maxima of the maps.

        Anomalib takes the images' threshold for pixels there, which is the same where an image's score is that maximum,
        and another quantity where it is more.
        """
        super().on_validation_batch_end(trainer, pl_module, outputs, *args, **kwargs)
        has_no_mask = outputs.gt_mask is None and outputs.gt_label is not None and outputs.anomaly_map is not None
        if self.enable_thresholding and has_no_mask:
            maxima = outputs.anomaly_map.flatten(1).amax(dim=1)
            at_maxima: Any = SimpleNamespace(anomaly_map=maxima, gt_mask=outputs.gt_label)
            self._pixel_threshold_metric.update(at_maxima)

    @property
    def _checkpoint_config_keys(self) -> tuple[str, ...]:
        return (*super()._checkpoint_config_keys, "target_fpr")

    @staticmethod
    def _normalize(
        preds: torch.Tensor | None,
        norm_min: torch.Tensor,
        norm_max: torch.Tensor,
        threshold: torch.Tensor,
    ) -> torch.Tensor | None:
        """Map ``preds`` to (0, 1): ``1/2 + z / (1 + |z|) / 2`` with ``z = 2 (preds - threshold) / (max - min)``.

        Near the threshold this is Anomalib's own line; far from it, the curve flattens like ``1 / z``, so that float32
        still tells values apart where an exponential would have reached 1. Returned unchanged before a validation.
        """
        if preds is None:
            return None
        middle = torch.where(torch.isnan(threshold), (norm_max + norm_min) / 2, threshold)
        value_range = norm_max - norm_min
        z = 2 * (preds - middle) / torch.where(value_range == 0, torch.ones_like(value_range), value_range)
        return torch.where(torch.isnan(value_range), preds, 0.5 + 0.5 * z / (1 + z.abs()))


class _Threshold(F1AdaptiveThreshold):
    """A threshold with a given false-positive rate, or else Anomalib's.

    The latter without its warning after every epoch where validation has only normal images.
    """

    target_fpr: float | None = None

    def compute(self) -> torch.Tensor:  # type: ignore[override]
        """Return the threshold that the rate asks for; without a rate and anomalous images, the highest score."""
        if self.target_fpr is not None:
            scores, labels = dim_zero_cat(self.preds), dim_zero_cat(self.target)
            return torch.tensor(threshold_for_fpr(scores[labels == 0].cpu().numpy(), self.target_fpr))
        return super().compute() if self._has_anomalous_samples() else self._get_max_pred()
