# SPDX-License-Identifier: Apache-2.0
"""Collects every test image's raw score and maps, for figures per map and for the pictures."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anomalib_scdae.benchmark.cell.maps import Parts
from anomalib_scdae.files import replacing
from anomalib_scdae.gallery.branch_maps import COMBINED
from anomalib_scdae.metrics.anomaly_types import GOOD, MEAN, auroc_per_type, short_name, types_of, with_mean
from anomalib_scdae.metrics.data_sets import masks_of_test
from anomalib_scdae.metrics.prediction_writer import predictions_of
from anomalib_scdae.metrics.raw_outputs import RawOutputs
from anomalib_scdae.metrics.score_files import Prediction
from anomalib_scdae.metrics.spro import FPR_LIMITS

#: Side of the maps that are kept; enough for a picture.
KEPT_SIDE = 128


class OutputCollector(Callback):
    """Keeps raw scores, each map's own score, and small copies of the maps.

    Attributes:
        parts_of_batch: Gives what the model's parts say of the last batch, see :func:`~.maps.parts_of`.
        predictions: One for each image tested.
        masks: One mask of each image that the data set names one of.
        map_scores: By part, each image's score: the maximum of its map, or the part's own.
    """

    def __init__(self) -> None:
        self.parts_of_batch: Callable[[], Parts] = lambda: Parts({}, {})
        self.predictions: list[Prediction] = []
        self.map_scores: dict[str, list[float]] = {}
        self.masks: dict[Path, Path] = {}
        self._maps: dict[str, dict[str, NDArray[np.float32]]] = {}
        self._raw = RawOutputs()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See outputs before the post-processor does, and be called after it."""
        del pl_module
        if stage == "test":
            self._raw.attach_for(self, trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the trainer as it was."""
        del pl_module, stage
        self._raw.detach(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask for the masks of the test's images."""
        del pl_module
        self.masks = masks_of_test(trainer)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Keep a batch's scores and maps."""
        del trainer, pl_module, args, kwargs
        raw = self._raw.restore(batch if outputs is None else outputs)
        parts = self.parts_of_batch()
        maps = {**parts.maps, COMBINED: raw.anomaly_map}
        maps = {name: _four_dimensional(anomaly_map) for name, anomaly_map in maps.items() if anomaly_map is not None}
        own = {name: anomaly_map.amax(dim=(1, 2, 3)) for name, anomaly_map in maps.items()}
        own = {**own, COMBINED: raw.pred_score, **parts.scores}
        for name, values in own.items():
            self.map_scores.setdefault(name, []).extend(values.detach().float().flatten().tolist())
        small = {name: F.adaptive_avg_pool2d(anomaly_map, KEPT_SIDE)[:, 0] for name, anomaly_map in maps.items()}
        for index, prediction in enumerate(predictions_of(raw, "The benchmark")):
            self.predictions.append(prediction)
            self._maps[prediction.path] = {name: values[index].cpu().numpy() for name, values in small.items()}

    def maps_of(self, image_path: Path) -> dict[str, NDArray[np.float32]]:
        """Return small copies of an image's maps by name."""
        return self._maps[str(image_path)]

    @property
    def types(self) -> NDArray[np.str_]:
        """Each image's anomaly type; a normal image is good whatever its folder is called."""
        return types_of(self.predictions)

    def auroc(self) -> dict[str, float]:
        """Return the image AUROC per anomaly type, and its mean."""
        return with_mean(auroc_per_type(np.array([one.score for one in self.predictions]), self.types))

    def auroc_per_map(self) -> dict[str, dict[str, float]]:
        """Return the image AUROC per anomaly type that each map would give alone."""
        types = self.types
        return {name: with_mean(auroc_per_type(np.array(scores), types)) for name, scores in self.map_scores.items()}

    def accuracy(self, figures: Mapping[str, float]) -> dict[str, Any]:
        """Arrange the figures that :func:`~anomalib_scdae.metrics.loco_evaluator` logs, in [0, 1], for the result."""
        names = [*sorted(set(self.types.tolist()) - {GOOD}), MEAN]
        spro = {
            name: {
                str(limit): figures[key]
                for limit in FPR_LIMITS
                if (key := f"pixel_AUsPRO_{short_name(name)}_{limit}") in figures
            }
            for name in names
        }
        return {
            "image_auroc": {
                name: figures[key] for name in names if (key := f"image_AUROC_{short_name(name)}") in figures
            },
            "image_auroc_all": figures.get("image_AUROC"),
            "image_f1": figures.get("image_F1Score"),
            "pixel_auroc": figures.get("pixel_AUROC"),
            "au_spro": {name: values for name, values in spro.items() if values},
        }

    def write_scores(self, file: Path) -> None:
        """Write a row for each image: path, type, scores, label and decision."""
        maps = {f"score_{name}": scores for name, scores in self.map_scores.items() if name != COMBINED}
        with replacing(file) as temporary:
            pd.DataFrame(self.predictions).assign(**maps).to_csv(temporary, index=False)


def _four_dimensional(anomaly_map: Tensor) -> Tensor:
    plain = anomaly_map.detach().as_subclass(Tensor).float()
    return plain.reshape(len(plain), 1, *plain.shape[-2:])
