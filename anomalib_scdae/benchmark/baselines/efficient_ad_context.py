# SPDX-License-Identifier: Apache-2.0
"""EfficientAd with SCDAE's context score, so that what the autoencoders add can be told from what the score adds."""

from typing import Any

import torch
from anomalib.data import Batch
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng

from anomalib_scdae.benchmark.baselines.efficient_ad import EfficientAdMended
from anomalib_scdae.benchmark.baselines.normal_images import normal_validation_images
from anomalib_scdae.errors import UserError
from anomalib_scdae.gallery.branch_maps import COMBINED, CONTEXT
from anomalib_scdae.model.context_score import ContextScore, cell_means
from anomalib_scdae.model.deploy.pre_processing import transformed
from anomalib_scdae.model.training.training_set import images_of


class EfficientAdWithContext(EfficientAdMended):
    """The mended EfficientAd, whose image score has the context score added as SCDAE's has, in tests and predictions.

    It is no model to deploy: its networks alone, which is what would be timed and exported, know nothing of the score.

    Args:
        context_weight: See :class:`~anomalib_scdae.model.torch_model.SCDAEModel`.
        **arguments: Those of :class:`EfficientAdMended`.
    """

    def __init__(self, context_weight: float = 1.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.context_score = ContextScore(self.model.teacher_out_channels, context_weight)
        self._last: dict[str, torch.Tensor] = {}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse what latencies and exports are made of.

        Raises:
            UserError: Always.
        """
        del args, kwargs
        msg = (
            f"{type(self).__name__} compares accuracies; it has no latency and no export with its score: give its row "
            "`latency: false`."
        )
        raise UserError(msg)

    def on_train_start(self) -> None:
        """Fit the context score to the training images, once the teacher's statistics are known."""
        super().on_train_start()
        self.fit_context(self.trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]

    @torch.no_grad()
    def fit_context(self, loader: Any) -> None:
        """Fit the context score to the images of ``loader``."""
        with isolate_rng():  # a resumed training goes on with the random numbers that it had
            averages = [self._averages(self._read(batch)) for batch in loader]
        self.context_score.fit(torch.cat(averages).cpu())

    def on_validation_start(self) -> None:
        """Compare distances with the maps' maxima on normal validation images, once the maps' quantiles are known."""
        super().on_validation_start()
        if not self.context_score.is_fitted:  # as with the weights of a row without the score
            self.fit_context(self.trainer.datamodule.train_dataloader())  # type: ignore[attr-defined]
        scores, distances = [], []
        with torch.no_grad():
            for images in normal_validation_images(self):
                scores.append(self.model(images).pred_score.flatten())
                distances.append(self.context_score(self._averages(images)))
        if scores:
            self.context_score.standardise(torch.cat(scores).cpu(), torch.cat(distances).cpu())

    def on_test_start(self) -> None:
        """Warn where the scores are those of EfficientAd alone."""
        super().on_test_start()
        if not self.context_score.scale > 0:
            rank_zero_warn(
                "The context score has no part in these scores: it needs five training images, and a validation to "
                "compare it with the maps."
            )

    def validation_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Any:
        """Add the context score to what EfficientAd says."""
        return self._with_context(super().validation_step(batch, *args, **kwargs))

    def test_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Any:
        """Add the context score to what EfficientAd says."""
        return self._with_context(super().test_step(batch, *args, **kwargs))

    def predict_step(self, batch: Batch, *args: Any, **kwargs: Any) -> Any:
        """Add the context score to what EfficientAd says."""
        return self._with_context(super().predict_step(batch, *args, **kwargs))

    def scores_apart(self) -> dict[str, torch.Tensor]:
        """Return the last batch's scores before they were added, by name."""
        return self._last

    @torch.no_grad()
    def _with_context(self, batch: Any) -> Any:
        distances = self.context_score(self._averages(images_of(batch)))
        self._last = {COMBINED: batch.pred_score.flatten(), CONTEXT: distances}
        return batch.update(pred_score=self.context_score.join(batch.pred_score, distances))

    def _averages(self, images: torch.Tensor) -> torch.Tensor:
        networks: Any = self.model
        return cell_means((networks.teacher(images) - networks.mean_std["mean"]) / networks.mean_std["std"])

    def _read(self, batch: Any) -> torch.Tensor:
        """Return a loaded batch's images as the networks see them."""
        return transformed(self.pre_processor, images_of(batch).to(self.device))
