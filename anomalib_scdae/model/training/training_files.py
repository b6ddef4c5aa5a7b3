# SPDX-License-Identifier: Apache-2.0
"""Remembers which files a model was trained with, and warns of tests and resumed trainings that mix them up."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from anomalib_scdae.files import sha256_of
from anomalib_scdae.image_files import in_threads
from anomalib_scdae.metrics.data_sets import datasets_of, image_paths
from anomalib_scdae.model.training.training_set import training_dataset

#: Hexadecimal digits of a file's SHA-256 that are kept: two files of a million share them once in ten million sets.
DIGITS = 16


class TrainingFiles(Callback):
    """Keeps a hash of the content of each training image, so that a moved folder is known and a renamed copy found.

    A split that is drawn at random without a seed differs from one process to the next: a test of a checkpoint then
    sees images that it was trained with.

    Attributes:
        hashes: What all trainings of this model have read, sorted; part of a checkpoint.
    """

    def __init__(self) -> None:
        self.hashes: list[str] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what is read, and warn if the training that is resumed has read other images."""
        del pl_module
        present, before = set(_hashes(image_paths(training_dataset(trainer)))), set(self.hashes)
        if trainer.ckpt_path and before and present and present != before:
            rank_zero_warn(
                f"The training that is resumed had other images: {len(present - before)} are new and "
                f"{len(before - present)} are gone. Give the same --data options, and --data.seed where the split is "
                "drawn at random."
            )
        self.hashes = sorted(before | present)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if the test reads images of the training."""
        del pl_module
        if not self.hashes:
            return
        known = set(self.hashes)
        paths = [path for dataset in datasets_of(trainer.test_dataloaders) for path in image_paths(dataset)]
        shared = [path for path, found in zip(paths, _hashes(paths), strict=True) if found in known]
        if shared:
            rank_zero_warn(
                f"{len(shared)} of the {len(paths)} test images are training images of this model, such as "
                f"{shared[0]}, so the figures are too good: test with the split of the training, by the same "
                "--data.seed where it is drawn at random."
            )


def _hashes(paths: Sequence[Path]) -> Iterable[str]:
    return [found[:DIGITS] for found in in_threads(sha256_of, paths)]
