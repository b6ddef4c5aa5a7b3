# SPDX-License-Identifier: Apache-2.0
"""The images that training reads, as the calibration and the statistics of the teacher need them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from anomalib.data import AnomalibDataset, Batch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader, Subset

from anomalib_scdae.errors import UserError

#: Where Lightning lets datamodules and models change a batch.
BATCH_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def images_of(batch: Batch) -> torch.Tensor:
    """Return the images ``(B, 3, H, W)``, which every loaded batch has, though its type does not say so."""
    return cast("torch.Tensor", batch.image)


def paths_of(batch: Batch) -> list[str] | None:
    """Return the files of a batch's images, or None where it does not say."""
    paths = getattr(batch, "image_path", None)
    return None if paths is None else [str(path) for path in paths]


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


def gives_images_as_read(trainer: Trainer) -> bool:
    """Return whether neither a collate function nor a hook of datamodule or model changes what the dataset gives."""
    loader: Any = trainer.train_dataloader
    dataset = training_dataset(trainer)
    if getattr(loader, "collate_fn", None) != getattr(dataset, "collate_fn", None):
        return False
    datamodule = getattr(trainer, "datamodule", None) or LightningDataModule()
    owners = {LightningDataModule: datamodule, LightningModule: trainer.lightning_module}
    return not any(is_overridden(hook, owner, parent) for hook in BATCH_HOOKS for parent, owner in owners.items())


def is_read_by_anomalib(dataset: Any) -> bool:
    """Tell whether Anomalib's own code reads a dataset's files."""
    return isinstance(dataset, AnomalibDataset) and type(dataset).__getitem__.__module__.startswith("anomalib.data.")


def has_training_set(trainer: Trainer) -> bool:
    """Return whether :func:`training_dataset` would find one."""
    return hasattr(getattr(trainer, "datamodule", None), "train_data") or trainer.train_dataloader is not None


def spread_over_training(trainer: Trainer, count: int) -> DataLoader:
    """Return at most ``count`` images, evenly spread over the training set, one by one.

    Raises:
        UserError: If there is no training set.
    """
    dataset = training_dataset(trainer)
    indices = range(0, len(dataset), max(1, -(-len(dataset) // count)))
    # A loader may be of any dataset, as of a part of Anomalib's.
    loader: Any = trainer.train_dataloader
    collate = getattr(loader, "collate_fn", None)
    if collate is None:  # as in a validation, which knows no loader of the training
        datamodule = getattr(trainer, "datamodule", None)
        collate = getattr(datamodule, "external_collate_fn", None) or getattr(dataset, "collate_fn", None)
    return DataLoader(Subset(dataset, list(indices)), batch_size=1, collate_fn=collate)


def first_training_batch(trainer: Trainer) -> Batch:
    """Read the first batch, without touching anybody's random numbers.

    Raises:
        UserError: If an image cannot be read.
    """
    # Not by taking one of `training_batches`: a generator that is closed early leaves `isolate_rng` by an exception,
    # upon which that does not restore the random numbers.
    with isolate_rng(), _named_if_unreadable():
        return next(iter(_loader(trainer)))


def training_batches(trainer: Trainer) -> Iterator[Batch]:
    """Read the whole training set once, to its end, without touching anybody's random numbers.

    Raises:
        UserError: If an image cannot be read.
    """
    with isolate_rng(), _named_if_unreadable():
        yield from _loader(trainer)


def _loader(trainer: Trainer) -> Any:
    datamodule = getattr(trainer, "datamodule", None)
    return datamodule.train_dataloader() if datamodule is not None else trainer.train_dataloader


@contextmanager
def _named_if_unreadable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"A training image cannot be read ({error}): repair it or remove it from the training folder."
        raise UserError(msg) from error
