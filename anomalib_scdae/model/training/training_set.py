# SPDX-License-Identifier: Apache-2.0
"""The images that training reads, as the calibration and the statistics of the teacher need them."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from anomalib.data import AnomalibDataset, Batch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.seed import isolate_rng

from anomalib_scdae.errors import UserError


def images_of(batch: Batch) -> torch.Tensor:
    """Return the images ``(B, 3, H, W)``, which every loaded batch has, though its type does not say so."""
    return cast("torch.Tensor", batch.image)


def training_dataset(trainer: Trainer) -> AnomalibDataset:
    """Return the dataset that training reads, whether it came from a datamodule or a loader.

    Raises:
        UserError: If there is none.
    """
    datamodule = getattr(trainer, "datamodule", None)
    if datamodule is not None and hasattr(datamodule, "train_data"):
        return datamodule.train_data
    if trainer.train_dataloader is not None:
        return trainer.train_dataloader.dataset
    msg = "There is no image to calibrate with, neither of validation nor of training: pass a datamodule that has some."
    raise UserError(msg)


def training_batches(trainer: Trainer) -> Iterator[Batch]:
    """Read the whole training set once, without touching anybody's random numbers.

    Raises:
        UserError: If an image cannot be read.
    """
    datamodule = getattr(trainer, "datamodule", None)
    loader: Any = datamodule.train_dataloader() if datamodule is not None else trainer.train_dataloader
    with isolate_rng():
        try:
            yield from loader
        except OSError as error:
            msg = f"A training image cannot be read ({error}): repair it or remove it from the training folder."
            raise UserError(msg) from error
