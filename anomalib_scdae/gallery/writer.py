# SPDX-License-Identifier: Apache-2.0
"""One picture of a test: images that were judged rightly and wrongly, with what each part of SCDAE finds in them."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median_low
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image

from anomalib_scdae.errors import UserError
from anomalib_scdae.files import replacing
from anomalib_scdae.gallery.branch_maps import branch_maps_of
from anomalib_scdae.gallery.compose import compose_gallery
from anomalib_scdae.gallery.selection import gallery_rows, worst_misses
from anomalib_scdae.metrics.anomaly_types import types_of
from anomalib_scdae.metrics.data_sets import masks_of_test
from anomalib_scdae.metrics.prediction_writer import predictions_of
from anomalib_scdae.metrics.raw_outputs import RawOutputs
from anomalib_scdae.metrics.score_files import Prediction
from anomalib_scdae.model.lightning_model import SCDAE

#: Wrong images that are shown at most.
WRONG = 3


class GalleryWriter(Callback):
    """Writes a picture at the end of every test of an SCDAE: input, ground truth and every map of a few images.

    A usual image of each type that was judged rightly, and up to three of those judged wrongly, worst first.
    In YAML, under ``trainer.callbacks``: ``class_path: anomalib_scdae.gallery.GalleryWriter``.

    Args:
        file: Name of the picture, in the folder of the test's results; its suffix says of which kind it is.

    Raises:
        UserError: If pictures of that kind cannot be written.
    """

    def __init__(self, file: str = "gallery.png") -> None:
        self.file = file
        self._format = Image.registered_extensions().get(Path(file).suffix.lower())
        if self._format not in Image.SAVE:
            msg = f"GalleryWriter cannot write {file}: end its name in .png, .jpg or .webp."
            raise UserError(msg)
        self._predictions: list[Prediction] = []
        self._masks: dict[Path, Path] = {}
        self._outputs = RawOutputs()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask to be called after the post-processor, whose scores and decisions are shown.

        Raises:
            UserError: If the model is not an SCDAE.
        """
        if not isinstance(pl_module, SCDAE):
            msg = f"GalleryWriter draws the maps of SCDAE, not of {type(pl_module).__name__}: leave the callback out."
            raise UserError(msg)
        if stage == "test":
            self._outputs.attach_for(self, trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the trainer as it was."""
        del pl_module, stage
        self._outputs.detach(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier test, and ask for the masks of this one's images."""
        del pl_module
        self._predictions, self._masks = [], masks_of_test(trainer)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Keep a batch's scores and decisions."""
        del trainer, pl_module, args, kwargs
        self._predictions.extend(predictions_of(batch if outputs is None else outputs, "GalleryWriter"))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the picture."""
        chosen = choose(self._predictions)
        if not chosen or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, SCDAE)  # noqa: S101 - for the type checker; setup has seen to it
        picture = compose_gallery(gallery_rows(chosen, branch_maps_of(pl_module), self._masks))
        file = Path(trainer.default_root_dir) / self.file
        with replacing(file) as temporary:
            picture.save(temporary, format=self._format)
        rank_zero_info(f"What SCDAE sees in {len(chosen)} of the test images: {file}")


def choose(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Return the image of middle score of each type among those judged rightly, then the worst of the others."""
    chosen = []
    right: dict[str, list[Prediction]] = {}
    for prediction, name in zip(predictions, types_of(predictions).tolist(), strict=True):
        if prediction.prediction == prediction.label:
            right.setdefault(name, []).append(prediction)
    for _, of_type in sorted(right.items()):
        middle = median_low(prediction.score for prediction in of_type)
        chosen.append(next(prediction for prediction in of_type if prediction.score == middle))
    wrong = [prediction for prediction in predictions if prediction.prediction != prediction.label]
    worst = [prediction for prediction in worst_misses(predictions, len(predictions)) if prediction in wrong]
    others = [prediction for prediction in wrong if prediction not in worst]
    return chosen + (worst + others)[:WRONG]
