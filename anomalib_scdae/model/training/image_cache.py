# SPDX-License-Identifier: Apache-2.0
"""Keeps images of training and validation in memory, read and resized, where every epoch sees them unchanged.

Reading and resizing a photograph of 1600 x 1280 takes longer than a training step does on a fast device.
"""

import mmap
import multiprocessing
from typing import Any

import torch
from anomalib.data import AnomalibDataset, ImageItem
from anomalib.data.utils import LabelName
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import Dataset
from torchvision.transforms.v2 import CenterCrop, Compose, Grayscale, Identity, Resize, Transform
from torchvision.tv_tensors import Mask, TVTensor, wrap

from anomalib_scdae.model.training.training_set import is_read_by_anomalib

#: A datamodule's datasets that are read again and again, the one that is read most first.
CACHED_DATASETS = ("train_data", "val_data")

#: Transforms that make the same of an image every time.
_REPEATABLE = (Resize, CenterCrop, Grayscale, Identity)


def is_repeatable(transform: Transform | None) -> bool:
    """Return whether ``transform`` is known to make the same of an image every time."""
    if isinstance(transform, Compose):
        return all(is_repeatable(part) for part in transform.transforms)
    return transform is None or type(transform) in _REPEATABLE


def always_gives_the_same_images(dataset: Any) -> bool:
    """Return whether an image's path tells what ``dataset`` gives for it, each time.

    So it is with Anomalib's own datasets where no random augmentation is set.
    """
    original = dataset.original if isinstance(dataset, CachedImages) else dataset
    return (
        is_read_by_anomalib(original)
        and is_repeatable(original.augmentations)
        and original.samples.image_path.is_unique
    )


class CachedImages(Dataset):
    """A dataset whose normal images are read and resized once.

    Worker processes share the memory, so that none reads what another has read. Everything but the items is the
    original dataset's.

    Args:
        original: The dataset; see :meth:`wrap`.
        template: One of its items (an :class:`ImageItem`), of a normal image.
        workers: Number of worker processes that will read.
    """

    def __init__(self, original: AnomalibDataset, template: Any, workers: int = 0) -> None:
        self.original = original
        self._template = template
        shape = (len(original), *template.image.shape)
        self._images = _memory(shape, template.image.dtype, shared=workers > 0)
        self._read = _memory((len(original),), torch.bool, shared=workers > 0)

    @classmethod
    def wrap(cls, dataset: Any, limit: float, workers: int) -> "CachedImages | None":
        """Return ``dataset`` with a cache, or ``None`` where that would not fit or not be the same.

        Args:
            dataset: Any dataset.
            limit: Bytes that the images may take.
            workers: Number of worker processes that will read.
        """
        if not (isinstance(dataset, AnomalibDataset) and always_gives_the_same_images(dataset) and len(dataset)):
            return None
        resized = dataset.augmentations is not None  # otherwise images may be of many sizes
        if not resized or (workers and _start_method() != "fork"):
            return None
        normal = (dataset.samples.label_index == LabelName.NORMAL).to_numpy().nonzero()[0]
        if not len(normal):
            return None
        item = dataset[int(normal[0])]
        if type(item) is not ImageItem:  # but one that holds more, such as depth
            return None
        template: Any = item
        if template.image.nbytes * len(dataset) > limit:
            return None
        return cls(dataset, template, workers)

    @property
    def nbytes(self) -> int:
        """Bytes that the images take when all have been read."""
        return self._images.nbytes

    @property
    def augmentations(self) -> Transform | None:
        """The original's augmentations."""
        return self.original.augmentations

    @augmentations.setter
    def augmentations(self, augmentations: Transform | None) -> None:
        self.original.augmentations = augmentations
        self._read.zero_()

    def __getattr__(self, name: str) -> Any:
        if name == "original":  # not set yet: a copy is being made
            raise AttributeError(name)
        return getattr(self.original, name)

    def __len__(self) -> int:
        return len(self.original)

    def __getitem__(self, index: int) -> Any:
        """Return the item that the original would give."""
        if not self._read[index]:
            item: Any = self.original[index]
            usable = self.original.samples.label_index[index] == LabelName.NORMAL
            if usable and item.image.shape == self._images.shape[1:]:
                self._images[index] = item.image
                self._read[index] = True
            return item
        row = self.original.samples.iloc[index]
        image, mask, mask_path = self._images[index].clone(), self._template.gt_mask, row.mask_path
        return ImageItem(
            image=wrap(image, like=self._template.image) if isinstance(self._template.image, TVTensor) else image,
            gt_mask=None if mask is None else Mask(torch.zeros_like(mask)),
            gt_label=torch.tensor(row.label_index),
            image_path=row.image_path,
            mask_path=mask_path[0] if isinstance(mask_path, list) else mask_path,
        )


def _memory(shape: tuple[int, ...], dtype: torch.dtype, shared: bool) -> torch.Tensor:
    """Return zeros; pages are taken when they are written to, and if ``shared``, child processes write to them too.

    Anonymous memory instead of ``Tensor.share_memory_``, whose files in ``/dev/shm`` are limited to 64 MB in many
    containers.
    """
    if not shared:
        return torch.zeros(shape, dtype=dtype)
    count = torch.Size(shape).numel()
    return torch.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype=dtype, count=count).view(shape)


def _start_method() -> str:
    return multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]


class ImageCache(Callback):
    """Keeps a datamodule's images of training and validation in memory while a training runs.

    Args:
        gib: Memory in GiB that may be taken, images of training first; each kind is kept only if all of it fits.
    """

    def __init__(self, gib: float) -> None:
        self.limit = gib * 2**30

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the caches before the datasets."""
        del pl_module
        datamodule = getattr(trainer, "datamodule", None)
        if datamodule is None:
            return
        self._restore(trainer)
        workers = getattr(datamodule, "num_workers", 0)
        for name in CACHED_DATASETS:
            with isolate_rng():
                cached = CachedImages.wrap(getattr(datamodule, name, None), self.room(trainer), workers)
            if cached is not None:
                setattr(datamodule, name, cached)
        # A schedule by epochs has asked for the number of steps, and so for a loader of the datamodule's own dataset.
        trainer.fit_loop._combined_loader = None

    def room(self, trainer: Trainer) -> float:
        """Return how many bytes the caches leave when they are full."""
        return self.limit - sum(cached.nbytes for cached in self._cached(trainer).values())

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the datamodule its own datasets back."""
        del pl_module
        self._restore(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the datamodule its own datasets back, also after a training that failed."""
        del pl_module, exception
        self._restore(trainer)

    @staticmethod
    def _cached(trainer: Trainer) -> dict[str, CachedImages]:
        datamodule = getattr(trainer, "datamodule", None)
        datasets = {name: getattr(datamodule, name, None) for name in CACHED_DATASETS}
        return {name: dataset for name, dataset in datasets.items() if isinstance(dataset, CachedImages)}

    @classmethod
    def _restore(cls, trainer: Trainer) -> None:
        for name, cached in cls._cached(trainer).items():
            setattr(trainer.datamodule, name, cached.original)  # type: ignore[attr-defined]
