# SPDX-License-Identifier: Apache-2.0
"""Images that INT8 is calibrated and judged with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from anomalib.data import AnomalibDataModule, AnomalibDataset
from anomalib.data.utils import ValSplitMode
from anomalib.deploy import CompressionType
from lightning.pytorch.utilities import rank_zero_warn
from torchvision.transforms.v2 import functional as TF

from anomalib_scdae.errors import UserError

if TYPE_CHECKING:
    from openvino import Model


#: Images that the ranges of the activations are measured on; each has thousands of positions.
CALIBRATION_IMAGES = 100


class CalibrationImage(NamedTuple):
    """One image as the exported model takes it, and what is known about it."""

    pixels: np.ndarray  # (B, 3, H, W), float32; every entry of the batch is the same image
    item: Any  # Anomalib's dataset item


class CalibrationImages:
    """Images of a dataset, read when they are needed and as the exported model takes them.

    Args:
        dataset: Anomalib's dataset; its augmentations are left out.
        indices: Which of its images.
        model: The exported model: images are resized to its input size, if that is fixed, and repeated to its batch
            size, if that is.
    """

    def __init__(self, dataset: AnomalibDataset, indices: Sequence[int], model: "Model") -> None:
        self._dataset = dataset
        self._indices = indices
        batch, _, *size = model.input(0).partial_shape
        self._size = None if any(side.is_dynamic for side in size) else [side.get_length() for side in size]
        self._batch = 1 if batch.is_dynamic else batch.get_length()

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[CalibrationImage]:
        for index in self._indices:
            with _without_augmentations(self._dataset):
                item: Any = self._dataset[index]
            image = torch.as_tensor(item.image).float()
            if self._size is not None and list(image.shape[-2:]) != self._size:
                image = TF.resize(image, self._size, antialias=True)
            yield CalibrationImage(image.expand(self._batch, *image.shape).numpy(), item)


@contextmanager
def _without_augmentations(dataset: AnomalibDataset) -> Iterator[None]:
    """Leave a dataset's augmentations out for a while; not in a copy, with which a synthetic one's images would go."""
    augmentations, dataset.augmentations = dataset.augmentations, None
    try:
        yield
    finally:
        dataset.augmentations = augmentations


def calibration_set(
    datamodule: AnomalibDataModule, compression_type: CompressionType = CompressionType.INT8_PTQ
) -> tuple[AnomalibDataset, list[int]]:
    """Return a dataset and the indices of its normal images to calibrate with, evenly spread.

    A split that is there already stays. One that is drawn at random now may hold what was the test in training; a
    warning says so.
    """
    if not any(hasattr(datamodule, name) for name in ("train_data", "val_data")):
        datamodule.setup("fit")
        if datamodule.seed is None and _test_is_drawn(datamodule):
            rank_zero_warn(
                "The images that INT8 is calibrated with are drawn at random anew, and may have been test images after "
                "the training: give both the same --data.seed."
            )
    for dataset in (_validation_set(datamodule), getattr(datamodule, "train_data", None)):
        normal = [] if dataset is None else [int(i) for i in np.flatnonzero(dataset.samples["label_index"] == 0)]
        if dataset is not None and normal:
            return dataset, normal[:: max(1, -(-len(normal) // CALIBRATION_IMAGES))]
    msg = f"{compression_type.name} found no normal image of training or validation: pass a datamodule that has some."
    raise UserError(msg)


def _test_is_drawn(datamodule: AnomalibDataModule) -> bool:
    """Tell whether test images are drawn from those of training, or validation images from those of the test."""
    splits = [getattr(datamodule, name, None) for name in ("train_data", "test_data")]
    train, test = ({Path(path).parent for path in split.samples["image_path"]} if split else set() for split in splits)
    return datamodule.val_split_mode == ValSplitMode.FROM_TEST or bool(train & test)


def abnormal_validation_set(datamodule: AnomalibDataModule | None) -> AnomalibDataset | None:
    """Return the validation set, if it holds normal and abnormal images and is not the test set."""
    dataset = _validation_set(datamodule) if datamodule is not None else None
    return dataset if dataset is not None and dataset.samples["label_index"].nunique() > 1 else None


def _validation_set(datamodule: AnomalibDataModule) -> AnomalibDataset | None:
    if datamodule.val_split_mode == ValSplitMode.SAME_AS_TEST:
        return None
    return getattr(datamodule, "val_data", None)
