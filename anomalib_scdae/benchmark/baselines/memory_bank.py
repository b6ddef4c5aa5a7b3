# SPDX-License-Identifier: Apache-2.0
"""What models that keep their training images' features have in common."""

from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch
from anomalib.data import Batch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info

from anomalib_scdae.errors import UserError
from anomalib_scdae.model.deploy.pre_processing import transformed
from anomalib_scdae.model.training.training_set import first_training_batch, images_of, training_dataset

_GIB = 2**30


class GalleryMixin:
    """Says before the fit how much memory the gallery will take, and refuses where there is not as much.

    A class that uses it has a :attr:`method`; its networks tell the ``bytes_of`` images, ``reserve`` room for them, and
    ``add`` them. It comes before Anomalib's ``MemoryBankMixin`` in the order of bases.
    """

    #: What sentences call it.
    method: str
    #: Whether the benchmark validates the final weights before it tests them: the only validation has seen them.
    validate_final_weights = False
    model: Any
    trainer: Trainer
    device: torch.device
    pre_processor: Any
    _is_fitted: torch.Tensor

    def on_train_start(self) -> None:
        """Forget an earlier gallery and make room for the new one.

        Raises:
            UserError: If there is no room.
        """
        self._is_fitted = torch.tensor([False], device=self.device)
        batch: Any = first_training_batch(self.trainer)
        images = transformed(self.pre_processor, batch.image)[:1].to(self.device)
        count = len(training_dataset(self.trainer))
        check_room(f"{self.method}'s gallery of {count} images", self.model.bytes_of(count, images), self.device)
        self.model.reserve(count, images)

    def training_step(self, batch: Batch, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Put a batch into the gallery; the loss is there for Lightning."""
        del args, kwargs
        self.model.add(images_of(batch))
        return torch.tensor(0.0, requires_grad=True, device=self.device)

    def configure_optimizers(self) -> None:
        """There is nothing to optimize."""
        return

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """Every image is read once, by one process, and then thresholds are taken from a validation."""
        return {
            "max_epochs": 1,
            "max_steps": -1,
            "check_val_every_n_epoch": 1,
            "val_check_interval": 1.0,
            "num_sanity_val_steps": 0,
            "devices": 1,
        }

    def to_onnx(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Say that there is no such export.

        Raises:
            UserError: Always.
        """
        del args, kwargs
        msg = (
            f"{self.method} searches a gallery of its training images and has no export to ONNX or OpenVINO: keep its "
            "checkpoint, or export it with to_torch."
        )
        raise UserError(msg)

    def to_openvino(self, *args: Any, **kwargs: Any) -> Path:
        """Say that there is no such export.

        Raises:
            UserError: Always.
        """
        return self.to_onnx(*args, **kwargs)


def check_room(what: str, size: int, device: torch.device | str = "cpu") -> None:
    """Say how much memory something will take, and raise a :class:`UserError` if there is not as much."""
    device = torch.device(device)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if size > free:
        msg = (
            f"{what} would take {size / _GIB:.1f} GiB of memory, and {free / _GIB:.1f} GiB are free: train with fewer "
            "or smaller images, or with a backbone of fewer channels."
        )
        raise UserError(msg)
    rank_zero_info(f"{what} takes {size / _GIB:.2f} GiB of memory.")
