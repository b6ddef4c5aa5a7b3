# SPDX-License-Identifier: Apache-2.0
"""Write scores and maps during ``anomalib test``, so that anyone can evaluate them."""

import csv
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tifffile
from anomalib.data import ImageBatch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing
from anomalib_scdae.image_files import image_shape
from anomalib_scdae.metrics.anomaly_types import anomaly_type
from anomalib_scdae.metrics.au_spro import resize_map
from anomalib_scdae.metrics.cropping import crops
from anomalib_scdae.metrics.map_files import map_file
from anomalib_scdae.metrics.raw_outputs import RawOutputs
from anomalib_scdae.metrics.score_files import SCORES_NAME, Prediction, part_file, remove_parts, write_predictions

logger = logging.getLogger(__name__)


class PredictionWriter(Callback):
    """Writes raw scores and anomaly maps of a test, for any Anomalib model.

    ``<dir>/<category>/scores.csv`` has one row per image: path, type (the image's folder), raw score, label and
    prediction (1: anomalous; empty where unknown). ``<dir>/<category>/test/<type>/<image>.tiff`` is its raw map in
    float32 at the image's own size: the layout that the MVTec LOCO AD authors' evaluation and
    ``anomalib-scdae evaluate`` read. Values are those of the model, before the post-processor clamps them; the
    prediction is the post-processor's. Images of one folder whose names differ in their suffixes only keep these in
    their maps' names, see :func:`~anomalib_scdae.metrics.map_files.map_file`.

    In YAML, under ``trainer.callbacks``: ``class_path: anomalib_scdae.metrics.prediction_writer.PredictionWriter``.

    A file is either complete or not there. Rows are also kept in ``scores.csv.part<rank>`` as they come, and an
    interrupted test leaves them.

    Args:
        dir: Folder to write to; files of an earlier test are replaced.
        scores: Whether to write ``scores.csv``.
        maps: Whether to write the maps.
        category: Name of the folder in ``dir``; by default that of the data set's category, which is three levels
            above an image.
    """

    def __init__(
        self,
        dir: str | Path,  # noqa: A002
        scores: bool = True,
        maps: bool = True,
        category: str | None = None,
    ) -> None:
        self.dir = Path(dir)
        self.scores = scores
        self.maps = maps
        self.category = category
        self._raw = RawOutputs()
        self._started: set[Path] = set()
        self._written: dict[Path, Path] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See outputs before the post-processor does, and be called after it.

        Raises:
            UserError: If the maps would not be those of whole images.
        """
        if self.maps and stage in {"fit", "test"} and crops(pl_module):
            msg = (
                "PredictionWriter writes maps of whole images, and this model's pre-processor crops them: give the "
                "callback maps=False, or the model a pre-processor that only resizes."
            )
            raise UserError(msg)
        if stage != "test":
            return
        self._raw.attach_for(self, trainer)
        self._started, self._written = set(), {}

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the trainer as it was."""
        del pl_module, stage
        self._raw.detach(trainer)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Write a batch."""
        del pl_module, args, kwargs
        self._write(self._raw.restore(batch if outputs is None else outputs), trainer.global_rank)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the rows of all processes in order into ``scores.csv``."""
        del pl_module
        trainer.strategy.barrier("scores.csv")
        if trainer.is_global_zero:
            for folder in {part.parent for part in self._started}:
                if self.scores:
                    _assemble([part_file(folder, rank) for rank in range(trainer.world_size)])
                remove_parts(folder)  # also of an interrupted test in more processes

    def _write(self, batch: ImageBatch, rank: int) -> None:
        for index, prediction in enumerate(predictions_of(batch, "PredictionWriter")):
            path = Path(prediction.path)
            folder = self._folder(path)
            # First of all: where it is left behind, the maps beside it may be of two models.
            self._append(part_file(folder, rank), prediction)
            if self.maps:
                with replacing(self._map_file(folder, path)) as file:
                    tifffile.imwrite(file, resize_map(_map(batch, index), image_shape(path)))
                (folder / SCORES_NAME).unlink(missing_ok=True)  # of an earlier test, whose maps were others

    def _map_file(self, folder: Path, image: Path) -> Path:
        """Return where a map belongs; never where this test has put that of another image."""
        wanted = file = map_file(folder, image)
        number = 1
        while self._written.setdefault(file, image) != image:
            number += 1
            file = wanted.with_suffix(f".{number}.tiff")
        if file != wanted:
            logger.warning("The map of %s is written to %s: %s has that of another image.", image, file, wanted.name)
        return file

    def _folder(self, image_path: Path) -> Path:
        if self.category is not None:
            return self.dir / self.category
        parents = image_path.absolute().parents  # a link's own place, not that of its target
        return self.dir / (parents[2].name if len(parents) > 2 else "")

    def _append(self, file: Path, prediction: Prediction) -> None:
        new = file not in self._started
        self._started.add(file)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w" if new else "a", newline="", encoding="utf-8") as stream:
            if self.scores:
                csv.writer(stream).writerow(prediction)


def predictions_of(batch: ImageBatch, reader: str) -> Iterator[Prediction]:
    """Yield what a batch says of each of its images.

    Args:
        batch: A batch with the model's predictions.
        reader: Who asks, for the error's sentence.

    Raises:
        UserError: If the batch has no paths or no scores.
    """
    if batch.image_path is None or batch.pred_score is None:
        msg = f"{reader} needs image paths and scores, and this model or data set gives none."
        raise UserError(msg)
    for index, path in enumerate(batch.image_path):
        yield Prediction(
            path=str(path),
            type=anomaly_type(path),
            score=float(batch.pred_score[index]),
            label=None if batch.gt_label is None else int(batch.gt_label[index]),
            prediction=None if batch.pred_label is None else int(batch.pred_label[index]),
        )


def _map(batch: ImageBatch, index: int) -> Tensor:
    if batch.anomaly_map is None:
        msg = "PredictionWriter got no anomaly maps from this model: give it maps=False."
        raise UserError(msg)
    return batch.anomaly_map[index]


def _assemble(parts: Sequence[Path]) -> None:
    rows = {}
    for part in filter(Path.is_file, parts):
        with part.open(newline="", encoding="utf-8") as stream:
            rows.update({row[0]: row for row in csv.reader(stream)})  # a sampler may give an image to two processes
    write_predictions(parts[0].with_name(SCORES_NAME), rows.values())
